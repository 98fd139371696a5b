"""How far the inputs of saved predictions lie from those that their model was fitted on, or registered among."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tidewheel.contracts.errors import NoHistoricalData
from tidewheel.features.hourly import lookback, table
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.records import SavedPrediction
from tidewheel.models.drift import MIN_SAMPLES, Drift, Reference
from tidewheel.registry.config import FeatureConfig
from tidewheel.registry.hours import recent_hours

REFERENCE_HOURS = 24 * 90  #: that drift is measured from, of a user's model


def reference_of(ledger: Ledger, symbols: Sequence[str], config: FeatureConfig) -> dict[str, Any] | None:
    """How each input of a user's model is distributed in the hours stored so far; None where they are too few.

    What it was fitted on is his to know: drift is told from the day of its registration on.
    """
    names = sorted({name for named in config.features.values() for name in named} - {"horizon"})
    try:
        recent = recent_hours(ledger, None, symbols, REFERENCE_HOURS)
    except NoHistoricalData:
        return None
    rows = table(recent.frame, names, horizon=1, relative=config.relative)
    rows = rows[~np.isnan(rows).any(axis=1)]
    if len(rows) < MIN_SAMPLES:
        return None
    found = {name: asdict(Reference.of(column)) for name, column in zip(names, rows.T, strict=True)}
    return {"stream": str(recent.stream), "features": found}


def stored_reference(kept: Mapping[str, Any]) -> dict[str, Reference]:
    """By feature, what `reference_of` made."""
    return {name: Reference(tuple(each["edges"]), tuple(each["counts"])) for name, each in kept["features"].items()}


def drifts(made: Sequence[SavedPrediction], reference: Mapping[str, Reference]) -> dict[str, Drift | None]:
    """How far the inputs of `made` lie from the reference, by feature; None for one without a reference."""
    names = sorted({name for each in made for name in each.features})
    found: dict[str, Drift | None] = {}
    for name in names:
        values = np.array([each.features[name] for each in made if name in each.features])
        found[name] = reference[name].drift(values, overlap(name)) if name in reference else None
    return found


def overlap(feature: str) -> float:
    """How many neighbouring hours of a feature are worth an independent one: a quarter of those that it looks back.

    Measured: on random walks the index of features over a day or a week is about that many times the noise.
    """
    return max(1.0, lookback([feature]) / 4)
