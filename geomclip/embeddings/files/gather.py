"""Gather: one file, two, a glob or a folder of shards, as the arguments of an EmbeddingSet."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.files.held import READERS, WAY, Entry, Held, held
from geomclip.embeddings.files.roles import ROLES, ROWS, is_of_model, role_of_rows, roles
from geomclip.machine.array_files import check_rows
from geomclip.machine.errors import InputError
from geomclip.machine.files import by_number
from geomclip.machine.tally import Tally
from geomclip.machine.words import option

RULES = (
    f"Files are read by the endings of their names: {', '.join(READERS)}. No pickle is loaded.",
    "Arrays and columns are known by their names (image, img_emb, image_features, query, ...; text, captions, "
    "document, ...), and which was taken for which is said; --columns image=A,text=B chooses.",
    "Rows without a name that says more are one cloud; an array (2, n, d) is image rows, then their text rows.",
    "image=A,text=B reads two files; a pattern or a folder reads shards in the order of the numbers in their names.",
    "Columns of texts or whole numbers beside the rows are kept as ids, captions, labels and columns.",
    "Equal rows of one image id, or path, are one image with several texts. A file that `save` or `extract` of "
    "geomclip wrote, and a folder of clip-retrieval, say themselves what they hold.",
    "A file or store may lie at an address (https://, s3://, ...): it is kept in the cache (docs/remote.md).",
    "Refused: rows of uint8 (packed bits or quantised numbers have no cosines), pickles, half of a set (image.npy with "
    "text.npy beside it), weights of a model, rows of which two could be meant.",
)

OTHER_SIDE = {"image": "text", "text": "image"}

TENSORS = {".safetensors", ".pt", ".pth"}
"""What may hold weights as well."""

MOST_FILES = 1_000_000


def is_spec(path: str) -> bool:
    """Whether it names a file for each role: image=A,text=B.

    Examples
    --------
    >>> is_spec("image=a.npy,text=b.npy"), is_spec("a=b.npz")
    (True, False)
    """
    return bool(re.match(rf"({'|'.join(ROLES)})=", path))


def are_vectors(path: str | Path) -> bool:
    """Whether a path is of vectors: by its ending, a role before its name, a glob, or files of vectors in a folder.

    Of tensors, which may be weights, it is told by their names and shapes.
    """
    if is_spec(str(path)):
        return True
    file = Path(path).expanduser()
    if file.suffix.lower() in TENSORS:
        try:
            entries = held(file)
        except InputError:
            return False
        if any(map(is_of_model, entries)):
            return False
        return "" in entries or any(entry.is_rows and role_of_rows(name) for name, entry in entries.items())
    if file.is_dir():
        return any(each.suffix.lower() in READERS.keys() - TENSORS for each in file.iterdir())
    return file.suffix.lower() in READERS


def columns_of(columns: Mapping[str, str] | str | None) -> dict[str, str]:
    """Role -> name from a mapping, or from text.

    Examples
    --------
    >>> columns_of("image=a,text=b"), columns_of(None)
    ({'image': 'a', 'text': 'b'}, {})
    """
    if not isinstance(columns, str):
        return dict(columns or {})
    found = {}
    for part in columns.split(","):
        role, sign, name = part.partition("=")
        if not sign or not role.strip() or not name.strip():
            raise InputError(f"{option('columns')}: {part!r} is no ROLE=NAME, such as image=img_features")
        found[role.strip()] = name.strip()
    return found


def gathered(path: str | Path, columns: Mapping[str, str]) -> tuple[dict[str, Any], Tally]:
    """Arguments of EmbeddingSet from what lies at a path, rows as lists of arrays, and the tally of what was read.

    Raises
    ------
    InputError
        If it cannot be read, or what it holds could be taken in two ways.
    """
    tally = Tally()
    if is_spec(str(path)) and not os.path.exists(path):
        return _of_spec(str(path), tally, columns), tally
    file = Path(path).expanduser()
    if file.is_dir():
        return _of_shards(_files_of_folder(file, tally), file, tally, columns), tally
    if not file.exists() and glob.has_magic(str(file)):
        files = sorted(map(Path, glob.glob(str(file))), key=by_number)
        if not files:
            raise InputError(f"no file fits {file}")
        return _of_shards(files, file, tally, columns), tally
    if not file.exists():
        raise InputError(f"{file}: no such file or folder")
    _refuse_half(file)
    return _of_file(file, tally, columns), tally


def _of_file(file: Path, tally: Tally, columns: Mapping[str, str]) -> dict[str, Any]:
    found = _pairs_in_one(held(file), file, tally)
    if file.suffix.lower() in TENSORS and not columns and any(map(is_of_model, found)):
        raise InputError(
            f"{file} holds the weights of a model, not vectors: {option('pretrained', str(file))} loads them into the "
            f"architecture that {option('model')} names; {option('columns', 'image=NAME')} reads a matrix all the same"
        )
    fields = _fields(found, roles(found, file, tally, columns), str(file), tally)
    tally.use("files")
    return fields


def _pairs_in_one(found: Held, file: Path, tally: Tally) -> Held:
    """An array of (2, n, d) as image rows and text rows."""
    if list(found) != [""]:
        return found
    entry = found[""]
    if len(entry.shape) != 3 or entry.shape[0] != 2:
        return found
    tally.understood(f"{file.name} has the shape {entry.shape}: image rows, then their text rows")
    sides = ((0, "image"), (1, "text"))
    return {name: Entry(entry.shape[1:], entry.kind, lambda i=i: entry.read()[i]) for i, name in sides}  # type: ignore[misc]


def _of_spec(spec: str, tally: Tally, columns: Mapping[str, str]) -> dict[str, Any]:
    """A file for each role: its one array, or the one that its name says, or that was chosen."""
    found: dict[str, Entry] = {}
    files = []
    for part in spec.split(","):
        role, _, name = part.partition("=")
        if role not in ROLES or not name:
            raise InputError(f"{spec}: {part!r} is no role=file; the roles are {', '.join(ROLES)}")
        if role in found:
            raise InputError(f"{spec}: {role} is named twice")
        file = Path(name).expanduser()
        own = held(file)
        tally.use("files")
        files.append(file)
        found[role] = _one_of(own, role, file, columns)
    if "image" not in found:
        raise InputError(f"{spec}: no image rows; image=FILE,text=FILE names both")
    return _fields(found, {role: role for role in found}, " and ".join(map(str, files)), tally)


def _one_of(own: Held, role: str, file: Path, columns: Mapping[str, str]) -> Entry:
    if role in columns:
        if columns[role] not in own:
            raise InputError(f"{file} has no {columns[role]!r}")
        return own[columns[role]]
    rows = role in ROWS
    fitting = [name for name, entry in own.items() if entry.is_rows == rows]
    named = [name for name in fitting if (role_of_rows(name) if rows else name) == role]
    if len(named or fitting) != 1:
        names = ", ".join(fitting[:6]) or "nothing that fits"
        raise InputError(f"{file} holds {names}: {option('columns', f'{role}=NAME')} says which are the {role} rows")
    return own[(named or fitting)[0]]


def _refuse_half(file: Path) -> None:
    """image.npy beside text.npy: half of a set, which would be measured as a cloud."""
    stem = role_of_rows(file.stem)
    other = OTHER_SIDE.get(stem or "")
    if other is None or file.suffix.lower() != ".npy":
        return
    for beside in sorted(file.parent.glob("*.npy")):
        if role_of_rows(beside.stem) == other and len(held(file)[""].shape) == 2:
            pair = {stem: file, other: beside}
            raise InputError(
                f"{file} holds {stem} rows alone, and {beside.name} lies beside it: name both, "
                f"image={pair['image']},text={pair['text']}, or image={file} for one cloud; or join them, {WAY}"
            )


# --- shards


def _files_of_folder(folder: Path, tally: Tally) -> list[Path]:
    """The files of one kind in a folder, in the order of their numbers; the others are counted."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    kinds = sorted({Path(name).suffix.lower() for name in names} & READERS.keys())
    if not kinds:
        raise InputError(f"{folder} is no embedding store, and holds no file of vectors ({', '.join(READERS)})")
    if len(kinds) > 1:
        raise InputError(f"{folder} holds {' and '.join(kinds)}: name the files, such as {folder}/*{kinds[0]}")
    for name in names:
        if Path(name).suffix.lower() != kinds[0] or name.startswith("."):
            tally.leave_out("files", f"not {kinds[0]}", name)
    files = [folder / name for name in names if Path(name).suffix.lower() == kinds[0] and not name.startswith(".")]
    return sorted(files, key=by_number)


def _of_shards(files: Sequence[Path], place: Path, tally: Tally, columns: Mapping[str, str]) -> dict[str, Any]:
    """Files under one another: of arrays without names those whose file names say one role, else name by name."""
    if len(files) > MOST_FILES:
        raise InputError(f"{place}: {len(files)} files are too many")
    parts: dict[str, list[tuple[Path, Entry]]] = {}
    opened = [(file, _pairs_in_one(held(file), file, tally)) for file in files]
    for file, own in opened:
        for name, entry in own.items():
            parts.setdefault(name or _stem(file), []).append((file, entry))
        tally.use("files")
    if all(list(own) == [""] for _, own in opened) and not any(role_of_rows(stem) for stem in parts):
        parts = {"": [part for pieces in parts.values() for part in pieces]}  # one cloud, whatever its files are called
    elif not all(list(own) == [""] for _, own in opened):
        for name, pieces in parts.items():
            if len(pieces) < len(files):
                lacking = next(file for file in files if file not in {each for each, _ in pieces})
                raise InputError(f"{lacking} has no {name}, which other files of {place} have")
    found = {name: _joined(pieces, name) for name, pieces in parts.items()}
    if len(files) > 1:
        tally.understood(f"{len(files)} files, {files[0].name} to {files[-1].name}, in the order of their numbers")
    return _fields(found, roles(found, place, tally, columns), str(place), tally)


def _stem(file: Path) -> str:
    """The name of a file without the number of its shard."""
    return re.sub(r"[-_.]?\d+([-_]of[-_]\d+)?$", "", file.stem)


def _joined(parts: Sequence[tuple[Path, Entry]], name: str) -> Entry:
    """The parts of one array as one; its parts are read one by one."""
    if len(parts) == 1:
        return parts[0][1]
    kinds = {entry.kind for _, entry in parts}
    shapes = [entry.shape for _, entry in parts]
    if len({len(shape) for shape in shapes}) > 1 or (len(kinds) > 1 and not kinds <= set("fiu")):
        first = (len(shapes[0]), parts[0][1].kind)
        odd = next(file for file, entry in parts if (len(entry.shape), entry.kind) != first)
        raise InputError(f"{odd}: {name or 'its array'} is of another kind than in {parts[0][0].name}")
    if not shapes[0]:
        return parts[0][1]  # one number, such as the logit scale
    width = shapes[0][1:]
    return Entry((sum(shape[0] for shape in shapes), *width), parts[0][1].kind, lambda: _Parts(parts).read())


class _Parts:
    """The arrays of several files, as `_rows` and `_read` want them."""

    def __init__(self, parts: Sequence[tuple[Path, Entry]]) -> None:
        self.parts = parts

    def read(self) -> Any:
        """A list of texts, or the arrays with their files' names."""
        found = [(file, entry.read()) for file, entry in self.parts]
        if all(isinstance(each, list) for _, each in found):
            return [text for _, each in found for text in each]
        if any(array.ndim == 1 for _, array in found):
            return np.concatenate([array for _, array in found])
        return found


# --- fields


def _fields(found: Held, chosen: Mapping[str, str], place: str, tally: Tally) -> dict[str, Any]:
    """Arguments of EmbeddingSet."""
    fields: dict[str, Any] = {}
    for role in ROWS:
        if role in chosen:
            fields[role] = _rows(found[chosen[role]], f"{place}: {chosen[role]}" if chosen[role] else place)
            tally.use(f"{role} rows", sum(map(len, fields[role])))
    n = sum(map(len, fields["image"]))
    m = sum(map(len, fields.get("text", ())))
    for role, name in chosen.items():
        if role not in ROWS:
            value = _read(found[name], role, f"{place}: {name}")
            of = _LENGTHS.get(role)
            if of is not None and name != role and len(value) != {"images": n, "texts": m}[of]:
                tally.leave_out("columns", f"not one entry for each of the {of}", name)
            else:
                fields[role] = value
    fields["columns"] = _columns(found, set(chosen.values()), n, place, tally)
    if "labels" in fields and "class_text" not in fields:
        fields["columns"]["label"] = list(map(str, np.asarray(fields.pop("labels")).tolist()))
    if "logit_scale" in fields:
        fields["logit_scale_source"] = "file"
    return fields


_LENGTHS = {
    **dict.fromkeys(("image_id", "image_path"), "images"),
    **dict.fromkeys(("caption_id", "caption"), "texts"),
}
"""What each of them has an entry for: those of another length are of something else."""


def _rows(entry: Entry, name: str) -> list[NDArray[Any]]:
    """The rows, as one array or several, checked."""
    read = entry.read()
    parts = read if isinstance(read, list) else [(None, read)]
    rows = []
    for file, array in parts:
        shown = name if file is None else f"{file}: {name.rpartition(': ')[2]}"
        if array.dtype == np.uint8:
            raise InputError(
                f"{shown} holds bytes (uint8): packed bits or quantised numbers have no cosines; save floats"
            )
        rows.append(check_rows(array, shown))
    return rows


def _read(entry: Entry, role: str, name: str) -> Any:
    value = entry.read()
    if role in ("logit_scale", "logit_bias"):
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "fiu":
            raise InputError(f"{name} must be one number, got {array.dtype} of shape {array.shape}")
        return float(array.reshape(()))
    if role in ("image_id", "image_path", "caption_id", "caption", "classes"):
        return texts_of(value, name)
    return value


def texts_of(value: Any, name: str) -> list[str]:
    """Texts, bytes or numbers as texts; InputError for bytes that are not UTF-8, `name` begins the message."""
    values = value if isinstance(value, list) else np.asarray(value).tolist()
    try:
        return [each.decode() if isinstance(each, bytes) else str(each) for each in values]
    except UnicodeDecodeError as problem:
        raise InputError(f"{name} is not UTF-8 ({problem})") from problem


def _columns(found: Held, taken: set[str], n: int, place: str, tally: Tally) -> dict[str, list[str]]:
    """What else is known of each image: texts, whole numbers and truth values; the rest is counted."""
    columns = {}
    for name, entry in found.items():
        if name in taken or not name:
            continue
        if entry.shape == (n,) and entry.kind in "USiub":
            columns[name] = texts_of(entry.read(), f"{place}: {name}")
        else:
            reason = "other rows" if entry.is_rows else "no text or whole number for each image"
            tally.leave_out("columns", reason, name)
    return columns
