"""Bandits learn what pays, exactly, whoever lies, and say what a log can tell.

Five checks. Law: scores drawn one by one pick like θ drawn whole. Regret: where the best preset depends on context,
LinTS loses under half of what epsilon-greedy loses on the same posteriors, and ever less. Precision: θ̂ after a million
updates at condition 1e12, with and without fading, beside sixty digits. Lies: one key tells the opposite, and the best
preset is served all the same. Evaluation: intervals cover the truth as often as they say, or there is no number.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency, chisquare

from services.fleet.prove.apparatus.desks import NOISE, Desk, Lies, Rules, regrets
from services.fleet.prove.apparatus.exact_sums import Row, exact_theta
from services.fleet.prove.proof import Budget, Found, Tally, Tell
from tidewheel.bandits.evaluation import Log, always, evaluate
from tidewheel.bandits.policies import LinTS, prospects_of
from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.states import PolicyName
from tidewheel.contracts.strategies import PolicySpec
from tidewheel.features.frames import Floats

WHOLE = 1_000_000  #: updates of the long form
UNLIKELY = 1e-5  #: chance with which a true law is called false
EXACT = 1e-9  #: error of θ̂, relative to its largest part
STEEP = 0.75  #: exponent below which regret counts as sublinear
BEST_SHARE = 0.8  #: of decisions that serve the best preset beside a liar
HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each check."""

    updates: int
    draws: int  #: of each law
    seeds: int  #: of desks
    steps: int  #: of a desk beside another
    lied_steps: int  #: of a desk beside a liar
    logs: int  #: of an interval's coverage
    slack: float  #: by which a coverage may miss its level


def prove(budget: Budget, tell: Tell) -> Tally:
    """A trial is a comparison; the budget counts updates, and is long from a million on."""
    size = Size(budget.trials, 2_500, 2, 800, 500, 150, 0.06)
    if budget.trials >= WHOLE:
        size = Size(budget.trials, 40_000, 20, 5_000, 1_500, 2_000, 0.025)
    found = Found(Tally())
    checks: tuple[Callable[[int, Size, Found], None], ...] = (law, regret, precision, lies, coverage, support)
    for place, check in enumerate(checks):
        tell(place / len(checks), check.__name__)
        check(budget.seed, size, found)
    found.tally.figures = [f"bandits: {name}: {value:.4g}" for name, value in found.figures.items()]
    return found.tally


def law(seed: int, size: Size, found: Found) -> None:
    """Picks of LinTS and its propensities, beside the argmax of x'θ with θ ~ N(θ̂, v² A⁻¹) drawn for each preset."""
    rng = np.random.default_rng(seed)
    for exploration in (0.8, 2.0):
        x = np.append(1.0, rng.normal(size=2))
        scores, known = [], []
        for outcomes in (3, 12, 40, 0):
            contexts = np.column_stack([np.ones(outcomes), rng.normal(size=(outcomes, 2))])
            rewards, posterior = rng.normal(size=outcomes), Posterior.empty(3)
            for row, reward in zip(contexts, rewards.tolist(), strict=True):
                posterior = posterior.learn(row, reward, 0, None)
            known.append(posterior.solve(1.0, 0, None))
            covariance = np.linalg.inv(np.eye(3) + contexts.T @ contexts)
            centre = covariance @ contexts.T @ rewards
            scores.append(rng.multivariate_normal(centre, exploration**2 * covariance, size=size.draws) @ x)
        policy, prospects = LinTS(exploration), prospects_of(known, x, None, 0.0)
        whole = np.bincount(np.argmax(scores, axis=0), minlength=4)
        single = np.bincount([policy.pick(prospects, rng)[0] for _ in range(size.draws)], minlength=4)
        told = chisquare(whole, size.draws * policy.propensities(prospects)).pvalue
        alike = chi2_contingency([whole, single]).pvalue
        for what, chance in (("the propensities", told), ("the picks", alike)):
            found.least("least p of one law", float(chance))
            found.hold(
                bool(chance > UNLIKELY), f"{what} are not those of sampling θ at v = {exploration}: p = {chance:.1e}"
            )


def regret(seed: int, size: Size, found: Found) -> None:
    """Regret of LinTS and of epsilon-greedy at 0.1, summed over each seed's market."""
    ours, theirs = [], []
    for each in range(seed, seed + size.seeds):
        ours.append(regrets(Desk(PolicySpec(exploration=NOISE), each), size.steps))
        theirs.append(regrets(Desk(PolicySpec(name=PolicyName.EPSILON_GREEDY), each), size.steps))
        found.most("largest regret of LinTS over epsilon-greedy's, one seed", float(ours[-1][-1] / theirs[-1][-1]))
    mean, peer = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    ratio, steep = float(mean[-1] / peer[-1]), _exponent(mean)
    found.most(f"regret of LinTS over epsilon-greedy's, mean of {size.seeds} seeds", ratio)
    found.most("growth of LinTS's regret, exponent of time", steep)
    found.most("growth of epsilon-greedy's regret, exponent of time", _exponent(peer))
    found.hold(ratio < 0.5, f"LinTS lost {ratio:.0%} of what epsilon-greedy lost")
    found.hold(steep < STEEP, f"LinTS's regret grows like time to the power of {steep:.2f}")


def _exponent(summed: Floats) -> float:
    """How regret grows over the last three quarters: 1 where it is linear in time."""
    return float(np.log(summed[-1] / summed[len(summed) // 4 - 1]) / np.log(4.0))


def precision(seed: int, size: Size, found: Found) -> None:
    """θ̂ where two features differ by less than a millionth: sums, fading and the solution, all at once."""
    for half_life, updates in ((None, size.updates), (size.updates // 40 * HOUR, size.updates // 4)):
        posterior = Posterior.empty(4)
        for x, reward, at in _nearly_collinear(seed, updates):
            posterior = posterior.learn(x, reward, at, half_life)
        theta = posterior.solve(1e-12, posterior.learnt_at, half_life).theta
        expected, condition = exact_theta(_nearly_collinear(seed, updates), 4, 1e-12, half_life)
        error = float(np.abs(theta - expected).max() / np.abs(expected).max())
        found.least("least condition", condition)
        found.most("largest error of theta", error)
        found.hold(condition > 1e12, f"the condition is only {condition:.1e}; the check says nothing")
        found.hold(error <= EXACT, f"{updates} updates with half life {half_life} leave θ̂ {error:.1e} from exact")


def _nearly_collinear(seed: int, updates: int) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    for start in range(0, updates, 1_000):
        normal = rng.standard_normal((min(1_000, updates - start), 4))
        twin = normal[:, 0] + 7e-7 * normal[:, 1]
        rows = np.column_stack([np.ones(len(normal)), normal[:, 0], twin, normal[:, 2]])
        rewards = 0.3 - normal[:, 0] + 0.5 * normal[:, 2] + normal[:, 3]
        for place, (x, reward) in enumerate(zip(rows, rewards.tolist(), strict=True)):
            yield x, reward, (start + place) * HOUR


def lies(seed: int, size: Size, found: Found) -> None:
    """Forty honest keys, and one that tells a million the wrong way round: 5 % of all outcomes, and half of them."""
    edges, rules = np.array([[0.5], [0.0], [-0.2]]), Rules(clip=(-1.0, 1.0), max_key_share=0.05)
    for share in (0.05, 0.5):
        served = [
            pick.index == 0
            for each in range(seed, seed + size.seeds)
            for pick, _ in Desk(
                PolicySpec(name=PolicyName.THOMPSON, exploration=NOISE), each, edges, Lies(share, 1e6), rules
            ).trade(size.lied_steps)
        ]
        right = float(np.mean(served))
        found.least(f"best preset served beside a key that tells {share:.0%} lies, share", right)
        found.hold(right >= BEST_SHARE, f"with {share:.0%} lies the best preset is served in {right:.0%} of decisions")


def coverage(seed: int, size: Size, found: Found) -> None:
    """95 % intervals of three targets over logs of LinTS whose truth is known."""
    rng = np.random.default_rng(seed)
    world = _World.of(rng)
    targets = {
        "always 0": np.eye(3)[[0]].repeat(len(world.x), axis=0),
        "always 2": np.eye(3)[[2]].repeat(len(world.x), axis=0),
    }
    targets["the best of each context"] = np.eye(3)[np.argmax(world.expected, axis=1)]
    for name, target in targets.items():
        truth = float((target * world.expected).sum(axis=1).mean())
        covered: dict[str, list[bool]] = {"ips": [], "snips": [], "dr": []}
        for _ in range(size.logs):
            rows, log = world.log(rng, 400)
            told = evaluate(log, target[rows])
            for estimate in covered:
                interval = getattr(told, estimate)
                covered[estimate].append(interval is not None and interval.low <= truth <= interval.high)
        for estimate, hits in covered.items():
            share = float(np.mean(hits))
            found.least("least coverage of a 95 % interval", share)
            found.most("largest coverage of a 95 % interval", share)
            found.hold(abs(share - 0.95) <= size.slack, f"{estimate} of {name} covers the truth in {share:.1%} of logs")


def support(seed: int, size: Size, found: Found) -> None:
    """A preset never served, or with a chance in none or half of the contexts: a reason, and no number."""
    rng = np.random.default_rng(seed)
    for _ in range(max(1, size.logs // 50)):
        rows = 600
        x = np.column_stack([np.ones(rows), rng.choice([-1.0, 1.0], size=rows)])
        preset = rng.integers(2, size=rows)
        drawn = Log(x, preset, rng.normal(size=rows), np.full(rows, 0.5), presets=3)
        held = Log(x, np.zeros(rows, np.int64), rng.normal(size=rows), np.ones(rows), presets=3)
        chance = np.where(x[:, 1] > 0, 0.5, 1e-9)  # of preset 1
        rare = (rng.random(rows) < chance).astype(np.int64)
        sided = Log(x, rare, rng.normal(size=rows), np.where(rare == 1, chance, 1 - chance), presets=3)
        for log, target in ((drawn, 2), (held, 1), (sided, 1)):
            told = evaluate(log, always(target, log))
            silent = told.ips is None and told.snips is None and told.dr is None
            found.hold(not told.supported and silent, f"a log without support gave a number: {told}")
        found.hold(evaluate(drawn, always(1, drawn)).supported, "a log of half the decisions was called silent")


@dataclass(frozen=True, eq=False, slots=True)
class _World:
    """Contexts to draw rows from, what each preset pays there, and how likely LinTS serves it."""

    x: Floats  #: [n, 3]
    expected: Floats  #: [n, 3], reward units
    chance: Floats  #: [n, 3]

    @classmethod
    def of(cls, rng: np.random.Generator, contexts: int = 300) -> "_World":
        """A LinTS that has learnt a little, and learns no more."""
        edges = np.array([[0.2, 0.5, 0.0], [0.0, -0.5, 0.2], [0.1, 0.0, -0.4]])
        known = [Posterior.empty(3) for _ in edges]
        for turn in range(30):
            row, preset = np.append(1.0, rng.normal(size=2)), turn % 3
            known[preset] = known[preset].learn(row, float(edges[preset] @ row + rng.normal()), 0, None)
        beliefs = [posterior.solve(1.0, 0, None) for posterior in known]
        x = np.column_stack([np.ones(contexts), rng.normal(size=(contexts, 2)).clip(-2, 2)])
        policy = LinTS(1.5)
        chance = np.array([policy.propensities(prospects_of(beliefs, row, None, 0.0)) for row in x])
        return cls(x, x @ edges.T, chance)

    def log(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, Log]:
        """Rows drawn from the contexts with replacement, and what was logged there."""
        drawn = rng.integers(len(self.x), size=rows)
        served = (rng.random(rows)[:, None] > self.chance[drawn].cumsum(axis=1)).sum(axis=1).clip(max=2)
        reward = self.expected[drawn, served] + rng.normal(size=rows)
        return drawn, Log(self.x[drawn], served, reward, self.chance[drawn, served], presets=3)
