"""P4: a LinTS decision and an update in process, ours beside MABWiser's: 4 presets, 8 features, 400 outcomes learnt.

Ours draws from dice of the decision's own and tells the exact propensity of each preset, which the peer does not; `pick
alone` leaves the propensities out. Our update keeps its sums exact and solves with refinement.
"""

from typing import Any

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy

from tidewheel.bandits.draws import draws
from tidewheel.bandits.policies import LinTS, choose, prospects_of
from tidewheel.bandits.posterior import Belief, Posterior
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.strategies import PolicySpec

PAIR = PairKey("bench", "BTC/USDT")
PRESETS, FEATURES, OUTCOMES = 4, 8, 400
SPEC = PolicySpec(exploration=1.0, ridge=1.0)


@pytest.fixture(scope="module")
def log() -> Any:
    """Contexts with a leading 1, presets and rewards."""
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(OUTCOMES), rng.normal(size=(OUTCOMES, FEATURES))])
    return x, rng.integers(PRESETS, size=OUTCOMES), rng.normal(size=OUTCOMES)


@pytest.fixture(scope="module")
def known(log: Any) -> list[Posterior]:
    """Our posteriors of it."""
    found = [Posterior.empty(FEATURES + 1) for _ in range(PRESETS)]
    for x, preset, reward in zip(*log, strict=True):
        found[preset] = found[preset].learn(x, float(reward), 0, None)
    return found


@pytest.fixture(scope="module")
def beliefs(known: list[Posterior]) -> list[Belief]:
    """Factored once, as the service keeps them between outcomes."""
    return [posterior.solve(SPEC.ridge, 0, None) for posterior in known]


@pytest.fixture
def peer(log: Any) -> MAB:
    """MABWiser, taught the same."""
    x, presets, rewards = log
    found = MAB(list(range(PRESETS)), LearningPolicy.LinTS(alpha=SPEC.exploration, l2_lambda=SPEC.ridge), seed=1)
    found.fit(presets, rewards, x)
    return found


@pytest.mark.benchmark(group="LinTS decision")
def test_tidewheel_choose(benchmark: Any, beliefs: list[Belief], log: Any) -> None:
    """Dice, pick and exact propensities."""
    x = log[0][0]

    pick = benchmark(lambda: choose(SPEC, beliefs, x, draws(1, PAIR, 7), 0, 0.1))

    assert abs(pick.propensities.sum() - 1) < 1e-12


@pytest.mark.benchmark(group="LinTS decision")
def test_tidewheel_pick_alone(benchmark: Any, beliefs: list[Belief], log: Any) -> None:
    """What the peer does: no propensities, and dice that go on."""
    x, rng, policy = log[0][0], np.random.default_rng(1), LinTS(SPEC.exploration)

    benchmark(lambda: policy.pick(prospects_of(beliefs, x, None, 0.0), rng))


@pytest.mark.benchmark(group="LinTS decision")
def test_mabwiser_predict(benchmark: Any, beliefs: list[Belief], log: Any, peer: MAB) -> None:
    """θ of each preset drawn whole; each score has our mean and width.

    Its picks have another law: each arm draws from a copy of one generator, so that all move together.
    """
    x = log[0][:1]

    benchmark(lambda: peer.predict(x))

    shown = prospects_of(beliefs, x[0], None, 0.0)
    scores = [list(row.values()) for row in peer.predict_expectations(np.repeat(x, 4_000, axis=0))]
    np.testing.assert_allclose(np.mean(scores, axis=0), shown.means, atol=5 * shown.widths.max() / np.sqrt(4_000))
    np.testing.assert_allclose(np.std(scores, axis=0), shown.widths, rtol=0.06)


@pytest.mark.benchmark(group="LinTS update")
def test_tidewheel_learn_and_solve(benchmark: Any, known: list[Posterior], log: Any) -> None:
    """One outcome learnt, and the belief ready for the next decision."""
    x = log[0][0]

    benchmark(lambda: known[0].learn(x, 0.5, 0, None).solve(SPEC.ridge, 0, None))


@pytest.mark.benchmark(group="LinTS update")
def test_mabwiser_partial_fit(benchmark: Any, known: list[Posterior], log: Any, peer: MAB) -> None:
    """The same, and the same θ."""
    x = log[0]
    ours = known[0].solve(SPEC.ridge, 0, None).theta
    np.testing.assert_allclose(peer._imp.arm_to_model[0].beta, ours, rtol=1e-9)

    benchmark(lambda: peer.partial_fit([0], [0.5], x[:1]))
