"""A registered model in memory: one file that answers for its horizons, or a bundle of our own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tidewheel.contracts.errors import BadModel, Conflict
from tidewheel.features.frames import Floats
from tidewheel.models.conformal import Conformal
from tidewheel.models.drift import Reference
from tidewheel.models.horizons import HorizonModel
from tidewheel.modelstore.bundle import read_bundle
from tidewheel.modelstore.loaders import horizon_model
from tidewheel.registry.formats.regressor import Regressor


class Forecasts(Protocol):
    """What serving asks of a model."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""

    def answer(self, horizon: int, row: Floats) -> float:
        """The forecast of one row [f], in the units of its feature_config.

        Raises:
            BadModel: it gives no finite number.
        """

    def band(self, horizon: int) -> Conformal | None:
        """Its own interval relative to the price; None where its outcomes have to tell."""

    def reference(self, horizon: int) -> Mapping[str, Reference]:
        """How each feature looked where it was fitted; empty where that is not known."""


@dataclass(frozen=True, eq=False, slots=True)
class OneFile:
    """A user's model: one output for every horizon, or one each in the order that they were registered in."""

    regressor: Regressor
    horizons: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """As `Forecasts`."""
        return self.regressor.nbytes

    def answer(self, horizon: int, row: Floats) -> float:
        """As `Forecasts`."""
        found = self.regressor.predict(row[None, :])
        return float(found[0, 0 if self.regressor.outputs == 1 else self.horizons.index(horizon)])

    def band(self, horizon: int) -> None:
        """None: nobody knows what it was fitted on, so no residual of it is fair but those that came."""

    def reference(self, horizon: int) -> Mapping[str, Reference]:
        """Empty."""
        return {}


@dataclass(frozen=True, eq=False, slots=True)
class Own:
    """A model that we trained."""

    model: HorizonModel
    nbytes: int

    @classmethod
    def read(cls, folder: Path, digest: str) -> "Own":
        """From the bundle in `folder`, every file of which is checked.

        Raises:
            Conflict: `model_file_changed`: it is another bundle than the one that was registered.
            BadBundle: it is damaged.
        """
        bundle = read_bundle(folder)
        if bundle.manifest.digest != digest:
            raise Conflict(
                f"{folder.name} is the bundle {bundle.manifest.digest[:12]}..., and {digest[:12]}... was registered; "
                "put the old one back, or register the new one",
                code="model_file_changed",
            )
        model = horizon_model(bundle.manifest.family, bundle.files)
        return cls(model, sum(map(len, bundle.files.values())))

    def answer(self, horizon: int, row: Floats) -> float:
        """As `Forecasts`."""
        found = float(self.model.predict(horizon, row[None, :])[0])
        if not np.isfinite(found):
            raise BadModel(f"the model's forecast over {horizon} h is {found}")
        return found

    def band(self, horizon: int) -> Conformal:
        """Of the slice that was held back from the fit."""
        return self.model.band(horizon)

    def reference(self, horizon: int) -> Mapping[str, Reference]:
        """Of the slice that was fitted."""
        return self.model.reference(horizon)
