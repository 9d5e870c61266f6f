"""Pickles of torch.save: the state_dict in what a trainer saved. Nothing in a file is run, and no class of it made.

What trainers save beside tensors (settings, paths, times) is of classes that `weights_only` refuses. Where a class
only holds values, an empty stand-in takes its place; a file with any other is refused.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders.weights import ways
from geomclip.encoders.weights.prefixes import roots
from geomclip.machine.array_files import check_zip
from geomclip.machine.blame import fault_behind
from geomclip.machine.errors import InputError

ENTRIES = ("state_dict", "model_state_dict", "model", "net", "model_state", "network", "module", "weights")
"""What trainers call the weights, the usual first: of several whole models the first of these is taken."""
_DEEPEST = 4  # dictionaries in dictionaries
_VALUES = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|pathlib(\._local)?\.\w*Path|datetime\.\w+|uuid\.UUID"
    r"|decimal\.Decimal|fractions\.Fraction|typing\.\w+|collections\.(deque|\w*[dD]ict)|omegaconf\.[\w.]+"
    r"|(builtins\.)?(int|float|bool|str|bytes|list|dict|tuple|set|frozenset|slice|range|object)"
    r"|numpy\.(dtype|ndarray|bool_?|u?int\d+|float\d+|dtypes\.\w+|_?core\.multiarray\.(scalar|_reconstruct))"
    r"|torch\.torch_version\.TorchVersion|[\w.]+\.AttributeDict"
)
"""Classes that hold values and nothing else."""


class _Value:
    """Stands in for an object of which only the values were saved: takes them, and keeps none."""

    def __init__(self, *values: object, **named: object) -> None: ...

    def __new__(cls, *values: object, **named: object) -> _Value:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None: ...


class _Keyed:
    """Stands in for a class that is a dictionary; torch fills none but its own three."""

    def __new__(cls, *values: object, **named: object) -> OrderedDict[str, object]:  # type: ignore[misc]
        return OrderedDict()


@dataclass(frozen=True)
class State:
    """The tensors of a state_dict in a pickle, and which entry of it they are: () for the whole."""

    tensors: Mapping[str, Tensor]
    entry: tuple[str, ...] = ()
    others: tuple[tuple[str, ...], ...] = ()  # entries that are whole models too


def read_state(file: Path) -> State:
    """The state_dict in a pickle of torch.save, mapped where the file can be; nothing in it is run.

    Raises
    ------
    InputError
        If it needs a class that could run code, or holds no state_dict.
    Exception
        Whatever torch makes of damaged bytes.
    """
    loaded = load(file)
    if not isinstance(loaded, dict):
        raise InputError(f"{file}: holds a {type(loaded).__name__}, not a state_dict")
    found = {entry: state for entry, state in _state_dicts(loaded) if roots(state)}
    if not found:
        entry: tuple[str, ...] = next(((key,) for key in ENTRIES if isinstance(loaded.get(key), dict)), ())
        state = loaded[entry[0]] if entry else loaded
        for name, value in state.items():
            if not isinstance(name, str) or not isinstance(value, Tensor):
                raise InputError(f"{file}: entry {name!r} of its state_dict is a {type(value).__name__}, not a tensor")
        return State(state, entry)
    first, *others = sorted(found, key=_rank)
    if others and _rank(first)[0] == len(ENTRIES):
        shown = ", ".join(".".join(each) for each in (first, *others[:3]))
        raise InputError(
            f"{file}: holds {len(found)} whole models ({shown}), and which is meant cannot be told: save one alone, "
            f"and name that file: {ways.of_entry(file, first)}"
        )
    return State(found[first], first, tuple(others))


def state_at(file: Path, entry: tuple[str, ...]) -> Mapping[str, Tensor]:
    """The tensors at an entry that `read_state` named, read anew."""
    state = load(file)
    for key in entry:
        state = state[key]
    return _tensors(state)


def is_mapped(file: Path) -> bool:
    """Whether a file is mapped and not read: those of before torch 1.6 cannot be."""
    return zipfile.is_zipfile(file)


def load(file: Path) -> Any:
    """What torch.load makes of a file with `weights_only`, values of known classes left out.

    Raises
    ------
    InputError
        Naming a class that could run code, and the lines that save the state_dict without it.
    """
    if _is_scripted(file):
        raise InputError(
            f"{file}: is a TorchScript archive, which holds code (OpenAI's original files are such): if you trust it, "
            f"save its tensors alone, and name that file: {ways.of_scripted(file)}"
        )
    check_zip(file)
    unknown: list[str] = []
    try:
        unknown = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except Exception as error:
        if fault_behind(error):
            raise
        # no zip file, or a damaged one, of which torch.load says more
    refused = [name for name in unknown if not _VALUES.fullmatch(name)]
    if refused:
        raise InputError(_refusal(file, refused))
    stand_ins = [(_Keyed if name.lower().endswith("dict") else _Value, name) for name in unknown]
    with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]  # pairs are taken too
        return torch.load(str(file), map_location="cpu", weights_only=True, mmap=is_mapped(file))


def _is_scripted(file: Path) -> bool:
    """Whether a file is of torch.jit.save: torch.load would remark on that, and refuse it in other words."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        if fault_behind(error):
            raise
        return False  # no such file, or a damaged one, of which torch.load says more


def _state_dicts(value: Any, entry: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Tensor]]]:
    """The dictionaries in a dictionary that hold tensors under names, with the way to each."""
    if not isinstance(value, dict) or len(entry) > _DEEPEST:
        return
    if tensors := _tensors(value):
        yield entry, tensors
    for key, below in value.items():
        if isinstance(key, str):
            yield from _state_dicts(below, (*entry, key))


def _tensors(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _rank(entry: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
    """Where an entry stands: plain ones by how usual their name is, others last, as averages and teachers are."""
    places = [ENTRIES.index(key) if key in ENTRIES else len(ENTRIES) for key in entry]
    return max(places, default=-1), len(entry), entry


def _refusal(file: Path, refused: list[str]) -> str:
    """What is said of a file with classes that could run code, and the line that saves its tensors."""
    named = ", ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
    them = "it" if len(refused) == 1 else "they"
    texts = set(_texts(file))
    line = ways.of_unopened(file, texts, next((key for key in ENTRIES if key in texts), None))
    return (
        f"{file}: holds more than tensors, and loading it could run code from the file: refused ({named}); "
        f"if you trust it, save its state_dict alone where {them} can be imported, and name that file: {line}"
    )


def _texts(file: Path) -> Iterator[str]:
    """The texts in the pickle of a zip file; nothing is run."""
    with zipfile.ZipFile(file) as archive:
        inside = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        for _, value, _ in pickletools.genops(archive.read(inside)):
            if isinstance(value, str):
                yield value
