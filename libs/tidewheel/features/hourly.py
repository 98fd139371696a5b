"""The documented features of hourly closes, and what a forecast over h hours is asked to hit.

A row stands at a bar and holds what was known when that bar closed. Spacing is real: a lag of k hours is the close of
the bar that opened exactly k hours earlier, and a mean over k hours has all its k bars; where one of them is absent the
value is NaN, never a neighbour's. Every number is the same to the bit wherever its bar stands in the frame: sums run
afresh over each window, oldest bar first.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.times import HOUR, iso
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.features.rowsums import row_sums
from tidewheel.features.signature import Feature, feature_signature

BASE = ("lag_1h", "lag_2h", "lag_24h", "SMA_10h", "price_change_1h")  #: for every horizon
_FROM_A_DAY = ("lag_48h", "SMA_24h", "price_change_24h")
_FROM_A_WEEK = ("lag_168h", "SMA_168h")
VOLATILITY_HOURS = 24  #: that volatility looks back
_NAMED = 5  #: most missing bars that a refusal lists


class _Column(NamedTuple):
    kind: Literal["lag", "mean", "change", "close", "horizon"]
    hours: int  # that it looks back from its bar's close


_COLUMNS = {
    **{f"lag_{hours}h": _Column("lag", hours) for hours in (1, 2, 24, 48, 168)},
    **{f"SMA_{hours}h": _Column("mean", hours - 1) for hours in (10, 24, 168)},
    **{f"price_change_{hours}h": _Column("change", hours) for hours in (1, 24)},
    "close_price": _Column("close", 0),
    "horizon": _Column("horizon", 0),
}
CATALOGUE = frozenset(_COLUMNS)  #: every name that a model may ask for


def documented(horizon: int) -> tuple[str, ...]:
    """Names of the features that a forecast over `horizon` hours reads where its model does not say."""
    return (*BASE, *(_FROM_A_DAY if horizon >= 24 else ()), *(_FROM_A_WEEK if horizon >= 168 else ()))


def lookback(names: Sequence[str]) -> int:
    """Hours before the base bar that `names` read; the frame holds one bar more.

    Raises:
        BadInput: `unknown_feature`.
    """
    return max((column.hours for column in _known(names)), default=0)


def parts_of_hour(step: int) -> int:
    """How many bars of `step` ms make up an hour.

    Raises:
        BadInput: no number of them does.
    """
    if HOUR % step:
        raise BadInput(
            f"bars of {step / 60_000:g} minutes do not make up hours; take a stream of 1m, 5m, 15m, 30m or 1h"
        )
    return HOUR // step


def to_hours(frame: CandleFrame) -> CandleFrame:
    """The complete hours of `frame` as bars of one hour; an hour that lacks a bar is absent.

    An hour is known when the last of its bars was, and as often revised as the most revised of them.

    Raises:
        BadInput: as `parts_of_hour`.
    """
    if frame.step == HOUR:
        return frame
    parts = parts_of_hour(frame.step)
    hours, first, counts = np.unique(frame.open_time // HOUR, return_index=True, return_counts=True)
    whole = counts == parts
    bars = first[whole][:, None] + np.arange(parts)
    return CandleFrame(
        step=HOUR,
        open_time=hours[whole] * HOUR,
        open=frame.open[bars[:, 0]],
        high=frame.high[bars].max(axis=1),
        low=frame.low[bars].min(axis=1),
        close=frame.close[bars[:, -1]],
        volume=row_sums(frame.volume[bars]),
        available_at=frame.available_at[bars].max(axis=1),
        revision=frame.revision[bars].max(axis=1),
    )


def table(hours: CandleFrame, names: Sequence[str], *, horizon: int, relative: bool) -> Floats:
    """The features `names` at every bar of `hours`, shape [n, len(names)]; NaN where a bar behind one is absent.

    In prices; with `relative`, a level x is x / close - 1 and a change x / close. `horizon` is in hours either way.

    Raises:
        BadInput: `unknown_feature`, or the bars are not hours.
    """
    _require_hours(hours)
    found = [_column(hours, column, horizon, relative) for column in _known(names)]
    return np.column_stack(found) if found else np.zeros((len(hours), 0))


def latest(hours: CandleFrame, names: Sequence[str], *, horizon: int, relative: bool) -> Floats:
    """The features `names` at the last bar of `hours`, shape [len(names)]; the same bits as `table`'s last row.

    Raises:
        NotEnoughData: `no_historical_data`, there is no bar; `history_has_gaps`, a bar behind a feature is absent
            (names both).
        BadInput: as `table`.
    """
    if not len(hours):
        raise NotEnoughData("No historical data available for prediction", code="no_historical_data")
    base = int(hours.open_time[-1])
    recent = hours.between(base - lookback(names) * HOUR, None)
    row: Floats = table(recent, names, horizon=horizon, relative=relative)[-1]
    missing = [name for name, absent in zip(names, np.isnan(row).tolist(), strict=True) if absent]
    if missing:
        holes = _absent(recent, missing)
        listed = ", ".join(map(iso, holes[:_NAMED])) + (" ..." if len(holes) > _NAMED else "")
        raise NotEnoughData(
            f"at {iso(base)} the features {', '.join(missing)} need {len(holes)} complete hours that are not stored: "
            f"{listed}; backfill them, or wait until the history is long enough",
            code="history_has_gaps",
            missing=missing,
        )
    return row


def target(hours: CandleFrame, horizon: int, *, relative: bool) -> Floats:
    """What came of each bar, shape [n]: the close of the bar that opened exactly `horizon` hours later.

    With `relative`, the simple return to it. NaN where that bar is absent, or yet to come.

    Raises:
        BadInput: the bars are not hours, or `horizon` is not positive.
    """
    _require_hours(hours)
    if horizon < 1:
        raise BadInput(f"horizon {horizon} is not possible; forecasts look 1 hour or more ahead")
    after = _close_at(hours, hours.open_time + horizon * HOUR)
    return after / hours.close - 1.0 if relative else after


def volatility(hours: CandleFrame) -> Floats:
    """How far the price went in an hour of late: mean |close / the close an hour earlier - 1| over 24 hours.

    Of the hours up to and with each bar, shape [n]; NaN where fewer than 12 of those moves are known.

    Raises:
        BadInput: the bars are not hours.
    """
    _require_hours(hours)
    closes = np.array([_close_at(hours, hours.open_time - back * HOUR) for back in range(VOLATILITY_HOURS + 1)])
    moves = np.abs(closes[:-1] / closes[1:] - 1.0).T
    known = ~np.isnan(moves)
    counts = known.sum(axis=1)
    enough = 2 * counts >= VOLATILITY_HOURS
    return np.where(enough, row_sums(np.where(known, moves, 0.0)) / np.maximum(counts, 1), np.nan)


def signature(names: Sequence[str], *, relative: bool) -> str:
    """Feature signature of a model that reads `names` in this order.

    Raises:
        BadInput: `unknown_feature`.
    """
    return feature_signature(
        [
            Feature(name, impl_version=1, params={"hours": column.hours})
            for name, column in zip(names, _known(names), strict=True)
        ],
        input_columns=["close"],
        timeframe="1h",
        window=lookback(names) + 1,
        scaling="levels as x / close - 1, changes as x / close" if relative else "price",
    )


def _known(names: Sequence[str]) -> list[_Column]:
    for name in names:
        if name not in _COLUMNS:
            raise BadInput(
                f"feature {name!r} is not known; the features are {', '.join(sorted(CATALOGUE))}",
                code="unknown_feature",
            )
    return [_COLUMNS[name] for name in names]


def _require_hours(hours: CandleFrame) -> None:
    if hours.step != HOUR:
        raise BadInput(f"the bars are {hours.step} ms long; the features read hours, which to_hours() makes")


def _column(hours: CandleFrame, column: _Column, horizon: int, relative: bool) -> Floats:
    close = hours.close
    match column.kind:
        case "horizon":
            return np.full(len(hours), float(horizon))
        case "close":
            level = close
        case "lag":
            level = _close_at(hours, hours.open_time - column.hours * HOUR)
        case "mean":
            level = _mean(hours, column.hours + 1)
        case "change":
            change: Floats = close - _close_at(hours, hours.open_time - column.hours * HOUR)
            return change / close if relative else change
    return level / close - 1.0 if relative else level


def _close_at(hours: CandleFrame, times: Ints) -> Floats:
    """Close of the bar that opened at each of `times`, NaN where there is none."""
    if not len(hours):
        return np.zeros(0)
    place = np.minimum(np.searchsorted(hours.open_time, times), len(hours) - 1)
    return np.where(hours.open_time[place] == times, hours.close[place], np.nan)


def _mean(hours: CandleFrame, bars: int) -> Floats:
    """Mean close of the `bars` bars up to each one, NaN where one of them is absent."""
    found = np.full(len(hours), np.nan)
    rows = len(hours) - bars + 1
    if rows > 0:
        windows = np.lib.stride_tricks.sliding_window_view(hours.close, bars)
        unbroken = hours.open_time[bars - 1 :] - hours.open_time[:rows] == (bars - 1) * HOUR
        found[bars - 1 :] = np.where(unbroken, row_sums(windows) / bars, np.nan)
    return found


def _absent(hours: CandleFrame, names: Sequence[str]) -> list[int]:
    """Open times of the bars that `names` need at the last bar and `hours` lacks, newest first."""
    base, needed = int(hours.open_time[-1]), set[int]()
    for column in _known(names):
        back = range(column.hours + 1) if column.kind == "mean" else (column.hours,)
        needed |= {base - hour * HOUR for hour in back}
    return sorted(needed - set(hours.open_time.tolist()), reverse=True)
