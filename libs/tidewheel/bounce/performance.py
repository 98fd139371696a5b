"""Figures of a course of equity, the same for a strategy and for what it is held against."""

from dataclasses import dataclass

import numpy as np

from tidewheel.bounce.portfolio import Market
from tidewheel.contracts.times import DAY
from tidewheel.features.frames import Floats, Ints

YEAR = 365.25 * DAY
_FEWEST_DAYS = 90 * DAY  #: of which a yearly figure is told; of less it would tell of luck alone


@dataclass(frozen=True, slots=True)
class Performance:
    """Shares, so 0.1 is 10 %; None where the time is too short, or nothing moved."""

    total_return: float
    cagr: float | None  #: return a year, compounded; None for less than 90 days
    volatility: float | None  #: standard deviation of daily returns, times the root of the sessions a year
    sharpe: float | None  #: mean daily return over their standard deviation, yearly, over cash that earns nothing
    max_drawdown: float  #: deepest fall from a peak, share of the peak, from 0 to 1

    @classmethod
    def of(cls, time: Ints, equity: Floats, capital: float) -> "Performance":
        """Of the equity [n] at the closes of these sessions, which began with `capital`."""
        whole = np.concatenate([[capital], equity])
        returns = np.diff(whole) / whole[:-1]
        span = int(time[-1]) + DAY - int(time[0])
        by_year = np.sqrt(len(equity) / (span / YEAR))
        deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
        moves = deviation > 1e-15
        return cls(
            total_return=float(equity[-1] / capital - 1.0),
            cagr=float((equity[-1] / capital) ** (YEAR / span) - 1.0) if span >= _FEWEST_DAYS else None,
            volatility=float(deviation * by_year) if moves else None,
            sharpe=float(returns.mean() / deviation * by_year) if moves else None,
            max_drawdown=float(0.0 - drawdown(equity, capital).min(initial=0.0)),  # 0, not -0
        )


def drawdown(equity: Floats, capital: float) -> Floats:
    """Distance from the highest equity so far [n], share of that, 0 or below."""
    peak = np.maximum.accumulate(np.maximum(equity, capital))
    return np.asarray(equity / peak - 1.0)


def buy_and_hold(market: Market, capital: float, cost: float) -> Floats:
    """Equity [days] of who puts equal money into every ticker at its first open, and never sells.

    What is meant for a ticker that has not traded yet is cash; one that trades no more stands at its last close.
    """
    traded = ~np.isnan(market.close)
    bought = np.flatnonzero(traded.any(axis=0))
    first = traded.argmax(axis=0)[bought]
    money = capital / len(bought)
    shares = money / (market.open[first, bought] * (1.0 + cost))
    worth = shares * market.last_close()[:, bought]
    return np.asarray(np.where(np.isnan(worth), money, worth).sum(axis=1))
