"""Bundles of our own forecasters as a trainer would leave them."""

from pathlib import Path

from tests.libs.modelstore.bundles import meta
from tidewheel.contracts.states import Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.models.horizons import HorizonModel
from tidewheel.modelstore.store import ModelStore


def fitted(hours: CandleFrame, horizons: tuple[int, ...] = (1, 24)) -> HorizonModel:
    """A line for each horizon."""
    return HorizonModel.fit(hours, family="baseline", horizons=horizons, seed=1)


def published(root: Path, model: HorizonModel, *, origin: Origin = Origin.REPLAY) -> str:
    """Publish the model below `root`; its folder, relative to that."""
    store = ModelStore(root)
    staged = store.stage(model.family, model.to_payload(), meta(feature_signature=model.signature, origin=origin))
    return str(store.publish(staged).relative_to(root))
