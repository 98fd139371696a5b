"""The models directory: publish bundles, point `current` at one (`links.py`), read it back, prune.

```
<models>/<family>/<version>/             immutable bundle
<models>/<family>/current -> <version>   flipped by os.replace
<models>/current -> hmm/current
<models>/registry/<family>.json          what was promoted last, when and by whom
```
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tidewheel.contracts.errors import BadBundle, BadInput, Conflict, NotFound
from tidewheel.contracts.keys import is_version
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.contracts.verdicts import Verdict
from tidewheel.disk import fsync_directory, make_folders, unused_name, write_durably
from tidewheel.modelstore.bundle import (
    BundleMeta,
    Manifest,
    OpenBundle,
    describe,
    read_bundle,
    read_file,
    read_held,
)
from tidewheel.modelstore.files import Held, entries, lock, put_aside, shared, writing
from tidewheel.modelstore.links import Links
from tidewheel.modelstore.removal import STAGED, remove

_ROOMS = 100  #: attempts to make a folder that others remove


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete bundle that is not published yet; its lock keeps it from being removed while the stager lives."""

    dir: Path
    family: str
    version: str
    digest: str
    manifest: Manifest
    lock: Held


class ModelStore:
    """Bundles below one models directory. Safe for many processes and threads at once."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir, self.links = models_dir, Links(models_dir)

    def check_writable(self) -> None:
        """Fail now rather than after a long fit.

        Raises:
            BadSetting: the directory cannot be written by this user.
        """
        with writing(self.models_dir):
            make_folders(self.models_dir)
            probe = unused_name(self.models_dir / "probe")
            probe.touch()
            probe.unlink()

    def stage(self, family: str, payload: Mapping[str, bytes], meta: BundleMeta) -> Staged:
        """Write a bundle durably beside the published ones; end it by `publish` or `discard`.

        Raises:
            BadBundle: a payload file is not of an allowed name, size or structure.
            BadSetting: the models directory is read-only.
            Unavailable: the disk is full; nothing is left behind.
        """
        manifest, files = describe(family, payload, meta)
        with writing(self.models_dir):
            directory = self._room_for(family, manifest.version)
            held = Held(lock(directory, fcntl.LOCK_SH))
            try:
                for name, content in files.items():
                    write_durably(directory / name, content, mode=0o444)
                fsync_directory(directory)
            except BaseException:
                held.release()
                shutil.rmtree(directory)
                raise
        return Staged(directory, family, manifest.version, manifest.digest, manifest, held)

    def _room_for(self, family: str, version: str) -> Path:
        """A new empty folder to write a bundle in."""
        directory = unused_name(self._family_dir(family) / STAGED / version)
        for _ in range(_ROOMS):
            with suppress(FileNotFoundError):  # the family was forgotten in between
                make_folders(directory.parent)
                directory.mkdir()
                return directory
        raise NotFound(
            f"{directory.parent} is removed whenever it is made; let nobody clear {self.models_dir} meanwhile"
        )

    def publish(self, staged: Staged) -> Path:
        """Give the bundle its name in one step; a bundle of the same digest that exists already is returned.

        Raises:
            BadBundle: the existing one is damaged; it stays as it is for a person to look at.
            Conflict: two digests share the version's eight digits.
        """
        with self.publishing(staged) as final:
            return final

    @contextmanager
    def publishing(self, staged: Staged) -> Iterator[Path]:
        """`publish`, and hold the bundle until the block ends: no prune takes it before the ledger names it.

        Raises:
            BadBundle, Conflict: as `publish`.
        """
        final = self._family_dir(staged.family) / staged.version
        try:
            with writing(self.models_dir):
                while not self._named(staged, final):
                    pass  # a prune took the existing one away in between; the name is free again
                fsync_directory(final.parent)
                fsync_directory(final.parent.parent)
            yield final
        finally:
            staged.lock.release()

    def _named(self, staged: Staged, final: Path) -> bool:
        """Whether `final` is the bundle now, under the lock of `staged`."""
        try:
            staged.dir.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            try:
                existing = lock(final, fcntl.LOCK_SH)
            except NotFound:
                return False
            self.discard(staged)
            staged.lock.take(existing)
            self._check_same(final, staged)
        return True

    def discard(self, staged: Staged) -> None:
        """Remove a staged bundle; nothing happens when it was published or discarded before."""
        staged.lock.release()
        with writing(self.models_dir), suppress(FileNotFoundError):
            shutil.rmtree(staged.dir)

    def versions(self, family: str) -> list[str]:
        """Names of the published versions, by date of data."""
        found = entries(self._family_dir(family))
        return sorted(entry.name for entry in found if is_version(entry.name) and not entry.is_symlink())

    def path(self, family: str, version: str) -> Path:
        """Directory of a version, which need not exist.

        Raises:
            BadInput: `version` is not a version's name.
        """
        if not is_version(version):
            raise BadInput(f"{version!r} is not a version; it looks like v2026-11-20-1a2b3c4d")
        return self._family_dir(family) / version

    def current(self, family: str) -> str | None:
        """The version that `current` points at; None before the first promotion. One readlink.

        Raises:
            BadBundle: `current` points outside the family's versions.
        """
        return self.links.current(family)

    def open(self, family: str, version: str | None = None) -> OpenBundle:
        """Read a version, verified; None: the current one, resolved once.

        Raises:
            NotFound: there is no such version, or none is current.
            BadBundle: it is damaged or not allowed.
        """
        wanted = version or self.current(family)
        if wanted is None:
            raise NotFound(f"no version of {family} is current; train one with POST /train", code="no_model")
        try:
            return self._checked(family, read_bundle(self.path(family, wanted), version=wanted))
        except NotFound:
            if version is None and self.current(family) != wanted:  # flipped and pruned in between
                return self.open(family)
            raise NotFound(f"version {wanted} of {family} is not in {self.models_dir}") from None

    def read_file(self, family: str, version: str, name: str) -> tuple[Manifest, bytes]:
        """The manifest of a version and one of its files, both verified; the other files stay unread.

        Raises:
            NotFound, BadBundle: as `open`, of these two.
        """
        return read_file(self.path(family, version), name, version=version)

    def quarantine(
        self, family: str, version: str, examine: Callable[[OpenBundle], object] = lambda _: None
    ) -> Path | None:
        """Move a damaged version out of the way: where it lies now; None where it is sound, or gone by now.

        Nothing of it is deleted. `examine` raises BadBundle for one that is intact, and no sound model all the same.
        """
        path = self.path(family, version)
        descriptor: int | None = None
        try:
            descriptor = lock(path, fcntl.LOCK_EX)  # nobody puts another one there meanwhile
            examine(self._checked(family, read_held(descriptor, path, version=version)))
        except NotFound:
            return None
        except BadBundle:
            return put_aside(self.models_dir, path)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return None

    @contextmanager
    def held(self, family: str, version: str) -> Iterator[OpenBundle]:
        """The intact version, which no prune takes away within the block.

        Raises:
            NotFound, BadBundle: it is not there or not intact.
        """
        with shared(self.path(family, version)):
            yield self.open(family, version)

    def point(
        self,
        family: str,
        version: str,
        *,
        actor: str | None = None,
        at: UtcMillis | None = None,
        reason: str | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """Make a published, intact version the current one, and write down who did it when.

        Raises:
            NotFound, BadBundle: it is not there or not intact; `current` stays.
            BadSetting: the models directory is read-only.
        """
        path = self.path(family, version)
        with shared(path):
            bundle = self._checked(family, read_bundle(path, version=version))
            record = {
                "family": family,
                "version": version,
                "digest": bundle.manifest.digest,
                "promoted_at": iso(time.time_ns() // 1_000_000 if at is None else at),
                "actor": actor,
                "reason": reason,
                "verdict": None if verdict is None else verdict.model_dump(mode="json"),
            }
            self.links.flip(family, version, record)

    @contextmanager
    def alone(self, family: str) -> Iterator[None]:
        """Let one process at a time decide where the family's `current` points.

        Raises:
            BadSetting: the models directory is read-only.
        """
        family_dir = self._family_dir(family)
        with writing(self.models_dir):
            make_folders(family_dir)
        descriptor = lock(family_dir.resolve(), fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def prune(
        self, family: str, versions: Collection[str], *, needed: Callable[[str], bool] = lambda _: False
    ) -> list[str]:
        """Remove the named versions, except the current one, needed ones and those being held; the removed ones.

        The caller names what goes, never what stays: a bundle that was just published is not in any list yet.
        `needed(version)` is asked when nobody can hold the version any more: whoever held it has told the ledger.
        """

        def in_use(version: str) -> bool:
            return self.current(family) == version or needed(version)

        paths = [self.path(family, version) for version in versions]
        return [path.name for path in paths if path.exists() and remove(self.models_dir, path, in_use)]

    def forget(self, family: str) -> None:
        """Remove what is known of a family and its versions, but for those that somebody holds or is about to publish.

        Raises:
            BadSetting: the models directory is read-only.
        """
        self.links.forget(family)
        folder = self._family_dir(family)
        with writing(self.models_dir):
            for path in entries(folder):
                if not path.name.startswith("."):
                    remove(self.models_dir, path)
            for empty in (folder / STAGED, folder):
                with suppress(OSError):  # somebody's staged bundle is in it, or a version that is held
                    empty.rmdir()

    def _check_same(self, final: Path, staged: Staged) -> None:
        existing = read_bundle(final, version=staged.version).manifest
        if existing.digest != staged.digest:
            raise Conflict(f"{final} holds digest {existing.digest}, not {staged.digest}; remove one by hand")

    def _checked(self, family: str, bundle: OpenBundle) -> OpenBundle:
        if bundle.manifest.family != family:
            raise BadBundle(f"version {bundle.manifest.version} is of family {bundle.manifest.family}, not {family}")
        return bundle

    def _family_dir(self, family: str) -> Path:
        return self.links.family_dir(family)
