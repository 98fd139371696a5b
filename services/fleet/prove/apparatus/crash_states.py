"""Every state in which a crash may leave a folder, from the operations that were recorded on it.

Of a file's bytes, what was synced is there; the rest is lost, cut short, zeros, or there. Of a folder's entries, the
synced ones are there; any subset of the later changes may be. A rename within a folder happens or does not; one from
folder to folder may leave the old name as well. POSIX promises no more, so no more is assumed.
"""

import base64
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_EVERY = 4_096
Change = tuple[int, str, int | None]  #: folder, name, and what it names afterwards
Tree = tuple[tuple[str, str, bytes], ...]  #: path, kind (folder, file, link), content or target; sorted


@dataclass(frozen=True, slots=True)
class CrashState:
    """What may be on the disk."""

    after: int  #: operations that had been made
    marks: dict[str, Any]  #: everything that the program had said until then, the latest of each name
    tree: Tree

    def build(self, folder: Path) -> None:
        """Make it, in an empty folder."""
        for path, kind, content in self.tree:
            place = folder / path
            match kind:
                case "folder":
                    place.mkdir()
                case "link":
                    place.symlink_to(content.decode())
                case _:
                    place.write_bytes(content)


def crash_states(recorded: dict[str, Any]) -> Iterator[CrashState]:
    """Each different state once, for each place between two operations."""
    disk = _Disk({int(number): [base64.b64decode(each) for each in versions]
                  for number, versions in recorded["contents"].items()})  # fmt: skip
    marks: dict[str, Any] = {}
    known: set[tuple[str, Tree]] = set()
    for after, operation in enumerate([*recorded["operations"], {"op": "mark"}], start=1):
        if operation["op"] == "mark":
            marks = {**marks, **{name: value for name, value in operation.items() if name != "op"}}
        else:
            disk.do(operation)
        for tree in disk.trees():
            if (repr(marks), tree) not in known:
                known.add((repr(marks), tree))
                yield CrashState(after, marks, tree)


class _Disk:
    """What is durable, and what is not yet."""

    def __init__(self, contents: dict[int, list[bytes]]) -> None:
        self._contents = contents
        self._durable: dict[int, dict[str, int]] = {0: {}}
        self._links: dict[int, str] = {}
        self._pending: list[list[Change]] = []
        self._synced: dict[int, int] = {}  # file -> how often it was synced
        self._dirty: set[int] = set()

    def do(self, operation: dict[str, Any]) -> None:
        """Follow one operation."""
        node = operation.get("node", -1)
        match operation["op"]:
            case "mkdir":
                self._durable[node] = {}
                self._change([(*operation["to"], node)])
            case "symlink":
                self._links[node] = operation["target"]
                self._change([(*operation["to"], node)])
            case "create":
                self._dirty.add(node)
                self._change([(*operation["to"], node)])
            case "write":
                self._dirty.add(node)
            case "rename":
                self._change([(*operation["from"], None), (*operation["to"], node)])
            case "remove":
                self._change([(*operation["from"], None)])
            case "fsync":
                self._sync(node)

    def _change(self, changes: list[tuple[Any, ...]]) -> None:
        self._pending.append([(folder, name, node) for folder, name, node in changes])

    def _sync(self, node: int) -> None:
        if node not in self._durable:
            self._synced[node] = self._synced.get(node, 0) + 1
            # Bytes that came after the last sync are only known from the end: they were in flight ever since.
            rest = self._contents[node][self._synced[node] - 1 :]
            self._dirty.discard(node)
            if any(content != rest[0] for content in rest):
                self._dirty.add(node)
            return
        later = []
        for changes in self._pending:
            here = [change for change in changes if change[0] == node]
            # A file system that has made the old name's end durable has not forgotten the new one.
            whole = any(change[2] is None for change in here)
            for change in changes if whole else here:
                _apply(self._durable, change)
            rest_of_it = [] if whole else [change for change in changes if change[0] != node]
            if rest_of_it:
                later.append(rest_of_it)
        self._pending = later

    def trees(self) -> Iterator[Tree]:
        """Every state that is possible now."""
        variants = [self._variants(changes) for changes in self._pending]
        seen = set()
        for chosen in _choices(variants):
            folders = {number: dict(entries) for number, entries in self._durable.items()}
            for change in itertools.chain.from_iterable(chosen):
                _apply(folders, change)
            shape = tuple(_walk(folders, 0, ""))
            if shape not in seen:
                seen.add(shape)
                yield from self._filled(shape, folders)

    def _variants(self, changes: list[Change]) -> list[list[Change]]:
        if len({folder for folder, _, _ in changes}) == 1:
            return [[], changes]
        return [[], [change for change in changes if change[2] is not None], changes]

    def _filled(self, shape: tuple[tuple[str, int], ...], folders: dict[int, dict[str, int]]) -> Iterator[Tree]:
        numbers = sorted({number for _, number in shape if number not in folders and number not in self._links})
        for contents in _choices([self._possible(number) for number in numbers]):
            content = dict(zip(numbers, contents, strict=True))
            yield tuple(
                (path, "folder", b"") if number in folders
                else (path, "link", self._links[number].encode()) if number in self._links
                else (path, "file", content[number])
                for path, number in shape
            )  # fmt: skip

    def _possible(self, number: int) -> list[bytes]:
        """What a file may hold: its synced bytes, or, while others are in flight, what may have come of them."""
        synced, versions = self._synced.get(number, 0), self._contents[number]
        durable = versions[synced - 1] if synced else b""
        if number not in self._dirty:
            return [durable]
        flying = next((content for content in versions[synced:]), b"")
        return list(dict.fromkeys([durable, flying[: len(flying) // 2], bytes(len(flying)), flying]))


def _choices(options: Sequence[Sequence[T]]) -> Iterator[tuple[T, ...]]:
    """Every choice of one each, the first of which means lost and the last there.

    Of more than 4,096, which only a program that forgets to sync leaves: all that came in order up to some point, and
    everything there, or lost, but for one.
    """
    if math.prod(map(len, options)) <= _EVERY:
        yield from itertools.product(*options)
        return
    lost, there = tuple(each[0] for each in options), tuple(each[-1] for each in options)
    for at, possible in enumerate(options):
        yield there[:at] + lost[at:]
        for one in possible:
            yield (*there[:at], one, *there[at + 1 :])
            yield (*lost[:at], one, *lost[at + 1 :])


def _apply(folders: dict[int, dict[str, int]], change: Change) -> None:
    folder, name, node = change
    if node is None:
        folders[folder].pop(name, None)
    else:
        folders[folder][name] = node


def _walk(folders: dict[int, dict[str, int]], number: int, path: str) -> Iterator[tuple[str, int]]:
    for name, below in sorted(folders[number].items()):
        yield f"{path}{name}", below
        if below in folders:
            yield from _walk(folders, below, f"{path}{name}/")
