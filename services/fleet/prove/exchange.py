"""R11: what is stored of a rude exchange equals its truth, and nobody knocks while banned."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from services.fleet.prove.apparatus.beside import served
from services.fleet.prove.ground import Place
from services.fleet.prove.proof import Budget, Tally, Tell
from services.fleet.simulator.app import sim_app
from services.ingester.app import build
from services.ingester.settings import IngesterSettings
from tidewheel.contracts.errors import Overloaded, Unavailable
from tidewheel.contracts.messages import IngestSeal
from tidewheel.contracts.states import GapState
from tidewheel.contracts.times import MINUTE, UtcMillis, iso
from tidewheel.features.frames import CandleFrame
from tidewheel.kit.service import Service
from tidewheel.kit.settings import load
from tidewheel.ledger.open import open_ledger
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.faults import CORRECTED_WITHIN, Faults, RudeExchange
from tidewheel.market.sim.scenario import START, Scenario, demo

Kind = Literal["spot", "futures"]
RUDE = (
    "ban=0.01,limit=0.01,pause=0.1,5xx=0.02,cut=0.05,short=0.1,drop=0.05,repeat=0.05,disorder=0.1,bad=0.1,"
    "skew=90,revise=0.05,hole=0.01,listing=0.02,halt=0.01"
)
AHEAD = 3 * 60_000  #: ms past the data's end at which even a clock that is off calls all bars closed
GROUNDS: tuple[tuple[Kind, str], ...] = (("spot", "sqlite"), ("futures", "postgresql"))
PATIENCE = 60  #: attempts in a row that an exchange may refuse or fail before this gives up


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one exchange."""

    bars: int  #: that the exchange really has
    requests: int  #: it was sent
    requests_while_banned: int
    violations: list[str]  #: sentences; none when the promise held


def prove(budget: Budget, tell: Tell) -> Tally:
    """A trial is a bar of one synthetic stream, got from an exchange that has every fault at once.

    Half of them are of the spot exchange into SQLite, half of its perpetuals into Postgres.
    """
    tally = Tally()
    bars = budget.trials // len(GROUNDS)
    for place, (kind, dialect) in enumerate(GROUNDS):
        ledger = budget.ground.fresh(dialect)

        def progress(done: int, of: int, place: int = place, what: str = f"{kind}, {dialect}") -> None:
            tell((place + min(1.0, done / of)) / len(GROUNDS), f"{what}: {done} of {of} bars have passed")

        told = ingest_rude(market(bars, budget.seed + place), ledger, budget.seed + place, kind=kind, progress=progress)
        budget.ground.drop(ledger)
        tally.trials += told.bars
        tally.figures.append(f"{kind}, {dialect}: {told.bars} bars, {told.requests} requests")
        for violation in told.violations:
            tally.broken(f"{kind}, {dialect}: {violation}")
    return tally


def market(bars: int, seed: int = 1) -> Scenario:
    """The first bars of one synthetic stream."""
    whole = demo(seed)
    series = replace(whole.series[0], frame=whole.series[0].frame.take(slice(bars)))
    return replace(whole, series=(series,), ends=(START + len(series.frame) * MINUTE,))


def ingest_rude(
    scenario: Scenario,
    ledger: Place,
    seed: int,
    *,
    kind: Kind = "spot",
    faults: str = RUDE,
    lived: int = 400,
    stride: int = 40,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Told:
    """Ingest a rude exchange to the end of its data, most of it as history and the rest as it happens; compare.

    Args:
        scenario: one series.
        ledger: a fresh one.
        seed: of the faults.
        kind: which of Binance's exchanges is asked.
        lived: bars at the end that close while they are ingested.
        stride: most of them that close between two ingestions.
        progress: called with the bars of time that have passed, and all of them.
    """
    (series,) = scenario.series
    step, first = series.frame.step, int(series.frame.open_time[0])
    count = len(series.frame)
    clock = VirtualClock(first + max(1, count - lived) * step)
    engine = RudeExchange(scenario, Faults.parse(faults), seed, clock)
    with served(sim_app(engine)) as url:
        service = _ingester(ledger, url, kind, series.symbol, first)
        written = f"binance:{series.symbol}:{series.timeframe}"
        try:
            while True:
                _ingest(lambda: service.tasks[IngestSeal](IngestSeal(stream=written)))
                now = clock.now()
                progress((now - first) // step, count)
                if now >= scenario.ends[-1] + AHEAD + CORRECTED_WITHIN * step:
                    break
                # Sometimes a bar or two, sometimes many, and never on the minute.
                far = now // step % 3 > 0
                clock.move_to(now + (1 + (now // step * 7 + seed) % stride if far else 1) * step + 7_001)
        finally:
            for close in service.close:
                close()
    violations = judged(engine.scenario.series[0].frame, ledger)
    if engine.requests_while_banned:
        violations.append(f"{engine.requests_while_banned} requests were sent while banned")
    return Told(len(engine.scenario.series[0].frame), engine.requests, engine.requests_while_banned, violations)


def _ingester(ledger: Place, url: str, kind: Kind, symbol: str, first: UtcMillis) -> Service:
    settings = load(
        IngesterSettings,
        tidewheel_home=ledger.data_dir,
        data_dir=ledger.data_dir,
        ledger_db=ledger.dsn,
        exchange_url=url,
        exchange_type=kind,
        symbols=(symbol,),
        start_ts=first,
        redis_url="redis://127.0.0.1:9/0",
        auth_mode="dev",
    )
    return build(settings)


def judged(truth: CandleFrame, place: Place) -> list[str]:
    """What is wrong with the one stream of a ledger: its bars, and the evidence of its gaps."""
    ledger = open_ledger(place.dsn, place.data_dir)
    try:
        (stream,) = ledger.streams.all()
        return compared(truth, ledger.bars.read(stream.key)) + [
            f"the gap of {iso(gap.start)} was confirmed with {len(gap.evidence['requests'])} requests"
            for gap in ledger.bars.gaps(stream.key)
            if gap.state is GapState.CONFIRMED_EMPTY
            and len({request["since"] for request in gap.evidence["requests"]}) < 2
        ]
    finally:
        ledger.close()


def compared(truth: CandleFrame, stored: CandleFrame) -> list[str]:
    """How the stored bars differ from the true ones; the first of each kind is named."""
    real, known = dict(zip(truth.open_time.tolist(), truth.rows(), strict=True)), {row[0]: row for row in stored.rows()}

    def told(times: list[UtcMillis], what: str) -> list[str]:
        return [f"{len(times)} bars {what}, first {iso(times[0])}"] if times else []

    return [
        *told([time for time in real if time not in known], "are missing"),
        *told([time for time in known if time not in real], "do not exist"),
        *told([time for time in real if time in known and known[time] != real[time]], "have other values"),
    ]


def _ingest(ingest: Callable[[], object]) -> None:
    """As the cron does: what fails now is tried again later."""
    for attempt in range(PATIENCE):
        try:
            ingest()
            return
        except Overloaded as refused:
            time.sleep(min(1.0, float(refused.extra.get("retry_after", 0.1))))
        except Unavailable:
            if attempt == PATIENCE - 1:
                raise
    raise Unavailable(f"the simulated exchange refused {PATIENCE} times in a row; lower its faults")
