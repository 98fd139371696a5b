"""Small real bundles for the tests of this folder."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tidewheel.contracts.keys import version_name
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY
from tidewheel.modelstore.bundle import BundleMeta, FileEntry, describe
from tidewheel.modelstore.store import ModelStore

AS_OF = 20_000 * DAY

_NPY_HEADER_BYTES = 128  #: of the arrays in `payload`


def meta(**changes: Any) -> BundleMeta:
    values: dict[str, Any] = {
        "data_as_of": AS_OF,
        "max_feature_time": AS_OF - 60_000,
        "feature_signature": "f" * 64,
        "seed": 42,
        "code_digest": "c" * 64,
        "origin": Origin.SYNTHETIC,
        "metrics": {"score": 1.25},
        "metric_name": "score",
        "metric_value": 1.25,
        "claimed_files": 3,
        "lineage": {"files": [1, 2, 3]},
    }
    return BundleMeta(**(values | changes))


def payload(mark: int, size: int = 64) -> dict[str, bytes]:
    """A JSON file and an npz file that both carry `mark`."""
    arrays = io.BytesIO()
    np.savez(arrays, weights=np.full(size, mark, dtype=np.float64))
    return {"model.json": json.dumps({"mark": mark}).encode(), "weights.npz": arrays.getvalue()}


def published(store: ModelStore, mark: int, *, family: str = "hmm", size: int = 64) -> str:
    """Publish `payload(mark)`; its version."""
    staged = store.stage(family, payload(mark, size), meta())
    store.publish(staged)
    return staged.version


def mark_of(files: Mapping[str, bytes]) -> int:
    """The mark, when both files carry the same one; else an AssertionError: a torn read."""
    mark = json.loads(files["model.json"])["mark"]
    with zipfile.ZipFile(io.BytesIO(files["weights.npz"])) as arrays:
        # Not np.load, which threads may not call at once on Python before 3.11.8 (CPython issue 106905).
        weights = np.frombuffer(arrays.read("weights.npy")[_NPY_HEADER_BYTES:])
    assert set(weights.tolist()) == {float(mark)}
    return int(mark)


def forged(path: Path, files: Mapping[str, bytes]) -> Path:
    """A bundle that a hostile writer sealed correctly around any content, named as it calls itself."""
    manifest, complete = describe("hmm", payload(1), meta())
    honest = dict(manifest.files)
    entries = {name: FileEntry(sha256=hashlib.sha256(body).hexdigest(), size=len(body)) for name, body in files.items()}
    draft = manifest.model_copy(update={"files": {**entries, "metadata.json": honest["metadata.json"]}})
    digest = draft.content_digest()
    named = draft.model_copy(update={"digest": digest, "version": version_name(AS_OF, digest)})
    sealed = named.model_copy(update={"seal": named.expected_seal()})
    directory = path / sealed.version
    directory.mkdir(parents=True)
    for name, body in {**files, "metadata.json": complete["metadata.json"]}.items():
        (directory / name).write_bytes(body)
    (directory / "manifest.json").write_bytes(sealed.sealed_text())
    return directory
