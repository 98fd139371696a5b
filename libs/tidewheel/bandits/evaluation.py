"""What other picks would have earned, told from a log of picks that were made.

A log holds, for each decision, its context, the preset served, the probability it was served with, and the reward.
Three estimates of the mean reward of a target, which says how likely it would serve each preset in each row:
IPS weighs each reward by how much likelier the target serves that preset than the log did; SNIPS divides by the mean
weight, which steadies it; doubly robust (DR) starts from a reward model and corrects it with the weighted residuals,
and is right when either the propensities or the model are. A log cannot tell of a preset that it gave no chance: then
the answer is a reason, and no number.

Intervals are Student's, with as many degrees of freedom as the weights leave effective rows; they take rows for
exchangeable, so rewards that drift or hang together make them too narrow. So does a log of a bandit that was learning
while it served, for it turns from a preset after bad luck: over 60 logs of 300 decisions 95 % intervals covered the
truth in 80 % (IPS, SNIPS) and 94 % (DR) of cases. Read DR first.

References: Dudik, Langford & Li (2011), Doubly robust policy evaluation and learning; Swaminathan & Joachims (2015),
The self-normalized estimator for counterfactual learning; Kong (1992), A note on importance sampling (effective rows).

>>> rng = np.random.default_rng(1)
>>> served = rng.integers(2, size=400)
>>> log = Log(np.ones((400, 1)), served, 1.0 * served + rng.normal(size=400), np.full(400, 0.5), presets=2)
>>> found = evaluate(log, always(1, log))
>>> found.snips is not None and found.snips.low < 1.0 < found.snips.high
True
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from tidewheel.contracts.errors import BadInput
from tidewheel.features.frames import Floats, Ints

FEWEST = 10.0  #: effective rows; fewer give no number
_FOLDS = 5
_RIDGE = 1.0
_REACHED = 0.95  #: a mean weight that is surely below this says that part of the log gave the target no chance


@dataclass(frozen=True, eq=False, slots=True)
class Log:
    """Decisions whose outcome is known, oldest first."""

    x: Floats  #: [n, d], contexts, leading 1 included
    preset: Ints  #: [n], index of the preset served
    reward: Floats  #: [n], reward units
    propensity: Floats  #: [n], in (0, 1]: with which it was served; 1 leaves the others no chance
    presets: int  #: K

    def __post_init__(self) -> None:
        n = len(self.preset)
        if self.x.ndim != 2 or not len(self.x) == len(self.reward) == len(self.propensity) == n:
            raise BadInput(f"a log of {n} presets has {len(self.x)} contexts, {len(self.reward)} rewards")
        if n and not (np.isfinite(self.x).all() and np.isfinite(self.reward).all()):
            raise BadInput("a log holds a context or reward that is not finite")
        wrong = np.flatnonzero(~((self.propensity > 0) & (self.propensity <= 1)))
        if len(wrong):
            raise BadInput(f"row {wrong[0]} of a log has propensity {self.propensity[wrong[0]]}, not within (0, 1]")
        if n and not 0 <= self.preset.min() <= self.preset.max() < self.presets:
            raise BadInput(f"a log of {self.presets} presets names one beyond them")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean reward of the target, reward units."""

    value: float
    low: float  #: of its interval
    high: float
    n: int  #: rows it rests on
    ess: float  #: effective rows: how many unweighted ones would tell as much


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a log says of a target; either three estimates, or why there is none."""

    rows: int  #: of the log
    share: float  #: of its rows in which the target's presets had a chance; the estimates speak of those
    reason: str | None  #: why there is no number; None where there are
    ips: Estimate | None
    snips: Estimate | None
    dr: Estimate | None

    @property
    def supported(self) -> bool:
        """Whether the log says anything of the target."""
        return self.reason is None


def always(preset: int, log: Log) -> Floats:
    """The target [n, K] that serves one preset whatever the context."""
    target = np.zeros((len(log.preset), log.presets))
    target[:, preset] = 1.0
    return target


def evaluate(log: Log, target: Floats, *, confidence: float = 0.95, over_log: bool = False) -> Evaluation:
    """Mean reward that `target` would have earned on the rows of `log` where its presets had a chance.

    Args:
        log: as served.
        target: [n, K], probability with which each preset would be served; rows sum to 1.
        confidence: of the intervals, within (0, 1).
        over_log: tell how much more than what was served in the same rows: the log's regret, compared row by row.

    Raises:
        BadInput: the target has another shape or is no distribution, or confidence is no probability.
    """
    rows = len(log.preset)
    if target.shape != (rows, log.presets) or (target < 0).any() or (abs(target.sum(axis=1) - 1.0) > 1e-6).any():
        raise BadInput(f"a target of shape {target.shape} is no distribution over {log.presets} presets in {rows} rows")
    if not 0.0 < confidence < 1.0:
        raise BadInput(f"confidence = {confidence} is not between 0 and 1")
    chance = _chance(log, target)
    share = float(chance.mean()) if rows else 0.0
    known = Log(log.x[chance], log.preset[chance], log.reward[chance], log.propensity[chance], log.presets)
    aim = target[chance]
    weights = aim[np.arange(len(aim)), known.preset] / known.propensity
    reason = _unsupported(weights)
    if reason is not None:
        return Evaluation(rows, share, reason, None, None, None)
    ess = _effective(weights)
    gained = weights * known.reward
    ratio = float(gained.sum() / weights.sum())
    around = weights * (known.reward - ratio) / weights.mean()
    predicted = _cross_fitted(known)
    residual = known.reward - predicted[np.arange(len(aim)), known.preset]
    corrected = (aim * predicted).sum(axis=1) + weights * residual
    served = known.reward if over_log else np.zeros(len(aim))
    mean = float(served.mean())
    return Evaluation(
        rows,
        share,
        None,
        ips=_interval(float(gained.mean()) - mean, gained - served, ess, confidence),
        snips=_interval(ratio - mean, around - served, ess, confidence),
        dr=_interval(float(corrected.mean()) - mean, corrected - served, ess, confidence),
    )


def _chance(log: Log, target: Floats) -> NDArray[np.bool_]:
    """Rows [n] in which every preset of the target could have been served, as far as the log tells."""
    served = np.bincount(log.preset, minlength=log.presets) > 0
    certain = log.propensity >= 1.0
    possible = served & ~(certain[:, None] & (np.arange(log.presets) != log.preset[:, None]))
    found: NDArray[np.bool_] = (np.where(possible, target, 0.0).sum(axis=1)) > 1.0 - 1e-6
    return found


def _effective(weights: Floats) -> float:
    total = float(weights.sum())
    return total**2 / float((weights**2).sum()) if total else 0.0


def _unsupported(weights: Floats) -> str | None:
    """Why these rows say nothing of the target; None where they do."""
    if not len(weights):
        return "in no row had the target's presets a chance"
    ess = _effective(weights)
    if ess < FEWEST:
        return f"{len(weights)} rows tell as much of it as {ess:.1f} would; at least {FEWEST:g} are needed"
    # With a chance in every row the weights have mean 1; chances too small to be drawn leave it below.
    mean, error = float(weights.mean()), float(weights.std()) / np.sqrt(len(weights))
    if mean + 3.0 * error < _REACHED:
        return f"its presets had a real chance in only about {mean:.0%} of the rows: their mean weight is {mean:.2f}"
    return None


def _interval(value: float, parts: Floats, ess: float, confidence: float) -> Estimate:
    """Around `value`, from the spread of what each row contributes to it."""
    error = float(parts.std(ddof=1)) / np.sqrt(len(parts))
    reach = float(stdtrit(ess - 1.0, 0.5 + confidence / 2.0)) * float(error)
    return Estimate(value, value - reach, value + reach, len(parts), ess)


def _cross_fitted(log: Log) -> Floats:
    """Expected reward [n, K] of each preset in each row, by ridge regressions that never saw the row's fifth."""
    n, d = log.x.shape
    fold = np.arange(n) * _FOLDS // n  # fifths in time: neighbours are alike
    found = np.zeros((n, log.presets))
    for left_out in range(_FOLDS):
        for preset in range(log.presets):
            seen = (fold != left_out) & (log.preset == preset)
            x = log.x[seen]
            theta = np.linalg.solve(x.T @ x + _RIDGE * np.eye(d), x.T @ log.reward[seen])
            found[fold == left_out, preset] = log.x[fold == left_out] @ theta
    return found
