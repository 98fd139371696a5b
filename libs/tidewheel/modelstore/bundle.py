"""A bundle: an immutable directory of model files that explains and proves itself.

`manifest.json` names every other file with its sha256 and ends in a seal over itself; `metadata.json` is the
operator's short view. The version's last part is the beginning of the content digest, which covers the weights and
what they mean, not when, where or by which run they were made: same seed and data, same bytes and version.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tidewheel.contracts.errors import BadBundle
from tidewheel.contracts.keys import version_name
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.modelstore.files import read_in, shared
from tidewheel.modelstore.formats import byte_limit, check_content, check_name, strict_json

MANIFEST = "manifest.json"
METADATA = "metadata.json"
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_FILES = 64
_LIBRARIES = ("hmmlearn", "numpy", "scikit-learn", "scipy", "tidewheel")


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleMeta:
    """What a trainer says of a model beside its weights."""

    data_as_of: UtcMillis  #: end of the newest bar that was used (open time + step)
    max_feature_time: UtcMillis  #: open time of the newest bar in the features
    feature_signature: str  #: sha256 of the feature definition
    seed: int  #: TRAIN_SEED
    code_digest: str  #: of the code that made features and model (`code.code_digest`)
    origin: Origin  #: the least real origin among the streams
    max_label_known_at: UtcMillis | None = None  #: None: a model without labels
    label_schema_version: int | None = None  #: None: a model without labels
    parent: str | None = None  #: version of the champion that it was matched to or grown from
    metrics: Mapping[str, Any]  #: JSON values
    metric_name: str  #: the number an operator looks at first, such as `score_mean`
    metric_value: float | None  #: None: it could not be measured (says the verdict)
    claimed_files: int  #: fresh files that the run consumed
    lineage: Mapping[str, Any]  #: streams, files and ranges of bars; JSON values


class FileEntry(BaseModel):
    """One file of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: str
    size: int  #: bytes


class Manifest(BaseModel):
    """The content of `manifest.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1]
    family: str
    version: str
    digest: str  #: sha256 over what `content_digest` covers
    files: dict[str, FileEntry]
    feature_signature: str
    label_schema_version: int | None
    seed: int
    code_digest: str
    origin: str
    data_as_of: UtcMillis
    max_feature_time: UtcMillis
    max_label_known_at: UtcMillis | None
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    parent: str | None
    libraries: dict[str, str]
    created_at: UtcMillis
    seal: str  #: sha256 of this manifest without the seal

    def content_digest(self) -> str:
        """Digest of weights and meaning; metrics, lineage, libraries, parent and creation are not part of it."""
        weights = {name: entry.sha256 for name, entry in self.files.items() if name != METADATA}
        meaning = self.model_dump(
            include={
                "format", "family", "feature_signature", "label_schema_version", "seed", "code_digest", "origin",
                "data_as_of", "max_feature_time", "max_label_known_at",
            }
        )  # fmt: skip
        return _sha256(canonical({"files": weights, **meaning}))

    def sealed_text(self) -> bytes:
        """The bytes of `manifest.json`; the only ones that a reader accepts."""
        return canonical(self.model_dump())

    def expected_seal(self) -> str:
        """What `seal` must be."""
        return _sha256(canonical(self.model_dump(exclude={"seal"})))


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """A bundle whose every byte was verified, in memory."""

    manifest: Manifest
    files: Mapping[str, bytes]  #: the model's files, without manifest and metadata
    metadata: Mapping[str, Any]  #: content of metadata.json


def canonical(value: Any) -> bytes:
    """JSON with one spelling: sorted keys, two blanks of indent, no NaN, a final newline.

    Raises:
        BadBundle: the value holds something that JSON cannot say.
    """
    try:
        text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()
    except (TypeError, ValueError) as error:
        raise BadBundle(f"a bundle's manifest holds JSON values only: {error}") from None


def describe(family: str, payload: Mapping[str, bytes], meta: BundleMeta) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and all files of the bundle with it (name to content).

    Raises:
        BadBundle: a payload file's name, size or structure is not allowed, or metrics or lineage are not JSON.
    """
    if not payload or len(payload) > MAX_FILES:
        raise BadBundle(f"a bundle has 1 to {MAX_FILES} model files, not {len(payload)}")
    for name, content in payload.items():
        if name in (MANIFEST, METADATA):
            raise BadBundle(f"{name} is written by the store; name the model's file differently")
        check_name(name)
        check_content(name, content)
    draft = Manifest(
        format=1, family=family, version="", digest="", files=_entries(payload), seed=meta.seed,
        feature_signature=meta.feature_signature, label_schema_version=meta.label_schema_version,
        code_digest=meta.code_digest, origin=meta.origin.value, data_as_of=meta.data_as_of,
        max_feature_time=meta.max_feature_time, max_label_known_at=meta.max_label_known_at,
        metrics=dict(meta.metrics), lineage=dict(meta.lineage), parent=meta.parent,
        libraries=library_versions(), created_at=time.time_ns() // 1_000_000, seal="",
    )  # fmt: skip
    digest = draft.content_digest()
    version = version_name(meta.data_as_of, digest)
    files = {**payload, METADATA: _metadata(version, draft, meta)}
    complete = draft.model_copy(update={"version": version, "digest": digest, "files": _entries(files)})
    manifest = complete.model_copy(update={"seal": complete.expected_seal()})
    return manifest, {**files, MANIFEST: manifest.sealed_text()}


def library_versions() -> dict[str, str]:
    """Versions of what computed the model."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **versions}


def read_bundle(path: Path, *, version: str | None = None) -> OpenBundle:
    """Read and verify every byte of the bundle at `path`, under the shared lock of its directory.

    `version` is what the bundle must call itself; None, for a staged one: anything that fits its content.

    Raises:
        NotFound: there is no such directory (any more).
        BadBundle: something is damaged, missing, added, linked or of a format that is not allowed.
    """
    with shared(path) as directory:
        return read_held(directory, path, version=version)


def read_held(directory: int, path: Path, *, version: str | None) -> OpenBundle:
    """`read_bundle` for who holds a lock on the directory, by its descriptor."""
    manifest = _read_manifest(directory, path)
    if version not in (None, manifest.version):
        raise BadBundle(f"the bundle at {path} calls itself {manifest.version}, not {version}")
    with os.scandir(directory) as found:
        _check_names((entry.name for entry in found), manifest, path)
    contents = {name: _read_file(directory, path, name, entry) for name, entry in manifest.files.items()}
    for name, content in contents.items():
        check_content(name, content)
    metadata = strict_json(METADATA, contents.pop(METADATA))
    return OpenBundle(manifest, contents, metadata)


def read_file(path: Path, name: str, *, version: str) -> tuple[Manifest, bytes]:
    """The manifest of the bundle at `path`, and one file that it names; the others stay unread.

    Raises:
        NotFound, BadBundle: as `read_bundle`, of these two.
    """
    with shared(path) as directory:
        manifest = _read_manifest(directory, path)
        if version != manifest.version or name not in manifest.files:
            raise BadBundle(f"the bundle at {path} calls itself {manifest.version}, not {version}, or has no {name}")
        content = _read_file(directory, path, name, manifest.files[name])
    check_content(name, content)
    return manifest, content


def _read_file(directory: int, path: Path, name: str, entry: FileEntry) -> bytes:
    content = read_in(directory, name, byte_limit(name))
    if len(content) != entry.size or _sha256(content) != entry.sha256:
        raise BadBundle(f"file {name} of the bundle at {path} does not have the digest in its manifest")
    return content


def _read_manifest(directory: int, path: Path) -> Manifest:
    text = read_in(directory, MANIFEST, MAX_MANIFEST_BYTES)
    raw = strict_json(MANIFEST, text)
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadBundle(f"the manifest at {path} cannot be used: {where}: {first['msg']}") from None
    if manifest.sealed_text() != text or manifest.seal != manifest.expected_seal():
        raise BadBundle(f"the manifest at {path} is damaged: its seal does not fit its text")
    digest = manifest.content_digest()
    if manifest.digest != digest or manifest.version != version_name(manifest.data_as_of, digest):
        raise BadBundle(f"the manifest at {path} names a digest or version that its files do not have")
    return manifest


def _check_names(found: Iterable[str], manifest: Manifest, path: Path) -> None:
    if METADATA not in manifest.files or len(manifest.files) > MAX_FILES + 1:
        raise BadBundle(f"the manifest at {path} names no {METADATA}, or more than {MAX_FILES} model files")
    for name in manifest.files:
        check_name(name)
    expected = {MANIFEST, *manifest.files}
    strange = sorted(set(found) ^ expected)
    if strange:
        raise BadBundle(f"the bundle at {path} has missing or extra files: {', '.join(strange[:5])}")


def _metadata(version: str, draft: Manifest, meta: BundleMeta) -> bytes:
    return canonical(
        {
            "family": draft.family,
            "version": version,
            "metric_name": meta.metric_name,
            "metric_value": meta.metric_value,
            "claimed_files": meta.claimed_files,
            "seed": meta.seed,
            "origin": meta.origin.value,
            "parent": meta.parent,
            "data_as_of": iso(meta.data_as_of),
            "created_at": iso(draft.created_at),
        }
    )


def _entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    return {name: FileEntry(sha256=_sha256(content), size=len(content)) for name, content in sorted(files.items())}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
