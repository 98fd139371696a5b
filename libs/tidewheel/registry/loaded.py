"""A registered model in memory: one file that answers for its horizons, or a bundle of our own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidewheel.contracts.errors import BadModel
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.models.conformal import Conformal
from tidewheel.models.drift import Reference
from tidewheel.models.horizons import HorizonModel
from tidewheel.modelstore.bundle import OpenBundle
from tidewheel.modelstore.loaders import horizon_model
from tidewheel.registry.formats.regressor import Regressor


class Forecasts(Protocol):
    """What serving asks of a model."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""

    def answers(self, horizon: int, rows: Floats) -> Floats:
        """The forecasts [n] of rows [n, f], in the units of its feature_config.

        Raises:
            BadModel: one is no finite number.
        """

    def band(self, horizon: int) -> Conformal | None:
        """Its own interval, in units of `scale`; None where its outcomes have to tell."""

    def scale(self, horizon: int, hours: CandleFrame) -> float:
        """What residuals are in units of at the last of `hours`, in prices; NaN where that is not known."""

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

    def answers(self, horizon: int, rows: Floats) -> Floats:
        """As `Forecasts`."""
        return self.regressor.predict(rows)[:, 0 if self.regressor.outputs == 1 else self.horizons.index(horizon)]

    def band(self, horizon: int) -> None:
        """None: nobody knows what it was fitted on, so no residual of it is fair but those that came."""

    def scale(self, horizon: int, hours: CandleFrame) -> float:
        """The close."""
        return float(hours.close[-1])

    def reference(self, horizon: int) -> Mapping[str, Reference]:
        """Empty."""
        return {}


@dataclass(frozen=True, eq=False, slots=True)
class Own:
    """A model that we trained."""

    model: HorizonModel
    nbytes: int

    @classmethod
    def of(cls, bundle: OpenBundle) -> "Own":
        """From a verified bundle.

        Raises:
            BadBundle: it holds no forecaster of hours.
        """
        model = horizon_model(bundle.manifest.family, bundle.files)
        return cls(model, sum(map(len, bundle.files.values())))

    def answers(self, horizon: int, rows: Floats) -> Floats:
        """As `Forecasts`."""
        found = self.model.predict(horizon, rows)
        if not np.isfinite(found).all():
            raise BadModel(f"the model's forecast over {horizon} h is not finite")
        return found

    def band(self, horizon: int) -> Conformal:
        """Of the slice that was held back from the fit."""
        return self.model.band(horizon)

    def scale(self, horizon: int, hours: CandleFrame) -> float:
        """The close, up to a day ahead times the volatility."""
        return float(self.model.scale(horizon, hours)[-1])

    def reference(self, horizon: int) -> Mapping[str, Reference]:
        """Of the slice that was fitted."""
        return self.model.reference(horizon)
