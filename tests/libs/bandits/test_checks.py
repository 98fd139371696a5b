"""The one check suite, over each policy; and policies with a planted slip, which it finds."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.libs.bandits import checks
from tests.libs.bandits.checks import CHECKS, PAIR
from tidewheel.bandits.draws import draws
from tidewheel.bandits.policies import EpsilonGreedy, LinTS, Prospects, choose
from tidewheel.bandits.posterior import Belief
from tidewheel.contracts.errors import BadInput, PosteriorUnusable
from tidewheel.contracts.states import PolicyName
from tidewheel.contracts.strategies import PolicySpec
from tidewheel.features.frames import Floats

PINNED = [0.5770312639100726, 0.4630687077031902]  #: the first draws of one decision, for ever
SPECS = {name: PolicySpec(name=name, exploration=0.5) for name in PolicyName}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SPECS)
def test_policy(name: PolicyName, check: Callable[[PolicySpec], None]) -> None:
    """Each check's docstring states the behaviour."""
    check(SPECS[name])


def _same_width_for_all(self: LinTS, prospects: Prospects, rng: np.random.Generator) -> tuple[int, int]:
    scores = prospects.means + self.exploration * rng.standard_normal(len(prospects.means))
    return int(np.argmax(scores + prospects.bonus)), int(np.argmax(scores))


def _bonus_after_the_dice(self: EpsilonGreedy, prospects: Prospects) -> Floats:
    found = np.full(len(prospects.means), self.epsilon / len(prospects.means))
    found[np.argmax(prospects.means)] += 1.0 - self.epsilon
    return found


def _no_explored_share(self: EpsilonGreedy, prospects: Prospects) -> Floats:
    found = np.zeros(len(prospects.means))
    found[np.argmax(prospects.means + prospects.bonus)] = 1.0
    return found


SLIPS = (
    (PolicyName.LINTS, LinTS, "pick", _same_width_for_all),
    (PolicyName.EPSILON_GREEDY, EpsilonGreedy, "propensities", _bonus_after_the_dice),
    (PolicyName.EPSILON_GREEDY, EpsilonGreedy, "propensities", _no_explored_share),
)


@pytest.mark.parametrize(("name", "policy", "method", "slip"), SLIPS, ids=[slip[3].__name__ for slip in SLIPS])
def test_the_checks_bite(
    name: PolicyName, policy: type, method: str, slip: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy whose logged propensity is not how it picks fails the check of frequencies."""
    monkeypatch.setattr(policy, method, slip)

    with pytest.raises(AssertionError):
        checks.propensities_match_frequencies(SPECS[name])


def test_hysteresis_is_in_units_of_the_reward() -> None:
    """Another preset must promise as much more than the one in use as the hysteresis says."""
    spec = PolicySpec(exploration=0.0)
    known = [Belief(np.array([mean]), np.eye(1), np.ones(1)) for mean in (1.0, 1.3)]
    x, rng = np.ones(1), np.random.default_rng(0)

    held, moved = (choose(spec, known, x, rng, 0, bonus) for bonus in (0.31, 0.29))

    assert (held.index, held.unheld, held.greedy, held.propensity) == (0, 1, 1, 1.0)
    assert (moved.index, moved.unheld, moved.propensity) == (1, 1, 1.0)


def test_a_choice_among_nothing_is_refused() -> None:
    """No preset, or an index beyond them, is told with the number."""
    known, x = checks.beliefs(SPECS[PolicyName.LINTS])
    rng = np.random.default_rng(0)

    with pytest.raises(BadInput, match="none of the 0 presets"):
        choose(PolicySpec(), [], x, rng, None, 0.0)
    with pytest.raises(BadInput, match="incumbent = 4 is none of the 4 presets"):
        choose(PolicySpec(), known, x, rng, 4, 0.0)


def test_a_belief_without_numbers_is_refused() -> None:
    """A preset whose expected reward is not finite is never compared with others."""
    known = [Belief(np.array([value]), np.eye(1), np.ones(1)) for value in (0.0, np.nan)]

    with pytest.raises(PosteriorUnusable, match="nan"):
        choose(PolicySpec(), known, np.ones(1), np.random.default_rng(0), None, 0.0)


def test_decisions_have_dice_of_their_own() -> None:
    """Seed, strategy, instrument and number each change the draws; long draws of neighbours do not overlap."""
    one = draws(1, PAIR, 5).random(1_000)
    others = [draws(2, PAIR, 5), draws(1, type(PAIR)("trend", "BTC/USD"), 5), draws(1, PAIR, 6), draws(1, PAIR, 4)]

    assert not {*one.tolist()} & {value for other in others for value in other.random(1_000).tolist()}
    np.testing.assert_array_equal(draws(1, PAIR, 5).random(1_000), one)
    assert draws(1, PAIR, 5).random(2).tolist() == pytest.approx(PINNED, abs=0)
