"""What leaves, and enters, the ledger of the model registry: frozen records. Times are UTC ms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import StreamKey, model_name, model_version
from tidewheel.contracts.states import IntervalSource, ModelFormat, Origin, PredictionState
from tidewheel.contracts.times import HOUR, UtcMillis
from tidewheel.contracts.verdicts import Verdict
from tidewheel.ledger.records import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class NewModel:
    """A model whose file lies where it will be served from."""

    model_name: str
    version: str  #: "v<UTC date>-<8 hex of the digest>"
    model_type: str  #: the user's word for what it is, such as "RandomForest"
    prediction_horizons: tuple[int, ...]  #: hours, at least one
    file_path: str  #: relative to TRAINED_MODELS_DIR
    feature_config: Json | None  #: as it was registered; None: the base features for every horizon
    digest: str  #: of content and meaning: equal ones are the same version
    content_digest: str  #: sha256 of the file as it is registered
    format: ModelFormat
    feature_signatures: Mapping[int, str]  #: horizon -> what the columns of its input mean
    outputs: int | None  #: numbers that a row of features gives; None where nothing was loaded
    trusted: bool  #: whether it may be loaded
    converted_path: str | None = None  #: what is loaded in its place, relative to TRAINED_MODELS_DIR
    converted_digest: str | None = None  #: sha256 of that
    stream: StreamKey | None = None  #: whose bars it was trained on
    data_as_of: UtcMillis | None = None  #: newest data that it has seen, data time
    origin: Origin | None = None  #: of that stream
    metrics: Json | None = None
    reference: Json | None = None  #: feature -> how it was distributed where the model was fitted

    def __post_init__(self) -> None:
        model_name(self.model_name)
        model_version(self.version)
        if not self.prediction_horizons or min(self.prediction_horizons) < 1:
            raise BadInput(f"prediction_horizons {list(self.prediction_horizons)} are not one or more whole hours")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModel:
    """A version of a registered model."""

    id: int  #: grows in the order of registration
    model_name: str
    version: str
    model_type: str
    prediction_horizons: tuple[int, ...]  #: hours
    file_path: str  #: relative to TRAINED_MODELS_DIR
    feature_config: Json | None
    is_active: bool  #: whether it may be served
    created_at: UtcMillis
    updated_at: UtcMillis
    digest: str
    content_digest: str
    format: ModelFormat
    feature_signatures: Mapping[int, str]
    outputs: int | None
    trusted: bool
    converted_path: str | None
    converted_digest: str | None
    stream: StreamKey | None
    data_as_of: UtcMillis | None  #: data time
    origin: Origin | None
    run_id: int | None  #: run that first published it; None for a user's
    verdict: Verdict | None  #: the newest one on it
    metrics: Json
    reference: Json | None
    registered_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasMove:
    """One move of an alias; the newest of a name and alias counts."""

    id: int
    model_name: str
    alias: str
    version: str  #: what it names from here on
    previous: str | None  #: what it named before
    actor: str
    reason: str
    run_id: int | None  #: run whose publish it was
    created_at: UtcMillis


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPrediction:
    """A forecast of one close, as it was answered."""

    model_name: str
    model_version: str
    stream: StreamKey  #: whose hours it was made from
    timestamp: UtcMillis  #: base time: open time of the last complete hour, data time
    prediction_horizon: int  #: hours
    predicted_value: float  #: close of the hour that opens then
    current_price: float  #: close of the hour at base time
    lower: float | None  #: of the interval; None where there is none
    upper: float | None
    level: float | None  #: share of outcomes that the interval is meant to hold
    interval_source: IntervalSource
    features: Mapping[str, float]  #: as the model read them
    feature_signature: str

    def __post_init__(self) -> None:
        for value in (self.predicted_value, self.current_price, self.lower, self.upper, self.level):
            if value is not None and not math.isfinite(value):
                raise BadInput(f"a prediction of {self.model_name} holds {value}, which is no price; it is not saved")

    @property
    def predicted_time(self) -> UtcMillis:
        """Open time of the hour whose close is predicted."""
        return self.timestamp + self.prediction_horizon * HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedPrediction:
    """A stored forecast, and what came of it."""

    id: int
    model_name: str
    model_version: str
    stream: StreamKey
    timestamp: UtcMillis  #: base time, data time
    prediction_horizon: int  #: hours
    predicted_time: UtcMillis  #: data time
    predicted_value: float
    current_price: float
    lower: float | None
    upper: float | None
    level: float | None
    interval_source: IntervalSource
    features: Mapping[str, float]
    feature_signature: str
    created_at: UtcMillis
    state: PredictionState
    actual_value: float | None  #: the close that came
    scored_at: UtcMillis | None  #: when that was learnt, or that it will not be
