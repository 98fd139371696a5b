import io
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from services.fleet.prove.apparatus.forgery import bomb
from tests.libs.modelstore.bundles import AS_OF, forged, mark_of, meta, payload, published
from tidewheel.contracts.errors import BadBundle
from tidewheel.modelstore.bundle import describe, read_bundle
from tidewheel.modelstore.code import code_digest
from tidewheel.modelstore.formats import check_content
from tidewheel.modelstore.store import ModelStore


class Bomb:
    """Unpickling it creates the file whose path it carries."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o755)


def object_npz(value: object) -> bytes:
    """An npz whose one array numpy would unpickle."""
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([value], dtype=object))
    return buffer.getvalue()


def object_npy(value: object) -> bytes:
    """The pickle inside, as a bare file."""
    return zipfile.ZipFile(io.BytesIO(object_npz(value))).read("weights.npy")


def test_same_seed_and_data_give_the_same_version() -> None:
    """When a run was made and what it measured is not part of the version; weights and meaning are."""
    version = describe("hmm", payload(1), meta())[0].version

    assert version == describe("hmm", payload(1), meta(metrics={}, claimed_files=9, parent="x", lineage={}))[0].version
    assert version.startswith("v2024-10-04-")
    others = [
        describe("hmm", payload(2), meta()),
        describe("hmm-strict", payload(1), meta()),
        describe("hmm", payload(1), meta(seed=43)),
        describe("hmm", payload(1), meta(feature_signature="e" * 64)),
        describe("hmm", payload(1), meta(data_as_of=AS_OF + 1)),
    ]
    assert len({version, *(manifest.version for manifest, _ in others)}) == 6


def test_metadata_is_the_operators_short_view(tmp_path: Path) -> None:
    """metadata.json of a bundle names the metric, the claimed files and the seed."""
    store = ModelStore(tmp_path)
    version = published(store, 7)

    short = json.loads((tmp_path / "hmm" / version / "metadata.json").read_text())

    expected = {"version": version, "metric_name": "score", "metric_value": 1.25, "claimed_files": 3, "seed": 42}
    assert expected.items() <= short.items()


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    """1,000 damaged copies, each with a bit flipped anywhere in any file: none is read."""
    path = tmp_path / "hmm" / published(ModelStore(tmp_path), 7)
    chance = random.Random(5)
    targets = [(file, at) for file in sorted(path.iterdir()) for at in range(file.stat().st_size)]

    for file, at in chance.sample(targets, 1_000):
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        file.chmod(0o644)
        file.write_bytes(damaged)
        with pytest.raises(BadBundle):
            read_bundle(path, version=path.name)
        file.write_bytes(whole)

    assert mark_of(read_bundle(path, version=path.name).files) == 7


def test_a_cut_or_missing_file_is_found(tmp_path: Path) -> None:
    """A bundle whose file is shorter than written, empty or gone is refused by name."""
    path = tmp_path / "hmm" / published(ModelStore(tmp_path), 7)
    for name in ("model.json", "weights.npz", "metadata.json", "manifest.json"):
        copy = tmp_path / name / path.name
        shutil.copytree(path, copy)
        whole = (path / name).read_bytes()
        (copy / name).chmod(0o644)
        for cut in (whole[:-1], b""):
            (copy / name).write_bytes(cut)
            with pytest.raises(BadBundle, match=r"manifest|digest"):
                read_bundle(copy)
        (copy / name).unlink()
        with pytest.raises(BadBundle, match="missing"):
            read_bundle(copy)


@pytest.mark.parametrize("form", ["file", "link", "directory", "hidden"])
def test_extra_entries_are_refused(tmp_path: Path, form: str) -> None:
    """Whatever lies in the directory beside the named files makes the bundle foreign."""
    path = tmp_path / "hmm" / published(ModelStore(tmp_path), 7)
    extra = path / ("other.json" if form != "hidden" else ".other")
    match form:
        case "link":
            extra.symlink_to("model.json")
        case "directory":
            extra.mkdir()
        case _:
            extra.write_text("{}")

    with pytest.raises(BadBundle, match="extra"):
        read_bundle(path, version=path.name)


def test_a_linked_or_special_file_is_refused(tmp_path: Path) -> None:
    """A named file that is a symlink, even to the right bytes, or a fifo, is refused and never waited for."""
    path = tmp_path / "hmm" / published(ModelStore(tmp_path), 7)
    whole = path / "model.json"
    aside = tmp_path / "model.json"
    whole.rename(aside)

    whole.symlink_to(aside)
    with pytest.raises(BadBundle, match="symbolic link"):
        read_bundle(path, version=path.name)

    whole.unlink()
    os.mkfifo(whole)
    with pytest.raises(BadBundle, match="not a plain file"):
        read_bundle(path, version=path.name)


def test_a_linked_bundle_directory_is_refused(tmp_path: Path) -> None:
    """A version's directory is never a link to elsewhere."""
    path = tmp_path / "hmm" / published(ModelStore(tmp_path), 7)
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)

    with pytest.raises(BadBundle, match="not a plain directory"):
        read_bundle(path, version=path.name)


@pytest.mark.parametrize(
    "name",
    ["model.pkl", "model.joblib", "model.pt", "../model.json", "a/model.json", "/model.json", ".json", "model.json\0",
     "MODEL.JSON", "", "model", "model.json.pkl"],
)  # fmt: skip
def test_names_that_no_bundle_may_hold(name: str) -> None:
    """Foreign endings and anything like a path are refused before a byte is written."""
    with pytest.raises(BadBundle, match="may not be in a bundle"):
        describe("hmm", {name: b"{}"}, meta())


def test_hostile_bundles_with_correct_digests_are_refused(tmp_path: Path) -> None:
    """A writer who can compute every digest still brings no pickle, bomb or broken structure past the reader."""
    trap = tmp_path / "executed"
    pickled = object_npy(Bomb(trap))
    hostile: dict[str, dict[str, bytes]] = {
        "pickle called json": {"model.json": pickled},
        "pickle called npz": {"weights.npz": pickled},
        "npz of objects": {"weights.npz": object_npz(Bomb(trap))},
        "npz that unpacks to 257 MB": {"weights.npz": bomb()},
        "not a zip": {"weights.npz": b"PK\x03\x04" + bytes(100)},
        "NaN": {"model.json": b'{"mean": NaN}'},
        "doubled key": {"model.json": b'{"mean": 1, "mean": 2}'},
        "deep nesting": {"model.json": b"[" * 100_000 + b"]" * 100_000},
        "nesting that parses": {"model.json": b"[" * 200 + b"]" * 200},
        "huge json": {"model.json": b'"' + b"x" * (17 * 1024 * 1024) + b'"'},
        "not unicode": {"model.json": b'"\xff"'},
        "pickle by name": {"model.pkl": pickled},
    }
    for what, files in hostile.items():
        with pytest.raises(BadBundle):
            read_bundle(forged(tmp_path / what, files))

    assert not trap.exists()
    assert mark_of(read_bundle(forged(tmp_path / "honest", payload(3))).files) == 3


PLAIN = [
    np.zeros((3, 2)),
    np.zeros(()),
    np.zeros(4, dtype=bool),
    np.zeros(0, dtype=np.int8),
    np.ones((2, 3, 4), dtype=complex),
    np.asfortranarray(np.ones((2, 2), dtype=">f4")),
]
ODD = [np.array([{}]), np.array(["text"]), np.zeros(2, dtype=[("a", "f8")]), np.zeros(2, dtype="M8[s]")]


def npz(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, a=array)
    return file.getvalue()


@pytest.mark.parametrize("array", PLAIN, ids=lambda array: f"{array.dtype}{array.shape}")
def test_plain_arrays_pass_and_must_be_whole(array: np.ndarray) -> None:
    """Numbers of every shape may be in a bundle; a header that promises more or less than the file holds may not."""
    check_content("a.npz", npz(array))
    cut = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz(array))) as whole, zipfile.ZipFile(cut, "w") as less:
        less.writestr("a.npy", whole.read("a.npy") + b"!")
    with pytest.raises(BadBundle, match="promises"):
        check_content("a.npz", cut.getvalue())


@pytest.mark.parametrize("array", ODD, ids=lambda array: str(array.dtype.kind))
def test_arrays_of_anything_but_numbers_are_refused(array: np.ndarray) -> None:
    """Objects, texts, records and dates have no place in a model."""
    with pytest.raises(BadBundle, match="no readable header of plain numbers"):
        check_content("a.npz", npz(array))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 900 + b"]" * 900, b'{"metrics": {"a": 1e999}}', b"\xff"])
def test_odd_manifests_are_refused(tmp_path: Path, text: bytes) -> None:
    """Whatever stands in manifest.json, the answer is BadBundle."""
    path = tmp_path / "hmm" / published(ModelStore(tmp_path), 7)
    (path / "manifest.json").chmod(0o644)
    (path / "manifest.json").write_bytes(text)

    with pytest.raises(BadBundle):
        read_bundle(path, version=path.name)


def test_a_renamed_bundle_is_refused(tmp_path: Path) -> None:
    """A bundle is only read under the version it calls itself."""
    store = ModelStore(tmp_path)
    first, second = published(store, 1), published(store, 2)
    shutil.rmtree(tmp_path / "hmm" / second)
    (tmp_path / "hmm" / first).rename(tmp_path / "hmm" / second)

    with pytest.raises(BadBundle, match="calls itself"):
        store.open("hmm", second)


def test_code_digest_follows_the_sources() -> None:
    """It is a sha256, and the same in every process that runs this code."""
    assert code_digest() == code_digest()
    assert len(code_digest()) == 64
