"""Registered models from Python: `ModelService`, the ledger that its calls take as `db`, what a model is fitted on."""

from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.registry.service import LoadedModel, ModelService, Prediction
from tidewheel.registry.training import training_rows

__all__ = ["Ledger", "LoadedModel", "ModelService", "Prediction", "open_ledger", "training_rows"]
