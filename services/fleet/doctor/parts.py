"""What the settings name: themselves, the keys, the ledger, the models, the broker, the exchange."""

import os
import time
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.fleet.doctor.check import Line, Patient, fail, ok, warn
from services.fleet.local.home import broker_address, exchange_address, has_cluster, ledger_address
from services.fleet.roles.flower import FlowerSettings, account
from services.fleet.roles.wiring import READERS, settings_type
from tidewheel.contracts.errors import BadInput, BadSetting, NotFound, TidewheelError
from tidewheel.contracts.states import Origin
from tidewheel.kit.settings import load, variable_names

if TYPE_CHECKING:
    import redis

_SKEW_WARN, _SKEW_FAIL = 1.0, 30.0  #: seconds between the host's clock and the exchange's
_ENV = Path(".env")


def settings(patient: Patient) -> Iterator[Line]:
    """Whether every role would take its settings, and names among ours that no role reads."""
    mode = {} if "auth_mode" in patient.settings.model_fields_set else {"auth_mode": "dev"}
    known: set[str] = set()
    for role in READERS:
        kind = settings_type(role)
        known |= {name for field in kind.model_fields for name in variable_names(field, kind.model_fields[field])}
        try:
            load(kind, **mode)
        except BadSetting as error:
            yield fail("settings", f"{role}: {error.detail.partition('; ')[0]}", error.detail.partition("; ")[2])
            return
    account(load(FlowerSettings, **mode))
    odd = sorted(name for name in os.environ if name.startswith("TIDEWHEEL_") and name not in known | {"TIDEWHEEL_TAG"})
    for name in odd:
        near = get_close_matches(name, known, n=1)
        yield warn("settings", f"{name} is set and read by nobody", f"did you mean {near[0]}?" if near else "unset it")
    if patient.settings.auth_mode == "dev":
        yield warn(
            "settings", "AUTH_MODE=dev opens every route to this machine", "for others: AUTH_MODE=keys, keys create"
        )
    elif not odd:
        auth = "is not set: `up` takes dev, `serve` takes keys" if mode else "is keys"
        yield ok("settings", f"{len(READERS)} roles take them; AUTH_MODE {auth}")


def keys(patient: Patient) -> Iterator[Line]:
    """The exchange's key, whose text is never shown or sent from here, and who may read the file it lies in."""
    key, secret = patient.settings.exchange_api_key, patient.settings.exchange_api_secret
    open_env = _ENV.exists() and _ENV.stat().st_mode & 0o077
    if key is None and secret is None:
        yield ok("exchange key", "none set; candles are public")
    elif key is None or secret is None:
        missing = "EXCHANGE_API_KEY" if key is None else "EXCHANGE_API_SECRET"
        yield fail(
            "exchange key", f"{missing} is not set, and the other half is", "set both, or none: candles are public"
        )
    elif open_env and "EXCHANGE_API_SECRET" not in os.environ:
        yield warn("exchange key", f"set, and others may read {_ENV.absolute()}", "chmod 600 .env")
    else:
        yield ok("exchange key", "set, and not needed for candles; requests of the doctor go without it")


def ledger(patient: Patient) -> Iterator[Line]:
    """Reachable, of our revision and purpose, and true to itself as far as its tables tell."""
    from tidewheel.ledger.open import open_ledger

    chosen = patient.settings
    sqlite = chosen.ledger_db.startswith("sqlite:///")
    fresh = Path(chosen.ledger_db.removeprefix("sqlite:///")) if sqlite else None
    if fresh is not None and not fresh.exists() and not has_cluster(chosen.tidewheel_home):
        yield ok("ledger", f"none yet; `tidewheel up` or `tidewheel ledger migrate` makes {fresh}")
        return
    opened = open_ledger(ledger_address(chosen), chosen.data_dir, chosen.ledger_purpose)
    try:
        identity = opened.identity()
        yield ok("ledger", f"{opened.dialect}, revision {identity.revision}, {identity.purpose}")
        wrong = [finding for finding in opened.fsck(files=False) if not finding.ok]
        for finding in wrong:
            yield fail(
                "ledger", f"{finding.check}: {finding.detail}", "`tidewheel ledger fsck` tells all; restore a backup"
            )
        named = "auth_mode" in chosen.model_fields_set  # `up` takes dev otherwise
        if named and chosen.auth_mode == "keys" and not any(key.revoked_at is None for key in opened.keys.all()):
            yield warn("api keys", "AUTH_MODE=keys, and there is no key", "`tidewheel keys create --scope admin`")
    finally:
        opened.close()


def models(patient: Patient) -> Iterator[Line]:
    """Whether the current bundle of the consumer's family can be read and is whole."""
    from tidewheel.modelstore.store import ModelStore

    store, family = ModelStore(patient.settings.models_dir), patient.settings.train_consumer
    try:
        yield ok("model", f"{family} {store.open(family).manifest.version} is whole")
    except NotFound:
        yield ok("model", f"no {family} yet; the first promotion makes it")
    except TidewheelError as error:
        yield fail("model", error.detail, "`tidewheel rollback`, or restore the models folder from a backup")


def broker(patient: Patient) -> Iterator[Line]:
    """Whether the broker answers, and would never drop a message to save memory."""
    import redis

    url = broker_address(patient.settings, patient.fleet)
    if url is None:
        yield ok("broker", "`tidewheel up` brings its own; REDIS_URL would name another")
        return
    place = f"{urlsplit(url).hostname}:{urlsplit(url).port or 6379}"
    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
        try:
            told = client.info()
            assert isinstance(told, dict)
            policy = str(told.get("maxmemory_policy", "unknown"))
            limited = int(told.get("maxmemory", 0)) > 0
            kept = _kept(client, told)
        except redis.RedisError as error:
            yield fail("broker", f"{place}: {str(error) or type(error).__name__}", "start it, or mend REDIS_URL")
            return
    line = f"{place}: {told.get('server_name', 'redis')} {told.get('valkey_version', told['redis_version'])}"
    if limited and policy != "noeviction":
        yield warn("broker", f"{line}, maxmemory-policy {policy} drops messages", "set maxmemory-policy noeviction")
    else:
        yield ok("broker", f"{line}, {policy}, {kept} (it carries hints only)")


def _kept(client: "redis.Redis", told: dict[str, Any]) -> str:
    """What a restart of the broker would find."""
    import redis

    if told.get("aof_enabled"):
        return "kept in an append-only file"
    try:
        saves = client.config_get("save")
    except redis.ResponseError:  # a hosted broker may forbid the question
        return "kept as its host decides"
    return "kept in snapshots" if isinstance(saves, dict) and saves.get("save") else "kept in memory only"


def exchange(patient: Patient) -> Iterator[Line]:
    """Its clock beside ours, the symbols and the timeframe, its limits; asked without a key."""
    from tidewheel.market.limiter import Limiter
    from tidewheel.market.open import open_exchange

    chosen = patient.settings
    url = exchange_address(chosen, patient.fleet)
    asked = open_exchange(
        chosen.exchange, type=chosen.exchange_type, url=url, limiter=Limiter(chosen.data_dir / "limits")
    )
    asked.check_timeframe(chosen.timeframe)
    asked.server_time()  # the first answer pays for the connection
    before = time.time()
    theirs = asked.server_time() / 1_000
    skew = theirs - (before + time.time()) / 2
    if asked.origin() is not Origin.EXCHANGE:
        yield ok("exchange", f"{asked.id} at {url} is simulated, with a clock of its own")
    elif abs(skew) > _SKEW_WARN:
        state = fail if abs(skew) > _SKEW_FAIL else warn
        yield state(
            "clock", f"this machine is {abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} {asked.id}", "run NTP"
        )
    else:
        yield ok("clock", f"within {abs(skew):.1f} s of {asked.id}")
    known: list[str] = []
    for symbol in chosen.wanted_symbols:
        try:
            known.append(asked.resolve(symbol))
        except BadInput as error:
            told, _, hint = error.detail.partition("; ")
            yield fail("symbols", told, f"mend SYMBOLS; {hint}" if hint else "mend SYMBOLS")
    if known:
        most, pace = asked.most(known[0]), asked.per_second
        yield ok("symbols", f"{', '.join(known)} at {chosen.timeframe}; {most} bars a request, {pace:g} requests/s")
