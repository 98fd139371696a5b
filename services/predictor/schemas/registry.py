"""`/models`: what is registered, and under which names."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from tidewheel.contracts.states import ModelFormat
from tidewheel.kit.schemas import Answer, RequestBody
from tidewheel.ledger.registry.records import RegisteredModel


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
                    "feature_config": {"features": ["lag_1h", "lag_2h", "lag_24h", "SMA_10h"], "units": "relative"},
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
        "base features, in prices, at every horizon. A model that learnt returns wants `relative`.",
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
