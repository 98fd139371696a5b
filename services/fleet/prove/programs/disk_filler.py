"""The program of the proof `fulldisk`: publishes, promotes and seals on a disk with ever less room.

`python -m services.fleet.prove.programs.disk_filler DISK SIDE TRIALS SEED`: DISK is a small file system of
its own, SIDE a folder elsewhere for the ledger; prints its tally as JSON.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from services.fleet.prove.apparatus.bundles import FAMILY, marks, stage
from services.fleet.prove.programs import recorded_steps
from services.fleet.prove.proof import Tally
from tidewheel.contracts.errors import TidewheelError, Unavailable
from tidewheel.contracts.states import Origin
from tidewheel.ledger.open import Ledger, migrate, open_ledger
from tidewheel.modelstore.store import ModelStore

MOST_LEFT = 96 * 1024  #: bytes; a bundle or a seal takes less
_BARS = 60
_SIZES = (64, 8_192)  #: of the weights: a file of one page, and one of many
_CODES = ("disk_full", "disk_refused")


class Trial:
    """One models directory and one archive on the disk, and its ledger beside it."""

    def __init__(self, disk: Path, side: Path, dice: random.Random) -> None:
        self._disk, self._dice = disk, dice
        self._store = ModelStore(disk / "models")
        self._data = disk / "ml"
        file = side / "ledger.sqlite"
        migrate(str(file), side)
        self._ledger: Ledger = open_ledger(f"sqlite:///{file}", self._data)
        self._ledger.streams.register(recorded_steps.STREAM, Origin.REPLAY)
        self._marks = self._bars = 0
        self.refused = 0  #: attempts that found no room

    def run(self) -> Iterator[str]:
        """Attempt something on a nearly full disk, look at what is left, make room, and attempt it again."""
        attempt = self._dice.choice((self._publish, self._seal))
        work = attempt()
        filler = self._fill(self._dice.randrange(0, MOST_LEFT, 4_096))
        try:
            work()
        except Unavailable as full:
            self.refused += 1
            if full.code not in _CODES or str(self._disk) not in full.detail or "free" not in full.detail:
                yield f"the refusal names no path or no remedy: {full.detail}"
            yield from self._looked_at()
            filler.unlink()
            work()  # room again: the same attempt goes on
        filler.unlink(missing_ok=True)
        yield from self._looked_at()
        self._thin_out()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _publish(self) -> Callable[[], None]:
        self._marks += 1
        mark, size = self._marks, self._dice.choice(_SIZES)

        def work() -> None:
            staged = stage(self._store, mark, size)
            try:
                self._store.publish(staged)
                self._store.point(FAMILY, staged.version)
            finally:
                self._store.discard(staged)

        return work

    def _seal(self) -> Callable[[], None]:
        recorded_steps.write(self._ledger, recorded_steps.frame(self._bars, _BARS))
        self._bars += _BARS
        return lambda: recorded_steps.seal(self._ledger)

    def _fill(self, left: int) -> Path:
        """Take all room but `left` bytes."""
        filler = self._disk / "filler"
        room = shutil.disk_usage(self._disk).free - left
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room, 1))
        return filler

    def _looked_at(self) -> Iterator[str]:
        hidden = [path for path in self._disk.rglob(".*") if path.name != ".staged"]
        if hidden:
            yield f"half-written: {', '.join(str(path) for path in hidden)}"
        for version in self._store.versions(FAMILY):
            if len(marks(self._store.open(FAMILY, version))) != 1:
                yield f"{version} is torn"
        if self._store.current(FAMILY) is not None:
            self._store.open(FAMILY)
        found = len(self._ledger.bars.read(recorded_steps.STREAM))
        if found != self._bars:
            yield f"{found} bars can be read of {self._bars}"
        yield from (f"fsck: {finding.detail}" for finding in self._ledger.fsck() if not finding.ok)

    def _thin_out(self) -> None:
        self._store.prune(FAMILY, self._store.versions(FAMILY))


def main() -> None:
    """Run the trials."""
    disk, side, trials, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    tally, trial = Tally(), Trial(disk, side, random.Random(seed))
    while tally.trials < trials:
        tally.trials += 1
        try:
            for wrong in trial.run():
                tally.broken(wrong)
        except (TidewheelError, OSError) as error:
            tally.broken(f"{type(error).__name__}: {error}")
            break  # what comes after it would count the same fault again
    trial.close()
    tally.figures.append(f"{trial.refused} attempts of {tally.trials} found no room")
    print(json.dumps(asdict(tally)))


if __name__ == "__main__":
    main()
