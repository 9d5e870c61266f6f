"""Tally: what a reader of other people's files saw, what it used, what it left out and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geomclip.machine.words import one_line

NAMES = 5
"""Of what is left out for one reason so many names are kept."""

MANY = 10
SHARE = 0.01
"""As many left out, or such a share of what was seen, and the reader is warned."""


@dataclass(frozen=True)
class LeftOut:
    """How many things of one kind were left out for one reason.

    Parameters
    ----------
    what : str
        The kind, in the plural: files, lines, rows, samples, captions.
    reason : str
    count : int
    names : sequence of str
        Up to five of them.
    """

    what: str
    reason: str
    count: int
    names: Sequence[str] = ()

    def sentence(self, seen: int) -> str:
        """It in one line, beside how many were seen.

        Examples
        --------
        >>> LeftOut("files", "endings that are not read", 7, ("a.xyz", "b.xyz")).sentence(30)
        '7 of 30 files were left out: endings that are not read (a.xyz, b.xyz, ...)'
        """
        named = ", ".join([*self.names, *["..."] * (self.count > len(self.names))])
        of = f"{self.count} of {seen}" if seen > self.count else f"{self.count}"
        return f"{of} {self.what} {'was' if seen == 1 else 'were'} left out: {self.reason}" + (
            f" ({named})" if self.names else ""
        )


@dataclass(frozen=True)
class Read:
    """What was read: how many things of each kind were seen and used, what was left out, and how it was understood.

    Parameters
    ----------
    seen, used : mapping of kind to int
    left_out : sequence of LeftOut
    how : sequence of str
        What was detected rather than said, such as the separator of a table.
    """

    seen: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()
    how: Sequence[str] = ()

    def warnings(self) -> Iterator[str]:
        """A line for each reason for which 10, or 1 % of what was seen, were left out."""
        for each in self.left_out:
            seen = self.seen.get(each.what, 0)
            if each.count >= MANY or each.count >= SHARE * seen:
                yield each.sentence(seen)

    def to_dict(self) -> dict[str, Any]:
        """As results and manifests have it; {} where nothing was counted."""
        if self == Read():
            return {}
        return {
            "seen": dict(self.seen),
            "used": dict(self.used),
            "left_out": [vars(each) | {"names": list(each.names)} for each in self.left_out],
            "how": list(self.how),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Read:
        """From what `to_dict` made; of a record that another hand has changed ValueError."""
        try:
            left_out = [
                LeftOut(str(each["what"]), str(each["reason"]), int(each["count"]), tuple(map(str, each["names"])))
                for each in record.get("left_out", ())
            ]
            seen, used = ({str(k): int(v) for k, v in record.get(name, {}).items()} for name in ("seen", "used"))
            return cls(seen, used, tuple(left_out), tuple(map(str, record.get("how", ()))))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            raise ValueError(f"read is malformed ({one_line(problem, 100)})") from problem


class Tally:
    """Counts while a reader reads; `read()` is the record of it.

    Examples
    --------
    >>> tally = Tally()
    >>> tally.use("files", 2)
    >>> tally.leave_out("files", "no image", "notes.doc")
    >>> tally.read().seen, list(tally.read().warnings())
    ({'files': 3}, ['1 of 3 files were left out: no image (notes.doc)'])
    """

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._left_out: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self._how: dict[str, None] = {}

    def use(self, what: str, count: int = 1) -> None:
        """So many things were seen and used."""
        self._used[what] = self._used.get(what, 0) + count

    def leave_out(self, what: str, reason: str, name: str = "", count: int = 1) -> None:
        """So many things were seen and left out; `name` is one of them, or where they are."""
        before, names = self._left_out.get((what, reason), (0, []))
        if name and count and len(names) < NAMES:
            names.append(one_line(name, 80))
        self._left_out[what, reason] = before + count, names

    def understood(self, sentence: str) -> None:
        """Something was detected rather than said."""
        self._how[sentence] = None

    def read(self) -> Read:
        """The record of what was counted so far."""
        left_out = tuple(
            LeftOut(what, reason, count, tuple(names))
            for (what, reason), (count, names) in self._left_out.items()
            if count
        )
        seen = dict(self._used)
        for each in left_out:
            seen[each.what] = seen.get(each.what, 0) + each.count
        return Read(seen, dict(self._used), left_out, tuple(self._how))
