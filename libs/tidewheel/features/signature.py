"""Feature signature: a digest of what the numbers that enter a model mean.

Two models with one signature may be fed and compared alike; a change of a feature's arithmetic raises its
`impl_version` and so changes the signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tidewheel.contracts.canonical import digest_of


@dataclass(frozen=True, slots=True)
class Feature:
    """One column that enters a model."""

    name: str
    impl_version: int  #: raised whenever the same bars would give other numbers
    params: Mapping[str, float | int | str] = field(default_factory=dict)


def feature_signature(
    features: Sequence[Feature], *, input_columns: Sequence[str], timeframe: str, window: int, scaling: str
) -> str:
    """sha256 (hex) over the features in their order, the candle columns they read, timeframe, window and scaling."""
    meaning = {
        "features": [asdict(feature) for feature in features],
        "input_columns": list(input_columns),
        "timeframe": timeframe,
        "window": window,
        "scaling": scaling,
    }
    return digest_of(meaning)
