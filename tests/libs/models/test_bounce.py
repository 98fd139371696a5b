"""The dip model: as scikit-learn answers, calibrated forward only, and equal however its rows were put together."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidewheel.contracts.errors import BadBundle, BadFit, BadInput, NotEnoughData
from tidewheel.contracts.times import DAY
from tidewheel.features.bounce import UNKNOWN
from tidewheel.models.bounce import BounceMetrics, BounceModel, DipRows, _blocks, _calibrated, _forward_scores


def rows(n: int = 600, seed: int = 1, edge: float = 1.0) -> DipRows:
    """Dips of five tickers whose bounce follows from their features, as far as `edge` goes."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 7)) * [1, 5, 0.02, 0.1, 0.1, 0.01, 0.3]
    chance = 1 / (1 + np.exp(-edge * (features[:, 0] - 10 * features[:, 3])))
    time = np.sort(rng.integers(0, n // 3, n)) * DAY
    ticker = rng.integers(0, 5, n)
    found = DipRows(
        time, ticker, features, (rng.random(n) < chance).astype(np.int64), time + DAY * rng.integers(2, 7, n)
    )
    return found.take(np.lexsort((ticker, time)))


MODEL = BounceModel.fit(rows(), fewest=40)


def with_labels(some: DipRows, label: Any) -> DipRows:
    """The same dips with other ends."""
    return replace(some, label=np.asarray(label, np.int64))


def test_the_answer_is_scikit_learn_s() -> None:
    """Score and sigmoid come from its own logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    some = rows()
    peer = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", solver="lbfgs", tol=1e-12))
    score = peer.fit(some.features, some.label).decision_function(some.features)
    expected = 1 / (1 + np.exp(-(MODEL.offset + MODEL.slope * score)))
    np.testing.assert_allclose(MODEL.probability(some.features), expected, rtol=1e-6)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 300.0])
@pytest.mark.parametrize("count", [20, 3_000])
def test_the_sigmoid_is_the_one_that_scikit_learn_finds(count: int, spread: float) -> None:
    """Which takes a target between 0 and 1 as two rows that share its weight."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(count)
    score = rng.standard_normal(count)
    label = (rng.random(count) < 1 / (1 + np.exp(0.5 - 3 * score))).astype(np.int64)
    bounced = label.sum()
    target = np.where(label == 1, (bounced + 1) / (bounced + 2), 1 / (count - bounced + 2))
    peer = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=200)
    peer.fit(np.tile(score, 2)[:, None], np.repeat([1, 0], count), sample_weight=np.concatenate([target, 1 - target]))
    slope, offset = _calibrated(score * spread, label)
    np.testing.assert_allclose([slope * spread, offset], [peer.coef_[0, 0], peer.intercept_[0]], rtol=1e-7)
    # The least loss of all, told by its own slope there.
    chance = 1 / (1 + np.exp(-(offset + slope * spread * score)))
    assert abs((chance - target).sum()) < 1e-9 * count
    assert abs(((chance - target) * score).sum()) < 1e-9 * count


def test_scores_that_tell_nothing_or_all_are_calibrated_too() -> None:
    """One score for all is the base rate; two that part the kinds stay short of certainty."""
    label = np.arange(100) % 2
    slope, offset = _calibrated(np.full(100, 0.7), label)
    assert slope * 0.7 + offset == pytest.approx(0.0, abs=1e-9)
    slope, offset = _calibrated(np.where(label == 1, 500.0, -500.0), label)
    assert 1 / (1 + np.exp(-(500.0 * slope + offset))) == pytest.approx(51 / 52)


def test_it_learns_what_is_there_and_claims_no_more() -> None:
    """An edge is found forward; without one the answer is no better than the base rate, and says so."""
    assert MODEL.metrics.n > 300
    assert MODEL.metrics.auc is not None
    assert MODEL.metrics.auc > 0.75
    assert MODEL.metrics.brier < MODEL.metrics.brier_of_base_rate  # type: ignore[operator]
    none = [BounceModel.fit(rows(seed=seed, edge=0.0), fewest=40).metrics for seed in range(5)]
    assert abs(np.mean([each.auc or 0.0 for each in none]) - 0.5) < 0.04
    assert np.mean([each.brier - each.brier_of_base_rate for each in none]) > 0  # type: ignore[operator]


def test_probabilities_are_frequencies() -> None:
    """On dips that came later, in each fifth of what was answered."""
    later = rows(6000, seed=2)
    answer = MODEL.probability(later.features)
    for fifth in np.array_split(np.argsort(answer), 5):
        assert abs(answer[fifth].mean() - later.label[fifth].mean()) < 0.08


def test_an_earlier_figure_knows_no_later_dip() -> None:
    """Labels turned round at the end leave what was judged before as it was; one turned early does not."""
    some = rows()
    last = _blocks(some.time)[-1][0]
    forward = _forward_scores(some)
    late, early = some.label.copy(), some.label.copy()
    late[last:], early[:100] = 1 - late[last:], 1 - early[:100]

    assert np.array_equal(_forward_scores(with_labels(some, late)), forward, equal_nan=True)
    assert not np.array_equal(_forward_scores(with_labels(some, early)), forward, equal_nan=True)
    assert not np.array_equal(BounceModel.fit(with_labels(some, late), fewest=40).weights, MODEL.weights)


def test_a_label_counts_only_once_it_is_known() -> None:
    """A dip just before a block whose end comes later is not behind that block's scores; an open one behind none."""
    some = rows()
    first, last = _blocks(some.time)[2]
    late = some.known_at[:first] > some.time[first] + DAY
    assert late.sum() >= 5
    label = some.label.copy()
    label[:first][late] = 1 - label[:first][late]
    assert np.array_equal(_forward_scores(with_labels(some, label))[first:last], _forward_scores(some)[first:last])
    open_end = some.label.copy()
    open_end[-30:] = UNKNOWN
    trained = BounceModel.fit(with_labels(some, open_end), fewest=40)
    assert trained.to_payload() == BounceModel.fit(some.take(slice(0, -30)), fewest=40).to_payload()
    assert (trained.trained, trained.known_at) == (570, some.known_at[:-30].max())


def test_dips_ordered_by_ticker_are_refused() -> None:
    """The split would put a ticker's past behind another's future."""
    some = rows()
    with pytest.raises(BadInput, match="stands out of the order of time and ticker"):
        BounceModel.fit(some.take(np.lexsort((some.time, some.ticker))), fewest=40)


def test_parts_joined_in_any_order_are_one_model() -> None:
    """To the byte, so adding a ticker is as good as starting anew."""
    some = rows()
    parts = [some.take(some.ticker == ticker) for ticker in (3, 0, 4, 1, 2)]
    assert BounceModel.fit(DipRows.joined(parts), fewest=40).to_payload() == MODEL.to_payload()


def test_too_few_dips_say_how_many_more() -> None:
    """Of all, of those that bounced, and of those that did not."""
    some = rows()
    with pytest.raises(NotEnoughData, match="a fit takes 10 more dips with a known end"):
        BounceModel.fit(some.take(slice(0, 30)), fewest=40)
    with pytest.raises(NotEnoughData, match="10 more dips that bounced"):
        BounceModel.fit(with_labels(some, np.zeros(600)), fewest=40)
    with pytest.raises(NotEnoughData, match="7 more dips that did not"):
        BounceModel.fit(with_labels(some, np.arange(600) > 2), fewest=40)
    with pytest.raises(NotEnoughData, match="are needed to calibrate"):
        BounceModel.fit(with_labels(some, np.arange(600) < 590), fewest=40)
    with pytest.raises(BadFit, match="rsi2 is the same in all of 600 dips"):
        BounceModel.fit(replace(some, features=some.features * [1, 0, 1, 1, 1, 1, 1]), fewest=40)


def test_it_comes_back_from_its_bytes_and_refuses_others() -> None:
    """Every member is checked."""
    payload = MODEL.to_payload()
    again = BounceModel.from_payload(payload)
    assert again.to_payload() == payload
    assert np.array_equal(again.probability(rows().features), MODEL.probability(rows().features))
    content = payload["model.json"]
    spoilt = (
        content.replace(b'"bounce"', b'"hmm"'), content.replace(b'"spread":[', b'"spread":[-'), content[:-1],
        content.replace(b'"slope"', b'"slop"'), content.replace(b'"auc":', b'"auk":'),
        content.replace(b'"n":', b'"n":-'),
    )  # fmt: skip
    for changed in spoilt:
        assert changed != content
        with pytest.raises(BadBundle):
            BounceModel.from_payload({"model.json": changed})
    for odd, said in (
        (np.zeros((1, 6)), "are not of the 7 features"),
        (np.full((1, 7), np.nan), "missing or not finite"),
    ):
        with pytest.raises(BadInput, match=said):
            MODEL.probability(odd)


def test_what_nothing_could_judge_is_said_to_be_unjudged() -> None:
    """Too few earlier dips give no figure, not a flattering one."""
    some = rows(60, seed=4)
    metrics = BounceModel.fit(some, fewest=40).metrics
    assert metrics == BounceMetrics(0, None, None, None, None, None) or metrics.n < 45
