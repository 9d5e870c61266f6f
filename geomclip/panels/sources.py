"""Sides: what BEFORE and AFTER name (results, vectors, models), and both as panels, measured alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from geomclip.embeddings.files.gather import are_vectors
from geomclip.embeddings.matching import cut
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.addresses import is_address, plain
from geomclip.machine.errors import InputError, naming
from geomclip.machine.progress import Named, Progress
from geomclip.machine.remote import Address
from geomclip.machine.words import nearest, option
from geomclip.pairs import Source, load_pairs
from geomclip.panels import peers
from geomclip.panels.lines import told_apart
from geomclip.panels.measurement import Measured, measure, metric_keys
from geomclip.panels.record import Panel

if TYPE_CHECKING:
    from geomclip.encoders.protocol import Encodes

Side: TypeAlias = "Panel | EmbeddingSet | Encodes | str | Path"
"""A panel, a set or an encoder at hand; or a result (.json, .csv), a store, .npz or .npy, or a model's name."""

OF_MODELS = ("pretrained",)
OF_FILES = ("arch",)
OF_DATA = tuple(field.name for field in fields(Source))
OF_IMAGES = tuple(name for name in OF_DATA if name != "limit")
"""Those that say where the images of vectors lie, too."""
OF_WORK = ("batch_size", "workers", "precision", "device")
OF_MEASURE = ("metrics", "captions", "logit_scale", "dtype", "by")
OPTIONS = (*OF_MODELS, *OF_FILES, *OF_DATA, *OF_WORK, *OF_MEASURE)
SIDES = ("before", "after")
WORDS = {1: ("the source is not", "it is a result"), 2: ("neither side is", "both sides are results")}
"""Of one side and of two: how to say that an option has nothing to do with them."""


def kind(side: Side) -> str:
    """'result', 'vectors', 'file' (of weights) or 'model': what a side is, by its type, name or what lies there."""
    from geomclip.encoders.custom import is_custom
    from geomclip.encoders.weights.shards import is_weights

    if isinstance(side, Panel):
        return "result"
    if isinstance(side, EmbeddingSet):
        return "vectors"
    if not isinstance(side, str | Path):
        return "model"
    if is_custom(side):
        return "model"
    if is_address(side):
        return _kind_of_address(str(side))
    path = Path(side).expanduser()
    if (path.suffix == ".json" and not is_weights(path.name)) or peers.is_table(side):
        return "result"
    if path.is_dir() and any((path / name).exists() for name in ("manifest.json", "img_emb", "text_metadata")):
        return "vectors"
    if _holds_a_model(path):  # beside the items of results, as a run of finetune does
        return "model"
    if are_vectors(side):
        return "vectors"
    return "file" if is_weights(path.name) or _holds_bare_weights(path) else "model"


def _kind_of_address(address: str) -> str:
    """'vectors', as what lies at an address is not looked at; InputError for what is read from this machine alone."""
    name = Path(Address.of(address).name)
    if name.suffix in (".json", ".csv"):
        raise InputError(f"{plain(address)}: results are read from this machine: fetch it by hand, and name the file")
    return "vectors"


def _holds_a_model(folder: Path) -> bool:
    """Whether a folder has weights and says which model they are of."""
    from geomclip.encoders.names import says_what_it_is
    from geomclip.encoders.weights.shards import usual

    return folder.is_dir() and says_what_it_is(folder) and usual(folder) is not None


def _holds_bare_weights(folder: Path) -> bool:
    """Whether a folder has weights and nothing that says what they are of: as trainers save them."""
    from geomclip.encoders.names import says_what_it_is
    from geomclip.encoders.weights.shards import usual

    return folder.is_dir() and not says_what_it_is(folder) and usual(folder) is not None


def panels(
    sides: Sequence[Side],
    names: Sequence[str] = SIDES,
    *,
    intersect: bool,
    bootstrap: int,
    seed: int,
    cache_dir: Path | None,
    null_cache: Any,
    progress: Progress,
    options: Mapping[str, Any],
) -> list[tuple[Measured, Measured, list[str]]]:
    """The first side and each other one measured, and lines on what was done to compare them; see `panels.compare`.

    Two sets of vectors are cut to what they share, and put in one order, before they are measured. `names` are what
    progress calls the sides, and errors where they are more than two.
    """
    common: dict[str, Any] = {"seed": seed, "options": options}
    found = loaded(sides, names, cache_dir=cache_dir, progress=progress, **common)
    common |= {"bootstrap": bootstrap, "null_cache": null_cache, "progress": progress}
    pairs: list[tuple[Measured, Measured, list[str]]] = []
    for side, name in zip(found[1:], names[1:], strict=True):
        with naming(name if len(sides) > 2 else ""):
            first, note = found[0], ""
            if isinstance(first, EmbeddingSet) and isinstance(side, EmbeddingSet):
                first, side, note = cut(first, side, intersect=intersect)
            known = next((one for one, _, _ in pairs if _same(first, one)), None)
            one = known or measured(first, names[0], **common)
            pairs.append((one, measured(side, name, **common), [note] if note else []))
    return pairs


def _same(side: Panel | EmbeddingSet, known: Measured) -> bool:
    """Whether a side has been measured before: the same rows in the same order."""
    if isinstance(side, Panel):
        return known.panel is side
    other = known.embeddings
    if other is None:
        return False
    return other is side or (other.image_id, other.caption_id) == (side.image_id, side.caption_id)


def names_of(sides: Sequence[Side]) -> list[str]:
    """A name for each side, all different: of a path as many of its last parts as tell it from the others.

    Examples
    --------
    >>> names_of(["runs/a/after.json", "runs/b/after.json", "demo", "demo"])
    ['a/after.json', 'b/after.json', 'demo', 'demo (2)']
    """
    parts = [_parts_of(side) for side in sides]
    named = []
    for each in parts:
        others = [other for other in parts if other != each]
        depth = next((n for n in range(1, len(each)) if all(other[-n:] != each[-n:] for other in others)), len(each))
        named.append("/".join(each[-depth:]))
    return told_apart(named)


def _parts_of(side: Side) -> list[str]:
    """The parts of a path; what else a side is called, in one."""
    if isinstance(side, str | Path):
        name = plain(str(side)).rstrip("/")
        is_path = is_address(side) or kind(side) != "model" or Path(name).expanduser().exists()
        return name.split("/") if is_path else [name]
    made = getattr(side, "made_from", {})
    made = made() if callable(made) else made
    return [str(made.get("model") or "unnamed")]


def loaded(
    sides: Sequence[Side],
    names: Sequence[str],
    *,
    seed: int,
    cache_dir: Path | None,
    progress: Progress,
    options: Mapping[str, Any],
    pictures: bool = False,
) -> list[Panel | EmbeddingSet]:
    """What each side names: a panel, or vectors; models are extracted, all on the same data.

    `names` are what progress calls them ('' if there is only one); `pictures` as in `check_options`.
    """
    kinds = [kind(side) for side in sides]
    check_options(options, kinds, pictures=pictures)
    own: dict[str, Any] = {name: options.get(name) for name in ("dtype", "logit_scale")}
    own |= {"cache_dir": cache_dir, "progress": progress}
    found: list[Any] = []
    for side, what in zip(sides, kinds, strict=True):
        found.append(_sharing(_at_hand(side, what, **own), found))
    if any(what in ("model", "file") for what in kinds):
        of_data: dict[str, Any] = {"seed": seed, "cache_dir": cache_dir, "progress": progress}
        found = _embedded(found, kinds, names, options, **of_data)
    return found


def vectors(
    path: str | Path | None,
    extraction: Mapping[str, Any],
    *,
    dtype: str = "float32",
    columns: str | None = None,
    logit_scale: float | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress,
) -> EmbeddingSet:
    """The embeddings that lie at a path or address; without one those that `embed` makes of these options."""
    if path is None:
        if columns:
            raise InputError(f"{option('columns')} is of files of vectors: name one with {option('embeddings')}")
        from geomclip.encoders.extraction.calls import embed

        return embed(**extraction, logit_scale=logit_scale, progress=progress)
    from geomclip.embeddings.store import load

    # float64 rows are unit to 1e-16, which float32 rows made unit and then widened are not
    how: dict[str, Any] = {"columns": columns, "logit_scale": logit_scale, "progress": progress}
    return load(path, dtype=getattr(torch, dtype), cache_dir=cache_dir or extraction.get("cache_dir"), **how)


def measured(
    side: Panel | EmbeddingSet,
    name: str,
    *,
    bootstrap: int,
    seed: int,
    null_cache: Any,
    progress: Progress,
    options: Mapping[str, Any],
    curves: bool = False,
) -> Measured:
    """The panel of a side that was loaded, with its vectors if it has them."""
    if isinstance(side, Panel):
        return Measured(side)
    wanted = {key: options[key] for key in OF_MEASURE if key in options}
    common: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "null_cache": null_cache, "curves": curves}
    if options.get("device") is not None:
        wanted["device"] = options["device"]
    return Measured(measure(side, **common, **wanted, progress=Named(progress, name)), side)


def check_options(options: Mapping[str, Any], kinds: Sequence[str], *, pictures: bool = False) -> None:
    """Refuse, before any long work, an option that has nothing to do with sides of these kinds, or is unknown.

    With `pictures`, the options of data say of vectors where their images lie.

    Raises
    ------
    InputError
        With the options and the reason.
    """
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"no option {name!r}{nearest(name, list(OPTIONS))}")
    extracted = {"model", "file"}
    neither, results = ("no side is", "all sides are results") if len(kinds) > 2 else WORDS[len(kinds)]
    of_images = OF_IMAGES if pictures else ()
    of_work = [name for name in (*OF_DATA, *OF_WORK) if name not in of_images]
    for group, needs, why in (
        (of_images, {*extracted, "vectors"}, f"where images lie, and {results}"),
        (of_work, extracted, f"how to extract, and {neither} a model"),
        (OF_MODELS, {"model"}, f"which weights a named model has, and {neither} one"),
        (OF_FILES, {"file"}, f"what a file of weights is, and {neither} one"),
        (OF_MEASURE, {*extracted, "vectors"}, f"how to measure, and {results}"),
    ):
        idle = [option(name) for name in group if options.get(name) is not None]
        if idle and needs.isdisjoint(kinds):
            says = "says" if len(idle) == 1 else "say"
            raise InputError(f"{', '.join(idle)} {says} {why}: leave {'it' if len(idle) == 1 else 'them'} out")
    if "metrics" in options:
        metric_keys(options["metrics"])  # names can be mistyped


def _at_hand(
    side: Side,
    what: str,
    *,
    dtype: str | None,
    logit_scale: float | None,
    cache_dir: Path | None,
    progress: Progress,
) -> Any:
    """The side, loaded if it is a result or vectors; a model stays as it is named."""
    if isinstance(side, str | Path):
        if what == "result":
            from geomclip.panels.loading import load

            return load(side)
        if what == "vectors":
            how: dict[str, Any] = {"logit_scale": logit_scale, "cache_dir": cache_dir, "progress": progress}
            return vectors(side, {}, dtype=dtype or "float32", **how)
    return side


def _sharing(side: Any, others: Sequence[Any]) -> Any:
    """The side; a set with the names of an earlier one where they are the same, so that they are held once."""
    other = next((each for each in others if isinstance(each, EmbeddingSet)), None)
    if other is None or not isinstance(side, EmbeddingSet):
        return side
    names = ("image_id", "image_path", "caption_id", "caption")
    same = {name: getattr(other, name) for name in names if getattr(side, name) == getattr(other, name)}
    columns = {
        name: other.columns[name] if other.columns.get(name) == each else each for name, each in side.columns.items()
    }
    return side.replace(**same, columns=columns)


def _embedded(
    sides: Sequence[Any],
    kinds: Sequence[str],
    names: Sequence[str],
    options: Mapping[str, Any],
    *,
    seed: int,
    cache_dir: Path | None,
    progress: Progress,
) -> list[Any]:
    """The sides with the models in place of their names replaced by embeddings of one and the same data."""
    from geomclip.encoders.custom import check, is_custom
    from geomclip.encoders.extraction.calls import embed
    from geomclip.encoders.names import resolve

    of_model: dict[str, dict[str, Any]] = {
        what: {name: options.get(name) for name in names} for what, names in (("model", OF_MODELS), ("file", OF_FILES))
    }
    for side, what in zip(sides, kinds, strict=True):
        if isinstance(side, str) and is_custom(side):
            check(side)
        elif what in of_model and isinstance(side, str | Path):
            _refuse_unknown_folder(side)
            resolve(str(side), **of_model[what])  # a name that means nothing is refused before the first is encoded
    source = Source(**{name: options[name] for name in OF_DATA if options.get(name) is not None})
    pairs = load_pairs(source, cache_dir=cache_dir, progress=progress)
    of_work = (*OF_WORK, "logit_scale")
    work = {name: options[name] for name in of_work if options.get(name) is not None}
    embedded = []
    for side, what, name in zip(sides, kinds, names, strict=True):
        if what not in of_model:
            embedded.append(side)
            continue
        model = str(side) if isinstance(side, Path) else side
        own: dict[str, Any] = of_model[what] if isinstance(model, str) else {}
        common: dict[str, Any] = {"seed": seed, "cache_dir": cache_dir, "progress": Named(progress, name)}
        embedded.append(embed(model, pairs, **work, **own, **common))
    return embedded


def _refuse_unknown_folder(side: str | Path) -> None:
    from geomclip.encoders.names import says_what_it_is

    folder = Path(side).expanduser()
    named = str(side) == "demo" or kind(side) == "file"
    if folder.is_dir() and not says_what_it_is(folder) and not named:
        raise InputError(f"{side} is a folder, but no store of embeddings, no run of finetune and no model")
