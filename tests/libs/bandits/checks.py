"""What every policy must do, whatever it is."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import chisquare

from tidewheel.bandits.draws import draws
from tidewheel.bandits.policies import Pick, choose, policy_of, prospects_of
from tidewheel.bandits.posterior import Belief, Posterior
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import PolicyName
from tidewheel.contracts.strategies import PolicySpec
from tidewheel.features.frames import Floats

PAIR = PairKey("trend", "BTC/USDT")
DIMENSIONS = {PolicyName.THOMPSON: 1}  #: of a context; else 3


def beliefs(spec: PolicySpec, presets: int = 4, seed: int = 3) -> tuple[list[Belief], Floats]:
    """Presets of which little is known, one of them nothing, and a context."""
    rng, d = np.random.default_rng(seed), DIMENSIONS.get(spec.name, 3)
    found = [Posterior.empty(d) for _ in range(presets)]
    for turn in range(10 * (presets - 1)):
        preset = turn % (presets - 1)
        found[preset] = found[preset].learn(np.append(1.0, rng.normal(size=d - 1)), rng.normal(), turn, None)
    solved = [posterior.solve(spec.ridge, at=0, half_life_ms=None) for posterior in found]
    return solved, np.append(1.0, rng.normal(size=d - 1))


def picks(spec: PolicySpec, known: Sequence[Belief], x: Floats, count: int, **held: float | None) -> list[Pick]:
    """What decisions 0 to `count` pick, all in one context."""
    at = {"incumbent": None, "hysteresis": 0.0, **held}
    return [choose(spec, known, x, draws(spec.seed, PAIR, number), **at) for number in range(count)]  # type: ignore[arg-type]


def same_seed_same_picks(spec: PolicySpec) -> None:
    """A decision picks the same again, whichever were made before it; another seed picks otherwise, where it draws."""
    known, x = beliefs(spec)
    all_of_them = [pick.index for pick in picks(spec, known, x, 60)]
    alone = [choose(spec, known, x, draws(spec.seed, PAIR, number), None, 0.0).index for number in (59, 3, 31)]
    other = [pick.index for pick in picks(replace_seed(spec), known, x, 60)]
    assert alone == [all_of_them[number] for number in (59, 3, 31)]
    assert other != all_of_them or picks(spec, known, x, 1)[0].propensity == 1.0


def replace_seed(spec: PolicySpec) -> PolicySpec:
    """The same policy with other dice."""
    return spec.model_copy(update={"seed": spec.seed + 1})


def propensities_match_frequencies(spec: PolicySpec) -> None:
    """Propensities sum to 1, and 2,000 decisions pick as often as they say, with and without a preset in use."""
    known, x = beliefs(spec)
    policy = policy_of(spec, default=0)
    for incumbent, hysteresis in ((None, 0.0), (0, 0.3), (2, 0.6)):
        prospects = prospects_of(known, x, incumbent, hysteresis)
        expected = policy.propensities(prospects)
        made = [policy.pick(prospects, draws(spec.seed, PAIR, number))[0] for number in range(2_000)]
        counts, possible = np.bincount(made, minlength=len(expected)), expected > 1e-12
        assert abs(expected.sum() - 1.0) < 1e-12 and (expected >= 0).all()
        assert counts[~possible].sum() == 0
        if possible.sum() > 1:
            assert chisquare(counts[possible], 2_000 * expected[possible]).pvalue > 1e-4


def the_pick_is_told_as_it_was_made(spec: PolicySpec) -> None:
    """`choose` gives the policy's own pick and its propensity, and the highest expected reward as the greedy one."""
    known, x = beliefs(spec)
    policy, prospects = policy_of(spec, default=0), prospects_of(known, x, 2, 0.6)
    for number, pick in enumerate(picks(spec, known, x, 20, incumbent=2, hysteresis=0.6)):
        assert (pick.index, pick.unheld) == policy.pick(prospects, draws(spec.seed, PAIR, number))
        assert pick.propensities.tolist() == policy.propensities(prospects).tolist()
        assert pick.propensity == pick.propensities[pick.index]
        assert pick.greedy == np.argmax([belief.mean(x) for belief in known])


def preset_in_use_is_held(spec: PolicySpec) -> None:
    """A larger bonus never makes its preset less likely; an endless one leaves only it, as far as the policy allows."""
    known, x = beliefs(spec)
    free = choose(spec, known, x, draws(1, PAIR, 0), None, 0.0).propensities
    for incumbent in range(len(known)):
        before = free[incumbent]
        for bonus in (0.0, 0.1, 1.0, 50.0):
            after = choose(spec, known, x, draws(1, PAIR, 0), incumbent, bonus).propensities[incumbent]
            assert after >= before - 1e-12
            before = after
        assert spec.name is PolicyName.FIXED or before >= 1.0 - spec.epsilon


def unheld_is_the_free_pick(spec: PolicySpec) -> None:
    """`unheld` is what the same dice pick where no preset has a bonus; a held pick differs from it to the incumbent."""
    known, x = beliefs(spec)
    free, held = picks(spec, known, x, 80), picks(spec, known, x, 80, incumbent=1, hysteresis=0.5)
    assert [pick.index for pick in free] == [pick.unheld for pick in free] == [pick.unheld for pick in held]
    assert all(pick.index in (pick.unheld, 1) for pick in held)


def order_of_presets_is_nothing(spec: PolicySpec) -> None:
    """Presets in another order have the same propensities."""
    if spec.name is PolicyName.FIXED:
        return  # it is told an index
    known, x = beliefs(spec)
    order = [2, 0, 3, 1]
    one = choose(spec, known, x, draws(1, PAIR, 0), None, 0.0).propensities
    other = choose(spec, [known[place] for place in order], x, draws(1, PAIR, 0), None, 0.0).propensities
    np.testing.assert_allclose(other, one[order], rtol=1e-9, atol=1e-15)


def one_preset_is_picked(spec: PolicySpec) -> None:
    """Where there is one preset, it is picked with probability 1."""
    known, x = beliefs(spec)
    assert [(pick.index, pick.propensity) for pick in picks(spec, known[:1], x, 3)] == [(0, 1.0)] * 3


def learnable_world_is_learnt(spec: PolicySpec) -> None:
    """Where preset 2 always pays 1 and the others 0, it is served nearly always after 100 outcomes."""
    d = DIMENSIONS.get(spec.name, 3)
    world, known = np.random.default_rng(9), [Posterior.empty(d) for _ in range(4)]
    served = []
    for number in range(200):
        x = np.append(1.0, world.normal(size=d - 1))
        solved = [posterior.solve(spec.ridge, number, None) for posterior in known]
        index = choose(spec, solved, x, draws(spec.seed, PAIR, number), None, 0.0, default=2).index
        known[index] = known[index].learn(x, float(index == 2), number, None)
        served.append(index == 2)
    assert np.mean(served[100:]) > 0.85


CHECKS = (
    same_seed_same_picks,
    propensities_match_frequencies,
    the_pick_is_told_as_it_was_made,
    preset_in_use_is_held,
    unheld_is_the_free_pick,
    order_of_presets_is_nothing,
    one_preset_is_picked,
    learnable_world_is_learnt,
)
