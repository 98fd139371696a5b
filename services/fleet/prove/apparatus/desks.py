"""A simulated desk: a market whose best preset depends on context, and a bandit that trades on it and learns."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tidewheel.bandits.draws import draws
from tidewheel.bandits.key_share import holds_too_much
from tidewheel.bandits.policies import Pick, choose
from tidewheel.bandits.posterior import Belief, Posterior
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.strategies import PolicySpec
from tidewheel.features.frames import Floats

PAIR = PairKey("prove", "BTC/USDT")
NOISE = 0.5  #: standard deviation of a reward around its expectation
#: Expected reward of each preset: a constant, then per unit of volatility and of trend. The first gains in a trend up,
#: the second in a trend down, the third a little where it is quiet.
EDGES = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.3, -0.5, 0.0]])
LIAR = "liar"
ENGINES = 40  #: honest keys


@dataclass(frozen=True, slots=True)
class Lies:
    """One key that tells the worst it can: that the best preset lost, and any other won."""

    share: float  #: of all outcomes that it tells
    size: float  #: reward that it tells, reward units


@dataclass(frozen=True, slots=True)
class Rules:
    """What guards the learning."""

    clip: tuple[float, float] = (-4.0, 4.0)
    max_key_share: float = 1.0


@dataclass(slots=True)
class Desk:
    """One preset is picked, traded and learnt of, over and over, by the code that serves."""

    spec: PolicySpec
    seed: int
    edges: Floats = field(default_factory=lambda: EDGES)  #: [K, d]
    lies: Lies | None = None
    rules: Rules = Rules()
    known: list[Posterior] = field(init=False)
    told_by: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.known = [Posterior.empty(self.edges.shape[1]) for _ in self.edges]

    def trade(self, steps: int) -> Iterator[tuple[Pick, Floats]]:
        """Each decision, and the expected reward [K] of all presets at it."""
        rng = np.random.default_rng([self.seed, 1])
        beliefs = [self._belief(preset) for preset in range(len(self.edges))]
        for number, x in enumerate(_contexts(rng, steps, self.edges.shape[1])):
            pick = choose(self.spec, beliefs, x, draws(self.seed, PAIR, number), None, 0.0)
            expected: Floats = self.edges @ x
            self._learn(pick.index, x, expected, number, rng)
            beliefs[pick.index] = self._belief(pick.index)
            yield pick, expected

    def _learn(self, index: int, x: Floats, expected: Floats, number: int, rng: np.random.Generator) -> None:
        reward = float(expected[index] + NOISE * rng.standard_normal())
        actor = f"engine {rng.integers(ENGINES)}"
        if self.lies is not None and rng.random() < self.lies.share:
            reward, actor = (-self.lies.size if index == np.argmax(expected) else self.lies.size), LIAR
        if holds_too_much(self.told_by, actor, self.rules.max_key_share):
            return
        self.told_by = [*self.told_by[-200:], actor]
        low, high = self.rules.clip
        clipped = min(max(reward, low), high)
        self.known[index] = self.known[index].learn(x, clipped, number, self.spec.half_life_ms)

    def _belief(self, preset: int) -> Belief:
        return self.known[preset].solve(self.spec.ridge, 0, None)


def _contexts(rng: np.random.Generator, steps: int, d: int) -> Floats:
    """[steps, d]: a leading 1, then features that wander like an AR(1) of unit variance with a memory of ten trades."""
    stay = 0.9
    walk = np.zeros((steps, d - 1))
    shocks = rng.standard_normal((steps, d - 1))
    before = shocks[0]
    for step in range(steps):
        before = walk[step] = stay * before + np.sqrt(1 - stay**2) * shocks[step]
    return np.column_stack([np.ones(steps), walk.clip(-3.0, 3.0)])


def regrets(desk: Desk, steps: int) -> Floats:
    """Regret [steps] summed up to each decision: expected reward of the best preset less that of the one picked."""
    lost = [float(expected.max() - expected[pick.index]) for pick, expected in desk.trade(steps)]
    return np.cumsum(lost)
