"""A reader that believes what is inside of a file with the right digest: the planted bug of `hostile`."""

import io

import numpy as np

from services.fleet.prove.programs import hostile_reader
from tidewheel.modelstore import bundle
from tidewheel.modelstore.bundle import OpenBundle


def _load(opened: OpenBundle) -> list[object]:
    return [
        np.load(io.BytesIO(content), allow_pickle=True)["weights"]
        for name, content in opened.files.items()
        if name.endswith(".npz")
    ]


def _believe(name: str, content: bytes) -> None:
    assert name


if __name__ == "__main__":
    bundle.check_content = _believe  # type: ignore[attr-defined]
    hostile_reader.load_warm = _load  # type: ignore[attr-defined, assignment]
    hostile_reader.main()
