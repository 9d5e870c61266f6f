"""What a weights file holds: names, shapes and metadata, and its tensors, each read when it is looked up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from geomclip.encoders.reasons import first_line
from geomclip.encoders.weights import pickles, prefixes, ways
from geomclip.encoders.weights.shards import SUFFIXES, check_shard, is_index, is_weights, shard_files
from geomclip.machine import limits
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import DamagedError, InputError, NotAvailableError

METADATA_KEY = "geomclip"
SCHEMA = "geomclip.checkpoint/1"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch.save, new and old; pickle
_LEAST, _SHARE = 16 << 20, 16
"""Of mapped files so many bytes stay in memory after they were read, or one part in so many; to map a file anew takes
some milliseconds."""
Shapes = dict[str, tuple[int, ...]]
Place = tuple[Path, tuple[str, ...], str]
"""Where a tensor lies: in which file, in which entry of it, under which name."""


@dataclass(frozen=True)
class Contents:
    """The shape of every tensor of a weights file, by names without what stands before the model in them."""

    file: Path
    shapes: Shapes
    metadata: Mapping[str, Any] = field(default_factory=dict)  # what geomclip wrote about it
    notes: tuple[str, ...] = ()  # what was taken off, left out, or chosen
    prefix: str = ""  # that was taken off
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    conversion: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None = field(default=None, repr=False)
    """From the tensors of the file to those of `shapes`, where these are not the same."""

    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors by the names of `shapes`; each is mapped when it is looked up, and no other is in memory.

        A tensor that is kept keeps its file mapped: to fill a model copy one after another.
        """
        own = Tensors(self.places)
        return own if self.conversion is None else self.conversion(own)


class Tensors(Mapping[str, Tensor]):
    """Tensors of files by name; what was read is let go as one goes on, by mapping the files anew."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._opened: dict[tuple[Path, tuple[str, ...]], _Opened] = {}
        self._read = 0
        files = {file for file, _, _ in places.values()}
        self._most = max(_LEAST, sum(file.stat().st_size for file in files) // _SHARE)

    def __getitem__(self, name: str) -> Tensor:
        value = self._tensor(name)
        size = value.numel() * value.element_size()
        if self._read and self._read + size > self._most:
            self._opened = {key: each for key, each in self._opened.items() if not each.mapped}
            self._read = 0
            value = self._tensor(name)
        self._read += size
        return value

    def _tensor(self, name: str) -> Tensor:
        """A tensor of which nothing has been read where its file is mapped."""
        file, entry, stored = self._places[name]
        if (file, entry) not in self._opened:
            self._opened[file, entry] = _Opened(file, entry)
        return self._opened[file, entry].tensor(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _Opened:
    """A file that is open, and what reads a tensor of it."""

    def __init__(self, file: Path, entry: tuple[str, ...]) -> None:
        self.tensor: Callable[[str], Tensor]
        if file.suffix.lower() == ".safetensors":
            from safetensors import safe_open

            try:
                self.tensor, self.mapped = safe_open(file, framework="pt").get_tensor, True
            except Exception as error:  # it was whole when its header was read
                raise unreadable(file, error, _refusal(file, error)) from error
        else:
            state = pickles.state_at(file, entry)
            self.tensor, self.mapped = state.__getitem__, pickles.is_mapped(file)


def read_contents(file: Path) -> Contents:
    """Names, shapes and metadata of a weights file, or of the shards of an index; nothing in it is run.

    What stands before the model in all names (`module.`, `model.clip.`) is taken off; tensors of a wrapper beside the
    model are left out, and a pickle's state_dict is taken out of what a trainer saved. `notes` tell all of that.

    Raises
    ------
    NotAvailableError
        If there is no such file.
    InputError
        If it is damaged, holds more than tensors (a pickle with code), holds several models, or is no weights file.
    """
    if not file.is_file():
        raise NotAvailableError(f"{file}: no such file")
    if not is_weights(file.name):
        raise InputError(f"{file}: not a weights file: its name must end in one of {', '.join(SUFFIXES)}")
    found = _read_index(file) if is_index(file) else read_raw(file)
    if not found.shapes:
        raise InputError(f"{file}: holds no tensors")
    return _bare(found)


def _read_index(index: Path) -> Contents:
    """The shards of an index as one; what they say of themselves is left out."""
    shapes: Shapes = {}
    places: dict[str, Place] = {}
    for shard, names in shard_files(index).items():
        found = read_raw(shard)
        check_shard(index, shard, names, found.shapes)
        shapes |= found.shapes
        places |= found.places
    return Contents(index, shapes, places=places)


def read_raw(file: Path) -> Contents:
    """Names as they stand in one file, shapes and metadata.

    Raises
    ------
    InputError
        If it is damaged or unsafe.
    """
    try:
        return _read_safetensors(file) if file.suffix.lower() == ".safetensors" else _read_pickle(file)
    except InputError:
        raise
    except OSError as error:
        raise unreadable(file, error) from error
    except Exception as error:  # damaged bytes surface as any exception of the two parsers
        raise unreadable(file, error, _refusal(file, error)) from error


def _bare(found: Contents) -> Contents:
    """The contents by names without what stands before the model in them."""
    models = prefixes.roots(found.shapes)
    if len(models) > 1:
        raise InputError(_several(found, models))
    names = prefixes.bare(found.shapes, models[0] if models else None)
    return Contents(
        file=found.file,
        shapes={name: found.shapes[full] for name, full in names.names.items()},
        metadata=found.metadata,
        notes=found.notes + prefixes.told(names, found.file.name),
        prefix=names.prefix,
        places={name: found.places[full] for name, full in names.names.items()},
    )


def _several(found: Contents, models: list[str]) -> str:
    """The refusal of a file that holds several models, with the line that saves one of them alone."""
    shown = " and ".join(repr(model) if model else "no prefix" for model in models[:3])
    more = f" and {len(models) - 3} more" if len(models) > 3 else ""
    files = list(dict.fromkeys(place[0] for place in found.places.values()))
    line = ways.of_one_model(files, next(iter(found.places.values()))[1], models[-1])
    return (
        f"{found.file}: holds {len(models)} whole models, below {shown}{more}, and which is meant cannot be told: "
        f"save one alone, and name that file: {line}"
    )


def _read_safetensors(file: Path) -> Contents:
    from safetensors import safe_open

    with file.open("rb") as start:
        head = start.read(8)
        if head.startswith(_PICKLES):
            raise InputError(
                f"{file}: is a pickle, which can hold code, under the name of a safetensors file: refused; "
                "save its state_dict alone as .safetensors"
            )
    limits.check("tensors-header", int.from_bytes(head, "little"), str(file))
    with safe_open(file, framework="pt") as opened:
        shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        written = opened.metadata() or {}
    text = written.get(METADATA_KEY)
    if text is None and (renamed := [key for key, value in written.items() if f'"{SCHEMA}"' in value]):
        raise DamagedError(
            f"{file}: is damaged: its geomclip metadata are called {renamed[0][:40]!r}: fetch or write it again"
        )
    places: dict[str, Place] = {name: (file, (), name) for name in shapes}
    return Contents(file, shapes, {} if text is None else _metadata(file, text), places=places)


def _metadata(file: Path, text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: its geomclip metadata are no JSON ({first_line(error, 80)})") from error
    if not isinstance(metadata, dict) or metadata.get("schema") != SCHEMA:
        schema = metadata.get("schema") if isinstance(metadata, dict) else metadata
        raise InputError(f"{file}: its geomclip metadata are of schema {schema!r}, this version reads {SCHEMA!r}")
    return metadata


def _read_pickle(file: Path) -> Contents:
    state = pickles.read_state(file)
    notes: tuple[str, ...] = ()
    if state.entry and (state.entry != ("state_dict",) or state.others):
        beside = f", not {' or '.join('.'.join(each) or 'the whole' for each in state.others)}" if state.others else ""
        notes = (f"the weights in {file.name} are taken from its entry {'.'.join(state.entry)}{beside}",)
    shapes = {name: tuple(value.shape) for name, value in state.tensors.items()}
    return Contents(file, shapes, notes=notes, places={name: (file, state.entry, name) for name in shapes})


def _refusal(file: Path, error: Exception) -> InputError:
    text = str(error)
    if "Weights only load failed" in text and ("GLOBAL" in text or "global" in text):
        return InputError(
            f"{file}: holds more than tensors, and loading it could run code from the file: refused; "
            "save its state_dict alone, best as .safetensors"
        )
    return InputError(f"{file}: damaged or cut short ({first_line(error, 100)}): fetch or write it again")
