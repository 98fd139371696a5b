"""What nobody needs any more: refused versions, bundles that no ledger row names, and what crashes left behind."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tidewheel.contracts.errors import BadBundle
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.removal import leftovers, remove
from tidewheel.modelstore.store import ModelStore

_ORPHAN_SECONDS = 3_600  #: a living trainer publishes within seconds of the rename
_HEARD_OF_MS = 86_400_000  #: a frozen predictor may wake within a day and go on with what it has loaded
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Doomed:
    """Something on disk that may go, as `tidewheel gc` tells it."""

    path: Path
    why: str
    bytes: int  #: that its files hold
    remove: Callable[[], bool]  #: False when it came into use meanwhile


class Retention:
    """Removes a family's refused versions beyond the newest `keep_refused`, and what dead processes left unfinished.

    What was ever promoted stays, as a target of a rollback; so does what a replica has loaded, and what anybody reads
    or publishes just now: they hold a lock, and the ledger is asked once more when nobody does.
    """

    def __init__(self, ledger: Ledger, store: ModelStore, keep_refused: int) -> None:
        self._ledger, self._store, self._keep = ledger, store, keep_refused

    def __call__(self) -> None:
        """Remove all that may go."""
        for doomed in self.plan():
            try:
                gone = doomed.remove()
            except BadBundle as odd:
                _log.error("prune_refused", path=str(doomed.path), detail=odd.detail)
                continue
            if gone:
                _log.info("removed", path=str(doomed.path), why=doomed.why, bytes=doomed.bytes)

    def plan(self) -> list[Doomed]:
        """What may go now, and why; removes nothing."""
        models_dir, families = self._store.models_dir, self._ledger.versions.families()
        versions = [doomed for family in families for doomed in self._versions(family)]
        abandoned = [
            Doomed(path, "left by a process that died", _bytes(path), partial(remove, models_dir, path))
            for path in leftovers(models_dir)
        ]
        half_written = [
            Doomed(path, "half-written by a process that died", _bytes(path), partial(_unlink, path))
            for path in self._ledger.half_written()
        ]
        return [*versions, *abandoned, *half_written]

    def _versions(self, family: str) -> Iterator[Doomed]:
        for version, why in self._unneeded(family).items():
            path = self._store.path(family, version)
            if path.is_dir():
                yield Doomed(path, why, _bytes(path), partial(self._prune, family, version))

    def _prune(self, family: str, version: str) -> bool:
        return bool(self._store.prune(family, [version], needed=lambda name: name not in self._unneeded(family)))

    def _unneeded(self, family: str) -> dict[str, str]:
        """Version -> why nobody needs it."""
        served = {promotion.version for promotion in self._ledger.versions.promotions(family)}
        loaded = {replica.loaded for replica in self._ledger.replicas.live(family, _HEARD_OF_MS) if replica.loaded}
        current = self._store.current(family)
        known = self._ledger.versions.all(family)
        refused = [
            version
            for version in known
            if version.version not in served and version.verdict is not None and not version.verdict.passed
        ]
        refused.sort(key=lambda version: version.created_at, reverse=True)
        why = f"refused, and not among the newest {self._keep} refused ones"
        unneeded = {version.version: why for version in refused[self._keep :]}
        for version in self._orphans(family, {version.version for version in known}):
            unneeded[version] = "no run published it"
        return {version: why for version, why in unneeded.items() if version not in served | loaded | {current}}

    def _orphans(self, family: str, known: set[str]) -> list[str]:
        """Bundles whose trainer lost its lease, or died, between the rename and the ledger's transaction."""
        old = time.time() - _ORPHAN_SECONDS
        named = (version for version in self._store.versions(family) if version not in known)
        return [version for version in named if self._store.path(family, version).stat().st_mtime < old]


def _unlink(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True


def _bytes(path: Path) -> int:
    """Bytes of a file, or of all plain files below a folder; what vanishes meanwhile counts nothing."""
    paths = (
        [path]
        if not path.is_dir() or path.is_symlink()
        else [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    )
    total = 0
    for each in paths:
        try:
            status = each.lstat()
        except FileNotFoundError:
            continue
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
