"""Roles: which array of a file is the images, which the texts, and so on, by its name or as it was chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from geomclip.embeddings.files.held import WAY, Entry, Held
from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import near, nearest, option

ROWS: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "images", "img", "imgs", "visual", "vision", "pixel", "picture", "photo", "video", "frame"),
        *("query", "queries", "question", "questions", "anchor"),
    ),
    "text": (
        *("text", "texts", "txt", "caption", "captions", "language", "sentence", "sentences", "title"),
        *("document", "documents", "doc", "docs", "passage", "passages", "answer", "corpus", "positive"),
    ),
    "class_text": ("class", "classes", "classifier", "zeroshot", "class_text", "zeroshot_weights"),
}
"""What the arrays of rows are called, without the words for embedding; queries stand for images."""

QUERIES = ("query", "queries", "question", "questions", "anchor")

OTHERS: Mapping[str, tuple[str, ...]] = {
    "labels": ("labels", "label", "y", "target", "targets", "class_index"),
    "image_of_text": ("image_of_text", "text_image_index", "image_index", "image_row", "img_of_text"),
    "logit_scale": ("logit_scale",),
    "logit_bias": ("logit_bias",),
    "truncated": ("truncated",),
    "image_id": ("image_id", "img_id", "image_ids", "img_ids", "id", "ids", "key", "keys", "uid", "uids"),
    "image_path": (
        *("image_path", "filepath", "file_path", "filename", "file_name", "path", "image_name"),
        *("image_paths", "filepaths", "file_paths", "filenames", "file_names", "paths", "image_names"),
    ),
    "caption_id": ("caption_id", "sentid", "text_id"),
    "caption": ("caption", "captions", "text", "texts", "title", "sentence", "document", "raw"),
    "classes": ("classes", "class_names", "classnames"),
}
"""Likewise of what goes with rows: whole names."""

LETTERS: Mapping[str, str] = {
    **dict.fromkeys(("labels", "image_of_text"), "iu"),
    **dict.fromkeys(("logit_scale", "logit_bias"), "fiu"),
    "truncated": "biu",
    **dict.fromkeys(("image_id", "caption_id"), "USiu"),
    **dict.fromkeys(("image_path", "caption", "classes"), "US"),
}
"""Which kinds of array each of them is."""

ROLES = (*ROWS, *OTHERS)

_WORDS = re.compile(
    r"(^|_)(l2|norm|normalized|normalised|clip|all|emb|embs|embed|embeds|embedding|embeddings|feat|feats|feature|"
    r"features|vec|vecs|vector|vectors|rows|encoded|encodings?|latents?|projections?)(?=_|$)"
)


def core(name: str) -> str:
    """A name without the words for embedding and their kin, and without its number.

    Examples
    --------
    >>> [core(name) for name in ("image_embeds", "text-features", "imageEmbeddings", "img_emb_003", "vectors")]
    ['image', 'text', 'image', 'img', '']
    """
    plain = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    plain = re.sub(r"[^a-z]+", "_", plain.lower()).strip("_")
    return _WORDS.sub("", plain).strip("_")


def role_of_rows(name: str) -> str | None:
    """What rows of this name are: image, text, class_text; None where the name does not say.

    Examples
    --------
    >>> [role_of_rows(name) for name in ("image_embeds", "query_embeddings", "docs", "x", "zeroshot_weights")]
    ['image', 'image', 'text', None, 'class_text']
    """
    plain = core(name) or name.lower()
    parts = {plain, *plain.split("_"), re.sub(r"\W+", "_", name.lower())}
    found = [role for role, names in ROWS.items() if parts & set(names)]
    return "class_text" if "class_text" in found else found[0] if len(found) == 1 else None


def is_of_model(name: str) -> bool:
    """Whether a tensor is called as the parameters of a module are.

    Examples
    --------
    >>> is_of_model("visual.ln_post.weight"), is_of_model("image_features")
    (True, False)
    """
    return name.startswith(("state_dict.", "model_state_dict.")) or name.endswith((".weight", ".bias"))


def chosen_names(columns: Mapping[str, str], held: Held, path: Path) -> dict[str, str]:
    """Role -> name in the file, as it was chosen.

    Raises
    ------
    InputError
        If a role is unknown, or the file has no such name.
    """
    for role, name in columns.items():
        if role not in ROLES:
            there = ", ".join(ROLES)
            raise InputError(f"{option('columns')}: no role {role!r}{nearest(role, ROLES)}; they are {there}")
        if name not in held:
            close = ", ".join(near(name, held)) or listed(held)
            raise InputError(f"{path} has no {name!r}; nearest: {close}")
    return dict(columns)


def roles(held: Held, path: Path, tally: Tally, columns: Mapping[str, str]) -> dict[str, str]:
    """Role -> name in the file: those chosen, else those that names say, and what was guessed is told.

    Rows without a name that says what they are, alone, are one cloud: images.

    Raises
    ------
    InputError
        If two arrays could be meant, or none holds rows: names them, and the way out.
    """
    found = chosen_names(columns, held, path)
    # what is called as its role is meant, whatever it holds: what is wrong with it is said then
    rows = [name for name, entry in held.items() if (entry.is_rows or name in ROWS) and name not in found.values()]
    if not {"image", "text", "class_text"} & found.keys():
        found |= _rows(rows, held, path, tally)
    taken = set(found.values())
    n = next(iter(held[found["image"]].shape), -1) if "image" in found else -1
    for role, names in OTHERS.items():
        if role in found:
            continue
        fitting = [
            name
            for known in names
            for name in held
            if name not in taken and plain_name(name) == known and (name == role or _fits(held[name], role, n))
        ]
        if fitting:
            found[role] = fitting[0]
            taken.add(fitting[0])
    return found


def _rows(rows: Sequence[str], held: Held, path: Path, tally: Tally) -> dict[str, str]:
    """The roles of the arrays of rows, by their names."""
    if not rows:
        packed = [name for name, entry in held.items() if entry.kind not in "fiu" and len(entry.shape) == 2]
        what = f"its {packed[0] or 'array'} is no table of numbers" if packed else f"it holds {listed(held)}"
        raise InputError(f"{path} has no table of vectors of shape (rows, dimensions): {what}; {WAY} writes one")
    candidates: dict[str, list[str]] = {}
    for name in rows:
        role = role_of_rows(name)
        if role is not None:
            exact = [other for other in candidates.get(role, []) if other == role]
            if name == role or not exact:
                candidates[role] = [name] if name == role else [*candidates.get(role, []), name]
    for role, names in candidates.items():
        if len(names) > 1:
            raise InputError(
                f"{path}: {' and '.join(names[:4])} could each be the {role} rows; "
                f"{option('columns', f'{role}={names[0]}')} chooses"
            )
    found = {role: names[0] for role, names in candidates.items()}
    if "image" not in found and (len(rows) == 1 or set(found) == {"text"} == {role_of_rows(name) for name in rows}):
        found = {"image": rows[0]}
        tally.understood(f"{rows[0] or path.name} is one cloud, not images and texts")
        return found
    if "image" not in found:
        named = ", ".join(rows[:6])
        raise InputError(
            f"{path}: which of {named} are image rows and which text rows? "
            f"{option('columns', f'image={rows[0]},text={rows[1]}')} says it"
        )
    for role, name in found.items():
        if name != role:
            told = f"{name} are the {role} rows"
            tally.understood(f"{told} (queries take the place of images)" if core(name) in QUERIES else told)
    return found


def plain_name(name: str) -> str:
    """A name in small letters, with _ between its words.

    Examples
    --------
    >>> plain_name("imageId"), plain_name("meta.file-name")
    ('image_id', 'file_name')
    """
    last = re.split(r"[./]", name)[-1]
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", last).lower()).strip("_")


def _fits(entry: Entry, role: str, n: int) -> bool:
    if entry.kind not in LETTERS[role]:
        return False
    if role in ("logit_scale", "logit_bias"):
        return entry.shape in ((), (1,))
    if role in ("image_id", "image_path", "labels"):
        return entry.shape == (n,)
    return len(entry.shape) == 1


def listed(held: Held) -> str:
    """The names in a file, the first few."""
    names = [f"{name or 'an array'} {entry.shape}" for name, entry in list(held.items())[:6]]
    return ", ".join(names) + (", ..." if len(held) > 6 else "") or "nothing"
