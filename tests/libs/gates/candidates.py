"""Candidates made the way the trainer makes them."""

from collections.abc import Mapping

from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import regime_signature
from tidewheel.gates.gate import Candidate, Gate
from tidewheel.gates.splits import split
from tidewheel.gates.steps import ChampionStep, EnoughDataStep, SchemaStep
from tidewheel.models.gaussian import GaussianModel
from tidewheel.models.regime import RegimeModel

SIGNATURE = regime_signature("1m")
GATE: Gate[Candidate] = Gate([SchemaStep(SIGNATURE), EnoughDataStep(), ChampionStep()])


def candidate(
    window: Mapping[str, CandleFrame], champion: RegimeModel | None = None, *, restarts: int = 2
) -> tuple[RegimeModel, Candidate]:
    """A challenger fitted on the first 80 % of `window`, to be judged on the rest."""
    parts = split(window)
    model = RegimeModel.fit(parts.train, seed=42, restarts=restarts, champion=champion)
    return model, Candidate(
        family="hmm",
        model=model,
        payload=model.to_payload(),
        feature_signature=SIGNATURE,
        champion=champion,
        champion_version="v2025-01-11-00000000" if champion else None,
        baseline=GaussianModel.fit(parts.train),
        holdout=parts.holdout,
        train_bars=parts.train_bars,
        min_train_bars=2_000,
        seed=42,
    )
