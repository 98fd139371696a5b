import functools
import io
import json
import operator
import subprocess
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.libs.registry.models import FEATURES, forest, rows, skops_bytes, target, targets
from tidewheel.contracts.errors import BadModel
from tidewheel.registry.formats import skops


def estimators() -> list[Any]:
    """One of every kind that we serve, fitted."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.decomposition import PCA
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import ElasticNet, HuberRegressor, LinearRegression, Ridge, SGDRegressor
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, RobustScaler, StandardScaler
    from sklearn.tree import DecisionTreeRegressor

    one = [
        LinearRegression(), Ridge(), ElasticNet(), HuberRegressor(), SGDRegressor(random_state=1), DummyRegressor(),
        DecisionTreeRegressor(max_depth=3), ExtraTreesRegressor(3, max_depth=3, n_jobs=2),
        GradientBoostingRegressor(n_estimators=3), HistGradientBoostingRegressor(max_iter=3),
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, solver="lbfgs", tol=1e9),
        TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
        make_pipeline(SimpleImputer(), RobustScaler(), PolynomialFeatures(), PCA(3), Ridge()),
    ]  # fmt: skip
    fitted = [estimator.fit(rows(), target()) for estimator in one]
    return [*fitted, MultiOutputRegressor(Ridge()).fit(rows(), targets()), forest()]


def test_every_kind_that_we_name_answers_exactly_as_scikit_learn() -> None:
    """Each estimator comes through skops and gives the very numbers of the original, in one thread."""
    for estimator in estimators():
        model = skops.load(skops_bytes(estimator))
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=1)  # two threads add up the trees in any order

        expected = np.asarray(estimator.predict(rows())).reshape(len(rows()), -1)
        assert np.array_equal(model.predict(rows()), expected), estimator
        assert (model.features, model.outputs) == (FEATURES, expected.shape[1])
        assert model.nbytes > 1_000


class Popen:
    """Stands for a type in a file that would run a program."""


def forbidden() -> dict[str, bytes]:
    """Files that skops writes willingly, or that were edited by hand."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.preprocessing import FunctionTransformer

    spoilt = forest().estimators_[0]
    files = {
        "a function": skops_bytes(FunctionTransformer(np.exp)),
        "a partial": skops_bytes(functools.partial(np.exp, 1)),
        "a method": skops_bytes({"a": forest().predict}),
        "an operator": skops_bytes(operator.methodcaller("system", "true")),
        "neighbours": skops_bytes(KNeighborsRegressor().fit(rows(), target())),
        "a classifier": skops_bytes(LogisticRegression().fit(rows(), target() > 0)),
        "a plain list": skops_bytes([1, 2, 3]),
        "a bare tree": skops_bytes(spoilt.tree_),
    }
    for name, module, kind, loader in (
        ("Popen", "subprocess", "Popen", "ObjectNode"),
        ("Popen by constructor", "subprocess", "Popen", "ConstructorFromReduceNode"),
        ("operator.call", "operator", "call", "OperatorFuncNode"),
        ("os.system as a type", "os", "system", "TypeNode"),
        ("an old function", "os", "system", "FunctionNode"),
        ("eval as a loss", "builtins", "eval", "LossNode"),
    ):
        files[name] = edited(
            lambda schema, n=(module, kind, loader): schema["content"]["content"]["criterion"].update(  # type: ignore[misc]
                {"__module__": n[0], "__class__": n[1], "__loader__": n[2]}
            )
        )
    return files


def edited(change: Callable[[Any], object], estimator: Any = None) -> bytes:
    """A skops file whose schema was edited by hand."""
    return rezipped(skops_bytes(estimator or forest()), lambda files: change_schema(files, change))


def change_schema(files: dict[str, bytes], change: Callable[[Any], object]) -> None:
    schema = json.loads(files["schema.json"])
    change(schema)
    files["schema.json"] = json.dumps(schema).encode()


def rezipped(content: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """The archive with its members changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return packed.getvalue()


def test_a_type_that_is_not_named_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, operators, foreign types, by whichever node of skops: refused by the check, before skops sees them."""
    ran: list[object] = []
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *a, **k: ran.append(a))

    for what, content in forbidden().items():
        for step in (skops.check, skops.load):
            with pytest.raises(BadModel) as refused:
                step(content)
            assert "not" in refused.value.detail, what

    assert ran == []


def tampered_tree(field: str, value: int) -> bytes:
    """A forest, one field of whose tree's nodes points where nothing is."""

    def change(files: dict[str, bytes]) -> None:
        for name, body in files.items():
            if b"left_child" in body[:400]:
                array = np.load(io.BytesIO(body))
                array[field][0] = value
                out = io.BytesIO()
                np.save(out, array)
                files[name] = out.getvalue()

    return rezipped(skops_bytes(forest()), change)


def test_a_tree_that_cannot_be_walked_is_refused() -> None:
    """Children outside, rings, columns that are not there: each would crash or hang native code for some row."""
    cases = {
        "child": tampered_tree("left_child", 10**9),
        "negative": tampered_tree("right_child", -7),
        "ring": tampered_tree("right_child", 0),
        "shared": tampered_tree("right_child", 2),
        "column": tampered_tree("feature", FEATURES),
        "below": tampered_tree("feature", -2),
    }
    for what, content in cases.items():
        with pytest.raises(BadModel) as refused:
            skops.load(content)
        assert (
            "has a child" in refused.value.detail
            or "parents" in refused.value.detail
            or "column" in refused.value.detail
        ), what


def test_an_attribute_may_not_stand_in_for_a_method_or_a_width() -> None:
    """A file sets attributes freely; those that our checks and scikit-learn's rely on are looked at."""

    def hide(schema: Any) -> None:
        attributes = schema["content"]
        attributes["content"]["predict"] = attributes["content"]["criterion"]
        attributes["key_types"]["content"].append(attributes["key_types"]["content"][0])

    def widen(schema: Any) -> None:
        schema["content"]["content"]["n_features_in_"].update({"content": "6", "__id__": 1})

    with pytest.raises(BadModel, match="hides its method predict"):
        skops.load(edited(hide))
    with pytest.raises(BadModel, match="no tree over its features"):
        skops.load(edited(widen))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """Too many bytes, members or levels, doubled members and arrays that promise more than they hold."""
    content = skops_bytes(forest())
    deep = b'{"a":' * 100 + b"1" + b"}" * 100
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("schema.json", "w") as stream:
        for _ in range(65):
            stream.write(bytes(1024 * 1024))
    cases = {
        "unpacks": bomb.getvalue(),
        "nests": rezipped(content, lambda files: files.update({"schema.json": deep})),
        "schema.json is missing": rezipped(content, lambda files: files.pop("schema.json")),
        "is not an array of": rezipped(content, lambda files: files.update({"1.npz": b"PK"})),
        "promises": rezipped(content, lambda files: files.update({"1.npy": promising(10**12)})),
        "BadZipFile": b"PK not",
        "more than": b"PK\x01\x02" * (skops.MAX_MEMBERS + 1),
    }
    for sentence, bad in cases.items():
        with pytest.raises(BadModel, match=sentence):
            skops.check(bad)


def promising(count: int) -> bytes:
    """An array whose header promises `count` numbers, without one of them."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count},), }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
