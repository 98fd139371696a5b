"""Cached models: one entry for each configuration, every byte of which is proved at each load.

```
<cache_dir>/bouncehunter_<hash>/<version>/   manifest.json, meta.json, model.json, rows.npz, volatility.npz
<cache_dir>/bouncehunter_<hash>/current      -> the version that serves
```
An entry is refreshed by a new version and one flip of the link, so no reader ever meets half of one. The same bars give
the same version to the byte, whether read at once or grown ticker by ticker.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tidewheel.bounce.files import META_FILE, Made, Meta, entry_files, read_entry
from tidewheel.bounce.gathering import Gathered
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadBundle, BadInput, NotFound
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, HOUR, UtcMillis, parse_time
from tidewheel.disk import held_bytes
from tidewheel.features.bounce import LABEL_VERSION, signature
from tidewheel.models.bounce import BounceModel
from tidewheel.modelstore import files
from tidewheel.modelstore.bundle import BundleMeta, Manifest, OpenBundle, describe
from tidewheel.modelstore.code import code_digest
from tidewheel.modelstore.kept import KeptModels
from tidewheel.modelstore.store import ModelStore

PREFIX = "bouncehunter_"  #: how an entry's folder begins
MEMORY_BYTES = 256 * 1024 * 1024
METRIC = "brier"
_HASH_DIGITS = 16  #: of the config hash, in the folder's name
_SUPERSEDED_MS = DAY  #: for which a version that is not current stays: somebody may be about to read it
_SKEW_MS = HOUR  #: a time so far ahead is none that a clock told
_log = logging.getLogger(__name__)


def config_hash(config: BounceHunterConfig, volatility_source: str) -> str:
    """sha256 (hex) of all that gives an entry's numbers their meaning: configuration, feature and label versions."""
    return config.digest(features=signature(volatility_source), labels=LABEL_VERSION)


def family_of(config_hash: str) -> str:
    """The folder of a configuration's entry, and the family of the runs that fit it.

    Raises:
        BadInput: it is no config hash.
    """
    if len(config_hash) != 64 or set(config_hash) - set("0123456789abcdef"):
        raise BadInput(f"config_hash {config_hash[:80]!r} is not 64 hexadecimal digits; GET cache/list tells them")
    return PREFIX + config_hash[:_HASH_DIGITS]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMetadata:
    """What is told of an entry; readable without its model."""

    version: str  #: of the entry's layout
    bundle: str  #: its version in the store, such as v2026-11-20-1a2b3c4d
    config: BounceHunterConfig
    config_hash: str
    model_hash: str  #: sha256 (hex) of weights, rows and meaning
    created_at: UtcMillis
    updated_at: UtcMillis  #: when its data were last read from the ledger
    data_as_of: UtcMillis  #: close of the newest session that was read
    training_samples: int  #: dips with a known end
    metrics: Mapping[str, Any]  #: of forward probabilities, as `BounceMetrics`
    volatility_source: str
    tickers: tuple[str, ...]  #: that it was fitted on
    left_out: Mapping[str, str]  #: ticker -> why it was not
    origin: Origin  #: the least real one of its tickers
    parent: str | None  #: config hash of the entry that it grew from

    def age_hours(self, now: UtcMillis) -> float:
        """Hours since its data were read."""
        return max(now - self.updated_at, 0) / HOUR

    def stale(self, now: UtcMillis, max_age_hours: float) -> bool:
        """Whether it is older than that."""
        return self.age_hours(now) > max_age_hours


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class CachedModel:
    """An entry in memory."""

    metadata: ModelMetadata
    model: BounceModel
    gathered: Gathered
    source: Literal["memory", "disk", "fitted"]  #: where it came from this time

    @classmethod
    def of(cls, made: Made) -> "CachedModel":
        """The entry that would be saved, without saving it."""
        manifest, written = describe(family_of(made.config_hash), entry_files(made), _bundle_meta(made))
        metadata = _metadata(manifest, Meta.read(written[META_FILE]), manifest.created_at)
        return cls(metadata=metadata, model=made.model, gathered=made.gathered, source="fitted")

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        squares = self.gathered.squares
        dips = sum(each.features.nbytes + 3 * each.time.nbytes for each in self.gathered.dips.values())
        return int(dips) + 3 * squares.time.nbytes


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry on disk; without metadata where it is damaged, and its `fault` says how."""

    name: str  #: of its folder
    bytes: int
    metadata: ModelMetadata | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was removed."""

    cleared: int  #: entries
    freed_bytes: int


class ModelCache:
    """Entries below one folder, and those used last in memory. Safe for many processes and threads at once."""

    def __init__(
        self,
        cache_dir: Path,
        max_bytes: int = MEMORY_BYTES,
        *,
        on_damage: Callable[[Path, str], None] = lambda path, why: _log.warning("put aside as %s: %s", path, why),
    ) -> None:
        """`on_damage` is told where a damaged entry was put, and what was wrong with it."""
        self._store, self._on_damage = ModelStore(cache_dir), on_damage
        self._kept: KeptModels[CachedModel] = KeptModels(max_bytes)

    def get(self, config_hash: str) -> CachedModel | None:
        """The entry of a configuration: from memory, else from disk; None where there is none.

        A damaged one is put aside, `on_damage` is told, and it is as if there were none.
        """
        family = family_of(config_hash)
        while (bundle := self._current(family)) is not None:
            try:
                return self.read(config_hash, bundle)
            except NotFound:
                if self._current(family) == bundle:
                    return None
            except BadBundle as damaged:
                self._put_aside(config_hash, bundle, damaged.detail)
        return None

    def read(self, config_hash: str, bundle: str) -> CachedModel:
        """One version of an entry.

        Raises:
            NotFound: it is not there.
            BadBundle: it is damaged.
        """
        family, loaded = family_of(config_hash), []

        def load() -> CachedModel:
            loaded.append(bundle)
            return self._parsed(self._store.open(family, bundle), config_hash)

        kept = self._kept.get(f"{family}/{bundle}", load)
        metadata = replace(kept.metadata, updated_at=self._updated_at(family, bundle, kept.metadata.created_at))
        return replace(kept, metadata=metadata, source="disk" if loaded else "memory")

    def metadata(self, config_hash: str) -> ModelMetadata | None:
        """What is told of an entry, of which nothing but manifest and meta.json is read; None where there is none.

        Raises:
            BadBundle: one of the two is damaged.
        """
        told = self._told(family_of(config_hash))
        return told if told is None or told.config_hash == config_hash else None  # a folder's name has 16 digits of it

    def entries(self) -> list[Listed]:
        """Every entry, by the name of its folder."""
        found = []
        for name in self._families():
            try:
                metadata, fault = self._told(name), None
            except BadBundle as damaged:
                metadata, fault = None, damaged.detail
            if metadata is not None or fault is not None:
                found.append(Listed(name, held_bytes(self._store.models_dir / name), metadata, fault))
        return found

    def latest(self) -> ModelMetadata | None:
        """The sound entry whose data were read last, among those that are not as of a day of the past."""
        told = [each.metadata for each in self.entries() if each.metadata is not None]
        current = [metadata for metadata in told if metadata.config.as_of is None]
        return max(current, key=lambda metadata: (metadata.updated_at, metadata.config_hash), default=None)

    def save(self, made: Made, *, keep: bool = True) -> ModelMetadata:
        """Write an entry, read every byte of it back, and let it serve; where not to `keep`, it serves who names it.

        Raises:
            BadSetting, Unavailable: the folder cannot be written, the disk is full; nothing changed.
        """
        family = family_of(made.config_hash)
        meta = _bundle_meta(made)
        staged = self._store.stage(family, entry_files(made), meta)
        try:
            self._store.quarantine(family, staged.version)
            with self._store.publishing(staged) as published:
                os.utime(published)  # made again, it is young again: whoever is told of it may be about to read it
                if keep:
                    self._store.point(family, staged.version, at=made.read_at, reason="fitted")
        finally:
            self._store.discard(staged)
        self._store.prune(family, superseded(self._store, family))
        self._kept.drop(f"{family}/{staged.version}")  # what is told of it is read from disk, not remembered
        try:
            return self.read(made.config_hash, staged.version).metadata
        except NotFound:  # cleared in this very moment
            return CachedModel.of(made).metadata

    @contextmanager
    def alone(self, config_hash: str) -> Iterator[None]:
        """Let one process at a time fit a configuration; ask for its entry again inside.

        Raises:
            BadSetting: the folder cannot be written.
        """
        with self._store.alone(family_of(config_hash)):
            yield

    def clear(self, older_than_days: float | None = None) -> Cleared:
        """Remove every entry, or those whose data were read longer ago; a damaged one goes by its folder's time."""
        before = None if older_than_days is None else _now() - older_than_days * DAY
        gone = [listed for listed in self.entries() if before is None or self._read_at(listed) < before]
        freed = 0
        for listed in gone:
            self._store.forget(listed.name)
            freed += listed.bytes - held_bytes(self._store.models_dir / listed.name)
        return Cleared(len(gone), freed)

    def _families(self) -> list[str]:
        # What else lies there under such a name, a file or a link to elsewhere, is nobody's entry.
        folders = (each for each in files.entries(self._store.models_dir) if each.is_dir() and not each.is_symlink())
        return [each.name for each in folders if each.name.startswith(PREFIX)]

    def _current(self, family: str) -> str | None:
        try:
            return self._store.current(family)
        except BadBundle as odd:
            for _, aside in self._store.links.put_aside(family):
                self._on_damage(aside, odd.detail)
            return None

    def _told(self, family: str) -> ModelMetadata | None:
        bundle = self._store.current(family)
        if bundle is None:
            return None
        try:
            manifest, content = self._store.read_file(family, bundle, META_FILE)
        except NotFound:
            return None
        meta = Meta.read(content)
        if PREFIX + meta.config_hash[:_HASH_DIGITS] != family:
            raise BadBundle(f"the entry {bundle} in {family} is of configuration {meta.config_hash[:80]}")
        return _metadata(manifest, meta, self._updated_at(family, bundle, manifest.created_at))

    def _parsed(self, bundle: OpenBundle, config_hash: str) -> CachedModel:
        meta, model, gathered = read_entry(bundle.files)
        if meta.config_hash != config_hash:
            raise BadBundle(f"the entry {bundle.manifest.version} is of configuration {meta.config_hash[:80]}")
        metadata = _metadata(bundle.manifest, meta, bundle.manifest.created_at)
        return CachedModel(metadata=metadata, model=model, gathered=gathered, source="disk")

    def _updated_at(self, family: str, bundle: str, created_at: UtcMillis) -> UtcMillis:
        """When the version was last pointed at; when it was made, where that was not written down, or cannot be."""
        try:
            record = self._store.links.registry(family) or {}
            at = parse_time(str(record.get("promoted_at")))
        except (BadBundle, BadInput):
            return created_at
        return at if record.get("version") == bundle and at < _now() + _SKEW_MS else created_at

    def _read_at(self, listed: Listed) -> float:
        if listed.metadata is not None:
            return listed.metadata.updated_at
        return _written_at(self._store.models_dir / listed.name)

    def _put_aside(self, config_hash: str, bundle: str, why: str) -> None:
        family = family_of(config_hash)
        aside = self._store.quarantine(family, bundle, lambda opened: self._parsed(opened, config_hash))
        if aside is not None:
            self._on_damage(aside, why)


def superseded(store: ModelStore, family: str) -> list[str]:
    """Versions that nobody needs: replaced by another, or never meant to be kept, and a day old."""
    try:
        current = store.current(family)
    except BadBundle:  # it names nothing that could be kept
        current = None
    old = _now() - _SUPERSEDED_MS
    others = [version for version in store.versions(family) if version != current]
    return [version for version in others if _written_at(store.path(family, version)) < old]


def _bundle_meta(made: Made) -> BundleMeta:
    until = made.gathered.until
    metrics = made.model.metrics
    return BundleMeta(
        data_as_of=max(until.values()),
        max_feature_time=max(int(each.time[-1]) for each in made.gathered.dips.values() if len(each)),
        max_label_known_at=made.model.known_at,
        label_schema_version=1,
        feature_signature=signature(made.volatility_source),
        seed=0,
        code_digest=code_digest(),
        origin=Origin.least_real(made.gathered.origins.values()),
        parent=made.parent,
        metrics={METRIC: metrics.brier},
        metric_name=METRIC,
        metric_value=metrics.brier,
        claimed_files=0,
        lineage={"tickers": len(until), "volatility": made.volatility_source},
    )


def _metadata(manifest: Manifest, meta: Meta, updated_at: UtcMillis) -> ModelMetadata:
    return ModelMetadata(
        version=meta.version,
        bundle=manifest.version,
        config=meta.configuration,
        config_hash=meta.config_hash,
        model_hash=manifest.digest,
        created_at=manifest.created_at,
        updated_at=updated_at,
        data_as_of=manifest.data_as_of,
        training_samples=meta.training_samples,
        metrics=meta.metrics,
        volatility_source=meta.volatility_source,
        tickers=tuple(sorted(meta.until)),
        left_out=meta.left_out,
        origin=Origin(manifest.origin),
        parent=manifest.parent,
    )


def _written_at(folder: Path) -> float:
    """UTC ms; now, where somebody just removed it."""
    try:
        return folder.stat().st_mtime * 1_000
    except FileNotFoundError:
        return _now()


def _now() -> UtcMillis:
    return time.time_ns() // 1_000_000
