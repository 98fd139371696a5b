"""Picks whose scores are at the end of what float64 tells apart."""

import numpy as np
import pytest

from tidewheel.bandits.draws import draws
from tidewheel.bandits.policies import choose
from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.strategies import PolicySpec

X = np.ones(1)


@pytest.mark.parametrize("exploration", [0.0, 1e-300, 1e-20, 1e-15, 1e-6, 1e12])
@pytest.mark.parametrize("rewards", [(1.0, 1.0), (1e3, 1e3 + 1e-12), (0.0, 0.0), (-1e9, 1e-9)])
def test_a_tiny_exploration_still_has_a_law(exploration: float, rewards: tuple[float, float]) -> None:
    """What is picked has a probability above 0, they sum to 1, and rounding never picks for us."""
    beliefs = [Posterior.empty(1).learn(X, reward, 0, None).solve(1.0, 0, None) for reward in rewards]
    spec = PolicySpec(exploration=exploration)
    for number in range(1, 20):
        pick = choose(spec, beliefs, X, draws(7, PairKey("breakout", "BTC/USDT"), number), None, 0.0)
        assert pick.propensity > 0.0 and pick.propensities.sum() == pytest.approx(1.0)
