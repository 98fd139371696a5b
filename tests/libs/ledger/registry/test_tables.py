"""The tables have the documented columns, by their names."""

from tidewheel.ledger.registry.tables import ml_models, predictions

DOCUMENTED = {
    ml_models: {
        "id", "model_name", "model_type", "prediction_horizons", "file_path", "feature_config", "is_active",
        "created_at", "updated_at",
    },
    predictions: {"id", "timestamp", "model_name", "prediction_horizon", "predicted_value", "created_at"},
}  # fmt: skip


def test_documented_columns_are_there() -> None:
    """A reader who knows the document finds what it names."""
    assert [table.name for table in DOCUMENTED] == ["ml_models", "predictions"]
    for table, names in DOCUMENTED.items():
        assert names <= set(table.columns.keys())
    assert str(ml_models.c.is_active.server_default.arg) == "1"  # type: ignore[union-attr]
