"""What nobody needs any more of BounceHunter's cache.

The current version of a configuration stays until somebody clears it, but for one as of a day of the past, of which a
study makes hundreds: it goes after a week. Another version goes after a day: it was replaced, or never meant to stay.
Of what was put aside as damaged the newest of a configuration stays, for a person to look at.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from services.fleet.keeper.doomed import Doomed
from tidewheel.bounce.entries import PREFIX, ModelCache, superseded
from tidewheel.disk import held_bytes
from tidewheel.modelstore.files import entries
from tidewheel.modelstore.removal import remove
from tidewheel.modelstore.store import ModelStore

_PAST_HOURS = 7 * 24.0


def unneeded_entries(cache: ModelStore) -> Iterator[Doomed]:
    """Versions and put-aside ones that may go, by configuration; removes nothing."""
    for folder in entries(cache.models_dir):
        if folder.name.startswith(PREFIX) and folder.is_dir() and not folder.is_symlink():
            yield from _replaced(cache, folder.name)
            yield from _put_aside(cache, folder)

    for listed in ModelCache(cache.models_dir).entries():
        told = listed.metadata
        if told is not None and told.config.as_of is not None and told.stale(time.time_ns() // 1_000_000, _PAST_HOURS):
            path = cache.models_dir / listed.name
            yield Doomed(path, "as of a day of the past, and a week old", listed.bytes, partial(_forget, cache, path))


def _forget(cache: ModelStore, path: Path) -> bool:
    cache.forget(path.name)
    return not path.exists()


def _replaced(cache: ModelStore, family: str) -> Iterator[Doomed]:
    def prune(version: str) -> bool:
        return bool(cache.prune(family, [version]))

    for version in superseded(cache, family):
        path = cache.path(family, version)
        yield Doomed(path, "not the current one of its configuration", held_bytes(path), partial(prune, version))


def _put_aside(cache: ModelStore, folder: Path) -> Iterator[Doomed]:
    aside = sorted((path for path in entries(folder) if ".aside-" in path.name), key=_changed)
    for path in aside[:-1]:
        away = partial(remove, cache.models_dir, path)
        yield Doomed(path, "put aside as damaged, and not the newest such", held_bytes(path), away)


def _changed(path: Path) -> float:
    """When it was last touched or renamed; of what vanishes meanwhile, long ago."""
    try:
        return path.lstat().st_ctime
    except FileNotFoundError:
        return 0.0
