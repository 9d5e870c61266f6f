"""Sides: what BEFORE and AFTER name (results, vectors, models), and both as panels, measured alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from geomclip.comparison.matching import cut
from geomclip.console import nearest
from geomclip.embeddings import EmbeddingSet
from geomclip.errors import InputError
from geomclip.measurement import measure, metric_keys
from geomclip.panel import Panel

if TYPE_CHECKING:
    from geomclip.encode import Encodes

Side: TypeAlias = "Panel | EmbeddingSet | Encodes | str | Path"
"""A panel, a set or an encoder at hand; or a result (.json), a store, .npz or .npy, or a model's name."""

OF_MODELS = ("pretrained",)
OF_FILES = ("arch",)
OF_DATA = ("data", "split", "data_root", "limit", "image_column", "text_column", "image_id_column")
OF_WORK = ("batch_size", "workers", "precision", "device")
OF_MEASURE = ("metrics", "captions", "logit_scale", "dtype", "by")
OPTIONS = (*OF_MODELS, *OF_FILES, *OF_DATA, *OF_WORK, *OF_MEASURE)
SIDES = ("before", "after")


def kind(side: Side) -> str:
    """'result', 'vectors', 'file' (of weights) or 'model': what a side is, by its type, name or what lies there."""
    from geomclip.encoders.checkpoint import SUFFIXES

    if isinstance(side, Panel):
        return "result"
    if isinstance(side, EmbeddingSet):
        return "vectors"
    if not isinstance(side, str | Path):
        return "model"
    path = Path(side).expanduser()
    if path.suffix == ".json":
        return "result"
    if path.suffix in (".npz", ".npy"):
        return "vectors"
    if path.suffix.lower() in SUFFIXES:
        return "file"
    if path.is_dir() and any((path / name).exists() for name in ("manifest.json", "img_emb", "text_metadata")):
        return "vectors"
    return "model"


def panels(
    before: Side,
    after: Side,
    *,
    intersect: bool,
    bootstrap: int,
    seed: int,
    cache_dir: Path | None,
    null_cache: Any,
    progress: Callable[[str, int, int], None] | None,
    log: Callable[[str], None] | None,
    options: Mapping[str, Any],
) -> tuple[Panel, Panel, list[str]]:
    """The panels of both sides and lines on what was done to compare them; see `geomclip.api.compare`.

    Two sets of vectors are cut to what they share, and put in one order, before they are measured.
    """
    kinds = [kind(side) for side in (before, after)]
    check_options(options, kinds)
    found: list[Any] = [
        _at_hand(side, what, options.get("dtype")) for side, what in zip((before, after), kinds, strict=True)
    ]
    if any(what in ("model", "file") for what in kinds):
        found = _embedded(found, kinds, options, seed=seed, cache_dir=cache_dir, progress=progress, log=log)
    notes = []
    if isinstance(found[0], EmbeddingSet) and isinstance(found[1], EmbeddingSet):
        *found, told = cut(found[0], found[1], intersect=intersect)
        notes = [told] if told else []
    asked = {name: options[name] for name in OF_MEASURE if name in options}
    for place, side in enumerate(found):
        if isinstance(side, EmbeddingSet):
            say = None if progress is None else _named(progress, SIDES[place])
            common: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "null_cache": null_cache}
            found[place] = measure(side, **common, **asked, progress=say)
    return found[0], found[1], notes


def check_options(options: Mapping[str, Any], kinds: Sequence[str]) -> None:
    """Refuse, before any long work, an option that has nothing to do with sides of these kinds, or is unknown.

    Raises
    ------
    InputError
        With the options and the reason.
    """
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"no option {name!r}{nearest(name, list(OPTIONS))}")
    extracted = {"model", "file"}
    for group, needs, why in (
        ((*OF_DATA, *OF_WORK), extracted, "how to extract, and neither side is a model"),
        (OF_MODELS, {"model"}, "which weights a named model has, and neither side is one"),
        (OF_FILES, {"file"}, "what a file of weights is, and neither side is one"),
        (OF_MEASURE, {*extracted, "vectors"}, "how to measure, and both sides are results"),
    ):
        idle = [f"--{name.replace('_', '-')}" for name in group if options.get(name) is not None]
        if idle and needs.isdisjoint(kinds):
            says = "says" if len(idle) == 1 else "say"
            raise InputError(f"{', '.join(idle)} {says} {why}: leave {'it' if len(idle) == 1 else 'them'} out")
    if "metrics" in options:
        metric_keys(options["metrics"])  # names can be mistyped


def _at_hand(side: Side, what: str, dtype: str | None) -> Any:
    """The side, loaded if it is a result or vectors; a model stays as it is named."""
    if isinstance(side, str | Path):
        if what == "result":
            from geomclip.results import load

            return load(side)
        if what == "vectors":
            from geomclip.store import load as load_vectors

            # float64 rows are unit to 1e-16, which float32 rows made unit and then widened are not
            return load_vectors(side, dtype=getattr(torch, dtype or "float32"))
    return side


def _embedded(
    sides: Sequence[Any],
    kinds: Sequence[str],
    options: Mapping[str, Any],
    *,
    seed: int,
    cache_dir: Path | None,
    progress: Callable[[str, int, int], None] | None,
    log: Callable[[str], None] | None,
) -> list[Any]:
    """The sides with the models in place of their names replaced by embeddings of one and the same data."""
    from geomclip.encoders.names import resolve
    from geomclip.extract import embed
    from geomclip.pairs import load_pairs

    of_model: dict[str, dict[str, Any]] = {
        what: {name: options.get(name) for name in names} for what, names in (("model", OF_MODELS), ("file", OF_FILES))
    }
    for side, what in zip(sides, kinds, strict=True):
        if what in of_model and isinstance(side, str | Path):
            _refuse_unknown_folder(side)
            resolve(str(side), **of_model[what])  # a name that means nothing is told before the first is encoded
    of_data = {name: options[name] for name in OF_DATA if options.get(name) is not None}
    limit = of_data.pop("limit", None)
    data = of_data.pop("data", "emoji")
    pairs = load_pairs(data, **of_data, cache_dir=cache_dir)
    work = {name: options[name] for name in OF_WORK if options.get(name) is not None}
    embedded = []
    for side, what, name in zip(sides, kinds, SIDES, strict=True):
        if what not in of_model:
            embedded.append(side)
            continue
        say = None if progress is None else _encoding(progress, name)
        model = str(side) if isinstance(side, Path) else side
        own: dict[str, Any] = of_model[what] if isinstance(model, str) else {}
        common: dict[str, Any] = {"seed": seed, "cache_dir": cache_dir, "progress": say, "log": log}
        embedded.append(embed(model, pairs, limit=limit, **work, **own, **common))
    return embedded


def _refuse_unknown_folder(side: str | Path) -> None:
    folder = Path(side).expanduser()
    models = ("best.safetensors", "model.safetensors", "open_clip_config.json")
    if folder.is_dir() and not any((folder / name).is_file() for name in models) and str(side) != "demo":
        raise InputError(f"{side} is a folder, but no store of embeddings, no run of finetune and no model")


def _named(progress: Callable[[str, int, int], None], side: str) -> Callable[[str, int, int], None]:
    return lambda stage, done, of: progress(f"{side}: {stage}", done, of)


def _encoding(progress: Callable[[str, int, int], None], side: str) -> Callable[[int, int, int], None]:
    def say(done: int, of: int, skipped: int) -> None:
        progress(f"{side}: encoding{f', {skipped} skipped' if skipped else ''}", done, of)

    return say
