"""finetune: what a call means, and the run folder that it fills or goes on with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from geomclip.encoders import Encoder, load_encoder
from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError
from geomclip.machine.files import clear_leftovers
from geomclip.machine.lock import Lock
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.pairs import Source
from geomclip.panels.options import Measuring
from geomclip.training.between import checked_names, load_members
from geomclip.training.folder import CONFIG, RunFolder, begin, call_of, completed, folder_for, read_config
from geomclip.training.methods import Method, method_named
from geomclip.training.others import load_others, names_of, refuse_changed
from geomclip.training.processes import Processes
from geomclip.training.result import Result
from geomclip.training.settings import DEMO, Settings, preset
from geomclip.training.splits import load_splits
from geomclip.training.work import Work

DEFAULTS: dict[str, Any] = {
    "method": "m2mix",
    "model": "demo",
    "data": Source.data,
    "holdout": 0.0,
    "image_column": Source.image_column,
    "text_column": Source.text_column,
}
"""What a call means where it says nothing."""


def finetune(
    method: str | None = None,
    model: str | None = None,
    data: str | None = None,
    *,
    between: Sequence[str] | None = None,
    out: str | Path | None = None,
    split: str | None = None,
    holdout: float | None = None,
    limit: int | None = None,
    pretrained: str | None = None,
    arch: str | None = None,
    data_root: Path | None = None,
    cache_dir: Path | None = None,
    image_column: str | None = None,
    text_column: str | None = None,
    image_id_column: str | None = None,
    image_root: Path | None = None,
    resume: bool = False,
    override: bool = False,
    bootstrap: int = Measuring.bootstrap,
    metrics: str = "default",
    also: str | Sequence[str] | None = None,
    tensorboard: bool = False,
    wandb: bool = False,
    progress: Progress = SILENT,
    **settings: Any,
) -> Result:
    """Fine-tune a model and compare it with what it was.

    Parameters
    ----------
    method : str, optional
        A name in `geomclip.training.methods.METHODS`. Left out: m2mix.
    model, pretrained, arch
        As `geomclip.encoders.load_encoder` takes them. Left out: demo. For "wise-ft" the run to be interpolated
        with its base, unless `between` names two models.
    data, data_root, cache_dir, image_column, text_column, image_id_column, image_root
        As `geomclip.pairs.Source` has them. Left out: emoji. Trains on train, chooses by val.
    between : sequence of str, optional
        Models of one architecture, as `model` names them, whose weights are mixed: two for "wise-ft", two or more for
        "soup". The first is what the mixture is compared with.
    out : path, optional
        The run folder. Left out: `runs/METHOD-DATA-N`, the first N that is free (with `resume`: the last there is).
    split : str, optional
        To report on; left out: test if the set has one, else val.
    holdout : float
        Share of a set without splits that is kept for val, and again for test.
    limit : int, optional
        Only the first images of each split.
    resume : bool
        Go on from the newest checkpoint of `out`; whatever is left out is what the run began with.
    override : bool
        Go on although settings differ from those the run began with.
    bootstrap, metrics
        Of the panels before and after, as `geomclip.measure` takes them.
    also : str or sequence of str, optional
        Other data, by names as `data` has them, that are not trained on and measured before and after: what is
        forgotten there stands in the verdict and in `Result.also`. A finished run measures what is new.
    tensorboard, wandb : bool
        Log there too.
    progress : Progress, optional
        Takes how far each stage is, and lines of text.
    **settings
        Fields of `geomclip.training.settings.Settings`: epochs, lr, batch_size, seed, ... `preserve` names what of the
        base the loss holds: "cosine", "cosine,similarity=300", a list of such words, or weights by kind.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If a name, a setting or a file cannot be used; if the run folder is not empty and `resume` is not given.
    GeomclipError
        If the loss is not finite, or the disk is full.

    Examples
    --------
    >>> finetune(method="m2mixx")
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: unknown method 'm2mixx'; did you mean m2mix or m3mix or vmix?
    """
    named: dict[str, Any] = {"method": method, "model": model, "pretrained": pretrained, "arch": arch, "data": data}
    named |= {"split": split, "holdout": holdout, "limit": limit, "image_column": image_column}
    named |= {"text_column": text_column, "image_id_column": image_id_column}
    named["data_root"] = None if data_root is None else str(data_root)
    named["image_root"] = None if image_root is None else str(image_root)
    folder = folder_for(out, method or DEFAULTS["method"], data or DEFAULTS["data"], resume=resume)
    place = RunFolder(folder, resume, override, tensorboard, wandb, cache_dir)
    began = place.began_with()
    place.refuse_forgotten({**named, "also": also, "between": between}, began)
    call = completed(named, began, DEFAULTS)
    chosen = method_named(call["method"])
    members = checked_names(chosen, between or (began or {}).get("call", {}).get("between"), {**named, "model": model})
    if members is not None:
        call |= {"model": members[0], "between": members}
    own = resolved_settings(chosen, call["model"], settings, began)
    processes = Processes.from_environment(own.device)
    if processes.count > 1 and own.device == "cuda":
        own = replace(own, device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    scale = 1 / own.temperature if own.temperature else None
    base, *mixed = models_of(chosen, call, cache_dir=cache_dir, seed=own.seed, logit_scale=scale)
    source = Source(**{each.name: call[each.name] for each in fields(Source) if each.name in call})
    splits = load_splits(source, holdout=call["holdout"], cache_dir=cache_dir)
    named_others = names_of(also, began)
    others = load_others(named_others, source, splits, cache_dir=cache_dir)
    refuse_changed(folder, began, others)
    work = Work(
        method=chosen,
        settings=own,
        base=base,
        mixed=tuple(mixed),
        splits=splits,
        place=place,
        processes=processes,
        measuring={"bootstrap": bootstrap, "metrics": metrics},
        call={**call, "also": named_others} if named_others else call,
        others=others,
        cache_dir=cache_dir,
        progress=progress,
    )
    work.check()
    if processes.first:
        with Lock(folder):
            kept = begin(place, work.config(), progress=progress)
            clear_leftovers(folder)
            result = work.lead(kept)
    else:
        result = work.follow()
    processes.leave()
    return result


def models_of(
    method: Method, call: Mapping[str, Any], *, cache_dir: Path | None, seed: int, logit_scale: float | None = None
) -> list[Encoder]:
    """The model that a call begins with, and those that a method mixes it with."""
    if call.get("between"):
        return load_members(call["between"], arch=call["arch"], cache_dir=cache_dir, seed=seed)

    def loaded(call: Mapping[str, Any]) -> Encoder:
        names = {name: call[name] for name in ("pretrained", "arch")}
        return load_encoder(call["model"], **names, cache_dir=cache_dir, seed=seed, logit_scale=logit_scale)

    model = loaded(call)
    if method.stage != "after":
        return [model]
    folder = Path(call["model"]).expanduser()
    if not (folder / CONFIG).is_file():
        needs = (
            f"{option('method', method.name)} needs a finished run as {option('model')}, and {call['model']} is none"
        )
        raise InputError(f"{needs}: any two models are mixed by {option('between')}")
    config = read_config(folder)
    began = {"call": call_of(config, cache_dir)}
    of_run = completed(dict.fromkeys(("model", "pretrained", "arch")), began, DEFAULTS)
    base = loaded(of_run)
    if base.weights_sha256 != config.get("base", {}).get("weights_sha256"):
        began_with = f"{of_run['model']} is not what {call['model']} was fine-tuned from"
        raise InputError(f"{began_with}: its weights have changed since")
    if model.shift is not None:
        raise InputError(f"{call['model']} is shifted along the gap, not fine-tuned: there is nothing to interpolate")
    return [base, model]


def resolved_settings(
    method: Method, model: str, own: Mapping[str, Any], began: Mapping[str, Any] | None = None
) -> Settings:
    """Defaults, those of the demo model, the method's, the preset's, and the caller's own: the last wins.

    Of a run to be resumed, what it began with stands in place of all defaults.
    """
    known = {each.name for each in fields(Settings)} - {"method"}
    unknown = sorted(set(own) - known)
    if unknown:
        raise InputError(f"unknown setting {unknown[0]!r}: the settings are {', '.join(sorted(known))}")
    explicit = {name: value for name, value in own.items() if value is not None}
    named = preset(str(explicit.get("preset", "")), method.name)
    if began is not None:
        resolved = replace(Settings.from_dict(began["settings"]), **{**named, **explicit, "method": method.name})
    else:
        small = DEMO if model == "demo" and not named else {}
        resolved = Settings(**{**small, **method.defaults, **named, **explicit, "method": method.name})
    return replace(resolved, device=choose_device(resolved.device))
