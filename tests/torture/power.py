"""What a disk may hold after a power cut: the log of a run replayed, with any of what was not synced missing.

The model is that of POSIX, weaker than any file system in use: data of a file are on disk once the file was synced, and
a name (made, moved, removed) once the folder that holds it was. Of all else any subset may be there, in any order.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shim import Operation


@dataclass(eq=False)
class Node:
    """A file (with bytes) or a folder (with names)."""

    content: bytearray | None = None
    names: dict[str, Node] = field(default_factory=dict)
    as_in: Path | None = None  # the file that it is, with its time, as long as nothing was written


class Disk:
    """Files below one root."""

    def __init__(self, root: str, template: Path) -> None:
        self.root, self.top = root, _copied(template)

    def find(self, path: str) -> tuple[Node | None, str]:
        """The folder that holds a path, if it is there, and the last name."""
        relative = os.path.relpath(path, self.root)
        *parts, name = [".", relative] if relative == "." else ["", *relative.split(os.sep)]
        node: Node | None = self.top
        for part in parts:
            if part not in ("", "."):
                node = None if node is None else node.names.get(part)
        return node, name

    def at(self, path: str) -> Node | None:
        """What is at a path."""
        if os.path.normpath(path) == self.root:
            return self.top
        folder, name = self.find(path)
        return None if folder is None else folder.names.get(name)

    def do(self, operation: Operation, *, missing: bool = False) -> tuple[str, Node] | None:
        """Do it, if it succeeded then and can be done now; what it changed (data, names or nothing) of which node.

        With `missing` nothing is done, but what would be changed is said.
        """
        if operation.result < 0:
            return None
        kind = operation.kind
        if kind in ("open", "write", "truncate", "read", "fsync"):
            return self._of_data(operation, missing)
        if kind == "rename" or kind == "link":
            return self._move(operation, missing)
        folder, name = self.find(operation.path)
        if folder is None or folder.content is not None or (kind == "mkdir") == (name in folder.names):
            return None
        if kind == "rmdir" and folder.names[name].names:
            return None
        if not missing:
            if kind == "mkdir":
                folder.names[name] = Node()
            else:
                del folder.names[name]
        return "names", folder

    def _of_data(self, operation: Operation, missing: bool) -> tuple[str, Node] | None:
        node = self.at(operation.path)
        if operation.kind == "open":
            folder, name = self.find(operation.path)
            if node is None and operation.flags & os.O_CREAT and folder is not None:
                if not missing:
                    folder.names[name] = Node(bytearray())
                return "names", folder
            if node is not None and node.content and operation.flags & os.O_TRUNC:
                if not missing:
                    node.content.clear()
                    node.as_in = None
                return "data", node
            return None
        if operation.kind == "fsync":
            return None if node is None else ("sync", node)
        if node is None or node.content is None or operation.kind == "read":
            return None
        if missing:
            return "data", node
        node.as_in = None
        if operation.kind == "truncate":
            size = operation.flags
            node.content[:] = node.content[:size].ljust(size, b"\0")
        else:
            end = operation.offset + len(operation.data)
            if len(node.content) < end:
                node.content.extend(bytes(end - len(node.content)))
            node.content[operation.offset : end] = operation.data
        return "data", node

    def _move(self, operation: Operation, missing: bool) -> tuple[str, Node] | None:
        source, old = self.find(operation.path)
        target, new = self.find(operation.other)
        if source is None or target is None or old not in source.names:
            return None
        if not missing:
            target.names[new] = source.names[old]
            if operation.kind == "rename" and (source is not target or old != new):
                del source.names[old]
        return "names", target

    def write(self, folder: Path) -> None:
        """All of it, as files."""
        _written(self.top, folder)


def replay(operations: Sequence[Operation], template: Path, root: Path, seed: int) -> tuple[int, int]:
    """Make in `root` what a power cut at a drawn moment may leave; after how many operations, how many missing."""
    draw = random.Random(seed)
    cut = draw.randint(1, len(operations))
    happened = operations[:cut]
    unsynced = pending(happened, template, str(root))
    # all, none, or any: the first two are what happens most
    share = draw.choice((0.0, 0.2, 0.5, 0.8, 1.0))
    missing = {number for number in unsynced if draw.random() < share}
    disk = Disk(str(root), template)
    for index, operation in enumerate(happened):
        if index not in missing:
            disk.do(operation)
    disk.write(root)
    return cut, len(missing)


def pending(operations: Sequence[Operation], template: Path, root: str) -> set[int]:
    """Which operations a power cut after the last may undo: those on nodes that were not synced since."""
    disk = Disk(root, template)
    waiting: dict[tuple[str, int], set[int]] = {}
    nodes = []  # kept alive, so that no two share an identity
    for index, operation in enumerate(operations):
        changed = disk.do(operation)
        if changed is None:
            continue
        what, node = changed
        nodes.append(node)
        if what == "sync":
            waiting.pop(("data" if node.content is not None else "names", id(node)), None)
        else:
            waiting.setdefault((what, id(node)), set()).add(index)
    return set().union(*waiting.values())


def _copied(place: Path) -> Node:
    if not place.is_dir():
        return Node(bytearray(place.read_bytes()), as_in=place)
    return Node(names={entry.name: _copied(entry) for entry in place.iterdir()})


def _written(node: Node, place: Path) -> None:
    if node.as_in is not None:
        shutil.copy2(node.as_in, place)
        return
    if node.content is not None:
        place.write_bytes(node.content)
        return
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, inner in node.names.items():
        _written(inner, place / name)
