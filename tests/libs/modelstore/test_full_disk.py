"""A disk that is full from the n-th write on, for each n: nothing is left half-done, and with room it goes on.

The calls that need room fail as the kernel's do; `tidewheel prove fulldisk` does it on a real disk, which takes the
right to mount one.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.fleet.prove.programs import recorded_steps
from tests.libs.modelstore.bundles import mark_of, meta, payload
from tidewheel.contracts.errors import Unavailable
from tidewheel.ledger.archive import Archive
from tidewheel.modelstore.store import ModelStore

_NEEDING_ROOM = ("mkdir", "open", "write", "symlink", "rename", "replace")


class Disk:
    """Counts the calls that need room; from call `full_from` on there is none. Half of a cut write is on the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.full_from = 0, 1_000_000
        self._halved = False
        for name in _NEEDING_ROOM:
            monkeypatch.setattr(os, name, self._limited(name, getattr(os, name)))

    def _limited(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def limited(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return call(*arguments, **options)
            self.calls += 1
            if self.calls < self.full_from:
                return call(*arguments, **options)
            if name == "write" and len(arguments[1]) > 1 and not self._halved:
                self._halved = True
                return call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", None if name == "write" else str(arguments[0]))

        return limited

    def fill(self, after: int) -> None:
        """Let `after` more calls find room."""
        self.calls, self.full_from, self._halved = 0, after, False

    def make_room(self) -> None:
        """... and all that follow."""
        self.full_from = 1_000_000


def _swept(disk: Disk, root: Path, work: Callable[[], None], undo: Callable[[], None]) -> list[Unavailable]:
    """Do the work on a disk that is full after 1, 2, 3 ... calls, until it all fits; what was said on the way."""
    said = []
    for after in range(1, 200):
        disk.fill(after)
        try:
            work()
        except Unavailable as full:
            said.append(full)
        else:
            return said
        finally:
            disk.make_room()
        assert not [path for path in root.rglob(".*") if path.name != ".staged"], f"half-written after call {after}"
        work()
        undo()
    raise AssertionError("the work never fits")


def test_publish_and_point_take_back_what_they_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each write: a sentence with path and remedy, the old model served, the same call good once there is room."""
    store = ModelStore(tmp_path / "models")
    old = store.publish(store.stage("hmm", payload(1), meta())).name
    store.point("hmm", old)

    def work() -> None:
        assert mark_of(store.open("hmm").files) == 1
        staged = store.stage("hmm", payload(2), meta())
        try:
            store.publish(staged)
            store.point("hmm", staged.version)
        finally:
            store.discard(staged)
        assert mark_of(store.open("hmm").files) == 2

    def undo() -> None:
        store.point("hmm", old)
        store.prune("hmm", [version for version in store.versions("hmm") if version != old])

    def work_from_old() -> None:
        if store.current("hmm") != old:  # the link moved, and the registry behind it found no room
            store.point("hmm", old)
        work()

    disk = Disk(monkeypatch)
    said = _swept(disk, store.models_dir, work_from_old, undo)

    assert len(said) > 15
    for full in said:
        assert full.code == "disk_full"
        assert str(store.models_dir) in full.detail and "free some space" in full.detail


def test_a_seal_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CSV and blob appear whole under their names, or not at all."""
    archive, bars = Archive(tmp_path), recorded_steps.frame(0)

    def work() -> None:
        stored = archive.store(recorded_steps.STREAM, bars)
        assert len(archive.load(stored.blob_path, stored.digest)) == len(bars)

    def undo() -> None:
        for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
            file.unlink()

    disk = Disk(monkeypatch)
    said = _swept(disk, tmp_path, work, undo)

    assert len(said) > 5
    for full in said:
        assert full.code == "disk_refused"
        assert str(tmp_path) in full.detail and "free or mend the disk" in full.detail


def test_a_write_that_the_kernel_cuts_short_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly full disk may take half of a write without an error: the other half follows, in every file."""
    store, archive = ModelStore(tmp_path / "models"), Archive(tmp_path)
    write, cut = os.write, []

    def half(descriptor: int, content: bytes) -> int:
        cut.append(len(content))
        return write(descriptor, content[: (len(content) + 1) // 2])

    monkeypatch.setattr(os, "write", half)
    staged = store.stage("hmm", payload(1), meta())
    store.publish(staged)
    store.point("hmm", staged.version)
    stored = archive.store(recorded_steps.STREAM, recorded_steps.frame(0))

    assert len(cut) > 20
    assert mark_of(store.open("hmm").files) == 1
    assert store.links.registry("hmm") is not None
    assert len(archive.load(stored.blob_path, stored.digest)) == recorded_steps.BARS
