"""BounceHunter's cache: saved, read, listed, cleared and damaged by many processes at once."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from services.fleet.local.processes import Child
from services.fleet.prove.apparatus import beside
from services.fleet.prove.programs import cache_user
from services.fleet.prove.programs.cache_user import CACHE, DAMAGE, ENOUGH, SOUND, content_of, made_of
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.bounce.entries import ModelCache, config_hash
from tidewheel.bounce.files import Made
from tidewheel.bounce.gathering import Gathered, Told, Volatility
from tidewheel.bounce.market import UNIVERSE
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY
from tidewheel.features.bounce import dips
from tidewheel.features.volatility import Squares, percentile
from tidewheel.market.sim.dips import dips_market
from tidewheel.models.bounce import BounceModel

_ROUNDS = {"cleared": ("save", "save", "read", "clear"), "damaged": ("save", "read", DAMAGE)}
_POLL_SECONDS = 0.05


def prove(
    budget: Budget, tell: Tell, *, program: str = cache_user.__name__, rounds: Sequence[str] = ("cleared", "damaged")
) -> Tally:
    """A trial is a save; half of them while somebody clears the cache, half while somebody flips its bits.

    Others read and list all the while. What they get was saved by somebody, whole; nobody fails; and nothing is put
    aside that was not damaged.
    """
    total, saved = Tally(), [*sound(budget.seed)]
    for turn, name in enumerate(rounds):
        roles = _ROUNDS[name]
        folder = budget.ground.folder / f"cache-{name}-{time.monotonic_ns()}"
        for place, made in enumerate(saved):
            ModelCache(folder / SOUND / str(place)).save(made)
        tell(turn / len(rounds), name)
        reads = _round(total, budget, folder, roles, program)
        total.figures.append(f"{name}: {reads:,} reads beside the saves")
        _judge(total, folder / CACHE, saved, damaged=DAMAGE in roles)
    return total


def sound(seed: int) -> Iterator[Made]:
    """Two configurations, and a second content of the first."""
    config = BounceHunterConfig.of(["AAPL", "MSFT"])
    frames = dips_market(config.tickers, 1_000, seed).frames
    told = {
        ticker: Told(
            dips=dips(frame, config),
            squares=Squares.of(frame),
            until=int(frame.open_time[-1]) + DAY,
            origin=Origin.SYNTHETIC,
        )
        for ticker, frame in frames.items()
    }
    gathered = Gathered.of(told, {})
    rows = gathered.rows(Volatility(*percentile(*gathered.squares.realised())))
    model = BounceModel.fit(rows, fewest=config.min_event_samples)
    for each, left_out in (
        (config, {}),
        (config, {"XYZ": "told apart by this"}),
        (replace(config, horizon_days=6), {}),
    ):
        yield Made(
            config=each,
            config_hash=config_hash(each, UNIVERSE),
            volatility_source=UNIVERSE,
            gathered=replace(gathered, left_out=left_out),
            model=model,
        )


def _round(total: Tally, budget: Budget, folder: Path, roles: Sequence[str], program: str) -> int:
    """Let them work; how often was read or listed."""
    saves = -(-budget.trials // len(_ROUNDS) // roles.count("save"))
    damaged = int(DAMAGE in roles)
    users = [
        beside.start(program, folder, role, saves, budget.seed + place, damaged, folder=folder)
        for place, role in enumerate(roles)
    ]
    try:
        while any(user.exit_code() is None for user, role in zip(users, roles, strict=True) if role == "save"):
            time.sleep(_POLL_SECONDS)
        (folder / ENOUGH).touch()
        while any(user.exit_code() is None for user in users):
            time.sleep(_POLL_SECONDS)
    finally:
        for user in users:
            user.ask_to_stop()
        for user in users:
            user.wait_stopped(time.monotonic() + 5)
    said = {user: _said(user) for user in users}
    for user, role in zip(users, roles, strict=True):
        total.trials += said[user].trials if role == "save" else 0
        total.violations += said[user].violations
        total.first = total.first or said[user].first
    return sum(said[user].trials for user, role in zip(users, roles, strict=True) if role == "read")


def _said(user: Child) -> Tally:
    if user.exit_code() != 0:
        raise Unavailable(f"a user of the cache ended with {user.exit_code()}; {user.last_words}")
    return Tally(**json.loads(user.log.read_text().splitlines()[-1]))


def _judge(total: Tally, folder: Path, saved: Sequence[Made], *, damaged: bool) -> None:
    """Nothing is left of it that is not sound, and it can be used as before."""
    aside = [str(path) for path in folder.rglob("*.aside-*")]
    if aside and not damaged:
        total.broken(f"{aside[0]} was put aside, and nobody had damaged it")
    staged = [str(path) for path in folder.glob("*/.staged/*")]
    if staged:
        total.broken(f"{staged[0]} was left behind")
    cache = ModelCache(folder, on_damage=lambda *_: None)
    for made in saved:
        cache.save(made)
        kept = cache.get(made.config_hash)
        if kept is None or content_of(made_of(kept)) != content_of(made):
            total.broken(f"after all that, {made.config_hash} is not what was saved")
