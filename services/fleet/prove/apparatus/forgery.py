"""Bundles of a hostile writer who can compute every digest: one function a trick, listed in `TRICKS`."""

import hashlib
import io
import json
import os
import socket
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.fleet.prove.apparatus.bundles import stage
from tidewheel.modelstore.bundle import METADATA, canonical
from tidewheel.modelstore.store import ModelStore

Files = Mapping[str, bytes]
_MIB = 2**20


def forge(honest: Path, home: Path, files: Files | None = None, **changes: Any) -> Path:
    """A bundle below `home` with correct digests, version and seal around any files and any manifest members."""
    manifest = json.loads((honest / "manifest.json").read_text())
    metadata = (honest / METADATA).read_bytes()
    contents = {name: (honest / name).read_bytes() for name in manifest["files"]} if files is None else dict(files)
    contents[METADATA] = metadata
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)} for name, body in contents.items()
    }
    manifest |= changes
    weights = {name: entry["sha256"] for name, entry in manifest["files"].items() if name != METADATA}
    told = ("format", "family", "feature_signature", "label_schema_version", "seed", "code_digest", "origin")
    times = ("data_as_of", "max_feature_time", "max_label_known_at")
    meaning = {name: manifest[name] for name in (*told, *times)}
    manifest["digest"] = hashlib.sha256(canonical({"files": weights, **meaning})).hexdigest()
    manifest["version"] = f"{honest.name[:12]}{manifest['digest'][:8]}"
    folder = home / "hmm" / str(manifest["version"])
    folder.mkdir(parents=True)
    for name, body in contents.items():
        if "/" not in name:
            (folder / name).write_bytes(body)
    write_manifest(folder, manifest)
    return folder


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Seal and write it, as the store would."""
    manifest = {name: value for name, value in manifest.items() if name != "seal"}
    manifest["seal"] = hashlib.sha256(canonical(manifest)).hexdigest()
    (folder / "manifest.json").write_bytes(canonical(manifest))


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive, doubled names and all."""
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of doubled names
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def array(header: str, data: bytes = b"", length: int | None = None, version: int = 1) -> bytes:
    """An npy file with any header."""
    text = header.encode("latin1") + b"\n"
    counted = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + counted + text + data


def npz(header: str, data: bytes = bytes(8)) -> Files:
    """A model file with one such array."""
    return {"weights.npz": zipped([("weights.npy", array(header, data))])}


def shaped(shape: str, descr: str = "'<f8'") -> Files:
    """... that declares a shape."""
    return npz(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


def model(text: str | bytes) -> Files:
    """A model of one JSON file."""
    return {"model.json": text if isinstance(text, bytes) else text.encode()}


def bomb() -> bytes:
    """257 MiB of zeros, packed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("weights.npy", "w") as member,
    ):
        for _ in range(257):
            member.write(bytes(_MIB))
    return buffer.getvalue()


def locked() -> bytes:
    """A zip whose one member says that it is encrypted."""
    whole = bytearray(zipped([("weights.npy", array("{}"))], zipfile.ZIP_STORED))
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    return bytes(whole)


def content_tricks(trap: Path) -> dict[str, Files]:
    """Tricks inside of files, with correct digests all around them."""
    pickled = f"cposix\nmkdir\n(V{trap}\ntR.".encode()  # by hand: whoever loads it makes the folder
    good = array("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8))
    return {
        "a pickle called json": model(pickled),
        "a pickle called npz": {"weights.npz": pickled},
        "a pickle by name": {"model.pkl": pickled},
        "a joblib by name": {"model.joblib": pickled},
        "a torch zip by name": {"model.pt": zipped([("archive/data.pkl", pickled)])},
        "a torch zip called npz": {"weights.npz": zipped([("archive/data.pkl", pickled)])},
        "an array of objects": npz("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickled),
        "an array of records": shaped("(1,)", "[('a', '<f8')]"),
        "a header that calls a function": npz(f"{{'descr': __import__('os').mkdir({str(trap)!r}), 'shape': (1,), }}"),
        "a shape of a petabyte": shaped("(1000000, 1000000, 1000)"),
        "a shape beyond 64 bits": shaped("(9223372036854775807, 9223372036854775807)"),
        "a negative shape": shaped("(-1,)"),
        "a shape of thousands of dimensions": shaped("(" + "1, " * 5_000 + ")"),
        "a header of 4 GB": {"weights.npz": zipped([("weights.npy", array("{}", length=2**32 - 1, version=2))])},
        "more data than the shape": shaped("(0,)"),
        "a member that climbs out": {"weights.npz": zipped([("../../weights.npy", good)])},
        "a member with an absolute name": {"weights.npz": zipped([("/tmp/weights.npy", good)])},  # noqa: S108 - a name
        "a member named twice": {"weights.npz": zipped([("a.npy", good), ("a.npy", good)])},
        "an encrypted member": {"weights.npz": locked()},
        "ten thousand members": {"weights.npz": zipped([(f"{at}.npy", good) for at in range(10_000)])},
        "a zip bomb": {"weights.npz": bomb()},
        "a zip cut short": {"weights.npz": zipped([("a.npy", good)])[:-30]},
        "zeros in place of a zip": {"weights.npz": b"PK\x03\x04" + bytes(100)},
        "NaN": model('{"mean": NaN}'),
        "infinity": model('{"mean": -Infinity}'),
        "a number beyond float": model('{"mean": 1e999}'),
        "a number of 100,000 digits": model("1" * 100_000),
        "a doubled key": model('{"mean": 1, "mean": 2}'),
        "nesting of 100,000 levels": model("[" * 100_000 + "]" * 100_000),
        "nesting of 200 levels": model("[" * 200 + "]" * 200),
        "a million empty lists": model("[" + "[]," * 1_000_000 + "[]]"),
        "17 MB of text": model('"' + "x" * 17 * _MIB + '"'),
        "text that is not UTF-8": model(b'"\xff\xfe"'),
        "UTF-16": model('{"mean": 1}'.encode("utf-16")),
        "a later schema of the model": model('{"family": "hmm", "schema": 999}'),
        "no model at all": {},
    }


#: tricks in the names of files
NAME_TRICKS: dict[str, Files] = {
    "a file that climbs out": {"../../model.json": b"{}"},
    "an absolute file": {"/etc/model.json": b"{}"},
    "a thousand files": {f"m{at}.json": b"{}" for at in range(1_000)},
}


def _linked(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to("/etc/passwd")


def _hard_linked(folder: Path) -> None:
    secret = folder.parents[1] / "secret"
    secret.write_text("of another program")
    (folder / "model.json").unlink()
    (folder / "model.json").hardlink_to(secret)


def _fifo(name: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return replace


def _socket(folder: Path) -> None:
    (folder / "model.json").unlink()
    here = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"/proc/self/fd/{here}/model.json")  # a socket's whole path may have 107 bytes only
    os.close(here)


def _sparse(folder: Path) -> None:
    os.truncate(folder / "weights.npz", 4 * 2**30)


def _folder(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "model.json").mkdir()


def _elsewhere(folder: Path) -> None:
    folder.rename(folder.parents[1] / "elsewhere")
    folder.symlink_to("../elsewhere")


def _manifest(**changes: Any) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        write_manifest(folder, json.loads((folder / "manifest.json").read_text()) | changes)

    return rewrite


def _text(content: bytes) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        (folder / "manifest.json").write_bytes(content)

    return rewrite


def _entry(**changes: Any) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["model.json"] |= changes
        write_manifest(folder, manifest)

    return rewrite


#: tricks around the files: what is done to an otherwise honest bundle
FOLDER_TRICKS: dict[str, Callable[[Path], None]] = {
    "a symlink to a file of the system": _linked,
    "a hard link to a file of another program": _hard_linked,
    "a fifo for a model": _fifo("model.json"),
    "a fifo for a manifest": _fifo("manifest.json"),
    "a socket for a model": _socket,
    "a folder for a model": _folder,
    "a sparse file of 4 GB": _sparse,
    "a bundle that is a link": _elsewhere,
    "a missing file": lambda folder: (folder / "weights.npz").unlink(),
    "an extra file": lambda folder: (folder / "extra.json").touch(),
    "an extra hidden file": lambda folder: (folder / ".extra").touch(),
    "a digest of something else": _entry(sha256="0" * 64),
    "a size of something else": _entry(size=5),
    "a negative size": _entry(size=-1),
    "a later format": _manifest(format=2),
    "a format of its own": _manifest(format="x"),
    "an unknown member": _manifest(run="rm -rf"),
    "a seed that is text": _manifest(seed="42"),
    "a version of something else": _manifest(version="v2026-01-01-00000000"),
    "a version that climbs out": _manifest(version="../../etc"),
    "a manifest without its seal's truth": lambda folder: _broken_seal(folder),
    "a manifest that is a list": _text(b"[]"),
    "a manifest of 100,000 levels": _text(b"[" * 100_000),
    "a manifest of 2 MB": _text(b" " * 2 * _MIB),
    "an empty manifest": _text(b""),
    "a manifest of zeros": _text(bytes(1_000)),
}  # fmt: skip


def _broken_seal(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"seed": 1', b'"seed": 2'))


def forge_all(home: Path, limit: int) -> dict[str, Path]:
    """Trick -> folder of its bundle, of the first `limit` tricks; each lies in a models directory of its own."""
    store = ModelStore(home / "honest")
    staged = stage(store, 1, size=16)
    honest = store.publish(staged)
    store.discard(staged)
    made: dict[str, Path] = {}
    contents = content_tricks(home / "trap") | NAME_TRICKS
    for what, files in [*contents.items()][:limit]:
        made[what] = forge(honest, home / str(len(made)), files)
    for what, twist in [*FOLDER_TRICKS.items()][: limit - len(made)]:
        made[what] = forge(honest, home / str(len(made)))
        twist(made[what])
    if len(made) < limit:
        made["another family"] = forge(honest, home / str(len(made)), family="lstm")
    return made
