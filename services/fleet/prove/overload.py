"""R15, overload: twice as many clients as a role has slots ask for the heaviest that it does; `/health` is timed."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np

from services.fleet.local.ports import free_ports
from services.fleet.local.processes import START_SECONDS, Child, tail
from services.fleet.prove.apparatus import beside
from services.fleet.prove.apparatus.bundles import FAMILY, about
from services.fleet.prove.ground import Place
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import MINUTE
from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import regime_signature
from tidewheel.ledger.open import open_ledger
from tidewheel.models.regime import RegimeModel
from tidewheel.models.statistics import Statistics
from tidewheel.modelstore.store import ModelStore

BOUND_MS = 100.0
FLEET = "services.fleet.cli"
BTC = StreamKey("binance", "BTC/USDT", "1m")
BARS = 50_000
_CLIENTS = 64
_START = 1_767_225_600_000
_PAUSE_SECONDS = 0.02


def prove(
    budget: Budget,
    tell: Tell,
    *,
    module: str = FLEET,
    roles: tuple[Role, ...] = (Role.PREDICTOR, Role.INGESTER),
    bound_ms: float = BOUND_MS,
    longest_each: int = 8,
) -> Tally:
    """A trial is one `GET /health` while a role is pressed; 95 of 100 must be answered within `bound_ms`.

    `module` is what serves the roles; one of `longest_each` clients sends the predictor as much as it takes.
    """
    tally = Tally()
    place = budget.ground.fresh("sqlite")
    _prepare(place)
    pressed = {
        Role.PREDICTOR: [*["/predict"] * (longest_each - 1), "/predict#longest"],
        Role.INGESTER: [f"/candles?stream={BTC}&format={form}" for form in ("json", "csv", "parquet")],
    }
    for number, role in enumerate(roles):
        with _role(module, role, place) as port:
            urls = [f"http://127.0.0.1:{port}{path}" for path in pressed[role]]
            counts = place.data_dir / f"{role}.counts"
            load = beside.start("services.fleet.prove.programs.press", _CLIENTS, counts, *urls, folder=place.data_dir)
            try:
                _await_load(port, load)
                share = budget.trials // len(roles)
                times = []
                for probe in range(share):
                    times.append(_probe(port))
                    time.sleep(_PAUSE_SECONDS)
                    tell((number + probe / share) / len(roles), f"{role}, {probe + 1} probes")
            finally:
                load.ask_to_stop()
                load.wait_stopped(time.monotonic() + 30)
        seen = json.loads(counts.read_text())
        tally.trials += len(times)
        _judge(tally, role, times, seen, bound_ms)
    return tally


def _judge(tally: Tally, role: Role, times: list[float | None], seen: dict[str, int], bound_ms: float) -> None:
    known = sorted(each for each in times if each is not None)
    for _ in range(len(times) - len(known)):
        tally.broken(f"{role}: /health gave no answer")
    slow = [each for each in known if each > bound_ms]
    if len(slow) > len(times) / 20:
        for each in slow:
            tally.broken(f"{role}: {len(slow)} of {len(times)} probes took over {bound_ms:.0f} ms, such as {each:.0f}")
    if not seen.get("429"):
        tally.broken(f"{role}: {_CLIENTS} clients at once, and nobody was told to come back: {seen}")
    for status, count in seen.items():
        if status not in ("200", "429"):
            tally.broken(f"{role}: {count} answers were {status}")
    if not known:
        return
    half, most, rare = (known[int(len(known) * share)] for share in (0.5, 0.95, 0.99))
    told = ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))
    tally.figures.append(
        f"{role}: /health p50 {half:.1f}, p95 {most:.1f}, p99 {rare:.1f}, max {known[-1]:.1f} ms beside {told}"
    )


def _prepare(place: Place) -> None:
    """A model in service, and a stream of `BARS` bars."""
    store = ModelStore(place.data_dir / "models")
    said = replace(about(1), feature_signature=regime_signature(BTC.timeframe))
    staged = store.stage(FAMILY, _model().to_payload(), said)
    store.publish(staged)
    store.point(FAMILY, staged.version)
    close = 100.0 * np.exp(np.cumsum(1e-3 * np.random.default_rng(1).standard_normal(BARS)))
    rows = [(_START + n * MINUTE, price, price, price, price, 1.0) for n, price in enumerate(close.tolist())]
    ledger = open_ledger(place.dsn, place.data_dir)
    with closing(ledger):
        ledger.streams.register(BTC, Origin.SYNTHETIC)
        with ledger.leases.hold(f"stream:{BTC}", "prove", 60_000) as held:
            ledger.bars.append(held.lease, BTC, CandleFrame.from_rows(MINUTE, rows), "prove")


def _model() -> RegimeModel:
    """Made by hand: what it answers does not matter here, only that it works for it."""
    return RegimeModel(
        step=MINUTE,
        startprob=np.full(3, 1 / 3),
        transmat=np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]]),
        means=np.array([[0.5, 0.0], [-0.5, 0.7], [0.0, -0.9]]),
        covars=np.array([[1.0, 0.1], [4.0, 0.1], [0.16, 0.1]]),
        scales={},
        default_scale=1e-3,
        statistics=Statistics(np.ones((3, 3)), np.ones(3), np.zeros((3, 2)), np.ones((3, 2))),
        seed=1,
        restarts=1,
    )


@contextmanager
def _role(module: str, role: Role, place: Place) -> Iterator[int]:
    """The role in a process of its own; its port."""
    (port,) = free_ports(1)
    settings = {"REDIS_URL": "redis://127.0.0.1:9/0", "LOG_LEVEL": "error"}
    child = Child(beside.serving(role, module, place, settings, port=port), place.data_dir / f"{role}.log")
    try:
        child.await_ready()
        yield port
    finally:
        child.wait_stopped(0.0)


def _await_load(port: int, load: Child) -> None:
    """Until the role has something to do, by its own gauge."""
    deadline = time.monotonic() + START_SECONDS
    while _in_flight(port) < 2:
        load.require_running()
        if time.monotonic() > deadline:
            raise RuntimeError(f"the load does not press:\n{tail(load.log)}")
        time.sleep(0.05)


def _in_flight(port: int) -> float:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return max((float(line.split()[-1]) for line in lines if line.startswith("tidewheel_http_requests_in_flight{")),
               default=0.0)  # fmt: skip


def _probe(port: int) -> float | None:
    """Milliseconds until `/health` was answered, connecting included; None where it was not."""
    started = time.perf_counter()
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
    except (OSError, http.client.HTTPException):
        return None
    return (time.perf_counter() - started) * 1e3 if answer.status == 200 else None
