"""Posteriors: exact sums, beliefs that are right at any condition, bytes that come back."""

import struct
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewheel.bandits.double_double import add, halving, multiply, two_prod, two_sum
from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.errors import BadInput, PosteriorUnusable

HOUR = 3_600_000
numbers = st.floats(-1e100, 1e100).filter(lambda value: value == 0 or abs(value) > 1e-100)


def exact(pair: tuple[np.ndarray, np.ndarray]) -> Decimal:
    return Decimal(float(pair[0])) + Decimal(float(pair[1]))


@settings(max_examples=60, deadline=None)
@given(numbers, numbers, numbers, numbers)
def test_pairs_keep_what_float64_loses(a: float, b: float, c: float, d: float) -> None:
    """Sums and products of two float64 are exact; of two pairs, right to 30 digits of the result."""
    one, other = two_sum(np.array(a), np.array(b)), two_prod(np.array(c), np.array(d))
    with localcontext(prec=800):
        assert exact(one) == Decimal(a) + Decimal(b)
        assert exact(other) == Decimal(c) * Decimal(d)
        total, product = exact(one) + exact(other), exact(one) * exact(other)
        assert abs(exact(add(one, other)) - total) <= abs(total) * Decimal("1e-30")
        if 1e-180 < abs(product) < 1e180 or not product:
            assert abs(exact(multiply(one, other)) - product) <= abs(product) * Decimal("1e-30")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**12), st.integers(1, 10**10))
def test_weights_halve(elapsed: int, half_life: int) -> None:
    """2**(-elapsed/half_life) to 30 digits, and 0 where float64 ends."""
    with localcontext(prec=50):
        expected = Decimal(2) ** (Decimal(-elapsed) / Decimal(half_life))
        found = exact(halving(elapsed, half_life))
        assert abs(found - expected) <= expected * Decimal("1e-30") + Decimal("1e-300")


def taught(count: int = 50, seed: int = 1, half_life: int | None = 10 * HOUR) -> Posterior:
    rng, found = np.random.default_rng(seed), Posterior.empty(3)
    for number in range(count):
        found = found.learn(np.append(1.0, rng.normal(size=2)), rng.normal(), number * HOUR, half_life)
    return found


def test_belief_of_a_textbook() -> None:
    """θ̂ and widths are those of ridge regression with weights that halve."""
    rng, at, half_life = np.random.default_rng(1), 60 * HOUR, 10 * HOUR
    rows = [(np.append(1.0, rng.normal(size=2)), rng.normal()) for _ in range(50)]
    weights = 0.5 ** ((60 - np.arange(50)) / 10)
    x, r = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    gram = 0.7 * np.eye(3) + (weights[:, None] * x).T @ x

    belief = taught(50).solve(0.7, at, half_life)

    np.testing.assert_allclose(belief.theta, np.linalg.solve(gram, (weights * r) @ x), rtol=1e-12)
    for probe in x[:5]:
        assert belief.width(probe) == pytest.approx(np.sqrt(probe @ np.linalg.solve(gram, probe)), rel=1e-12)
        assert belief.mean(probe) == pytest.approx(probe @ np.linalg.solve(gram, (weights * r) @ x), rel=1e-12)


def test_nothing_learnt_is_the_prior() -> None:
    """Before any outcome every preset promises 0 with width |x| / sqrt(ridge)."""
    belief = Posterior.empty(2).solve(4.0, 0, None)

    assert (belief.mean(np.array([3.0, 4.0])), belief.width(np.array([3.0, 4.0]))) == (0.0, 2.5)


def test_time_never_runs_back() -> None:
    """An outcome older than the newest counts as of the newest's time; a belief at an earlier time, too."""
    x, known = np.array([1.0, 0.5, -1.0]), taught()

    late = known.learn(x, 1.0, 0, HOUR)

    assert late.learnt_at == known.learnt_at
    assert late.to_bytes() == known.learn(x, 1.0, known.learnt_at, HOUR).to_bytes()
    assert known.solve(1.0, 0, HOUR).theta.tolist() == known.solve(1.0, known.learnt_at, HOUR).theta.tolist()


def test_the_log_gives_the_same_bytes() -> None:
    """Learnt again in the same order, stored and read back: the same bytes, and a posterior of no difference."""
    known = taught()
    again = Posterior.from_bytes(known.to_bytes())

    assert taught().to_bytes() == known.to_bytes() == again.to_bytes()
    assert (again.count, again.learnt_at, again.difference(known)) == (50, 49 * HOUR, 0.0)
    assert known.difference(taught(51)) > 1e-3
    assert known.difference(Posterior.empty(2)) == float("inf")


def test_difference_sees_what_float64_does_not() -> None:
    """A rebuild that lost the low halves is told apart."""
    known = taught(half_life=None)
    rounded = Posterior(known.hi, np.zeros_like(known.lo), known.count, known.learnt_at)

    assert 0.0 < known.difference(rounded) < 1e-15


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:-1], "no stored posterior"),
        (lambda data: b"", "no stored posterior"),
        (lambda data: b"PK" + data[2:], "no stored posterior"),
        (lambda data: data + bytes(8), "no stored posterior"),
        (lambda data: data[:-8] + struct.pack("<d", np.nan), "not finite"),
        (lambda data: data[:24] + struct.pack("<d", np.inf) + data[32:], "not finite"),
        (lambda data: data[:24] + struct.pack("<d", -1.0) + data[32:], "negative"),
        (lambda data: data[:32] + struct.pack("<d", 77.0) + data[40:], "lopsided"),
    ],
)
def test_damaged_bytes_are_refused(damage: object, why: str) -> None:
    """Bytes that are cut, foreign, not finite or no sums of squares are never read as a posterior."""
    with pytest.raises(PosteriorUnusable, match=why):
        Posterior.from_bytes(damage(taught().to_bytes()))  # type: ignore[operator]


def test_what_cannot_be_factored_is_refused() -> None:
    """Sums that no outcomes could give, and twin features without a ridge to part them, say so instead of a belief."""
    known = taught()
    impossible = known.hi.copy()
    impossible[0, 1] = impossible[1, 0] = 1e6
    twins = Posterior.empty(2)
    for number in range(1_000):
        twins = twins.learn(np.array([1.0, 1.0]), 1.0, number, None)

    with pytest.raises(PosteriorUnusable, match="not positive definite"):
        Posterior(impossible, known.lo, 50, 0).solve(1.0, 0, None)
    with pytest.raises(PosteriorUnusable, match=r"not positive definite|too near to singular"):
        twins.solve(1e-14, 0, None)
    with pytest.raises(PosteriorUnusable, match="not finite"):
        Posterior(known.hi * np.nan, known.lo, 50, 0).solve(1.0, 0, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e101])
def test_bad_numbers_are_never_learnt(bad: float) -> None:
    """A context or reward that is not finite, or beyond 1e100, changes nothing."""
    with pytest.raises(BadInput, match="not all finite"):
        Posterior.empty(2).learn(np.array([1.0, bad]), 0.0, 0, None)
    with pytest.raises(BadInput, match="not all finite"):
        Posterior.empty(2).learn(np.array([1.0, 0.0]), bad, 0, None)
    with pytest.raises(BadInput, match=r"shape \(3,\)"):
        Posterior.empty(2).learn(np.ones(3), 0.0, 0, None)


def test_features_of_any_unit() -> None:
    """A feature in units a billion times smaller changes no promise: the diagonal is brought near 1 first."""
    rng, plain, tiny = np.random.default_rng(4), Posterior.empty(2), Posterior.empty(2)
    for number in range(200):
        x, reward = np.array([1.0, rng.normal()]), rng.normal()
        plain, tiny = plain.learn(x, reward, number, None), tiny.learn(x * [1.0, 2.0**-30], reward, number, None)

    one, other = plain.solve(1e-30, 0, None), tiny.solve(1e-30, 0, None)

    probe = np.array([1.0, 0.7])
    assert other.mean(probe * [1.0, 2.0**-30]) == pytest.approx(one.mean(probe), rel=1e-14)
    assert other.width(probe * [1.0, 2.0**-30]) == pytest.approx(one.width(probe), rel=1e-14)
