"""A fitted forecaster on its way to the gate: what it is judged on, and what bundle and ledger say of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.ml_trainer.service.registry.opponents import NAIVE, Opponent
from tidewheel.contracts.keys import path_part
from tidewheel.contracts.states import ModelFormat
from tidewheel.contracts.times import HOUR, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.features.hourly import CATALOGUE, lookback
from tidewheel.gates.forecasts import ForecastCandidate, ForecastChampionStep, Persistence
from tidewheel.ledger.records import Stream
from tidewheel.ledger.registry.records import NewModel
from tidewheel.models.horizons import HorizonModel
from tidewheel.modelstore.bundle import BundleMeta
from tidewheel.modelstore.code import code_digest
from tidewheel.modelstore.store import Staged
from tidewheel.registry.bundles import own_config
from tidewheel.registry.config import FeatureConfig

METRIC = "skill"  #: 1 - error / error of the naive forecast, on hours held out, the mean over horizons
_TYPES = {"baseline": "LinearRegression", "random_forest": "RandomForest"}
_BEFORE = lookback(sorted(CATALOGUE)) * HOUR


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ForecastChallenger:
    """One run's model with its data."""

    name: str  #: under which it would be published
    model: HorizonModel
    payload: Mapping[str, bytes]
    stream: Stream
    hours: CandleFrame  #: all that the stream has
    cut: UtcMillis  #: it was fitted on bars before it, and is compared at base times from it on
    opponent: Opponent
    errors: Mapping[str, Mapping[str, Any]]  #: horizon -> what `measured` told

    def meta(self) -> BundleMeta:
        """What the bundle says beside the weights."""
        return BundleMeta(
            data_as_of=self.data_as_of,
            max_feature_time=self.model.end - HOUR,
            max_label_known_at=self.model.end,
            label_schema_version=1,
            feature_signature=self.model.signature,
            seed=self.model.seed,
            code_digest=code_digest(),
            origin=self.stream.origin,
            metrics=self.metrics,
            metric_name=METRIC,
            metric_value=self.metrics[METRIC],
            claimed_files=0,
            lineage=self.lineage(),
        )

    def lineage(self) -> dict[str, Any]:
        """The data and the settings that the model came from."""
        return {
            "stream": str(self.stream.key),
            "hours": len(self.hours),
            "start": int(self.hours.open_time[0]),
            "end": self.data_as_of,
            "holdout_from": self.cut,
            "closes_sha256": closes_digest(self.hours),
            "left_out": {str(horizon): why for horizon, why in self.model.left_out.items()},
            "opponent": self.opponent.name,
        }

    def candidate(self, staged: Staged) -> ForecastCandidate:
        """What the gate may know."""
        return ForecastCandidate(
            family=self.name,
            model=self.model,
            payload=self.payload,
            feature_signature=staged.manifest.feature_signature,
            opponent=self.opponent.forecasts,
            opponent_name=self.opponent.name,
            replaces=self.opponent.replaces,
            hours=self.hours.between(self.cut - _BEFORE, None),
            cut=self.cut,
            bundle_dir=staged.dir,
        )

    def new_model(self, staged: Staged) -> NewModel:
        """What the ledger keeps of the published bundle, which serving reads at `<name>/<version>`."""
        horizons = self.model.horizons
        config = own_config(self.model, horizons)
        return NewModel(
            model_name=self.name,
            version=staged.version,
            model_type=_TYPES[self.model.family],
            prediction_horizons=horizons,
            file_path=f"{path_part(self.name)}/{staged.version}",
            feature_config=config,
            digest=staged.digest,
            content_digest=staged.digest,
            format=ModelFormat.BUNDLE,
            feature_signatures=FeatureConfig.parse(config, horizons).signatures(),
            outputs=len(horizons),
            trusted=True,
            stream=self.stream.key,
            data_as_of=self.data_as_of,
            origin=self.stream.origin,
            metrics=self.metrics,
        )

    @property
    def data_as_of(self) -> UtcMillis:
        """When the newest hour had closed."""
        return int(self.hours.open_time[-1]) + HOUR

    @property
    def metrics(self) -> dict[str, Any]:
        """Its errors on the hours held out, beside the naive forecast's."""
        skills = [each["skill"] for each in self.errors.values() if each["skill"] is not None]
        return {METRIC: sum(skills) / len(skills) if skills else None, "horizons": dict(self.errors)}


def closes_digest(hours: CandleFrame) -> str:
    """sha256 over all of the hours that enters a model or its comparison."""
    return hashlib.sha256(hours.open_time.tobytes() + hours.close.tobytes()).hexdigest()


def measured(model: HorizonModel, hours: CandleFrame, cut: UtcMillis) -> dict[str, dict[str, Any]]:
    """Errors of the model by horizon beside the naive forecast's, at base times from the cut on."""
    naive = ForecastCandidate(
        family=model.family,
        model=model,
        payload={},
        feature_signature=model.signature,
        opponent=Persistence(model.horizons),
        opponent_name=NAIVE,
        replaces=False,
        hours=hours.between(cut - _BEFORE, None),
        cut=cut,
    )
    found: dict[str, dict[str, Any]] = ForecastChampionStep()(naive).numbers["horizons"]
    return found
