"""`/predict` and `/model`: what is asked of a model, and what it answers."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue, model_validator

from tidewheel.contracts.keys import BASELINE
from tidewheel.contracts.states import IntervalSource
from tidewheel.kit.schemas import Answer, RequestBody

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
        "default the one that the model was trained on, of a user's model the first of SYMBOLS.",
    )
    model_name: str = Field(BASELINE, max_length=64, description="A registered model.")
    model_version: str | None = Field(
        None, min_length=1, max_length=64, description="One of its versions or aliases; by default its champion."
    )
    prediction_horizon: int = Field(
        DEFAULT_HORIZON, strict=True, description="Hours to look ahead, of those it was registered for."
    )
    save_to_db: bool = Field(
        False, strict=True, description="Keep the forecast, so that it is scored; needs scope `registry`."
    )

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
                f"send exactly one of logret, bars, stream, or a registered model's fields ({_FIELDS}); sent: {sent}"
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
    why: str | None = Field(
        description="Why there is none; of a user's model nine saved and scored forecasts make one."
    )
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
    stale: bool = Field(
        description="Whether the base hour ended more than 3 hours ago; where candles were imported or simulated, "
        "before the newest of them."
    )
    interval: IntervalView
    feature_signature: str = Field(description="What the columns of the model's input mean.")
    prediction_id: int | None = Field(description="Where it was saved; null where it was not.")
    horizon_blind: bool = Field(description="Whether the model answers one number at all its horizons.")
    warnings: list[str] = Field(description="What to know before it is relied on, a sentence each.")
