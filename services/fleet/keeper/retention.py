"""What nobody needs any more: refused versions, bundles that no ledger row names, and what crashes left behind."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from services.fleet.keeper.cached import unneeded_entries
from services.fleet.keeper.doomed import Doomed
from tidewheel.contracts.errors import BadBundle
from tidewheel.disk import held_bytes
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.removal import leftovers, remove
from tidewheel.modelstore.store import ModelStore

_ORPHAN_SECONDS = 3_600  #: a living trainer publishes within seconds of the rename
_HEARD_OF_MS = 86_400_000  #: a frozen predictor may wake within a day and go on with what it has loaded
_Unneeded = Callable[[str], Mapping[str, str]]  #: of a family: version -> why nobody needs it
_log = logger(__name__)


class Retention:
    """Removes refused versions beyond the newest `keep_refused` of a family or of a registered model, and what dead
    processes left unfinished.

    What was ever promoted or given an alias stays, as a target of a rollback; so does what a replica has loaded or a
    prediction was saved of, and what anybody reads or publishes just now: they hold a lock, and the ledger is asked
    once more when nobody does. A user's model is never touched. Of BounceHunter's cache goes what `cached.py` says.
    """

    def __init__(
        self, ledger: Ledger, store: ModelStore, trained: ModelStore, cache: ModelStore, keep_refused: int
    ) -> None:
        """The stores are those of MODELS_DIR, TRAINED_MODELS_DIR and MODEL_CACHE_DIR."""
        self._ledger, self._store, self._trained, self._keep = ledger, store, trained, keep_refused
        self._cache = cache

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
        families = self._ledger.versions.families()
        versions = [doomed for family in families for doomed in self._versions(self._store, family, self._unneeded)]
        names = sorted({model.model_name for model in self._ledger.registry.all() if model.run_id is not None})
        models = [doomed for name in names for doomed in self._versions(self._trained, name, self._unneeded_models)]
        abandoned = [
            Doomed(path, "left by a process that died", held_bytes(path), partial(remove, models_dir, path))
            for models_dir in (self._store.models_dir, self._trained.models_dir, self._cache.models_dir)
            for path in leftovers(models_dir)
        ]
        half_written = [
            Doomed(path, "half-written by a process that died", held_bytes(path), partial(_unlink, path))
            for path in self._ledger.half_written()
        ]
        return [*versions, *models, *unneeded_entries(self._cache), *abandoned, *half_written]

    def _versions(self, store: ModelStore, family: str, unneeded: _Unneeded) -> Iterator[Doomed]:
        def prune(version: str) -> bool:
            return bool(store.prune(family, [version], needed=lambda name: name not in unneeded(family)))

        for version, why in unneeded(family).items():
            path = store.path(family, version)
            if path.is_dir():
                yield Doomed(path, why, held_bytes(path), partial(prune, version))

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
        unneeded = {version.version: self._refused for version in refused[self._keep :]}
        for version in self._orphans(family, {version.version for version in known}):
            unneeded[version] = "no run published it"
        return {version: why for version, why in unneeded.items() if version not in served | loaded | {current}}

    def _unneeded_models(self, name: str) -> dict[str, str]:
        """The same of a registered model: those of its versions that a run made."""
        registry = self._ledger.registry
        named = {move.version for alias in registry.aliases(name) for move in registry.moves(name, alias.alias)}
        refused = [
            model.version
            for model in registry.versions(name)
            if model.version not in named
            and model.run_id is not None
            and model.verdict is not None
            and not model.verdict.passed
        ]
        older = refused[self._keep :]
        return {version: self._refused for version in older if not self._ledger.predictions.counts(name, version)}

    @property
    def _refused(self) -> str:
        return f"refused, and not among the newest {self._keep} refused ones"

    def _orphans(self, family: str, known: set[str]) -> list[str]:
        """Bundles whose trainer lost its lease, or died, between the rename and the ledger's transaction."""
        old = time.time() - _ORPHAN_SECONDS
        named = (version for version in self._store.versions(family) if version not in known)
        return [version for version in named if self._store.path(family, version).stat().st_mtime < old]


def _unlink(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True
