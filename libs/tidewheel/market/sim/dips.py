"""Synthetic daily tickers whose dips bounce with a chance that is known: for tests, the tour and measurements.

A market factor moves all of them, calmly or wildly for weeks at a time; each adds moves of its own. Where a ticker has
dipped (the same z5 and RSI(2) that BounceHunter asks for by default), its fate is drawn: within four sessions it
gains 3 % before it has lost 3 %, or the other way round. The chance of the first rises with its return over 63
sessions, as far as `edge` goes; with `edge=0` nothing tells a bounce from a fall. A share of `undecided` does neither
within five sessions.

Everything is made; no real ticker ever traded like this. Sessions are weekdays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import DAY, UtcMillis, iso, parse_time
from tidewheel.features.frames import CandleFrame, Floats, Ints

TICKERS = ("AAPL", "MSFT", "GOOGL", "TSLA", "AMD")  #: those that the documents' examples name
START: UtcMillis = parse_time("2013-01-07T00:00Z")  #: a Monday
SESSIONS = 2_500  #: nearly ten years; a ticker dips some 80 times in them

_CALM, _WILD = 0.006, 0.015  #: of the factor's daily log return
_STAY = np.array([80.0, 25.0])  #: expected sessions of either
_OWN = 0.012  #: of a ticker's own daily log return
_PULL = 0.004  #: share of its distance from where it began, and of its growth, that a session takes back
_GROWTH = 0.0004  #: log return of a session that everything leans to
_Z5, _RSI2 = -1.5, 10.0  #: BounceHunter's own limits
_TREND, _DEVIATION, _WARM = 63, 60, 64  #: sessions
_IDLE = 5  #: sessions after which a dip that touched neither margin is over
_EVEN = -0.06  #: return over 63 sessions of a usual dip, which bounces as often as not
_SPREAD = 0.10  #: so much more moves the chance as far as one unit of edge does


@dataclass(frozen=True, eq=False, slots=True)
class DipsMarket:
    """Tickers, and what nobody is told of them."""

    frames: dict[str, CandleFrame]  #: daily bars by ticker; every frame has the same sessions
    chance: dict[str, Floats]  #: [n] of a bounce from the close of the session, NaN where the ticker had not dipped
    bounced: dict[str, Ints]  #: [n] 1 or 0 as it came, -1 where it had not dipped

    def written(self, folder: Path) -> dict[str, Path]:
        """One file for each ticker, as people save daily bars: `Date,Open,High,Low,Close,Volume`."""
        return {ticker: write_days(folder / f"{ticker}.csv", frame) for ticker, frame in self.frames.items()}


def dips_market(
    tickers: Sequence[str] = TICKERS,
    sessions: int = SESSIONS,
    seed: int = 1,
    *,
    edge: float = 1.5,
    undecided: float = 0.0,
    start: UtcMillis = START,
) -> DipsMarket:
    """That many sessions of each ticker from the first weekday on; the same arguments give the same bars.

    Args:
        edge: what the return over 63 sessions tells of a dip's end, in logits for each 10 %; 0: nothing.
        undecided: share of dips that touch neither margin in five sessions, so that they count as none.

    Raises:
        BadInput: fewer than 2 sessions, no ticker, or the seed is negative.
    """
    if sessions < 2 or not tickers or seed < 0:
        raise BadInput(f"{sessions} sessions of {len(tickers)} tickers with the seed {seed} make no market")
    rng = np.random.default_rng(seed)
    walk = _Walk(len(tickers), sessions, rng, edge, undecided)
    for session in range(sessions):
        walk.step(session)
    traded = np.round(rng.lognormal(np.log(5e7), 0.3, walk.prices[3].shape) / walk.prices[3])
    times = weekdays(start, sessions)
    frames = {}
    for at, ticker in enumerate(tickers):
        opened, high, low, close = np.ascontiguousarray(walk.prices[:, :, at])
        revision = np.zeros(sessions, np.int16)
        frame = CandleFrame(DAY, times, opened, high, low, close, traded[:, at].copy(), times + DAY, revision)
        frames[ticker] = frame.checked()
    return DipsMarket(
        frames,
        {ticker: walk.chance[:, at] for at, ticker in enumerate(tickers)},
        {ticker: walk.bounced[:, at] for at, ticker in enumerate(tickers)},
    )


def weekdays(start: UtcMillis, sessions: int) -> Ints:
    """Open times of that many weekdays from `start` on, UTC ms, [sessions]."""
    days = start // DAY + np.arange(2 * sessions + 7, dtype=np.int64)
    return days[(days + 3) % 7 < 5][:sessions] * DAY  # 1970-01-01 was a Thursday


def write_days(path: Path, frame: CandleFrame) -> Path:
    """Daily bars as people save them, the session by its date."""
    rows = [",".join([iso(time)[:10], *map(repr, values)]) for time, *values in frame.rows()]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]) + "\n")
    return path


class _Walk:
    """All tickers, a session at a time."""

    def __init__(self, tickers: int, sessions: int, rng: np.random.Generator, edge: float, undecided: float) -> None:
        self._rng, self._edge, self._undecided = rng, edge, undecided
        shape = (sessions, tickers)
        self.prices = np.zeros((4, *shape))  #: open, high, low, close
        self.chance, self.bounced = np.full(shape, np.nan), np.full(shape, -1, np.int64)
        calm_first = np.resize([_CALM, _WILD], 2 * sessions)
        self._sigma = np.repeat(calm_first, rng.geometric(1.0 / np.resize(_STAY, 2 * sessions)))[:sessions]
        self._beta = rng.uniform(0.6, 1.4, tickers)
        self._first = np.log(rng.uniform(40.0, 300.0, tickers))
        self._gain, self._loss = np.zeros(tickers), np.zeros(tickers)
        #: Sessions until a dip's fate, 0 = none waits; where the price stood, and which way it goes.
        self._wait, self._entry, self._up = np.zeros(tickers, int), np.ones(tickers), np.zeros(tickers, bool)
        self._idle = np.zeros(tickers, bool)  #: nothing comes of the dip that waits

    def step(self, session: int) -> None:
        """One session of all tickers, then whoever has dipped by its close."""
        before = self.prices[3, session - 1] if session else np.exp(self._first)
        opened, high, low, close = self._free(session, before)
        waits, ends = self._wait > 1, (self._wait == 1) & ~self._idle
        for which, fate in ((waits, self._rest(before)), (ends, self._fate(before))):
            for column, values in zip((opened, high, low, close), fate, strict=True):
                column[which] = values[which]
        for column in (opened, high, low, close):
            np.round(column, 2, out=column)
        high[:] = np.maximum.reduce([opened, high, low, close])
        low[:] = np.minimum.reduce([opened, low, close])
        self.prices[:, session] = opened, high, low, close
        self._wait = np.maximum(self._wait - 1, 0)
        change = close - before
        self._gain = (self._gain + np.maximum(change, 0.0)) / 2.0
        self._loss = (self._loss + np.maximum(-change, 0.0)) / 2.0
        if session >= _WARM:
            self._draw(session)

    def _free(self, session: int, before: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """A session of nobody's fate: the factor's move, and one's own."""
        rng, count = self._rng, len(before)
        sigma = np.hypot(self._sigma[session], _OWN)
        leans = _PULL * (self._first + _GROWTH * session - np.log(before)) + _GROWTH
        move = leans + self._beta * self._sigma[session] * rng.standard_normal() + _OWN * rng.standard_normal(count)
        opened = before * np.exp(0.3 * sigma * rng.standard_normal(count))
        close = before * np.exp(move)
        reach = 1.0 + 0.4 * sigma * np.abs(rng.standard_normal((2, count)))
        return opened, np.maximum(opened, close) * reach[0], np.minimum(opened, close) / reach[1], close

    def _rest(self, before: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """A quiet session that leaves the fate open and is no dip itself: a small gain."""
        gain = 1.0 + self._rng.uniform(0.004, 0.006, len(before))
        # Five of them stay below 3 %, the first ends the dip.
        gain[self._idle] = np.where(self._wait == _IDLE + 1, 1.012, 1.0025)[self._idle]
        # After a deep fall it takes more to lift the RSI(2) above its limit.
        gain = np.maximum(gain, 1.0 + (self._loss / 8.0 - self._gain) / before)
        return before * 1.001, before * gain * 1.001, before * 0.998, before * gain

    def _fate(self, before: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """The session in which the price touches 3 % above or below the entry, and not the other."""
        draw, entry = self._rng.uniform(0.0, 1.0, (2, len(before))), self._entry
        touch = np.where(self._up, 1.034 + 0.01 * draw[0], 0.966 - 0.01 * draw[0]) * entry
        close = touch + np.where(self._up, -1.0, 1.0) * (0.002 + 0.006 * draw[1]) * entry
        opened = before * np.where(self._up, 1.001, 0.999)
        return opened, np.where(self._up, touch, opened * 1.001), np.where(self._up, opened * 0.999, touch), close

    def _draw(self, session: int) -> None:
        """Whoever has dipped and waits for nothing gets a fate."""
        close = self.prices[3, : session + 1]
        returns = close[-_DEVIATION:] / close[-_DEVIATION - 1 : -1] - 1.0
        depth = (close[-1] / close[-6] - 1.0) / (returns.std(axis=0, ddof=1) * np.sqrt(5.0))
        with np.errstate(invalid="ignore"):
            strength = 100.0 * self._gain / (self._gain + self._loss)
        dipped = (depth <= _Z5) & (strength <= _RSI2) & (self._wait == 0)
        trend = close[-1] / close[-1 - _TREND] - 1.0
        chance = 1.0 / (1.0 + np.exp(-self._edge * np.clip((trend - _EVEN) / _SPREAD, -1.0, 1.5)))
        draws = self._rng.uniform(0.0, 1.0, len(trend)), self._rng.integers(1, 5, len(trend))
        up, wait = draws[0] < chance, draws[1]
        if self._undecided:
            idle = self._rng.uniform(0.0, 1.0, len(trend)) < self._undecided
            up, wait, chance = up & ~idle, np.where(idle, _IDLE + 1, wait), chance * (1.0 - self._undecided)
            self._idle = np.where(dipped, idle, self._idle)
        self._up, self._entry = np.where(dipped, up, self._up), np.where(dipped, close[-1], self._entry)
        self._wait = np.where(dipped, wait, self._wait)
        self.chance[session, dipped] = chance[dipped]
        self.bounced[session, dipped] = up[dipped]
