"""Markets whose true regimes are known: a Markov chain over three states, normal log returns within each."""

from dataclasses import dataclass

import numpy as np

from tidewheel.contracts.times import MINUTE, UtcMillis, parse_time
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.features.returns import log_returns

START: UtcMillis = parse_time("2025-01-01T00:00Z")
SIGMA = np.array([8e-4, 17.5e-4, 4e-4])  #: of a one-minute log return in each state, at the beginning
STAY = np.array([240.0, 120.0, 240.0])  #: expected minutes in a state; the next is either of the others
_EDGE = np.array([[0.06, -0.06, 0.0], [0.0, 0.06, -0.06]])  #: mean return over sigma, first and last row of a drift


@dataclass(frozen=True, eq=False, slots=True)
class Market:
    """One stream of one-minute bars, and what nobody is told of it."""

    returns: Floats  #: [n], log returns, to the bit those of `frame`
    states: Ints  #: [n], the state behind each
    frame: CandleFrame  #: n + 1 bars

    def bars(self, start: int, end: int) -> CandleFrame:
        """The bars behind the returns `start` to `end`."""
        return self.frame.take(slice(start, end + 1))


def market(bars: int, seed: int, *, grows: float = 1.0) -> Market:
    """A market of `bars` log returns.

    With `grows` above 1 it drifts: volatility rises by that factor from first to last bar, and the state with the
    highest mean return becomes the middle one, the middle the lowest, the lowest the highest. Order by mean return
    is then a name that does not last.
    """
    rng = np.random.default_rng(seed)
    sojourns = 4 * bars // int(STAY.min()) + 2
    visited = (rng.integers(3) + np.cumsum(rng.integers(1, 3, sojourns))) % 3
    states: Ints = np.repeat(visited, rng.geometric(1 / STAY[visited]))[:bars]
    passed = np.linspace(0.0, 1.0, bars) if grows != 1.0 else np.zeros(bars)
    sigma = SIGMA[states] * grows**passed
    edge = (1.0 - passed) * _EDGE[0, states] + passed * _EDGE[1, states]
    returns: Floats = sigma * (edge + rng.standard_normal(bars))
    frame = _candles(returns)
    return Market(log_returns(frame.close), states, frame)


def _candles(returns: Floats) -> CandleFrame:
    close = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    opened = np.concatenate([close[:1], close[:-1]])
    times = START + MINUTE * np.arange(len(close))
    rows = [times, opened, np.maximum(opened, close), np.minimum(opened, close), close, np.ones(len(close))]
    return CandleFrame.from_rows(MINUTE, np.column_stack(rows))
