"""Least squares and the forest: their peers' answers, and what their files may hold."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadBundle, BadInput
from tidewheel.features.frames import Floats
from tidewheel.models.arrays import read_arrays, write_arrays
from tidewheel.models.forest import _KINDS, Forest
from tidewheel.models.linear import LinearModel

Arrays = dict[str, NDArray[Any]]


def world(rows: int = 600, columns: int = 4, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((rows, columns)) * [1.0, 1e-3, 30.0, 1.0][:columns] + 5.0
    return found, np.sin(found[:, 0]) + found[:, 2] / 30 + 0.1 * rng.standard_normal(rows)


def test_linear_is_least_squares() -> None:
    """Equal to the normal solution with an intercept, whatever the columns' units; no ridge."""
    rows, targets = world()
    wanted = np.linalg.lstsq(np.column_stack([np.ones(len(rows)), rows]), targets, rcond=None)[0]

    found = LinearModel.fit(rows, targets)

    assert found.ridge == 0.0
    np.testing.assert_allclose([found.intercept, *found.weights], wanted, rtol=1e-9, atol=1e-9)


def test_ridge_only_where_the_answer_is_not_one() -> None:
    """Twins share their weight, a column that stands still gets none; the answers stay those of least squares."""
    rows, targets = world(columns=3)
    twins = np.column_stack([rows, -rows[:, 0], np.full(len(rows), 0.1)])

    plain, found = LinearModel.fit(rows, targets), LinearModel.fit(twins, targets)

    assert plain.ridge == 0.0 < found.ridge
    assert found.weights[0] == pytest.approx(-found.weights[3]) and found.weights[4] == 0.0
    np.testing.assert_allclose(found.predict(twins), plain.predict(rows), atol=1e-5)


@pytest.fixture(scope="module")
def fitted() -> Any:
    from sklearn.ensemble import RandomForestRegressor

    rows, targets = world()
    return RandomForestRegressor(25, min_samples_leaf=3, random_state=1, n_jobs=1).fit(rows, targets)


def test_forest_answers_as_scikit_learn_does(fitted: Any) -> None:
    """To 1e-12, on rows of the fit, on others, on thresholds themselves and one 32-bit step beside them."""
    forest = Forest.of(fitted)
    rows = [world()[0], world(3_000, seed=9)[0]]
    tree = fitted.estimators_[0].tree_
    for column in range(4):
        on = rows[0][: tree.node_count].copy()
        edges = tree.threshold[(tree.feature == column)][: len(on)].astype(np.float32)
        for near in (edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))):
            on[: len(near), column] = near
            rows.append(on.copy())
    for each in rows:
        np.testing.assert_allclose(forest.predict(each), fitted.predict(each), rtol=1e-12, atol=1e-12)


def test_an_answer_does_not_depend_on_its_neighbours(fitted: Any) -> None:
    """One row alone gives the same bits as among thousands."""
    rows = world(2_500, seed=4)[0]
    for model in (Forest.of(fitted), LinearModel.fit(*world())):
        whole = model.predict(rows)
        assert all(model.predict(rows[i : i + 1]).tobytes() == whole[i : i + 1].tobytes() for i in range(0, 2_500, 83))
        assert model.predict(rows[:0]).shape == (0,)


def test_seed_gives_the_same_bytes() -> None:
    """Fitted twice with one seed a forest is the same file, with another seed another; read back, it is the same."""
    rows, targets = world()
    first, again, other = (Forest.fit(rows, targets, seed=seed, trees=5).to_arrays() for seed in (1, 1, 2))
    assert first == again != other
    assert Forest.from_arrays("h1.npz", first, 4).to_arrays() == first
    straight = LinearModel.fit(rows, targets).to_arrays()
    assert LinearModel.from_arrays("h1.npz", straight, 4).to_arrays() == straight


def test_a_forest_reads_no_missing_value(fitted: Any) -> None:
    """NaN, infinity and what 32 bits cannot hold are bad input, not a path through the trees."""
    rows = world(3)[0]
    for bad in (np.nan, np.inf, 1e39):
        rows[1, 2] = bad
        with pytest.raises(BadInput, match="a forest reads finite numbers"):
            Forest.of(fitted).predict(rows)


def changed(name: str, place: int, value: float) -> Callable[[Arrays], Arrays]:
    def change(arrays: Arrays) -> Arrays:
        found = arrays[name].copy()
        found[place] = value
        return arrays | {name: found}

    return change


#: A forest of two trees: nodes 0 (asks column 1; 1, 2), 1 and 2 leaves; node 3 a leaf alone.
SMALL: Arrays = {
    "roots": np.array([0, 3], "<i4"),
    "feature": np.array([1, -1, -1, -1], "<i2"),
    "threshold": np.array([0.5, 0, 0, 0], "<f4"),
    "left": np.array([1, -1, -1, -1], "<i4"),
    "right": np.array([2, -1, -1, -1], "<i4"),
    "value": np.array([0, 1.0, 2.0, 4.0]),
}
CHAIN: Arrays = {  # a tree as deep as it has inner nodes
    "roots": np.array([0], "<i4"),
    "feature": np.array([0, -1] * 200 + [-1], "<i2"),
    "threshold": np.zeros(401, "<f4"),
    "left": np.array([n for i in range(0, 400, 2) for n in (i + 1, -1)] + [-1], "<i4"),
    "right": np.array([n for i in range(0, 400, 2) for n in (i + 2, -1)] + [-1], "<i4"),
    "value": np.zeros(401),
}
UNSOUND: Mapping[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "a column too many": (changed("feature", 0, 2), "another column"),
    "a column below none": (changed("feature", 0, -2), "another column"),
    "threshold is no number": (changed("threshold", 0, np.nan), "not finite"),
    "answer is infinite": (changed("value", 1, np.inf), "not finite"),
    "a node is its own child": (changed("left", 0, 0), "not behind its parent"),
    "a child before the first": (changed("left", 0, -3), "not behind its parent"),
    "a child behind the last": (changed("right", 0, 4), "not behind its parent"),
    "two parents": (changed("right", 0, 1), "exactly one parent"),
    "a root that is a child": (changed("roots", 1, 1), "exactly one parent"),
    "a root below none": (changed("roots", 0, -1), "not behind its parent"),
    "a root behind the last": (changed("roots", 1, 4), "a root is no node"),
    "a leaf with a child": (changed("left", 3, 1), "a leaf has a child"),
    "arrays of two lengths": (lambda arrays: arrays | {"value": arrays["value"][:3]}, "differ in length"),
    "no tree": (lambda arrays: {name: values[:0] for name, values in arrays.items()}, "no tree"),
    "too deep": (lambda arrays: CHAIN, "deeper than 128"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_nodes_that_are_no_trees_are_refused(name: str) -> None:
    """A walk over unsound nodes could run out of the arrays, or for ever: none is loaded."""
    change, why = UNSOUND[name]
    sound = Forest.from_arrays("h1.npz", write_arrays(SMALL), 2)
    assert sound.predict(np.array([[9.0, 0.5], [9.0, 0.6]])).tolist() == [2.5, 3.0]

    with pytest.raises(BadBundle, match=f"h1.npz is not a sound forest: .*{why}"):
        Forest.from_arrays("h1.npz", write_arrays(change(SMALL)), 2)


def test_numbers_that_are_no_line_are_refused() -> None:
    """Weights of another count, a number that is not finite, a negative ridge."""
    sound = {"intercept": np.array([1.0]), "weights": np.array([1.0, 2.0]), "ridge": np.array([0.0])}
    assert LinearModel.from_arrays("h1.npz", write_arrays(sound), 2).predict(np.array([[1.0, 1.0]])).tolist() == [4.0]
    for change, why in (
        ({"weights": np.ones(3)}, "of 2 features has 1, 2, 1"),
        ({"intercept": np.ones(2)}, "of 2 features has 1, 2, 1"),
        ({"weights": np.array([1.0, np.nan])}, "not finite"),
        ({"ridge": np.array([-1.0])}, "negative"),
    ):
        with pytest.raises(BadBundle, match=why):
            LinearModel.from_arrays("h1.npz", write_arrays(sound | change), 2)


def test_array_files_are_believed_nothing() -> None:
    """Other members, other kinds, a shape that lies, compression, damage: each is refused with a sentence."""
    import io
    import zipfile

    kinds = {"a": "<f8", "b": "<i4"}
    arrays: Arrays = {"a": np.arange(3.0), "b": np.arange(4, dtype="<i4")}
    sound = write_arrays(arrays)
    assert {name: values.tolist() for name, values in read_arrays("x", sound, kinds).items()} == {
        "a": [0.0, 1.0, 2.0],
        "b": [0, 1, 2, 3],
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, a=arrays["a"], b=arrays["b"])
    refused = {
        "does not hold the arrays a, b": [write_arrays({"a": arrays["a"]}), write_arrays(arrays | {"c": arrays["a"]})],
        "is not a flat array of": [
            write_arrays(arrays | {"b": np.arange(4.0)}),
            write_arrays(arrays | {"a": np.array([[1.0]])}),
            write_arrays(arrays | {"a": np.array(["x"])}),
            sound.replace(b"'descr': '<f8'", b"'descr': '|O8'"),
        ],
        "is compressed": [packed.getvalue()],
        "is not an npz archive": [b"", b"PK", sound[:-30], sound.replace(b"(3,)", b"(9,)")],
    }
    for why, contents in refused.items():
        for content in contents:
            with pytest.raises(BadBundle, match=f"{why}|is not an npz archive" if "O8" in str(content) else why):
                read_arrays("x", content, kinds)
    liar = io.BytesIO()
    member = io.BytesIO()
    np.save(member, arrays["a"])
    with zipfile.ZipFile(liar, "w") as archive:
        archive.writestr("a.npy", member.getvalue().replace(b"(3,)", b"(9,)"))
        archive.writestr("b.npy", b"")
    with pytest.raises(BadBundle, match="x/a promises 9 values"):
        read_arrays("x", liar.getvalue(), kinds)


def test_the_kinds_of_a_forest_are_those_that_it_writes(fitted: Any) -> None:
    """What is written reads back with the same kinds, without a copy in between."""
    forest = Forest.of(fitted)
    for name, values in read_arrays("h1.npz", forest.to_arrays(), _KINDS).items():
        assert np.array_equal(values, getattr(forest, name)) and values.dtype == getattr(forest, name).dtype
