"""`tidewheel tour param`: an engine trades the simulated market with parameters that the controller picks.

A regime model is trained on ten days; the next ten are traded, twice as volatile. The engine asks for the regime and
for parameters before each position, tags it, and reports what it made. As the market does not mind the engine, what
every other preset would have made of the same moment is known too: that is the regret told at the end, beside the
regret that the controller itself estimates from its log alone.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from services.fleet.display import Display
from services.fleet.story import SETTINGS, Stage, Step, StepFailed, ingest, play, start, train
from services.fleet.tour.breakout import Trade, atr, trade
from services.param_controller.settings import SHIPPED
from tidewheel.contracts.keys import path_part
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import Reason, RunState
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.returns import log_returns
from tidewheel.market.sim.scenario import PHASE_BARS, demo
from tidewheel.public import EngineClient

STRATEGY = "momentum_breakout"
INSTRUMENTS = ("BTC/USDT", "ETH/USDT")
TRADES = 200  #: decisions for each instrument
#: In place of the schema's: the tour's days pass in a minute of the ledger's clock, and its toy may lose.
GUARDRAILS = {"changes_per_day": 60, "max_drawdown": 200.0}
_LOOKBACK = 240  #: bars that a regime and a volatility are told from
_YEAR = 365 * 1440  #: bars
_SHOWN = 5  #: decisions of each instrument
_SCHEMAS = "strategy_schemas"


@dataclass
class Book:
    """What one instrument's trades came to."""

    instrument: str
    rewards: list[float] = field(default_factory=list)  #: R, of the presets that were picked
    others: dict[str, list[float]] = field(default_factory=dict)  #: preset -> what it would have made each time
    reasons: Counter[str] = field(default_factory=Counter)
    presets: list[str] = field(default_factory=list)  #: that were picked, in order
    first: list[str] = field(default_factory=list)  #: the first decisions, a line each

    @property
    def changes(self) -> int:
        """How often another preset than the one before was picked."""
        return sum(a != b for a, b in zip(self.presets, self.presets[1:], strict=False))

    def regret(self, preset: str) -> float:
        """R that trading with `preset` alone would have made more."""
        return sum(self.others[preset]) - sum(self.rewards)


@dataclass(frozen=True, kw_only=True)
class Told:
    """The tour in numbers."""

    books: list[Book]
    stopped_ms: float  #: from the kill switch to the first answer that names it
    pages: dict[str, Path]  #: instrument -> its report, to be opened in a browser
    reports: dict[str, dict[str, Any]]  #: instrument -> what GET /report answers

    def as_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "instruments": {
                book.instrument: {
                    "decisions": len(book.rewards),
                    "reward": sum(book.rewards),
                    "changes": book.changes,
                    "reasons": dict(book.reasons),
                    "regret": {preset: book.regret(preset) for preset in book.others},
                }
                for book in self.books
            },
            "kill_switch_ms": self.stopped_ms,
            "pages": {instrument: str(page) for instrument, page in self.pages.items()},
            "reports": self.reports,
        }


def run_tour(home: Path, display: Display, *, seed: int) -> Told:
    """Train, trade, stop, report; in `home`, which is wiped first.

    Raises:
        StepFailed: names the step and why.
    """
    books: list[Book] = []
    stopped: list[float] = []
    steps = (
        Step("start the fleet", _start),
        Step("ingest ten days", ingest(1)),
        Step("train the regime model", train(RunState.PROMOTED)),
        Step("put the safe presets on the menu", _register),
        Step("trade the next ten days", lambda stage: books.extend(_trade_all(stage, seed))),
        Step("pull the kill switch, and clear it", lambda stage: stopped.append(_stop_and_go(stage))),
        Step("ask for the report", lambda stage: _report(stage, books, stopped[0])),
    )
    settings = {**SETTINGS, "TRAIN_WINDOW_DAYS": "10", "TIDEWHEEL_SCHEMAS_DIR": str(home / _SCHEMAS)}
    told: Told = play(home, display, steps, ("--scenario", "demo", "--seed", str(seed)), settings)
    return told


def _start(stage: Stage) -> None:
    """Write the tour's schemas, then start the fleet."""
    import yaml

    folder = stage.fleet.plan.home / _SCHEMAS
    folder.mkdir()
    for file in SHIPPED.glob("*.yaml"):
        schema = yaml.safe_load(file.read_text())
        schema["guardrails"] |= GUARDRAILS
        (folder / file.name).write_text(yaml.safe_dump(schema, sort_keys=False))
    start(stage)


def _register(stage: Stage) -> None:
    presets = stage.ask("GET", f"/schemas/{STRATEGY}")["definition"]["presets"]
    for instrument in INSTRUMENTS:
        for preset in presets:
            body = {"preset_id": preset["id"], "params": preset["params"]}
            answer = stage.edge.post(f"/preset/register/{STRATEGY}/{instrument}", json=body)
            if not answer.is_success:
                raise StepFailed(f"preset {preset['id']} was answered {answer.status_code}: {answer.text[:500]}")


def _trade_all(stage: Stage, seed: int) -> list[Book]:
    """Trade the second phase of each instrument's bars; the engine never sees a bar before it has closed."""
    presets = {
        preset["id"]: preset["params"] for preset in stage.ask("GET", f"/schemas/{STRATEGY}")["definition"]["presets"]
    }
    frames = {series.symbol: series.frame for series in demo(seed).series}
    books = []
    with EngineClient(stage.fleet.plan.url(Role.PARAM_CONTROLLER), stage.fleet.plan.url(Role.EDGE)) as engine:
        for instrument in INSTRUMENTS:
            frame = frames[instrument].take(slice(PHASE_BARS - _LOOKBACK, 2 * PHASE_BARS))
            tell = partial(_show, stage.display, instrument)
            books.append(_trade_one(engine, instrument, frame, presets, tell))
    return books


def _show(display: Display, instrument: str, trades: int) -> None:
    display.progress(trades / TRADES, f"{instrument}: {trades} decisions")


def _trade_one(
    engine: EngineClient,
    instrument: str,
    frame: CandleFrame,
    presets: Mapping[str, Mapping[str, Any]],
    tell: Callable[[int], None],
) -> Book:
    book = Book(instrument, others={preset: [] for preset in presets})
    ranges, returns, bar = atr(frame), log_returns(frame.close), _LOOKBACK
    while bar < len(frame) - 1 and len(book.rewards) < TRADES:
        seen = returns[bar - _LOOKBACK : bar]  # the last of them is of bar `bar`, which has closed
        probs = engine.regime(logret=seen.tolist()).probs
        features = {
            "vol": float(seen[-60:].std() * np.sqrt(_YEAR)),
            "hmm_trend": probs["bull"] - probs["bear"],
            "volume_z": _z(frame.volume[bar - _LOOKBACK : bar + 1]),
        }
        decision = engine.decide(STRATEGY, instrument, features)
        made = {preset: trade(frame, ranges, bar, params) for preset, params in presets.items()}
        done: Trade = made[decision.preset_id]
        engine.settle(decision, done.reward, event_id=f"{instrument}-{bar}")
        if len(book.first) < _SHOWN:
            book.first.append(
                f"{decision.config_id}: {decision.reason}, propensity {decision.propensity:.2f}, "
                f"trend {features['hmm_trend']:+.2f}, made {done.reward:+.2f} R"
            )
        book.rewards.append(done.reward)
        book.reasons[decision.reason] += 1
        book.presets.append(decision.preset_id)
        for preset, other in made.items():
            book.others[preset].append(other.reward)
        bar = done.end + 1
        tell(len(book.rewards))
    return book


def _z(values: Floats) -> float:
    """How many standard deviations the last of `values` is from their mean."""
    return float((values[-1] - values.mean()) / values.std())


def _stop_and_go(stage: Stage) -> float:
    """Milliseconds from the kill switch to an answer that names it; afterwards it is cleared."""
    place = f"/param/{STRATEGY}/{INSTRUMENTS[0]}"
    pulled = time.monotonic()
    _post(stage, "/guardrails/kill", {"reason": "the tour shows it"})
    while stage.ask("GET", place, **{"features[vol]": "0.6"})["reason"] != Reason.KILL_SWITCH:
        if time.monotonic() - pulled > 5:
            raise StepFailed("five seconds after the kill switch parameters are still picked")
    held = 1e3 * (time.monotonic() - pulled)
    _post(stage, "/guardrails/clear", {"reason": "the tour has shown it"})
    return held


def _report(stage: Stage, books: list[Book], stopped: float) -> Told:
    pages, reports = {}, {}
    for book in books:
        place = f"/report/{STRATEGY}/{book.instrument}"
        reports[book.instrument] = stage.ask("GET", place)
        page = stage.fleet.plan.home / f"report-{path_part(book.instrument)}.html"
        page.write_text(stage.edge.get(place, params={"format": "html"}).raise_for_status().text)
        pages[book.instrument] = page
    return Told(books=books, stopped_ms=round(stopped, 1), pages=pages, reports=reports)


def _post(stage: Stage, path: str, body: Mapping[str, Any]) -> None:
    answer = stage.edge.post(path, json=body)
    if not answer.is_success:
        raise StepFailed(f"POST {path} was answered {answer.status_code}: {answer.text[:500]}")


def print_tour(told: Told, seconds: float) -> None:
    """The tour's end, for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for book in told.books:
        report = told.reports[book.instrument]
        believed = {each["preset_id"]: each["posterior"] or {} for each in report["presets"]}
        grid = Table(title=f"{STRATEGY} on {book.instrument}", title_justify="left", box=box.ROUNDED)
        for name in ("preset", "picked", "believed (R a trade)", "would have made (R)", "regret (R)"):
            grid.add_column(name, justify="left" if name == "preset" else "right")
        for preset, made in book.others.items():
            belief = believed[preset]
            shown = f"{belief['mean']:+.2f} ± {belief['deviation']:.2f}" if belief else "nothing yet"
            picked = f"{book.presets.count(preset)}"
            grid.add_row(preset, picked, shown, f"{sum(made):+.1f}", f"{book.regret(preset):+.1f}")
        console.print(grid)
        for line in book.first:
            console.print(f"  {line}")
        reasons = ", ".join(f"{number} {reason}" for reason, number in book.reasons.most_common())
        console.print(f"  {len(book.rewards)} decisions: {reasons}; {book.changes} changes")
        console.print(
            f"  made {sum(book.rewards):+.1f} R; regret as the log alone tells it: {_estimate(report['regret'])}"
        )
        console.print(f"  the report, with its pictures: {told.pages[book.instrument]}")
    console.print(f"kill switch: the next answer held, {told.stopped_ms:.0f} ms after it; {seconds:.1f} s in all")
    console.print("Rewards are those of a toy strategy on a synthetic market; they show the loop, not a profit.")


def _estimate(regret: Mapping[str, Any]) -> str:
    total = regret["total"]
    if not regret["known"] or total is None:
        return str(regret["reason"])
    return f"{total['value']:+.1f} R, {total['low']:+.1f} to {total['high']:+.1f}, against {regret['against']}"
