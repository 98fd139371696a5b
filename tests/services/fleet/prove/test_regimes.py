"""The proof `regimes` holds, prints what it measured, and bites."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.fleet.prove import regimes
from services.fleet.prove.proof import Budget, Found, Tally, Tell
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.returns import regime_features
from tidewheel.models import baum_welch, regime
from tidewheel.models.base import Filtered
from tidewheel.models.regime import RegimeModel
from tidewheel.models.statistics import Statistics


@pytest.fixture
def found() -> Found:
    """Nothing found yet."""
    return Found(Tally())


def test_regimes_hold_their_meaning(budget: Budget, tell: Tell, report: Callable[[str], None]) -> None:
    """Seeds, retrains, prefixes, the served path and strict mode on one market, with the figures."""
    tally = regimes.prove(budget, tell)

    assert (tally.violations, tally.first) == (0, None)
    assert tally.trials > 1_000
    assert len(tally.figures) == 7
    for line in tally.figures:
        report(line)


def test_it_sees_names_that_depend_on_the_seed(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Planted: a fit from random bars keeps the order in which EM happened to find its states."""
    starts = baum_welch.starts
    monkeypatch.setattr(baum_welch, "starts", lambda *given: starts(*given)[1:])
    monkeypatch.setattr(regime, "canonical_order", lambda means: [0, 1, 2])

    regimes.seeds(1, found)

    assert "seeds 0 and" in (found.tally.first or "")


def test_it_sees_names_that_are_not_matched(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Planted: a retrain names its states by mean return again, whatever the champion calls them."""
    monkeypatch.setattr(RegimeModel, "matched_to", lambda self, champion: self)

    regimes.names_sliding(1, found, retrains=8)

    assert "names moved from" in (found.tally.first or "")


def test_it_sees_an_update_that_swaps_names(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Planted: a strict retrain names its states by mean return, whatever the champion calls them."""
    update = RegimeModel.update

    def renamed(self: RegimeModel, *args: Any, **options: Any) -> RegimeModel:
        return update(self, *args, **options).permuted([2, 0, 1])

    monkeypatch.setattr(RegimeModel, "update", renamed)

    regimes.names_strict(1, found, retrains=1)

    assert "strict retrain 1: what was" in (found.tally.first or "")


def _smoothed(self: RegimeModel, logret: Any, **given: Any) -> Filtered:
    """Posteriors that know the bars to come."""
    from hmmlearn.hmm import GaussianHMM

    honest = _FILTER(self, logret, **given)
    twin = GaussianHMM(n_components=3, covariance_type="diag")
    twin.startprob_, twin.transmat_, twin.means_, twin.covars_ = self.startprob, self.transmat, self.means, self.covars
    rows = regime_features(np.asarray(logret), self.scale(given.get("stream")))
    return replace(honest, probs=twin.predict_proba(rows))


_FILTER = RegimeModel.filter


def test_it_sees_a_smoothed_value_served_for_a_filtered_one(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Planted: look-ahead. At the last bar of a call it cannot show, so only the prefixes give it away."""
    monkeypatch.setattr(RegimeModel, "filter", _smoothed)

    regimes.last_bar(1, found, bars=60)
    assert found.tally.violations == 0
    regimes.prefixes(1, found, bars=60)

    assert "what follows bar 30 changes the filter up to it" in (found.tally.first or "")


def test_it_sees_a_filter_that_is_a_bar_late(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Planted: the prediction for the next bar stands for the regime at this one."""
    honest = RegimeModel.filter

    def late(self: RegimeModel, logret: Any, **given: Any) -> Filtered:
        told = honest(self, logret, **given)
        return replace(told, probs=told.probs @ self.transmat)

    monkeypatch.setattr(RegimeModel, "filter", late)

    regimes.last_bar(1, found, bars=40)

    assert "filtered and smoothed differ by" in (found.tally.first or "")


def test_it_sees_a_served_answer_that_looks_further_than_its_bars(
    monkeypatch: pytest.MonkeyPatch, found: Found, budget: Budget
) -> None:
    """Planted: the predictor scales a request by all that was sent, so that each bar's answer moves with the next."""
    from services.predictor.service import regimes as service

    honest = service.nowcast

    def rescaled(model: RegimeModel, frame: CandleFrame, stream: Any) -> Any:
        spread = float(np.std(np.diff(np.log(frame.close))))
        return honest(replace(model, scales={}, default_scale=spread), frame, stream)

    monkeypatch.setattr(service, "nowcast", rescaled)

    regimes.served(1, found, budget, bars=33)

    assert "asked by bars at bar 30" in (found.tally.first or "")
    assert found.tally.violations == 2 * 4  # asked by log returns it is right


_UPDATE = RegimeModel.update


@pytest.mark.parametrize("kept", [0.0, 2.0])
def test_it_sees_statistics_that_are_forgotten_or_count_twice(
    monkeypatch: pytest.MonkeyPatch, found: Found, kept: float
) -> None:
    """Planted: a strict retrain forgets the old bars, or counts them twice."""

    def wrong(self: RegimeModel, segments: Any, **options: Any) -> RegimeModel:
        old = self.statistics
        scaled: list[Floats] = [kept * each for each in (old.occupancy, old.first, old.second)]
        transitions = 1.0 + kept * (old.transitions - 1.0)
        return _UPDATE(replace(self, statistics=Statistics(transitions, *scaled)), segments, **options)

    monkeypatch.setattr(RegimeModel, "update", wrong)

    regimes.strict(1, found, retrains=2)

    assert "rows were seen, the statistics count" in (found.tally.first or "")
