"""How a preset is picked: linear Thompson sampling, Thompson sampling without context, epsilon-greedy, fixed.

A policy sees each preset's expected reward in the present context and how unsure it is, both in the reward's unit,
and gets the decision's own dice. The preset in use has a bonus, the hysteresis: another one must beat it by as much.
The bonus belongs to the policy, so the propensity that is logged is the probability with which it really picks, and a
later evaluation of other presets may trust it.

References: Agrawal & Goyal (2013), Thompson sampling for contextual bandits with linear payoffs; Chapelle & Li (2011),
An empirical evaluation of Thompson sampling; Sutton & Barto (2018), Reinforcement learning, section 2.2.

>>> from tidewheel.bandits.posterior import Posterior
>>> x, rng = np.array([1.0]), np.random.default_rng(1)
>>> taught = [Posterior.empty(1).learn(x, reward, at=0, half_life_ms=None) for reward in (2.0, 0.0)]
>>> beliefs = [posterior.solve(ridge=1.0, at=0, half_life_ms=None) for posterior in taught]
>>> pick = choose(PolicySpec(exploration=0.5), beliefs, x, rng, incumbent=None, hysteresis=0.0)
>>> pick.index, round(pick.propensity, 4)
(0, 0.9772)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtri

from tidewheel.bandits.best_of import probability_of_best
from tidewheel.bandits.posterior import Belief
from tidewheel.contracts.errors import BadInput, PosteriorUnusable
from tidewheel.contracts.states import PolicyName
from tidewheel.contracts.strategies import PolicySpec
from tidewheel.features.frames import Floats

_DROWNS = 1e-12  #: of the largest score
_HALF_STEP = 2.0**-54  #: numpy's uniforms are multiples of 2**-53 from 0 on; this moves them off 0


@dataclass(frozen=True, eq=False, slots=True)
class Pick:
    """What a policy picked, and how likely it was to."""

    index: int  #: of the preset
    greedy: int  #: of the highest expected reward
    unheld: int  #: what the same dice would have picked without hysteresis
    propensities: Floats  #: [K], probability of each preset; sums to 1

    @property
    def propensity(self) -> float:
        """Probability of the one that was picked."""
        return float(self.propensities[self.index])


@dataclass(frozen=True, eq=False, slots=True)
class Prospects:
    """What the presets promise in one context, all [K]."""

    means: Floats  #: expected reward, reward units
    widths: Floats  #: sqrt(x' A⁻¹ x): standard deviation of that for a reward noise of 1
    bonus: Floats  #: hysteresis at the preset in use, else 0, reward units


class Policy(Protocol):
    """One way to pick. It throws the same number of dice whatever they show."""

    def pick(self, prospects: Prospects, rng: np.random.Generator) -> tuple[int, int]:
        """The index picked, and what the same dice would have picked without any bonus."""
        ...

    def propensities(self, prospects: Prospects) -> Floats:
        """Probability [K] with which `pick` picks each."""
        ...


@dataclass(frozen=True, slots=True)
class LinTS:
    """Linear Thompson sampling: draw θ of each preset from its belief, pick the highest x'θ.

    x'θ is normal with mean x'θ̂ and deviation v·sqrt(x' A⁻¹ x), independent over presets, so the scores themselves are
    drawn: the same law for one number a preset instead of d. A preset that is little known is wide and gets tried; as
    outcomes come in it narrows, and the trying ends by itself.
    """

    exploration: float  #: v >= 0, standard deviation of a reward, reward units

    def pick(self, prospects: Prospects, rng: np.random.Generator) -> tuple[int, int]:
        """The highest of scores drawn by inversion, one uniform number a preset."""
        normal = ndtri(rng.random(len(prospects.means)) + _HALF_STEP)
        scores = prospects.means + self._deviations(prospects) * normal
        return int(np.argmax(scores + prospects.bonus)), int(np.argmax(scores))

    def propensities(self, prospects: Prospects) -> Floats:
        """By quadrature."""
        return probability_of_best(prospects.means + prospects.bonus, self._deviations(prospects))

    def _deviations(self, prospects: Prospects) -> Floats:
        """Of the scores; 0 where one would drown in the rounding of the scores, which has another law."""
        deviations = self.exploration * prospects.widths
        return np.where(deviations > _DROWNS * np.abs(prospects.means + prospects.bonus).max(), deviations, 0.0)


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """With probability ε any preset, all alike, else the one of the highest expected reward.

    It never stops trying, so it never stops paying for it; its propensities are never below ε/K, which makes for logs
    that say something of every preset.
    """

    epsilon: float  #: 0..1

    def pick(self, prospects: Prospects, rng: np.random.Generator) -> tuple[int, int]:
        """Two uniform numbers: whether to try, and which."""
        whether, which = rng.random(2).tolist()
        if whether < self.epsilon:
            tried = int(which * len(prospects.means))
            return tried, tried
        return int(np.argmax(prospects.means + prospects.bonus)), int(np.argmax(prospects.means))

    def propensities(self, prospects: Prospects) -> Floats:
        """ε/K each, and the rest to the best."""
        presets = len(prospects.means)
        found = np.full(presets, self.epsilon / presets)
        found[np.argmax(prospects.means + prospects.bonus)] += 1.0 - self.epsilon
        return found


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same preset: what a strategy does without us."""

    index: int

    def pick(self, prospects: Prospects, rng: np.random.Generator) -> tuple[int, int]:
        """No dice."""
        return self.index, self.index

    def propensities(self, prospects: Prospects) -> Floats:
        """1 for it."""
        found = np.zeros(len(prospects.means))
        found[self.index] = 1.0
        return found


def policy_of(spec: PolicySpec, default: int) -> Policy:
    """The policy that a schema names; `default` is the index of its default preset, which `fixed` serves."""
    if spec.name is PolicyName.FIXED:
        return Fixed(default)
    if spec.name is PolicyName.EPSILON_GREEDY:
        return EpsilonGreedy(spec.epsilon)
    return LinTS(spec.exploration)  # thompson is the same with x = [1]


def choose(
    spec: PolicySpec,
    beliefs: Sequence[Belief],
    x: Floats,
    rng: np.random.Generator,
    incumbent: int | None,
    hysteresis: float,
    *,
    default: int = 0,
) -> Pick:
    """Pick one of the presets.

    Args:
        spec: name and constants of the policy.
        beliefs: one a preset, K >= 1, in the order of which all indices speak.
        x: context [d], leading 1 included; [1] without context.
        rng: of `draws`, this decision's own.
        incumbent: index of the preset in use; None where there is none, or it was retired.
        hysteresis: bonus of the incumbent, reward units, >= 0.
        default: index of the schema's default preset, for the policy `fixed`.

    Raises:
        BadInput: there is no preset, or an index is none of theirs.
        PosteriorUnusable: an expected reward or width is not a finite number.
    """
    presets = len(beliefs)
    for name, index in (("incumbent", incumbent), ("default", default)):
        if index is not None and not 0 <= index < presets:
            raise BadInput(f"{name} = {index} is none of the {presets} presets")
    policy, prospects = policy_of(spec, default), prospects_of(beliefs, x, incumbent, hysteresis)
    index, unheld = policy.pick(prospects, rng)
    return Pick(index, int(np.argmax(prospects.means)), unheld, policy.propensities(prospects))


def prospects_of(beliefs: Sequence[Belief], x: Floats, incumbent: int | None, hysteresis: float) -> Prospects:
    """What a policy is shown; arguments and errors as of `choose`."""
    means = np.array([belief.mean(x) for belief in beliefs])
    widths = np.array([belief.width(x) for belief in beliefs])
    if not (np.isfinite(means).all() and np.isfinite(widths).all()):
        raise PosteriorUnusable(f"expected rewards {means.tolist()} or widths {widths.tolist()} are not finite")
    bonus = np.zeros(len(beliefs))
    if incumbent is not None:
        bonus[incumbent] = hysteresis
    return Prospects(means, widths, bonus)
