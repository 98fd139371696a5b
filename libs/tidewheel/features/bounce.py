"""Dips in daily bars: their features, and what came of each.

A row stands at a session and holds what was known when it closed. Sessions are the bars that a ticker has: weekends and
holidays are no gaps, but after a break of more than ten days nothing looks back across it. Every number is the same to
the bit wherever its session stands in the frame.
"""

from dataclasses import dataclass

import numpy as np

from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.keys import LONGEST_PAUSE
from tidewheel.contracts.times import DAY, iso
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.features.rowsums import row_sums
from tidewheel.features.signature import Feature, feature_signature

VOLATILITY = "vix_regime"  #: the feature that is the market's, not the ticker's
OWN = ("z5", "rsi2", "bb_dev", "dist_200", "trend_63", "gap_dn")  #: features of a ticker's own bars
NAMES = (*OWN, VOLATILITY)
WINDOW = 200  #: sessions that a row looks back on, itself included
LABEL_VERSION = "first-touch-1"  #: raised whenever the same bars would be labelled otherwise
UNKNOWN = -1  #: label of a dip whose sessions are not over

_RSI_WINDOW = 64  # a change 64 sessions ago weighs 2^-64 of one today
_SPLITS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20)
_SPLIT_SLACK = 0.03
_NO_MOVE = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class Dips:
    """Sessions [n] at which a ticker had dipped, earliest first."""

    time: Ints  #: open time of the session, UTC ms; its close is the entry
    features: Floats  #: [n, 6], in the order of `OWN`
    label: Ints  #: 1 bounced, 0 did not, -1 nobody knows yet
    known_at: Ints  #: UTC ms at which the label could first be known; the end of the session where it is not

    def __len__(self) -> int:
        return len(self.time)


def table(sessions: CandleFrame) -> Floats:
    """The features `OWN` at every session, shape [n, 6]; NaN where fewer than 200 unbroken sessions lie behind.

    z5: return over 5 sessions, in standard deviations of 60 daily returns times the root of 5. rsi2: Wilder's RSI of 2
    sessions. bb_dev: distance of the close from its lower Bollinger band (20, 2), share of the close. dist_200: from
    the mean of 200. trend_63: return over 63. gap_dn: from the last close to the open. A market that stands still has
    no z5 and no rsi2.

    Raises:
        BadInput: the bars are not days.
    """
    _require_days(sessions)
    close = sessions.close
    before = _ago(close, 1)
    change = close / before - 1.0
    mean_20, deviation_20 = _moments(close, 20)
    _, deviation_60 = _moments(change, 60)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.column_stack(
            [
                np.where(
                    deviation_60 > _NO_MOVE, (close / _ago(close, 5) - 1.0) / (deviation_60 * np.sqrt(5.0)), np.nan
                ),
                _rsi(close - before),
                1.0 - (mean_20 - 2.0 * deviation_20) / close,
                close / _moments(close, WINDOW)[0] - 1.0,
                close / _ago(close, 63) - 1.0,
                sessions.open / before - 1.0,
            ]
        )
    found[_age(sessions) < WINDOW] = np.nan
    return found


def dips(sessions: CandleFrame, config: BounceHunterConfig) -> Dips:
    """The sessions whose z5 and RSI(2) are both as low as the configuration asks, while enough was traded."""
    rows = table(sessions)
    with np.errstate(invalid="ignore"):
        dipped = (rows[:, 0] <= config.z_score_drop) & (rows[:, 1] <= config.rsi2_max)
        at = np.flatnonzero(dipped & (traded(sessions) >= config.min_adv_usd))
    at = at[~np.isnan(rows[at]).any(axis=1)]
    label, known_at = _touched_first(sessions, at, config)
    return Dips(sessions.open_time[at], rows[at], label, known_at)


def traded(sessions: CandleFrame) -> Floats:
    """Mean of price times volume over 21 sessions, shape [n]; NaN where there are fewer."""
    return _moments(sessions.close * sessions.volume, 21)[0]


def require_adjusted(ticker: str, sessions: CandleFrame) -> None:
    """Refuse prices that jump overnight as an unadjusted split does.

    Raises:
        BadInput: `unadjusted_split`, with the day.
    """
    ratio = sessions.open[1:] / sessions.close[:-1]
    for parts in _SPLITS:
        jumped = (np.abs(ratio * parts - 1.0) < _SPLIT_SLACK) | (np.abs(ratio / parts - 1.0) < _SPLIT_SLACK)
        if jumped.any():
            day = int(sessions.open_time[1:][jumped][0])
            raise BadInput(
                f"{ticker} opens on {iso(day)[:10]} at {ratio[jumped][0]:.3g} times the close before, as after a split "
                f"of {parts} to 1 that the prices were not adjusted for; import adjusted ones",
                code="unadjusted_split",
            )


def signature(volatility: str) -> str:
    """Feature signature of a model whose volatility percentile comes from `volatility`."""
    return feature_signature(
        [*(Feature(name, impl_version=1) for name in OWN), Feature(VOLATILITY, 1, {"source": volatility})],
        input_columns=["open", "close"],
        timeframe="1d",
        window=WINDOW,
        scaling="as documented",
    )


def require_history(ticker: str, sessions: CandleFrame) -> None:
    """Refuse what is too short for a single row.

    Raises:
        NotEnoughData: with how many sessions more are needed.
    """
    longest = int(_age(sessions).max(initial=0))
    if longest < WINDOW:
        raise NotEnoughData(
            f"{ticker} has {longest} unbroken daily bars; a dip is told from {WINDOW}: import {WINDOW - longest} more"
        )


def _require_days(sessions: CandleFrame) -> None:
    if sessions.step != DAY:
        raise BadInput(f"the bars are {sessions.step // 1000} s long; dips are told from days (1d)")


def _age(sessions: CandleFrame) -> Ints:
    """How many unbroken sessions there are up to each one, itself included."""
    place = np.arange(len(sessions))
    cut = np.concatenate([[True], np.diff(sessions.open_time) > LONGEST_PAUSE]) if len(sessions) else np.zeros(0, bool)
    return place - np.maximum.accumulate(np.where(cut, place, 0)) + 1


def _touched_first(sessions: CandleFrame, at: Ints, config: BounceHunterConfig) -> tuple[Ints, Ints]:
    """Which of target and stop each entry met first, and when that was known; both in one bar count as the stop."""
    entry = sessions.close[at]
    target, stop = entry * (1.0 + config.rebound_pct), entry * (1.0 - config.stop_pct)
    label = np.full(len(at), UNKNOWN, np.int64)
    known = sessions.open_time[at] + DAY
    for ahead in range(1, config.horizon_days + 1):
        later = np.minimum(at + ahead, len(sessions) - 1)
        waits = (label == UNKNOWN) & (later == at + ahead)
        stopped = waits & (sessions.low[later] <= stop)
        bounced = waits & ~stopped & (sessions.high[later] >= target)
        over = waits & ~stopped & ~bounced & (ahead == config.horizon_days)
        label[stopped | over], label[bounced] = 0, 1
        decided = stopped | bounced | over
        known[decided] = sessions.open_time[later[decided]] + DAY
    return label, known


def _ago(values: Floats, by: int) -> Floats:
    """What stood `by` places before, NaN where nothing did."""
    return np.concatenate([np.full(min(by, len(values)), np.nan), values[: max(len(values) - by, 0)]])


def _moments(values: Floats, window: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation (n - 1) over the `window` newest, NaN where there are fewer or one is NaN."""
    found = np.full((2, len(values)), np.nan)
    if len(values) >= window:
        views = np.lib.stride_tricks.sliding_window_view(values, window)
        mean = row_sums(views) / window
        squares = row_sums((views - mean[:, None]) ** 2)
        found[:, window - 1 :] = mean, np.sqrt(squares / (window - 1))
    return found[0], found[1]


def _rsi(change: Floats) -> Floats:
    """Wilder's RSI of 2 sessions: gains and losses each weigh half as much a session earlier."""
    found = np.full(len(change), np.nan)
    if len(change) <= _RSI_WINDOW:
        return found
    views = np.lib.stride_tricks.sliding_window_view(change[1:], _RSI_WINDOW)
    gain, loss = np.zeros(len(views)), np.zeros(len(views))
    for column in views.T:
        gain, loss = (gain + np.maximum(column, 0.0)) / 2.0, (loss + np.maximum(-column, 0.0)) / 2.0
    with np.errstate(invalid="ignore"):
        found[_RSI_WINDOW:] = 100.0 * gain / (gain + loss)
    return found
