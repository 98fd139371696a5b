"""A rude exchange: the simulated one with everything that real ones do to their clients, seeded.

What is wrong for good (holes, a late listing, a halt) is taken out of the scenario, so that `scenario` stays the truth
that a client must end up with. What is wrong for a moment is drawn anew for each request.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import Refused, SimulatedExchange
from tidewheel.market.sim.scenario import Scenario

CORRECTED_WITHIN = 5  #: bars; a revised bar shows its true values at most so long after its close


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """What goes wrong, and how often: shares of requests, of bars or of time, each from 0 to 1, unless said otherwise.

    Written `ban=0.02,cut=0.05,skew=90`; what is not named does not happen.
    """

    ban: float = 0.0  #: requests answered 418; everything until `pause` is over is then refused and counted
    limit: float = 0.0  #: requests answered 429, likewise
    pause: float = 0.3  #: seconds that Retry-After names
    server_error: float = field(default=0.0, metadata={"name": "5xx"})  #: requests answered 500, 502, 503 or 504
    cut: float = 0.0  #: klines whose JSON ends in the middle
    short: float = 0.0  #: klines with only their first rows, sometimes none
    drop: float = 0.0  #: klines that leave out rows in the middle, which another request would show
    repeat: float = 0.0  #: klines with rows sent twice, or with the page sent before instead of the one asked for
    disorder: float = 0.0  #: klines whose rows stand in random order
    bad: float = 0.0  #: klines in which one row cannot be: see BAD_ROWS
    skew: float = 0.0  #: seconds, 0 to 600; each time told is off by up to so much, so that open bars look closed
    revise: float = 0.0  #: bars that show other values at first, and are corrected some bars later
    hole: float = 0.0  #: bars that do not exist
    listing: float = 0.0  #: share of the data at its start in which the pair is not traded yet
    halt: float = 0.0  #: share of the data, somewhere in the middle, in which nothing is traded

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """From `name=number,...`.

        Raises:
            BadInput: a name is not known, or a number is out of its range.
        """
        names = {str(each.metadata.get("name", each.name)): each.name for each in fields(cls)}
        values: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, number = part.partition("=")
            if name not in names:
                raise BadInput(f"fault {name!r} is not known; there are {', '.join(names)}")
            most = {"skew": 600.0, "pause": 3_600.0}.get(name, 1.0)
            try:
                values[names[name]] = float(number)
            except ValueError:
                raise BadInput(f"fault {part!r} needs a number, such as {name}=0.05") from None
            if not 0 <= values[names[name]] <= most:
                raise BadInput(f"fault {part!r} is out of its range; write 0 to {most:g}")
        return cls(**values)


def _set(column: int, text: str) -> Callable[[list[Any]], list[list[Any]]]:
    return lambda row: [[*row[:column], text, *row[column + 1 :]]]


def _times(factor: float, *columns: int) -> Callable[[list[Any]], list[list[Any]]]:
    return lambda row: [[repr(float(cell) * factor) if at in columns else cell for at, cell in enumerate(row)]]


#: Name of a row that cannot be -> the rows sent in place of a good one. Columns: open time, OHLC, volume.
BAD_ROWS: dict[str, Callable[[list[Any]], list[list[Any]]]] = {
    "nan": _set(4, "NaN"),
    "infinite": _set(2, "Infinity"),
    "absent": lambda row: [[*row[:4], None, *row[5:]]],
    "zero price": _set(3, "0"),
    "negative price": _times(-1.0, 1, 2, 3, 4),
    "negative volume": lambda row: [[*row[:5], "-1", *row[6:]]],
    "high below low": lambda row: [[*row[:2], repr(float(row[3]) * 0.99), *row[3:]]],
    "low above open": lambda row: [[*row[:2], repr(float(row[2]) * 1.02), repr(float(row[2]) * 1.01), *row[4:]]],
    "outlier": _times(1e6, 1, 2, 3, 4),
    "outlying wick": _times(1e6, 2),
    "tiny": _times(1e-6, 1, 2, 3, 4),
    "unaligned": lambda row: [[row[0] + 1, *row[1:]]],
    "two values": lambda row: [row, *_times(1.5, 2)(row)],
}


class RudeExchange(SimulatedExchange):
    """A simulated exchange with faults. The same seed and the same requests in the same order give the same answers.

    Args:
        scenario: what would be told without holes, listing and halt; `self.scenario` is without what they take.
        faults: what goes wrong.
        seed: decides when.
        clock: as for the exchange.
    """

    def __init__(self, scenario: Scenario, faults: Faults, seed: int, clock: VirtualClock | None = None) -> None:
        self._faults = faults
        self._rng = np.random.default_rng([seed, 1])
        rng = np.random.default_rng([seed, 2])
        series = tuple(replace(one, frame=_thinned(one.frame, faults, rng)) for one in scenario.series)
        super().__init__(replace(scenario, series=series), clock)
        self._first_seen = {
            (one.symbol, one.frame.step): _first_values(one.frame, faults.revise, rng) for one in series
        }
        self._banned_until = 0.0
        self._ban_status = 418
        self._page_before: list[list[Any]] = []

    def admit(self) -> None:
        """Count one request and perhaps refuse it.

        Raises:
            Refused: by a ban, a limit or a failing server.
        """
        super().admit()
        faults, now = self._faults, time.monotonic()
        if now < self._banned_until:
            self.requests_while_banned += 1
            raise self._refused(self._banned_until - now)
        ban, limit, failure = (self._happens(share) for share in (faults.ban, faults.limit, faults.server_error))
        if ban or limit:
            self._ban_status = 418 if ban else 429
            self._banned_until = now + faults.pause
            raise self._refused(faults.pause)
        if failure:
            raise Refused(-1001, "Internal error.", status=int(self._rng.choice([500, 502, 503, 504])))

    def time(self) -> dict[str, Any]:
        """As the exchange's, off by up to `skew`."""
        told = super().time()
        skew = self._faults.skew * 1_000
        return told | {"serverTime": told["serverTime"] + int(self._rng.uniform(-skew, skew))}

    def klines(self, *args: Any, **kwargs: Any) -> list[list[Any]]:
        """As the exchange's, with the rows that the faults leave, change and repeat."""
        faults, rng = self._faults, self._rng
        rows = super().klines(*args, **kwargs)
        asked = rows
        if self._happens(faults.short):
            rows = rows[: rng.integers(0, len(rows) + 1)]
        if self._happens(faults.drop) and len(rows) > 2:
            low, high = sorted(rng.integers(1, len(rows), 2))
            rows = rows[:low] + rows[high:]
        if self._happens(faults.bad) and rows:
            at, kind = rng.integers(len(rows)), rng.choice(list(BAD_ROWS))
            rows = [*rows[:at], *BAD_ROWS[kind](rows[at]), *rows[at + 1 :]]
        if self._happens(faults.repeat):
            rows = self._page_before if rng.random() < 0.5 else rows + rows[: rng.integers(0, len(rows) + 1)]
        if self._happens(faults.disorder):
            rows = [rows[at] for at in rng.permutation(len(rows))]
        self._page_before = asked
        return rows

    def sent(self, body: bytes) -> bytes:
        """The body, or its first part."""
        return body[: self._rng.integers(1, len(body))] if self._happens(self._faults.cut) else body

    def _shown(self, symbol: str, frame: CandleFrame, now: UtcMillis) -> CandleFrame:
        revised = self._first_seen.get((symbol, frame.step))
        return frame if revised is None else revised.shown(frame, now)

    def _happens(self, share: float) -> bool:
        return bool(share) and bool(self._rng.random() < share)

    def _refused(self, seconds: float) -> Refused:
        return Refused(-1003, "Way too many requests.", status=self._ban_status, retry_after=round(seconds + 0.001, 3))


@dataclass(frozen=True, eq=False, slots=True)
class _FirstSeen:
    """The bars that are corrected later; shape [n], sorted."""

    open_time: Ints
    corrected_at: Ints  #: UTC ms from which the true values are shown
    move: Floats  #: 0 to 1; how far the first close lies from the true one, towards the middle of the bar's range

    def shown(self, frame: CandleFrame, now: UtcMillis) -> CandleFrame:
        """`frame` as it looks at `now`."""
        at = np.searchsorted(self.open_time, frame.open_time)
        known = np.append(self.open_time, -1)[at] == frame.open_time
        early = known & (np.append(self.corrected_at, 0)[at] > now)
        move = np.where(early, np.append(self.move, 0.0)[at], 0.0)
        close = frame.close + move * ((frame.high + frame.low) / 2 - frame.close)
        return replace(frame, close=close, volume=np.where(early, frame.volume * 0.9, frame.volume))


def _first_values(frame: CandleFrame, share: float, rng: np.random.Generator) -> _FirstSeen:
    chosen = frame.open_time[rng.random(len(frame)) < share]
    delay = rng.integers(2, CORRECTED_WITHIN + 2, len(chosen)) * frame.step
    return _FirstSeen(chosen, chosen + delay, rng.random(len(chosen)))


def _thinned(frame: CandleFrame, faults: Faults, rng: np.random.Generator) -> CandleFrame:
    """The bars that really exist; the newest always does, or nobody could tell a hole from the end."""
    count = len(frame)
    exist: NDArray[np.bool_] = rng.random(count) >= faults.hole
    halted = int(faults.halt * count)
    begin = int(rng.integers(count // 4, max(count // 4 + 1, count - halted - 1)))
    exist[begin : begin + halted] = False
    exist[: int(faults.listing * count)] = False
    exist[-1] = True
    return frame.take(exist)
