"""Dips in daily bars: their features, and what came of each.

A row stands at a session and holds what was known when it closed. Sessions are the bars that a ticker has: weekends and
holidays are no gaps, but after a break of more than ten days nothing looks back across it. Every number is the same to
the bit wherever its session stands in the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.keys import LONGEST_PAUSE
from tidewheel.contracts.times import DAY, iso
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.features.rowsums import row_squares, row_sums
from tidewheel.features.signature import Feature, feature_signature

VOLATILITY = "vix_regime"  #: the feature that is the market's, not the ticker's
OWN = ("z5", "rsi2", "bb_dev", "dist_200", "trend_63", "gap_dn")  #: features of a ticker's own bars
NAMES = (*OWN, VOLATILITY)
WINDOW = 200  #: sessions that a row looks back on, itself included
LABEL_VERSION = "first-touch-1"  #: raised whenever the same bars would be labelled otherwise
UNKNOWN = -1  #: label of a dip whose sessions are not over

_TRADED = 21  # sessions
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
    found = np.full((len(sessions), len(OWN)), np.nan)
    at = np.flatnonzero(_age(sessions) >= WINDOW)
    found[at] = _rows(sessions.open, sessions.close, at)
    return found


def newest(tickers: Sequence[CandleFrame]) -> tuple[Floats, Floats]:
    """The last row of `table` of each ticker, shape [n, 6], and what it traded then, shape [n]; NaN without a row.

    Raises:
        BadInput: the bars are not days.
    """
    rows, money = np.full((len(tickers), len(OWN)), np.nan), np.full(len(tickers), np.nan)
    for sessions in tickers:
        _require_days(sessions)
    tails = [sessions.take(slice(-WINDOW, None)) for sessions in tickers]
    whole = [place for place, tail in enumerate(tails) if WINDOW in _age(tail)]
    if whole:
        # One after the other they are one long series, in which no row looks back further than into its own ticker.
        opened, close, volume = (
            np.concatenate([getattr(tails[place], name) for place in whole]) for name in ("open", "close", "volume")
        )
        at = np.arange(1, len(whole) + 1) * WINDOW - 1
        rows[whole], money[whole] = _rows(opened, close, at), _means(close * volume, _TRADED, at)
    return rows, money


def dips(sessions: CandleFrame, config: BounceHunterConfig) -> Dips:
    """The sessions whose z5 and RSI(2) are both as low as the configuration asks, while enough was traded.

    Raises:
        BadInput: the bars are not days.
    """
    _require_days(sessions)
    at = np.flatnonzero(_age(sessions) >= WINDOW)
    # Few sessions fell so far: all other features are told of these alone.
    at = at[_fall(sessions.close, at) <= config.z_score_drop]
    at = at[_means(sessions.close * sessions.volume, _TRADED, at) >= config.min_adv_usd]
    rows = _rows(sessions.open, sessions.close, at)
    dipped = (rows[:, 1] <= config.rsi2_max) & ~np.isnan(rows).any(axis=1)
    at, rows = at[dipped], rows[dipped]
    label, known_at = _touched_first(sessions, at, config)
    return Dips(sessions.open_time[at], rows, label, known_at)


def require_adjusted(ticker: str, sessions: CandleFrame) -> None:
    """Refuse prices that jump overnight as an unadjusted split does.

    Raises:
        BadInput: `unadjusted_split`, with the day.
    """
    ratio = sessions.open[1:] / sessions.close[:-1]
    far = (ratio < 0.6) | (ratio > 1.6)  # nearly no session; the smallest split is 2 to 1
    times, ratio = sessions.open_time[1:][far], ratio[far]
    for parts in _SPLITS:
        jumped = (np.abs(ratio * parts - 1.0) < _SPLIT_SLACK) | (np.abs(ratio / parts - 1.0) < _SPLIT_SLACK)
        if jumped.any():
            day = int(times[jumped][0])
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


def _rows(opened: Floats, close: Floats, at: Ints) -> Floats:
    """The features `OWN` at these places, each of which has 200 unbroken sessions behind it."""
    now, mean_20 = close[at], _means(close, 20, at)
    deviation_20 = np.sqrt(row_squares(_windows(close, 20, at), mean_20) / 19)
    return np.column_stack(
        [
            _fall(close, at),
            _rsi(close, at),
            1.0 - (mean_20 - 2.0 * deviation_20) / now,
            now / _means(close, WINDOW, at) - 1.0,
            now / close[at - 63] - 1.0,
            opened[at] / close[at - 1] - 1.0,
        ]
    )


def _fall(close: Floats, at: Ints) -> Floats:
    """z5, NaN where nothing moves."""
    changes = np.concatenate([[np.nan], close[1:] / close[:-1] - 1.0])
    windows = _windows(changes, 60, at)
    deviation = np.sqrt(row_squares(windows, row_sums(windows) / 60) / 59)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = (close[at] / close[at - 5] - 1.0) / (deviation * np.sqrt(5.0))
    return np.where(deviation > _NO_MOVE, fall, np.nan)


def _rsi(close: Floats, at: Ints) -> Floats:
    """Wilder's RSI of 2 sessions: gains and losses each weigh half as much a session earlier; NaN without either."""
    windows = _windows(close, _RSI_WINDOW + 1, at)
    # Doubled rather than halved, which changes no bit: what was halved each day, from the oldest on.
    moves = np.diff(windows, axis=1) * 2.0 ** np.arange(_RSI_WINDOW)
    gain, loss = row_sums(np.maximum(moves, 0.0)), row_sums(np.maximum(-moves, 0.0))
    with np.errstate(invalid="ignore"):
        return np.asarray(100.0 * gain / (gain + loss))


def _means(values: Floats, window: int, at: Ints) -> Floats:
    """Mean of the `window` values up to each place."""
    return row_sums(_windows(values, window, at)) / window


def _windows(values: Floats, window: int, at: Ints) -> Floats:
    """The `window` values up to each place, oldest first, shape [len(at), window]."""
    if len(values) < window:
        return np.zeros((0, window))
    views = sliding_window_view(values, window)
    first = at - window + 1
    # Neighbours are looked at where they lie.
    follow = len(at) > 1 and int(at[-1] - at[0]) == len(at) - 1
    return views[first[0] : first[0] + len(at)] if follow else views[first]
