"""Small bundles whose two files and manifest all carry one mark, so that a mixture is seen without any digest."""

import io
import json
from typing import Any

from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY
from tidewheel.modelstore.bundle import BundleMeta, OpenBundle
from tidewheel.modelstore.store import ModelStore, Staged

FAMILY = "hmm"
_AS_OF = 20_000 * DAY


def stage(store: ModelStore, mark: int, size: int = 512) -> Staged:
    """A staged bundle of `mark`."""
    import numpy as np

    arrays = io.BytesIO()
    np.savez(arrays, weights=np.full(size, mark, dtype=np.float64))
    payload = {"model.json": json.dumps({"mark": mark}).encode(), "weights.npz": arrays.getvalue()}
    return store.stage(FAMILY, payload, about(mark))


def about(mark: int) -> BundleMeta:
    """What a bundle of `mark` says beside its weights."""
    return BundleMeta(
        data_as_of=_AS_OF,
        max_feature_time=_AS_OF - 60_000,
        feature_signature="f" * 64,
        seed=mark,
        code_digest="c" * 64,
        origin=Origin.SYNTHETIC,
        metrics={"mark": mark},
        metric_name="mark",
        metric_value=float(mark),
        claimed_files=1,
        lineage={},
    )


def marks(bundle: OpenBundle) -> set[int]:
    """Every mark in it; an intact bundle has one."""
    import numpy as np

    with np.load(io.BytesIO(bundle.files["weights.npz"]), allow_pickle=False) as arrays:
        weights = {int(value) for value in arrays["weights"]}
    said: Any = json.loads(bundle.files["model.json"])["mark"]
    return weights | {said, bundle.manifest.seed, bundle.manifest.metrics["mark"], int(bundle.metadata["metric_value"])}
