"""The programs that the proof `crashes` listens to: publish, promote and roll back models; seal candles.

`python -m services.fleet.prove.programs.recorded_steps KIND FOLDER` works in FOLDER/disk, writes
FOLDER/operations.json, and leaves a copy of the ledger for each of its commits in FOLDER/ledger-N.sqlite.
"""

import os
import sqlite3
import sys
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from services.fleet.prove.apparatus.bundles import FAMILY, stage
from services.fleet.prove.apparatus.recording import Recorder
from services.ml_trainer.service.projection import Projection
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger, migrate, open_ledger
from tidewheel.ledger.records import NewVersion
from tidewheel.modelstore.store import ModelStore, Staged

STREAM = StreamKey("binance", "BTC/USDT", "1m")
BARS = 90
_START = 1_767_225_600_000
_PASSED = Verdict(steps=(StepResult(step="champion", passed=True, reason="a proof said so"),))


class Told:
    """The recorder, and the ledger as it stood at each mark."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        self._ledger_file = folder / "ledger.sqlite"
        disk = folder / "disk"
        disk.mkdir()
        migrate(str(self._ledger_file), disk)
        self.disk = disk.resolve()
        self.recorder = Recorder(self.disk)
        self.ledger: Ledger = open_ledger(f"sqlite:///{self._ledger_file}", self.disk)

    def committed(self, **said: Any) -> None:
        """Keep the ledger as it is now."""
        number = next(self._numbers)
        with (
            closing(sqlite3.connect(self._ledger_file)) as now,
            closing(sqlite3.connect(self._folder / f"ledger-{number}.sqlite")) as copy,
        ):
            now.backup(copy)
        self.recorder.mark(ledger=number, **said)


def models(told: Told) -> None:
    """A first champion, a second, a retry that finds the first one's bundle again, and the way back to it."""
    store = ModelStore(told.disk / "models")
    store.check_writable()
    projection = Projection(told.ledger, store)
    told.committed(champion=None, pointed=None)
    for mark in (1, 2, 1):
        staged = stage(store, mark)
        with store.publishing(staged):
            publish(told.ledger, staged)
            told.committed(champion=staged.version)
        store.discard(staged)
        projection.follow(FAMILY)
        told.recorder.mark(pointed=staged.version)
    back = told.ledger.versions.rollback(FAMILY, "prove", "to be sure")
    told.committed(champion=back.version)
    projection.follow(FAMILY)
    told.recorder.mark(pointed=back.version)


def publish(ledger: Ledger, staged: Staged) -> None:
    """The ledger's part of a publish that passed the gate."""
    run, _ = ledger.runs.start_or_join(FAMILY, FAMILY, "prove")
    lease = ledger.runs.lease(run.id, "prove", 60_000)
    assert lease is not None, "nobody else works on this ledger"
    manifest = staged.manifest
    version = NewVersion(
        family=FAMILY, version=staged.version, digest=staged.digest, data_as_of=manifest.data_as_of,
        seed=manifest.seed, code_digest=manifest.code_digest, parent=None, metrics={}, lineage={},
        manifest=manifest.model_dump(mode="json"), origin=Origin(manifest.origin),
    )  # fmt: skip
    with lease:
        lease.publish(version, _PASSED)


def candles(told: Told) -> None:
    """Two seals of one stream, and a correction of a sealed bar."""
    ledger = told.ledger
    ledger.streams.register(STREAM, Origin.REPLAY)
    told.committed(bars=0)
    for first in (0, BARS):
        write(ledger, frame(first))
        told.committed(bars=first + BARS)
        seal(ledger)
        told.committed(bars=first + BARS)
    write(ledger, frame(3, bars=1, up=7.0))
    told.committed(bars=2 * BARS)


def frame(first: int, bars: int = BARS, up: float = 0.0) -> CandleFrame:
    """Some bars from number `first` on."""
    prices = [100.0 + up + number % 7 for number in range(first, first + bars)]
    rows = [
        (_START + (first + at) * 60_000, price, price + 1, price - 1, price, 5.0) for at, price in enumerate(prices)
    ]
    return CandleFrame.from_rows(60_000, rows)


def write(ledger: Ledger, bars: CandleFrame) -> None:
    """Append, as the stream's writer."""
    with ledger.leases.hold(f"stream:{STREAM}", "prove", 60_000) as held:
        ledger.bars.append(held.lease, STREAM, bars, "prove")


def seal(ledger: Ledger) -> None:
    """Seal, as the stream's writer."""
    with ledger.leases.hold(f"stream:{STREAM}", "prove", 60_000) as held:
        ledger.bars.seal(held.lease, STREAM)


def main() -> None:
    """Do the steps of KIND and tell what was heard."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    os.chdir(folder)
    told = Told(folder)
    {"models": models, "candles": candles}[kind](told)
    told.ledger.close()
    told.recorder.finish(folder / "operations.json")


if __name__ == "__main__":
    main()
