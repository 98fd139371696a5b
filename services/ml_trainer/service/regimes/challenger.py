"""A fitted model on its way to the gate: what it is, what it is judged on, and what its bundle says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.ml_trainer.service.regimes.gather import Window
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.states import Origin
from tidewheel.contracts.verdicts import Verdict
from tidewheel.features.returns import regime_signature
from tidewheel.gates.gate import Candidate
from tidewheel.gates.scores import mean_score, scores
from tidewheel.gates.splits import Split
from tidewheel.gates.steps import ChampionStep
from tidewheel.ledger.records import NewVersion
from tidewheel.models.gaussian import GaussianModel
from tidewheel.models.regime import RegimeModel
from tidewheel.modelstore.bundle import BundleMeta
from tidewheel.modelstore.code import code_digest
from tidewheel.modelstore.store import Staged

METRIC = "holdout_score"  #: mean predictive score on the hold-out, nats a bar
CHAMPION_SCORE = "champion_score"  #: the same of the champion, on the challenger's hold-out, which is later


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Champion:
    """The version that the challenger must beat."""

    version: str
    payload: Mapping[str, bytes]
    model: RegimeModel


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class RegimeChallenger:
    """One run's model with its data."""

    model: RegimeModel
    payload: Mapping[str, bytes]
    window: Window
    split: Split
    origins: frozenset[Origin]  #: of the streams in the window
    champion: Champion | None
    settings: TrainerSettings

    def meta(self) -> BundleMeta:
        """What the bundle says beside the weights."""
        score = mean_score(scores(self.model, self.split.holdout))
        measured = score if score == score else None
        newest = max(int(frames[-1].open_time[-1]) for frames in self.split.train.values())
        return BundleMeta(
            data_as_of=self.window.data_as_of,
            max_feature_time=newest,
            feature_signature=regime_signature(self.settings.timeframe),
            seed=self.settings.train_seed,
            code_digest=code_digest(),
            origin=self.origin,
            parent=self.champion.version if self.champion else None,
            metrics={METRIC: measured, "train_bars": self.split.train_bars, "holdout_bars": self.split.holdout_bars},
            metric_name=METRIC,
            metric_value=measured,
            claimed_files=len(self.window.files),
            lineage=self.lineage(),
        )

    def lineage(self) -> dict[str, Any]:
        """The data and the settings that the model came from."""
        strict = self.settings.exactly_once
        return {
            **self.window.lineage(),
            "mode": "strict" if strict else "sliding",
            "window_days": None if strict else self.settings.train_window_days,
            "holdout_from": self.split.cut,
            "train_bars": self.split.train_bars,
            "seed": self.settings.train_seed,
            "restarts": self.settings.restarts,
        }

    def candidate(self, staged: Staged) -> Candidate:
        """What the gate may know."""
        return Candidate(
            family=staged.family,
            model=self.model,
            payload=self.payload,
            feature_signature=staged.manifest.feature_signature,
            champion=self.champion.model if self.champion else None,
            champion_version=self.champion.version if self.champion else None,
            baseline=GaussianModel.fit(self.split.train),
            holdout=self.split.holdout,
            train_bars=self.split.train_bars,
            min_train_bars=self.settings.min_train_bars,
            seed=self.settings.train_seed,
            segments=len(self.window.segments),
            short_segments=self.window.short_segments,
            bundle_dir=staged.dir,
        )

    def new_version(self, staged: Staged) -> NewVersion:
        """What the ledger keeps of the published bundle."""
        manifest = staged.manifest
        return NewVersion(
            family=staged.family,
            version=staged.version,
            digest=staged.digest,
            data_as_of=manifest.data_as_of,
            seed=manifest.seed,
            code_digest=manifest.code_digest,
            parent=manifest.parent,
            metrics=manifest.metrics,
            lineage=manifest.lineage,
            manifest=manifest.model_dump(mode="json"),
            origin=self.origin,
        )

    @property
    def origin(self) -> Origin:
        """The least real origin among the streams: one synthetic stream makes a synthetic model."""
        return Origin.least_real(self.origins)


def champion_score(verdict: Verdict) -> float | None:
    """The opponent's mean score on the hold-out, nats a bar; None where the gate did not come so far."""
    found = [step.numbers.get("opponent_score") for step in verdict.steps if step.step == ChampionStep.name]
    return found[0] if found else None
