"""What the predictor is asked and what it answers."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue, model_validator

from tidewheel.kit.schemas import Answer, RequestBody

# In one request; however many digits they have, they fit in what a role reads by default.
MAX_RETURNS = 40_000
MAX_BARS = 7_000
Number = Annotated[float, Field(strict=True)]  #: neither "0.1" nor true
Bar = tuple[int, Number, Number, Number, Number, Number]
_EXAMPLE: list[JsonValue] = [round(0.0004 * ((step * 7919) % 11 - 5), 6) for step in range(40)]


class PredictRequest(RequestBody):
    """Exactly one of `logret`, `bars`, `stream`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"logret": _EXAMPLE}, {"stream": "binance:BTC/USDT:1m"}]})

    logret: list[Annotated[Number, Field(ge=-20, le=20)]] | None = Field(
        None, max_length=MAX_RETURNS, fail_fast=True, description="Contiguous log returns, oldest first; 30 or more."
    )
    bars: list[Bar] | None = Field(
        None,
        max_length=MAX_BARS,
        fail_fast=True,
        description="`[open_time, open, high, low, close, volume]`, UTC ms; 31 or more.",
    )
    stream: str | None = Field(None, max_length=200, description="A stream of the ledger: `binance:BTC/USDT:1m`.")
    model_name: str | None = Field(None, description="Not served yet: belongs to the model registry.")
    prediction_horizon: int | None = Field(None, description="Not served yet: belongs to the model registry.")
    save_to_db: bool | None = Field(None, description="Not served yet: belongs to the model registry.")

    @property
    def registry_fields(self) -> list[str]:
        """The registry's fields that were sent."""
        return sorted({"model_name", "prediction_horizon", "save_to_db"} & self.model_fields_set)

    @model_validator(mode="after")
    def _one_kind(self) -> "PredictRequest":
        kinds = [name for name in ("logret", "bars", "stream") if getattr(self, name) is not None]
        if len(kinds) > 1 or (not kinds and not self.registry_fields):
            sent = " and ".join(kinds) or "none of them"
            raise ValueError(f"send exactly one of logret, bars, stream; {sent} was sent")
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
