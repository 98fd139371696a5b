"""What registering finds at a path."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidewheel.contracts.states import ModelFormat, Origin
from tidewheel.contracts.times import UtcMillis


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Found:
    """A file or bundle that was read and tried."""

    file_path: str  #: relative to TRAINED_MODELS_DIR
    format: ModelFormat
    content_digest: str
    feature_config: Mapping[str, Any] | None  #: as sent; where nothing was, what it says itself
    outputs: int | None  #: numbers that a row gives; None where it was not opened
    warnings: list[str]  #: what its user should know
    data_as_of: UtcMillis | None = None  #: newest data that it has seen, where it says so
    origin: Origin | None = None  #: of that data
    metrics: Mapping[str, Any] | None = None  #: of its training
