"""What nobody needs any more: refused versions, and bundles that no ledger row names."""

import time

from tidewheel.contracts.errors import BadBundle
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore

_ORPHAN_SECONDS = 3_600  #: a living trainer publishes within seconds of the rename
_log = logger(__name__)


class Retention:
    """Prunes a family's refused versions beyond the newest `keep_refused`, and what dead trainers left staged.

    What was ever promoted stays, as a target of a rollback; so does what a replica has loaded.
    """

    def __init__(self, ledger: Ledger, store: ModelStore, keep_refused: int) -> None:
        self._ledger, self._store, self._keep = ledger, store, keep_refused

    def __call__(self) -> None:
        """Prune every family."""
        for family in self._ledger.versions.families():
            self._prune(family)
        self._store.sweep()

    def _prune(self, family: str) -> None:
        served = {promotion.version for promotion in self._ledger.versions.promotions(family)}
        loaded = {replica.loaded for replica in self._ledger.replicas.live(family) if replica.loaded}
        known = self._ledger.versions.all(family)
        refused = [
            version
            for version in known
            if version.version not in served and version.verdict is not None and not version.verdict.passed
        ]
        refused.sort(key=lambda version: version.created_at, reverse=True)
        doomed = [version.version for version in refused[self._keep :]]
        doomed += self._orphans(family, {version.version for version in known})
        try:
            gone = self._store.prune(family, doomed, pinned=served | loaded)
        except BadBundle as odd:
            _log.error("prune_refused", family=family, detail=odd.detail)
            return
        if gone:
            _log.info("versions_pruned", family=family, versions=gone)

    def _orphans(self, family: str, known: set[str]) -> list[str]:
        """Bundles whose trainer lost its lease, or died, between the rename and the ledger's transaction."""
        old = time.time() - _ORPHAN_SECONDS
        named = (version for version in self._store.versions(family) if version not in known)
        return [version for version in named if self._store.path(family, version).stat().st_mtime < old]
