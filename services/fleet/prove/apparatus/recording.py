"""What a program does to a folder, operation by operation, for the proof `crashes`.

An audit hook hears of every open, rename, link and removal that Python code makes, by whatever way it makes them; only
writing through C libraries passes it by, and `finish` compares the folder with what was heard. Python tells of no
`fsync`, so that one is listened to by standing in for `os.fsync`: whoever syncs otherwise counts as not syncing.
"""

import base64
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
Operation = dict[str, Any]


@dataclass(slots=True)
class Node:
    """A file, folder or link of the recorded folder; it keeps its number when it is renamed."""

    number: int
    entries: "dict[str, Node] | None" = None  #: of a folder
    contents: list[bytes] = field(default_factory=list)  #: of a file, as it stood at each fsync


class Recorder:
    """Listens from its making on. One a process: an audit hook cannot be taken away again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nodes = [Node(0, entries={})]
        self._operations: list[Operation] = []
        self._deaf = False
        self._fsync: Callable[[Any], None] = os.fsync
        os.fsync = self._hear_fsync  # type: ignore[assignment]
        sys.addaudithook(self._hear)

    def mark(self, **said: Any) -> None:
        """Note how far the program is."""
        self._operations.append({"op": "mark", **said})

    def finish(self, file: Path) -> None:
        """Write down what was heard.

        Raises:
            AssertionError: the folder is not what the operations make of it: something was done unheard.
        """
        self._deaf = True
        os.fsync = self._fsync  # type: ignore[assignment]
        assert self._seen(self._root) == self._heard(self._nodes[0]), "something changed the folder unheard"
        for node, path in self._files(self._nodes[0], self._root):
            node.contents.append(path.read_bytes())
        contents = {
            node.number: [base64.b64encode(each).decode() for each in node.contents]
            for node in self._nodes
            if node.entries is None
        }
        file.write_text(json.dumps({"operations": self._operations, "contents": contents}))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._deaf:
            return
        match event:
            case "open" if arguments[2] & _WRITING and not isinstance(arguments[0], int):
                self._opened(arguments[0], arguments[2])
            case "os.mkdir":
                self._made(self._place(arguments[0], arguments[2]), "mkdir", entries={})
            case "os.symlink":
                self._made(self._place(arguments[1], arguments[2]), "symlink", target=os.fsdecode(arguments[0]))
            case "os.rename":
                self._renamed(self._place(arguments[0], arguments[2]), self._place(arguments[1], arguments[3]))
            case "os.remove" | "os.rmdir":
                self._removed(self._place(arguments[0], arguments[1]))
            case "os.link" | "os.truncate":
                assert self._place(arguments[0], -1) is None, f"{event} is not foreseen here"

    def _hear_fsync(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = Path(f"/proc/self/fd/{number}").readlink()
        node = self._node(path)
        self._fsync(descriptor)
        if node is not None:
            if node.entries is None:
                self._deaf = True
                node.contents.append(path.read_bytes())
                self._deaf = False
            self._operations.append({"op": "fsync", "node": node.number})

    def _opened(self, path: Any, flags: int) -> None:
        place = self._place(path, -1)
        if place is None:
            return
        folder, name = place
        entries = folder.entries or {}
        if name not in entries and flags & os.O_CREAT:
            self._made(place, "create")
        elif name in entries and not flags & os.O_EXCL and entries[name].entries is None:
            self._operations.append({"op": "write", "node": entries[name].number})

    def _made(self, place: "tuple[Node, str] | None", how: str, entries: Any = None, **more: Any) -> None:
        if place is None or place[1] in (place[0].entries or {}):
            return  # elsewhere, or it will be refused
        node = Node(len(self._nodes), entries=entries)
        self._nodes.append(node)
        assert place[0].entries is not None
        place[0].entries[place[1]] = node
        self._operations.append({"op": how, "to": [place[0].number, place[1]], "node": node.number, **more})

    def _renamed(self, source: "tuple[Node, str] | None", target: "tuple[Node, str] | None") -> None:
        if source is None and target is None:
            return
        assert source is not None and target is not None, "a rename across the edge of the folder is not foreseen"
        (from_, old), (to, new) = source, target
        assert from_.entries is not None and to.entries is not None
        there = to.entries.get(new)
        if old not in from_.entries or (there is not None and there.entries):
            return  # it will be refused
        node = from_.entries.pop(old)
        to.entries[new] = node
        self._operations.append(
            {"op": "rename", "from": [from_.number, old], "to": [to.number, new], "node": node.number}
        )

    def _removed(self, place: "tuple[Node, str] | None") -> None:
        if place is not None and place[1] in (place[0].entries or {}):
            assert place[0].entries is not None
            del place[0].entries[place[1]]
            self._operations.append({"op": "remove", "from": [place[0].number, place[1]]})

    def _place(self, path: Any, folder: int) -> "tuple[Node, str] | None":
        """The folder and name that a path means; None outside the recorded folder."""
        base = Path(f"/proc/self/fd/{folder}").readlink() if folder >= 0 else Path.cwd()
        whole = Path(os.path.normpath(base / os.fsdecode(path)))
        above = self._node(whole.parent)
        return None if above is None or whole == self._root else (above, whole.name)

    def _node(self, path: Path) -> Node | None:
        if not path.is_relative_to(self._root):
            return None
        node: Node | None = self._nodes[0]
        for part in path.relative_to(self._root).parts:
            node = None if node is None or node.entries is None else node.entries.get(part)
        return node

    def _seen(self, folder: Path) -> dict[str, Any]:
        return {
            entry.name: self._seen(entry) if entry.is_dir() and not entry.is_symlink() else None
            for entry in folder.iterdir()
        }

    def _heard(self, node: Node) -> dict[str, Any]:
        return {
            name: None if below.entries is None else self._heard(below)
            for name, below in (node.entries or {}).items()
        }  # fmt: skip

    def _files(self, node: Node, path: Path) -> list[tuple[Node, Path]]:
        found = []
        for name, below in (node.entries or {}).items():
            if below.entries is not None:
                found += self._files(below, path / name)
            elif not (path / name).is_symlink():
                found.append((below, path / name))
        return found
