"""What came of saved predictions, and how good a version's are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import PredictionState
from tidewheel.contracts.times import DAY, HOUR
from tidewheel.features.frames import Floats
from tidewheel.features.hourly import to_hours
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.records import SavedPrediction
from tidewheel.models.conformal import Coverage
from tidewheel.registry.forecasting import coverage_of

MISSING_AFTER = DAY  #: of stored bars beyond an hour that never came; till then a backfill may bring it


def score(ledger: Ledger, stream: StreamKey) -> int:
    """Write down the closes that the stream's predictions waited for; how many predictions that settles.

    An hour that is not complete stays open until the stream is a day beyond it, and is `missing` then.
    """
    found = ledger.streams.get(stream)
    reached = None if found is None else found.next_open
    if reached is None:
        return 0
    over = [hour for hour in ledger.predictions.open_hours(stream) if hour + HOUR <= reached]
    if not over:
        return 0
    hours = to_hours(ledger.bars.read(stream, over[0], over[-1] + HOUR))
    closes: dict[int, float | None] = dict(zip(hours.open_time.tolist(), hours.close.tolist(), strict=True))
    lost = [hour for hour in over if hour not in closes and hour + HOUR + MISSING_AFTER <= reached]
    return ledger.predictions.settle(
        stream, {hour: closes[hour] for hour in over if hour in closes} | dict.fromkeys(lost)
    )


@dataclass(frozen=True, slots=True)
class HorizonErrors:
    """How far off the scored predictions of one horizon were, in the price's units."""

    horizon: int  #: hours
    n: int  #: scored
    open: int  #: wait for their hour
    missing: int  #: whose hour never came
    mae: float | None  #: None where nothing is scored
    rmse: float | None
    naive_mae: float | None  #: of the forecast that the price stays
    naive_rmse: float | None
    skill: float | None  #: 1 - mae / naive_mae; None where the price stood still
    coverage: Coverage  #: of the intervals that came with them


def errors_of(horizon: int, scored: Sequence[SavedPrediction], counts: Mapping[PredictionState, int]) -> HorizonErrors:
    """The errors of `scored`, which are of one version and horizon, beside the naive ones on the same hours."""
    known = [(each, each.actual_value) for each in scored if each.actual_value is not None]
    off = np.array([each.predicted_value - actual for each, actual in known])
    naive = np.array([each.current_price - actual for each, actual in known])
    naive_mae = _mean(np.abs(naive))
    mae = _mean(np.abs(off))
    return HorizonErrors(
        horizon=horizon,
        n=len(known),
        open=counts.get(PredictionState.OPEN, 0),
        missing=counts.get(PredictionState.MISSING, 0),
        mae=mae,
        rmse=_root(_mean(off**2)),
        naive_mae=naive_mae,
        naive_rmse=_root(_mean(naive**2)),
        skill=None if mae is None or not naive_mae else 1.0 - mae / naive_mae,
        coverage=coverage_of(scored),
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _root(value: float | None) -> float | None:
    return None if value is None else float(np.sqrt(value))
