import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.libs.modelstore.bundles import forged, meta
from tests.libs.modelstore.regimes import published_regime, regime, staged_regime
from tidewheel.contracts.verdicts import StepResult
from tidewheel.features.returns import regime_signature
from tidewheel.gates.gate import Candidate, Gate
from tidewheel.models.conformal import Conformal
from tidewheel.models.drift import Reference
from tidewheel.models.horizons import Forecaster, HorizonModel
from tidewheel.models.linear import LinearModel
from tidewheel.modelstore.canary import canary
from tidewheel.modelstore.steps import Canary, Digest
from tidewheel.modelstore.store import ModelStore, Staged


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


def candidate(staged: Staged | None, **changes: Any) -> Candidate:
    model = regime()
    values: dict[str, Any] = {
        "family": "hmm",
        "model": model,
        "payload": model.to_payload(),
        "feature_signature": regime_signature("1m"),
        "champion": None,
        "champion_version": None,
        "baseline": model,
        "holdout": {},
        "train_bars": 1,
        "min_train_bars": 1,
        "seed": 42,
        "bundle_dir": None if staged is None else staged.dir,
    }
    return Candidate(**(values | changes))


def test_a_sound_candidate_passes_both_steps(store: ModelStore) -> None:
    """Digest and canary pass for a staged regime model, and their numbers say what was seen."""
    staged = staged_regime(store)

    verdict = Gate[Candidate]([Digest(), Canary()]).judge(candidate(staged))

    assert verdict.passed, verdict
    digest, loaded = verdict.steps
    assert digest.numbers["digest"] == staged.digest
    assert loaded.numbers["version"] == staged.version
    assert sum(loaded.numbers["last"]) == pytest.approx(1, abs=1e-5)
    store.publish(staged)


def test_digest_refuses_what_was_not_judged(store: ModelStore) -> None:
    """Damaged files, another model's, another signature's or none at all do not pass."""
    staged = staged_regime(store)
    other = candidate(staged, payload=regime(0.7).to_payload())
    unsigned = candidate(staged, feature_signature="0" * 64)
    strange = candidate(staged, family="hmm-strict")

    reasons = [Digest()(case).reason for case in (other, unsigned, strange, candidate(None))]
    (staged.dir / "model.json").chmod(0o644)
    (staged.dir / "model.json").write_text("{}")
    damaged = Digest()(candidate(staged))

    assert [reason.split(",")[0] for reason in reasons] == [
        "the staged files are not the candidate's",
        f"the manifest has feature signature {regime_signature('1m')}",
        "the staged files are not the candidate's",
        "the candidate was not staged",
    ]
    assert not damaged.passed and "model.json" in damaged.reason
    assert not Canary()(candidate(None)).passed


def test_canary_refuses_structural_damage_with_correct_digests(tmp_path: Path) -> None:
    """A bundle whose every digest fits but whose model is impossible is refused with the loader's sentence."""
    honest = json.loads(regime().to_payload()["model.json"])
    broken = {
        "a variance is not positive": honest | {"covars": [[0.0, 1.0]] * 3},
        "startprob": {name: value for name, value in honest.items() if name != "startprob"},
    }
    for sentence, content in broken.items():
        result = canary(forged(tmp_path / sentence, {"model.json": json.dumps(content).encode()}))
        assert not result.passed
        assert sentence in result.reason, result.reason


def test_canary_refuses_a_family_without_a_loader(store: ModelStore) -> None:
    """A family that nothing can load is refused by name."""
    staged = store.stage("lstm", regime().to_payload(), meta())

    result = canary(staged.dir)

    assert not result.passed and "'lstm' has no loader" in result.reason


def forecaster(width: float = 1.0) -> HorizonModel:
    """A line over one feature and one hour."""
    part = Forecaster(
        features=("lag_1h",),
        regressor=LinearModel(0.0, np.array([width]), 0.0),
        band=Conformal(0.9, 0.01, 50),
        scaled=False,
        reference=(Reference((), (200,)),),
        fit_rows=200,
        calibrate_rows=50,
    )
    return HorizonModel("baseline", {1: part}, {}, 1, 0, 1)


def test_canary_tries_models_of_the_registry(store: ModelStore) -> None:
    """A forecaster's child answers for each horizon; one that foretells nothing or less, or of another family, not."""

    def tried(family: str, model: HorizonModel) -> StepResult:
        return canary(store.stage(family, model.to_payload(), meta()).dir)

    sound, sibling = tried("baseline", forecaster()), tried("baseline-eurusd", forecaster())
    wild, strange = tried("baseline", forecaster(1e3)), tried("random_forest", forecaster())

    assert sound.passed and sibling.passed, (sound, sibling)
    assert set(sound.numbers["last"]) == {"1"} and sound.numbers["rows"] == 16
    assert not wild.passed and "a forecast over 1 h is not finite, or a fall to nothing" in wild.reason
    assert not strange.passed and "the files hold a baseline model, not one of random_forest" in strange.reason


def test_canary_ends_a_child_that_takes_too_long(store: ModelStore) -> None:
    """The parent waits no longer than it says."""
    result = canary(store.path("hmm", published_regime(store)), timeout=0.01)

    assert not result.passed and "within 0.01 s" in result.reason


def test_canary_keeps_a_greedy_bundle_from_the_machines_memory(tmp_path: Path) -> None:
    """A child over its memory limit ends by MemoryError, and nobody else notices."""
    greedy = {"model.json": b"[" + b"1.5," * 4_000_000 + b"1.5]"}

    result = canary(forged(tmp_path, greedy), memory_bytes=192 * 1024 * 1024)

    assert not result.passed
    assert "MemoryError" in result.reason
