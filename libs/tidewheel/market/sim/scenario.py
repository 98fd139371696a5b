"""Scenario `demo`: a synthetic market of three regimes whose volatility doubles, and whose dynamics then vanish.

Each stream is a Markov chain over bull, bear and chop; within a regime the log returns of one-minute bars are
normal. The chain stays for hours, so the recent past tells tomorrow's volatility: that is what a regime model
can learn. Three phases of ten days:

1. one set of regimes;
2. the same chain with volatility doubled;
3. as phase 2, but the first eight days' bars stand in random order: every return still occurs, while what came
   before no longer tells what comes next. The last two days are in order.

The scenario knows nothing of models or gates; whoever learns from it has to find this out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, MINUTE, UtcMillis, parse_time
from tidewheel.features.frames import CandleFrame, Floats, Ints

START: UtcMillis = parse_time("2025-01-01T00:00Z")
PHASE_BARS = 10 * DAY // MINUTE
SHUFFLED_BARS = 8 * DAY // MINUTE

#: Order of the regimes below: bull, bear, chop.
DRIFT = np.array([0.2e-4, -0.4e-4, 0.0])  #: mean log return of a one-minute bar
SIGMA = np.array([8e-4, 17.5e-4, 4e-4])  #: its standard deviation, before any doubling
STAY = np.array([240.0, 120.0, 240.0])  #: expected minutes in a regime; the next is either of the others


@dataclass(frozen=True, slots=True)
class Instrument:
    """A traded pair and where its synthetic price starts."""

    symbol: str  #: `BTC/USDT`
    price: float  #: first open
    decimals: int  #: of its price
    turnover: float  #: quote currency traded in an average minute


INSTRUMENTS = (
    Instrument("BTC/USDT", 60_000.0, 2, 3_000_000.0),
    Instrument("ETH/USDT", 3_000.0, 3, 1_500_000.0),
    Instrument("SOL/USDT", 150.0, 4, 600_000.0),
)


@dataclass(frozen=True, slots=True)
class Series:
    """Recorded or made candles of one symbol at the timeframe they came in."""

    symbol: str  #: `BTC/USDT`
    timeframe: str  #: `1m`
    frame: CandleFrame


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a simulated exchange has to tell: its series, where they come from, and the ends of its phases."""

    name: str
    origin: Origin
    start: UtcMillis  #: open time of the first bar
    ends: tuple[UtcMillis, ...]  #: end of each phase, ascending; the last is the end of the data
    series: tuple[Series, ...]

    def phase_ends(self) -> list[UtcMillis]:
        """End of each phase: with the clock there, exactly that phase's bars have closed."""
        return list(self.ends)


def scenario(name: str, seed: int) -> Scenario:
    """The scenario of that name.

    Raises:
        BadInput: there is none, or the seed is negative.
    """
    if seed < 0:
        raise BadInput(f"seed {seed} is negative; write 0 or more")
    if name != "demo":
        raise BadInput(f"scenario {name!r} is not known; there is: demo")
    return demo(seed)


def demo(seed: int, *, shuffled: bool = True) -> Scenario:
    """Thirty days of three one-minute streams; the same seed gives the same bars.

    With `shuffled=False` the third phase keeps its order, which tells what the shuffling alone does.
    """
    streams = np.random.SeedSequence(seed).spawn(len(INSTRUMENTS))
    series = tuple(
        Series(instrument.symbol, "1m", _candles(instrument, np.random.default_rng(stream), shuffled))
        for instrument, stream in zip(INSTRUMENTS, streams, strict=True)
    )
    ends = tuple(START + phase * PHASE_BARS * MINUTE for phase in (1, 2, 3))
    return Scenario("demo", Origin.SYNTHETIC, START, ends, series)


def _candles(instrument: Instrument, rng: np.random.Generator, shuffled: bool) -> CandleFrame:
    count = 3 * PHASE_BARS
    regime = _regimes(count, rng)
    sigma = SIGMA[regime] * np.where(np.arange(count) < PHASE_BARS, 1.0, 2.0)
    bars = np.column_stack(
        [
            DRIFT[regime] + sigma * rng.standard_normal(count),  # log return
            0.4 * sigma * np.abs(rng.standard_normal(count)),  # upper wick, log
            0.4 * sigma * np.abs(rng.standard_normal(count)),  # lower wick, log
            np.exp(0.5 * rng.standard_normal(count)) * sigma / SIGMA.mean(),  # traded, relative to the average
        ]
    )
    # Drawn in either case, so that both variants agree in everything but the order.
    order = rng.permutation(SHUFFLED_BARS)
    if shuffled:
        third = bars[2 * PHASE_BARS :]
        third[:SHUFFLED_BARS] = third[:SHUFFLED_BARS][order]
    return _frame(instrument, bars)


def _regimes(count: int, rng: np.random.Generator) -> Ints:
    """Regime of each bar, [count]: sojourns of geometric length, then a jump to one of the two others."""
    sojourns = 4 * count // int(STAY.min()) + 1
    steps = rng.integers(1, 3, sojourns)
    visited = (rng.integers(0, 3) + np.cumsum(steps)) % 3
    return np.repeat(visited, rng.geometric(1 / STAY[visited]))[:count]


def _frame(instrument: Instrument, bars: Floats) -> CandleFrame:
    returns, upper, lower, traded = bars.T
    path: NDArray[np.float64] = instrument.price * np.exp(np.concatenate(([0.0], np.cumsum(returns))))
    opened, close = path[:-1], path[1:]
    # Rounding is monotonic, so it keeps low <= open, close <= high.
    prices = [opened, np.maximum(opened, close) * np.exp(upper), np.minimum(opened, close) * np.exp(-lower), close]
    opened, high, low, close = (np.round(price, instrument.decimals) for price in prices)
    volume = np.round(instrument.turnover * traded / path[1:], 5)
    times = START + MINUTE * np.arange(len(returns), dtype=np.int64)
    revision = np.zeros(len(times), dtype=np.int16)
    return CandleFrame(MINUTE, times, opened, high, low, close, volume, times + MINUTE, revision).checked()
