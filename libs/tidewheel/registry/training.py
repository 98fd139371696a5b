"""What a user's model learns from: the very features that it will be served with, and what came of each hour."""

from collections.abc import Sequence

import numpy as np

from tidewheel.contracts.errors import NoHistoricalData
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import Floats
from tidewheel.features.hourly import BASE, table, target, to_hours
from tidewheel.ledger.open import Ledger


def training_rows(
    db: Ledger,
    stream: str,
    horizon: int,
    features: Sequence[str] = BASE,
    *,
    relative: bool = True,
    before: UtcMillis | None = None,
) -> tuple[Floats, Floats]:
    """Features [n, f] of every hour of a stream at which all are known, and the close `horizon` hours later [n].

    With `relative` levels are shares of the close and the target is the simple return (`"units": "relative"` in the
    feature_config), else both are prices. Hours are oldest first; `before` leaves out what was not known by then, UTC
    ms, so that the later ones can be compared on.

    Raises:
        NotFound: the ledger has no such stream.
        NoHistoricalData: not one hour has all features and an outcome.
        BadInput: `unknown_feature`, or the bars do not make up hours.
    """
    key = StreamKey.parse(stream)
    hours = to_hours(db.bars.read(key, None, before))
    rows = table(hours, features, horizon=horizon, relative=relative)
    wanted = target(hours, horizon, relative=relative)
    known = ~(np.isnan(rows).any(axis=1) | np.isnan(wanted))
    if not known.any():
        raise NoHistoricalData(stream)
    return rows[known], wanted[known]
