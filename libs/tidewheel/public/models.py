"""Registered models from Python: `ModelService`, and the ledger that its calls take as `db`."""

from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.registry.service import LoadedModel, ModelService, Prediction

__all__ = ["Ledger", "LoadedModel", "ModelService", "Prediction", "open_ledger"]
