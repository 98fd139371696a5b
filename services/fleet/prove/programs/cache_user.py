"""One of many who use a model cache at once, for the proof `cache`; judges what it is given."""

import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from services.fleet.prove.proof import Tally
from tidewheel.bounce.entries import CachedModel, ModelCache, family_of
from tidewheel.bounce.files import Made, entry_files
from tidewheel.contracts.errors import BadBundle, TidewheelError

SOUND, CACHE, ENOUGH = "sound", "cache", "enough"  #: folders of a proof, and the file that ends it
DAMAGE = "damage"  #: the role beside which a save may find damage that was done to it that very moment
_FRESH = 0.2  #: share of reads by somebody who has nothing in memory
_KEEP = 0.9  #: share of saves that are to be kept


def made_of(kept: CachedModel) -> Made:
    """What was saved."""
    told = kept.metadata
    return Made(
        config=told.config,
        config_hash=told.config_hash,
        volatility_source=told.volatility_source,
        gathered=kept.gathered,
        model=kept.model,
    )


def sound_entries(folder: Path) -> list[Made]:
    """What the proof laid out, one cache for each."""
    found = []
    for cache in map(ModelCache, sorted(folder.iterdir())):
        latest = cache.latest()
        kept = None if latest is None else cache.get(latest.config_hash)
        if kept is None:
            raise BadBundle(f"the proof's own entry in {folder} cannot be read")
        found.append(made_of(kept))
    return found


class User:
    """Does one thing again and again."""

    def __init__(self, folder: Path, seed: int, cache: Callable[[Path], ModelCache], damaged: bool) -> None:
        self._place, self._open, self._damaged = folder / CACHE, cache, damaged
        self._dice, self.tally = random.Random(seed), Tally()
        self._made = sound_entries(folder / SOUND)
        self._sound = {content_of(made) for made in self._made}
        self._cache = self._open(self._place)

    def save(self) -> None:
        """Save one of the sound entries."""
        try:
            self._cache.save(self._dice.choice(self._made), keep=self._dice.random() < _KEEP)
        except BadBundle as error:
            if not self._damaged:
                self.tally.broken(f"a save failed: {error}")

    def read(self) -> None:
        """Ask for one; it is sound, or there is none. Now and then, look at what else there is."""
        if self._dice.random() < _FRESH:
            self._cache = self._open(self._place)
            self._cache.entries()
        wanted = self._dice.choice(self._made).config_hash
        kept = self._cache.get(wanted)
        if kept is not None and content_of(made_of(kept)) not in self._sound:
            self.tally.broken(f"the entry {kept.metadata.bundle} is none that anybody saved")
        if kept is not None and kept.metadata.config_hash != wanted:
            self.tally.broken(f"asked for {wanted}, and got {kept.metadata.config_hash}")

    def clear(self) -> None:
        """Remove all of it."""
        self._cache.clear(0.0 if self._dice.random() < _KEEP else None)
        time.sleep(0.05)

    def damage(self) -> None:
        """Flip a bit of some file."""
        folder = self._place / family_of(self._dice.choice(self._made).config_hash)
        files = sorted(folder.glob("v*/*"))
        if files:
            with suppress(FileNotFoundError):  # put aside, or cleared
                flip(self._dice.choice(files), self._dice)
        time.sleep(0.05)


def flip(file: Path, dice: random.Random) -> None:
    """Turn one bit of it."""
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    with file.open("r+b") as there:
        there.write(content)


def content_of(made: Made) -> bytes:
    """All that an entry says, in one text."""
    files: Mapping[str, bytes] = entry_files(made)
    return b"".join(name.encode() + files[name] for name in sorted(files))


def main(cache: Callable[[Path], ModelCache] = lambda folder: ModelCache(folder, on_damage=lambda *_: None)) -> None:
    """`python -m services.fleet.prove.programs.cache_user FOLDER ROLE SAVES SEED DAMAGED`: prints its tally as JSON.

    A saver saves so often; the others go on until ENOUGH.
    """
    folder, role, saves, seed, damaged = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
    user = User(folder, seed, cache, bool(damaged))
    do = {"save": user.save, "read": user.read, "clear": user.clear, DAMAGE: user.damage}[role]
    while user.tally.trials < saves if role == "save" else not (folder / ENOUGH).exists():
        try:
            do()
        except (TidewheelError, OSError) as error:
            user.tally.broken(f"{role} failed: {type(error).__name__}: {error}")
        user.tally.trials += 1
    print(json.dumps(asdict(user.tally)))


if __name__ == "__main__":
    main()
