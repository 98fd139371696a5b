"""The proof `bandits` holds, prints what it measured, and bites."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.fleet.prove import bandits
from services.fleet.prove.apparatus import desks
from services.fleet.prove.bandits import Size
from services.fleet.prove.ground import Ground
from services.fleet.prove.proof import Budget, Found, Tally, Tell
from tests.services.fleet.prove.conftest import QUICK as QUICK_TRIALS
from tidewheel.bandits import posterior
from tidewheel.bandits.double_double import Pair
from tidewheel.bandits.evaluation import Evaluation, Log, evaluate
from tidewheel.bandits.policies import LinTS, Prospects
from tidewheel.features.frames import Floats

QUICK = Size(updates=2_000, draws=2_500, seeds=1, steps=400, lied_steps=200, logs=60, slack=0.06)


@pytest.fixture
def budget(tmp_path: Path) -> Budget:
    """The quick form; it needs no ledger."""
    return Budget(trials=QUICK_TRIALS["bandits"], seed=1, ground=Ground(tmp_path, ""))


@pytest.fixture
def found() -> Found:
    """Nothing found yet."""
    return Found(Tally())


def test_bandits_learn(budget: Budget, tell: Tell, report: Callable[[str], None]) -> None:
    """Law, regret, precision, lies, coverage and support, with the figures."""
    tally = bandits.prove(budget, tell)

    for figure in tally.figures:
        report(figure)
    assert (tally.violations, tally.first) == (0, None)
    assert tally.trials > 30


def _same_width(self: LinTS, prospects: Prospects, rng: np.random.Generator) -> tuple[int, int]:
    scores = prospects.means + self.exploration * rng.standard_normal(len(prospects.means))
    return int(np.argmax(scores)), int(np.argmax(scores))


def test_it_sees_scores_drawn_with_one_width(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """v instead of v·sqrt(x' A⁻¹ x) is another law than that of sampling θ."""
    monkeypatch.setattr(LinTS, "pick", _same_width)

    bandits.law(1, QUICK, found)

    assert "the picks are not those of sampling θ" in str(found.tally.first)


def test_it_sees_propensities_of_another_law(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Propensities that take every preset for equally unsure are caught beside picks that are right."""
    told = LinTS.propensities
    monkeypatch.setattr(
        LinTS, "propensities", lambda self, known: told(self, replace(known, widths=np.ones_like(known.widths)))
    )

    bandits.law(1, QUICK, found)

    assert "the propensities are not those of sampling θ" in str(found.tally.first)


def test_it_sees_a_sampler_that_never_narrows(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """A policy that goes on trying as at the first day loses for ever: its regret is linear."""
    monkeypatch.setattr(LinTS, "pick", _same_width)

    bandits.regret(1, QUICK, found)

    assert found.figures["growth of LinTS's regret, exponent of time"] > bandits.STEEP
    assert found.tally.violations


def _plain_sum(a: Pair, b: Pair) -> Pair:
    return a[0] + b[0], np.zeros_like(a[0])


def _unrefined(gram: Pair, moment: Pair, factor: Floats) -> Floats:
    return np.asarray(np.linalg.solve(gram[0], moment[0]), np.float64)


@pytest.mark.parametrize(("part", "slip"), [("add", _plain_sum), ("_refined", _unrefined)])
def test_it_sees_sums_and_solutions_in_plain_float64(
    part: str, slip: object, monkeypatch: pytest.MonkeyPatch, found: Found
) -> None:
    """Either alone loses more than 1e-9 of θ̂ at that condition."""
    monkeypatch.setattr(posterior, part, slip)

    bandits.precision(1, QUICK, found)

    assert found.figures["largest error of theta"] > bandits.EXACT
    assert found.tally.violations


def _never(recent: Sequence[str], actor: str, max_key_share: float) -> bool:
    return False


def test_it_sees_a_key_that_floods(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Without a cap on a key's share, lies that are half of all outcomes win."""
    monkeypatch.setattr(desks, "holds_too_much", _never)

    bandits.lies(1, QUICK, found)

    assert "with 50% lies" in str(found.tally.first)
    assert found.figures["best preset served beside a key that tells 50% lies, share"] < 0.5


def test_it_sees_rewards_that_are_not_clipped(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """A million told once outweighs everything."""
    monkeypatch.setattr(bandits, "Rules", lambda clip, max_key_share: desks.Rules((-1e9, 1e9), max_key_share))

    bandits.lies(1, QUICK, found)

    assert "with 5% lies" in str(found.tally.first)
    assert found.figures["best preset served beside a key that tells 5% lies, share"] < 0.5


def _as_if_drawn_alike(log: Log, target: Floats) -> Evaluation:
    return evaluate(replace(log, propensity=np.full_like(log.propensity, 1 / 3)), target)


def test_it_sees_an_evaluation_that_ignores_propensities(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Means of the rows that happen to match are biased: their intervals miss the truth."""
    monkeypatch.setattr(bandits, "evaluate", _as_if_drawn_alike)

    bandits.coverage(1, QUICK, found)

    assert "covers the truth in" in str(found.tally.first)


def test_it_sees_a_number_without_support(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """An evaluation that takes whatever it finds for enough is caught."""
    monkeypatch.setattr("tidewheel.bandits.evaluation._unsupported", lambda weights: None)
    monkeypatch.setattr("tidewheel.bandits.evaluation._chance", lambda log, target: np.ones(len(log.preset), bool))

    with np.errstate(all="ignore"):
        bandits.support(1, QUICK, found)

    assert "a log without support gave a number" in str(found.tally.first)
