"""What the predictor is asked and what it answers."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from tidewheel.contracts.keys import BASELINE
from tidewheel.contracts.states import IntervalSource, ModelFormat, PredictionState
from tidewheel.kit.schemas import Answer, RequestBody
from tidewheel.ledger.registry.records import RegisteredModel
from tidewheel.registry.service import ModelMetrics

# In one request; however many digits they have, they fit in what a role reads by default.
MAX_RETURNS = 40_000
MAX_BARS = 7_000
Number = Annotated[float, Field(strict=True)]  #: neither "0.1" nor true
Bar = tuple[int, Number, Number, Number, Number, Number]
DEFAULT_HORIZON = 3  #: hours
_FORECAST = frozenset({"model_name", "model_version", "prediction_horizon", "save_to_db"})
_FIELDS = ", ".join(sorted(_FORECAST))
_EXAMPLE: list[JsonValue] = [round(0.0004 * ((step * 7919) % 11 - 5), 6) for step in range(40)]


class PredictRequest(RequestBody):
    """A regime: exactly one of `logret`, `bars`, `stream`. Or a forecast of a registered model: its fields."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {"logret": _EXAMPLE},
                {"stream": "binance:BTC/USDT:1m"},
                {"model_name": BASELINE, "prediction_horizon": 3, "save_to_db": True},
            ]
        },
    )

    logret: list[Annotated[Number, Field(ge=-20, le=20)]] | None = Field(
        None, max_length=MAX_RETURNS, fail_fast=True, description="Contiguous log returns, oldest first; 30 or more."
    )
    bars: list[Bar] | None = Field(
        None,
        max_length=MAX_BARS,
        fail_fast=True,
        description="`[open_time, open, high, low, close, volume]`, UTC ms; 31 or more.",
    )
    stream: str | None = Field(
        None,
        max_length=200,
        description="A stream of the ledger: `binance:BTC/USDT:1m`. Of a forecast: whose hours it is made from, by "
        "default the first of SYMBOLS.",
    )
    model_name: str = Field(BASELINE, max_length=64, description="A registered model.")
    model_version: str | None = Field(
        None, max_length=64, description="One of its versions or aliases; by default its champion."
    )
    prediction_horizon: int = Field(DEFAULT_HORIZON, description="Hours to look ahead, of those it was registered for.")
    save_to_db: bool = Field(False, description="Keep the forecast, so that it is scored; needs scope `registry`.")

    @property
    def is_forecast(self) -> bool:
        """Whether a registered model is asked."""
        return bool(_FORECAST & self.model_fields_set)

    @model_validator(mode="after")
    def _one_kind(self) -> "PredictRequest":
        kinds = [name for name in ("logret", "bars") if getattr(self, name) is not None]
        if self.is_forecast:
            kinds.append("a registered model's fields")
        elif self.stream is not None:
            kinds.append("stream")
        if len(kinds) != 1:
            sent = " and ".join(kinds) or "none of them"
            raise ValueError(
                f"send exactly one of logret, bars, stream, or a registered model's fields ({_FIELDS}); {sent} was sent"
            )
        return self


class RegimeAnswer(Answer):
    """The regime at the last bar."""

    probs: dict[str, float] = Field(examples=[{"bull": 0.1, "bear": 0.2, "chop": 0.7}])
    state: str = Field(description="The most probable state: bull, bear or chop.", examples=["chop"])
    confidence: float = Field(description="Its probability.", examples=[0.7])
    n_used: int = Field(description="Log returns that were used: of bars, those since the last gap.", examples=[40])
    data_time: int | None = Field(description="Open time of the last bar, UTC ms; null for logret.")
    stale: bool | None = Field(description="Whether the last bar is more than 3 bars behind; null for logret.")
    model_version: str = Field(examples=["v2026-11-20-1a2b3c4d"])


class ModelAnswer(Answer):
    """What this replica serves."""

    id: str = Field(description="This replica.")
    family: str
    loaded: str | None = Field(description="Version in service; null before the first.")
    loaded_at: int | None = Field(description="When it came into service, UTC ms.")
    current: str | None = Field(description="Version that `current` names; another than `loaded` only for a moment.")
    error: str | None = Field(description="Why the current version is not in service.")
    metrics: dict[str, Any] = Field(description="Of the loaded version, from its manifest.")
    lineage: dict[str, Any] = Field(description="Of the loaded version: streams, files and ranges it learnt from.")
    digest: str | None = Field(description="Content digest of the loaded version.")
    data_as_of: int | None = Field(description="End of the newest bar that it learnt from, UTC ms.")


class IntervalView(Answer):
    """Where the close is expected; without one, `why` says what is missing."""

    lower: float | None
    upper: float | None
    level: float = Field(description="Share of outcomes that it is meant to hold.", examples=[0.9])
    n: int = Field(description="Residuals that it was made of.")
    source: IntervalSource = Field(description="What they were: of data held back in training, or scored forecasts.")
    why: str | None = Field(description="Why there is none.")
    measured_coverage: float | None = Field(description="Share of scored intervals that held what came.")
    measured_n: int = Field(description="How many have been scored.")


class ForecastAnswer(Answer):
    """A registered model's forecast of one close; times are UTC ms."""

    model_name: str = Field(examples=[BASELINE])
    model_version: str = Field(examples=["v2026-11-20-1a2b3c4d"])
    base_timestamp: int = Field(description="Open time of the last complete hour.")
    prediction_horizon: int = Field(description="Hours.", examples=[3])
    predicted_value: float = Field(description="Close of the hour that opens at predicted_time.")
    predicted_time: int
    current_price: float = Field(description="Close of the base hour.")
    stream: str = Field(examples=["binance:BTC/USDT:1m"])
    stale: bool = Field(description="Whether the base hour lies more than 3 hours behind.")
    interval: IntervalView
    feature_signature: str = Field(description="What the columns of the model's input mean.")
    prediction_id: int | None = Field(description="Where it was saved; null where it was not.")
    horizon_blind: bool = Field(description="Whether the model answers one number at all its horizons.")
    warnings: list[str]


class RegisterModel(RequestBody):
    """A model file and what it means."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "model_name": "random_forest_v1",
                    "model_type": "RandomForest",
                    "prediction_horizons": [1, 3, 24],
                    "file_path": "/app/trained_models/rf_model.skops",
                    "feature_config": {"features": ["lag_1h", "lag_2h", "lag_24h", "SMA_10h"]},
                }
            ]
        },
    )

    model_name: str = Field(max_length=64, description="Lower case, digits, _ and -; versions share it.")
    model_type: str = Field(max_length=50, description="What it is, in your words.")
    prediction_horizons: list[Annotated[int, Field(strict=True)]] = Field(
        min_length=1, max_length=64, description="Hours; of a model with an output for each, in the outputs' order."
    )
    file_path: str = Field(
        max_length=1_000, description="Below TRAINED_MODELS_DIR, which /app/trained_models names everywhere."
    )
    feature_config: dict[str, Any] | None = Field(
        None,
        description='`{"features": list or {"<hours>": list}, "units": "price" or "relative"}`; by default the five '
        "base features, in prices, at every horizon.",
    )


class AliasBody(RequestBody):
    """Where an alias goes."""

    version: str = Field(max_length=64, examples=["v2026-11-20-1a2b3c4d"])
    reason: str = Field("", max_length=1_000)


class StandingBody(RequestBody):
    """Whether a version is served."""

    is_active: bool
    reason: str = Field("", max_length=1_000)


class RegisteredView(Answer):
    """A version of a registered model."""

    model_name: str
    version: str
    model_type: str
    prediction_horizons: list[int] = Field(description="Hours.")
    file_path: str = Field(description="Relative to TRAINED_MODELS_DIR.")
    feature_config: dict[str, Any] | None
    is_active: bool
    aliases: list[str] = Field(description="`champion` is the version that the bare name means.")
    format: ModelFormat
    trusted: bool = Field(description="Whether it may be loaded; a .joblib may once it was converted.")
    content_digest: str = Field(description="sha256 of the file as it was registered.")
    digest: str = Field(description="Of content and meaning.")
    converted_path: str | None = Field(description="What is loaded in its place.")
    feature_signatures: dict[int, str] = Field(description="By horizon.")
    stream: str | None = Field(description="Whose bars it was trained on; null for a user's.")
    data_as_of: int | None = Field(description="End of the newest data that it has seen, UTC ms.")
    run_id: int | None = Field(description="The run that made it; null for a user's.")
    metrics: dict[str, Any]
    verdict: dict[str, Any] | None = Field(description="The newest one on it.")
    registered_by: str
    created_at: int
    updated_at: int
    warnings: list[str] = Field(default_factory=list)

    @classmethod
    def of(cls, model: RegisteredModel, aliases: list[str]) -> "RegisteredView":
        """From the ledger's record."""
        values = {name: getattr(model, name) for name in cls.model_fields if name not in ("aliases", "warnings")}
        values["stream"] = None if model.stream is None else str(model.stream)
        values["verdict"] = None if model.verdict is None else model.verdict.model_dump(mode="json")
        return cls(**values, aliases=aliases)


class ModelList(Answer):
    """Registered models."""

    models: list[RegisteredView]


class AliasView(Answer):
    """A move of an alias."""

    model_name: str
    alias: str
    version: str
    previous: str | None
    actor: str
    reason: str
    run_id: int | None
    created_at: int


class ModelHistory(Answer):
    """One name."""

    model_name: str
    versions: list[RegisteredView] = Field(description="Newest first.")
    alias_moves: list[AliasView] = Field(description="By alias, oldest first.")


class SavedView(Answer):
    """A saved prediction and what came of it; times are UTC ms."""

    id: int
    model_name: str
    model_version: str
    stream: str
    timestamp: int = Field(description="Base time: open time of the last complete hour then.")
    prediction_horizon: int
    predicted_time: int
    predicted_value: float
    current_price: float
    lower: float | None
    upper: float | None
    level: float | None
    interval_source: IntervalSource
    state: PredictionState
    actual_value: float | None
    created_at: int
    scored_at: int | None

    @field_validator("stream", mode="before")
    @classmethod
    def _text(cls, value: object) -> str:
        return str(value)


class ForecastList(Answer):
    """Saved predictions, newest first."""

    predictions: list[SavedView]


class DriftView(Answer):
    """How far one input lies from its reference."""

    psi: float | None = Field(description="Population stability index; null below 100 samples.")
    n: int = Field(description="Samples.")
    noise: float = Field(description="About the index of as many independent samples without any drift.")


class HorizonView(Answer):
    """What came of one horizon's saved predictions, the newest 500; in the price's units."""

    horizon: int = Field(description="Hours.")
    n: int = Field(description="Scored.")
    open: int = Field(description="Wait for their hour.")
    missing: int = Field(description="Whose hour never came.")
    mae: float | None
    rmse: float | None
    naive_mae: float | None = Field(description="Of the forecast that the price stays.")
    naive_rmse: float | None
    skill: float | None = Field(description="1 - mae / naive_mae; below 0 the naive forecast is better.")
    coverage: float | None = Field(description="Share of the intervals that held what came.")
    coverage_n: int
    drift: dict[str, DriftView | None] = Field(description="By input; null for one without a reference.")


class MetricsAnswer(Answer):
    """How a version did."""

    model_name: str
    model_version: str
    horizons: list[HorizonView]

    @classmethod
    def of(cls, found: ModelMetrics) -> "MetricsAnswer":
        """From what the service has measured."""
        views = [
            HorizonView(
                **{name: getattr(each, name) for name in HorizonView.model_fields if hasattr(each, name)}
                | {
                    "coverage": each.coverage.share,
                    "coverage_n": each.coverage.n,
                    "drift": {
                        name: None if drift is None else DriftView.model_validate(drift)
                        for name, drift in found.drift[each.horizon].items()
                    },
                }
            )
            for each in found.horizons
        ]
        return cls(model_name=found.row.model_name, model_version=found.row.version, horizons=views)
