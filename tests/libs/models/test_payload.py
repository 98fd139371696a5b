"""Hostile and damaged model files: each is refused by name, none is loaded."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.libs.models.worlds import market
from tidewheel.contracts.errors import BadBundle
from tidewheel.models.gaussian import GaussianModel
from tidewheel.models.regime import RegimeModel

STREAM = "test:A/USDT:1m"


@pytest.fixture(scope="module")
def regime() -> dict[str, Any]:
    model = RegimeModel.fit({STREAM: [market(1_500, seed=1)]}, seed=42, restarts=1)
    members: dict[str, Any] = json.loads(model.to_payload()["model.json"])
    return members


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(members: dict[str, Any]) -> None:
        inner: Any = members
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


POISON: dict[str, Callable[[dict[str, Any]], object]] = {
    "missing": lambda members: members.pop("means"),
    "unknown": put("extra", value=1),
    "family": put("family", value="lstm"),
    "schema": put("schema", value=2),
    "schema as bool": put("schema", value=True),
    "states renamed": put("states", value=["bear", "bull", "chop"]),
    "wrong shape": put("means", value=[[0.0, 0.0]]),
    "ragged": put("covars", 1, value=[1.0]),
    "scalar": put("startprob", value=1.0),
    "string": put("means", 0, 0, value="0.1"),
    "null": put("means", 0, 0, value=None),
    "bool": put("means", 0, 0, value=True),
    "nan": put("means", 0, 0, value=float("nan")),
    "infinity": put("covars", 0, 0, value=float("inf")),
    "huge": put("means", 0, 0, value=1e300),
    "huge integer": put("means", 0, 0, value=10**400),
    "row sum": put("transmat", 0, value=[0.5, 0.3, 0.1]),
    "negative probability": put("transmat", 0, value=[1.2, -0.1, -0.1]),
    "impossible transition": put("transmat", 0, value=[1.0, 0.0, 0.0]),
    "start sum": put("startprob", value=[0.5, 0.6, 0.1]),
    "negative variance": put("covars", 2, 1, value=-1.0),
    "zero variance": put("covars", 2, 1, value=0.0),
    "zero scale": put("scales", STREAM, value=0.0),
    "negative scale": put("default_scale", value=-1e-3),
    "scales as list": put("scales", value=[1.0]),
    "zero step": put("step", value=0),
    "fractional step": put("step", value=1.5),
    "negative seed": put("seed", value=-1),
    "statistics missing": lambda members: members["statistics"].pop("first"),
    "negative count": put("statistics", "occupancy", 0, value=-5.0),
    "negative squares": put("statistics", "second", 0, 0, value=-5.0),
}


@pytest.mark.parametrize("poison", POISON)
def test_regime_refuses(regime: dict[str, Any], poison: str) -> None:
    """Each single damage to a sound file is a BadBundle."""
    members = json.loads(json.dumps(regime))
    RegimeModel.from_payload({"model.json": json.dumps(members).encode()})
    POISON[poison](members)
    with pytest.raises(BadBundle):
        RegimeModel.from_payload({"model.json": json.dumps(members).encode()})


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"model.json": b""},
        {"model.json": b"null"},
        {"model.json": b"[]"},
        {"model.json": b"\xff\xfe"},
        {"model.json": b"\x80\x04}\x94."},
        {"model.json": b'{"a":1e400}'},
        {"model.json": b"[" * 100_000},
        {"model.json": b'{"a":' * 100_000},
        {"model.json": b"9" * 10_000},
        {"model.json": b'{"family":"hmm","family":"hmm"}'},
        {"model.json": b" " * (1 << 20) + b"{}"},
        {"other.json": b"{}"},
        {"model.json": b"{}", "extra.pkl": b""},
    ],
    ids=lambda payload: str({name: content[:20] for name, content in payload.items()}),
)
@pytest.mark.parametrize("kind", [RegimeModel, GaussianModel])
def test_no_model_file_is_refused(kind: type[RegimeModel | GaussianModel], payload: dict[str, bytes]) -> None:
    """What is not a model's JSON is a BadBundle, never another exception."""
    with pytest.raises(BadBundle):
        kind.from_payload(payload)


@pytest.mark.parametrize("pair", [[0.0, 0.0], [0.0, -1.0], [0.0], [None, 1.0], 1.0])
def test_gaussian_refuses(pair: Any) -> None:
    """A deviation that is none, or a pair that is none, is a BadBundle."""
    members = {"family": "gaussian", "schema": 1, "default": [0.0, 1.0], "streams": {STREAM: pair}}
    with pytest.raises(BadBundle):
        GaussianModel.from_payload({"model.json": json.dumps(members).encode()})
