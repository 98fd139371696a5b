"""Saved predictions, what came of them, and how good a version was."""

from typing import Literal

from pydantic import Field, field_validator

from tidewheel.contracts.states import IntervalSource, PredictionState
from tidewheel.kit.schemas import Answer
from tidewheel.registry.service import ModelMetrics


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
    noise: float = Field(description="About the index of as many samples, overlapping as they do, without any drift.")
    judgement: Literal["ordinary", "drifted"] | None = Field(
        description="Drifted: psi above 0.25 and above three times the noise. Null without psi."
    )


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
    stream: str = Field(description="Whose predictions these figures are of.")
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
        row = found.row
        return cls(model_name=row.model_name, model_version=row.version, stream=str(found.stream), horizons=views)
