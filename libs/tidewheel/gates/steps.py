"""Steps of the gate that need no files: schema, enough data, and the champion re-scored."""

from typing import Any, ClassVar

from tidewheel.contracts.errors import BadBundle
from tidewheel.contracts.verdicts import StepResult
from tidewheel.gates.gate import Candidate, Entrant
from tidewheel.gates.scores import block_bootstrap, differences, mean_score, scores


class SchemaStep:
    """The files read back as the very model that was fitted, on the features that serving computes."""

    name: ClassVar[str] = "schema"
    min_blocks: ClassVar[int] = 0

    def __init__(self, feature_signature: str) -> None:
        """`feature_signature`: of the features that this program serves."""
        self._expected = feature_signature

    def __call__(self, candidate: Entrant) -> StepResult:
        numbers = {"feature_signature": candidate.feature_signature}
        if candidate.model.family != candidate.family.partition("-")[0]:  # hmm-strict is a sibling of hmm
            return self._answer(False, f"a {candidate.model.family} model stands for {candidate.family}", numbers)
        if candidate.feature_signature != self._expected:
            reason = f"feature signature {candidate.feature_signature[:12]}, served is {self._expected[:12]}"
            return self._answer(False, reason, numbers)
        problem = read_back_problem(candidate)
        return self._answer(problem is None, problem or "the files read back as the fitted model", numbers)

    def _answer(self, passed: bool, reason: str, numbers: dict[str, Any]) -> StepResult:
        return StepResult(step=self.name, passed=passed, reason=reason, numbers=numbers)


def read_back_problem(candidate: Entrant) -> str | None:
    """Why the files are not the very model that was fitted, or None where they are."""
    try:
        found = type(candidate.model).from_payload(candidate.payload)
    except BadBundle as error:
        return error.detail
    same = found.to_payload() == candidate.model.to_payload()
    return None if same else "the files hold another model than the one that was fitted"


class EnoughDataStep:
    """The training slice holds MIN_TRAIN_BARS."""

    name: ClassVar[str] = "enough_data"
    min_blocks: ClassVar[int] = 0

    def __call__(self, candidate: Candidate) -> StepResult:
        bars, needed = candidate.train_bars, candidate.min_train_bars
        reason = f"{bars} training bars, {needed} needed" + (f": {needed - bars} more" if bars < needed else "")
        if candidate.short_segments:
            reason += f"; {candidate.short_segments} of {candidate.segments} unbroken runs of bars are too short to use"
        numbers = {
            "train_bars": bars,
            "min_train_bars": needed,
            "segments": candidate.segments,
            "short_segments": candidate.short_segments,
        }
        return StepResult(step=self.name, passed=bars >= needed, reason=reason, numbers=numbers)


class ChampionStep:
    """On bars that neither has seen, the challenger predicts better than the champion, and surely so.

    Both are scored without refit on the challenger's hold-out. Passed when the 5 % quantile of the mean paired
    difference, under a seeded block bootstrap, is above zero. Without a champion the baseline stands in.
    """

    name: ClassVar[str] = "champion"
    min_blocks: ClassVar[int] = 20  #: a bootstrap over fewer blocks promises more than it knows

    def __call__(self, candidate: Candidate) -> StepResult:
        opponent = candidate.champion or candidate.baseline
        opponent_name = candidate.champion_version if candidate.champion else candidate.baseline.family
        ours, theirs = scores(candidate.model, candidate.holdout), scores(opponent, candidate.holdout)
        paired = differences(ours, theirs)
        bars = sum(len(run) for runs in paired.values() for run in runs)
        numbers: dict[str, Any] = {"opponent": opponent_name, "n": bars}
        found = block_bootstrap(paired, candidate.seed) if bars else None
        if found is None or found.blocks < self.min_blocks:
            blocks = found.blocks if found else 0
            reason = f"the hold-out has {bars} scored bars in {blocks} blocks; {self.min_blocks} blocks are needed"
            return StepResult(step=self.name, passed=False, reason=reason, numbers={**numbers, "blocks": blocks})
        numbers |= {
            "mean_difference": found.mean,
            "quantile_05": found.quantile,
            "blocks": found.blocks,
            "challenger_score": mean_score(ours),
            "opponent_score": mean_score(theirs),
            "streams": {
                stream: {"mean_difference": mean_score({stream: runs}), "n": sum(map(len, runs))}
                for stream, runs in paired.items()
                if runs
            },
        }
        passed = found.quantile > 0.0
        reason = (
            f"{'better' if passed else 'not surely better'} than {opponent_name}: {found.mean:+.4f} nats a bar, "
            f"5 % quantile {found.quantile:+.4f}, over {found.bars} bars"
        )
        return StepResult(step=self.name, passed=passed, reason=reason, numbers=numbers)
