"""What a user's model learns from: the very features that it will be served with, and what came of each hour."""

from collections.abc import Sequence

import numpy as np

from tidewheel.contracts.errors import BadInput, NoHistoricalData
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import Floats
from tidewheel.features.hourly import BASE, table, target, to_hours
from tidewheel.ledger.open import Ledger


def training_rows(
    db: Ledger,
    stream: str,
    horizon: int | Sequence[int],
    features: Sequence[str] = BASE,
    *,
    relative: bool = True,
    before: UtcMillis | None = None,
) -> tuple[Floats, Floats]:
    """Features [n, f] of every hour of a stream at which all are known, and the close `horizon` hours later [n].

    Of several horizons, for a model with an output for each, the closes are [n, h] in their order.

    With `relative` levels are shares of the close and the target is the simple return (`"units": "relative"` in the
    feature_config), else both are prices. Hours are oldest first; `before` leaves out what was not known by then, UTC
    ms, so that the later ones can be compared on.

    Raises:
        NotFound: the ledger has no such stream.
        NoHistoricalData: not one hour has all features and an outcome.
        BadInput: `unknown_feature`, the bars do not make up hours, or one row shall hold several horizons as a feature.
    """
    key = StreamKey.parse(stream)
    hours = to_hours(db.bars.read(key, None, before))
    horizons = (horizon,) if isinstance(horizon, int) else tuple(horizon)
    if not horizons:
        raise BadInput("no horizon is named; name one or more, such as [1, 3, 24]")
    if len(horizons) > 1 and "horizon" in features:
        raise BadInput(f"the feature `horizon` cannot be {list(horizons)} in one row; ask for one horizon at a time")
    rows = table(hours, features, horizon=horizons[0], relative=relative)
    wanted = np.column_stack([target(hours, each, relative=relative) for each in horizons])
    known = ~(np.isnan(rows).any(axis=1) | np.isnan(wanted).any(axis=1))
    if not known.any():
        raise NoHistoricalData(stream)
    return rows[known], wanted[known, 0] if isinstance(horizon, int) else wanted[known]
