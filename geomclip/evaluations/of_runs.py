"""A run of fine-tuning asked by tasks: its base and its weights, and what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomclip.evaluations.calls import check, evaluate, task_of
from geomclip.machine.errors import InputError, naming
from geomclip.machine.files import make_folder
from geomclip.machine.progress import SILENT, Named, Progress
from geomclip.machine.words import option
from geomclip.pairs import Source
from geomclip.panels import compare
from geomclip.panels.comparison import Comparison
from geomclip.panels.stored import FOLDER
from geomclip.training.finetune import DEFAULTS
from geomclip.training.folder import RunFolder, call_of, completed, folder_for, read_config
from geomclip.training.splits import load_splits

OF_BASE = ("model", "pretrained", "arch")
OF_DATA = ("split", "data_root", "image_column", "text_column", "image_id_column", "image_root")


def tasks_and_data(words: Sequence[str]) -> dict[str, str | None]:
    """TASK or TASK=DATA words as a mapping; InputError for a task that is unknown, or named twice."""
    found: dict[str, str | None] = {}
    for word in words:
        name, _, data = word.partition("=")
        task_of(name)
        if name in found:
            raise InputError(f"{option('evaluate', name)} is named twice: one data set a task")
        found[name] = data or None
    return found


def evaluate_run(
    run: str | Path,
    tasks: Sequence[str],
    of_task: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> dict[str, Comparison]:
    """What a finished run changed in what the space is good for: each task before and after, and their comparison.

    Parameters
    ----------
    run : path
        A finished run folder; before.json, after.json and comparison.json go to RUN/evaluations/TASK.
    tasks : sequence of str
        TASK, on what the run reports on (of data that it parted by `holdout`, on the part it did not learn from), or
        TASK=DATA.
    of_task : mapping of task to options, optional
        Options that it alone has, or has otherwise than the others.
    **options
        As of `evaluate`, for all tasks: label_column, seed, bootstrap, ...

    Returns
    -------
    dict of task to Comparison

    Raises
    ------
    InputError
        If the run is not finished or mixes several models, a task is unknown, or does not apply (which is named).
    """
    folder = Path(run).expanduser()
    wanted = tasks_and_data(tasks)
    config = read_config(folder)
    if not config.get("finished"):
        raise InputError(f"{folder} is not finished: go on with it by {option('resume', True)}")
    if config.get("between"):
        raise InputError(f"{folder} mixes several models, of which none is before: compare evaluations of two yourself")
    call = call_of(config, cache_dir)
    common: dict[str, Any] = {**options, "cache_dir": cache_dir}
    base, how = _checked(wanted, call, common, of_task or {})  # all before the first, which takes long
    return {name: _changed(folder, name, base, how[name], Named(progress, name)) for name in wanted}


def check_tasks(
    tasks: Sequence[str],
    named: Mapping[str, Any],
    of_task: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> None:
    """InputError for a task that the run of `finetune(**named)` could not be asked as it ends, as far as names tell."""
    wanted = tasks_and_data(tasks)
    where = (named["out"], named["method"] or DEFAULTS["method"], named["data"] or DEFAULTS["data"])
    place = RunFolder(folder_for(*where, resume=named["resume"]), named["resume"], cache_dir=named["cache_dir"])
    began = place.began_with()
    place.refuse_forgotten(named, began)
    call = completed(
        {name: named[name] for name in ("between", "data", "holdout", *OF_BASE, *OF_DATA)}, began, DEFAULTS
    )
    if call["between"]:
        way_out = f"leave out {option('evaluate')}"
        raise InputError(f"{option('between')} mixes several models, of which none is before: {way_out}")
    _checked(wanted, call, {**options, "cache_dir": named["cache_dir"]}, of_task or {})


def _checked(
    wanted: Mapping[str, str | None],
    call: Mapping[str, Any],
    common: Mapping[str, Any],
    of_task: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The base of a run, and data and options of each task; InputError for a task that does not apply."""
    base = {name: call[name] for name in OF_BASE if call.get(name) is not None}
    own = _own(call, common["cache_dir"]) if None in wanted.values() else {}
    root = {"data_root": call["data_root"]} if call.get("data_root") else {}
    how = {
        name: {**(own if data is None else {"data": data, **root}), **common, **of_task.get(name, {})}
        for name, data in wanted.items()
    }
    for name, each in how.items():
        check(name, **base, **each)
    return base, how


def _own(call: Mapping[str, Any], cache_dir: Path | None) -> dict[str, Any]:
    """The data of a run as the run reads them: where it holds some of them out, what it reports on and learns from."""
    named = {name: call[name] for name in ("data", *OF_DATA) if call.get(name) is not None}
    if not call.get("holdout"):
        return named
    named.setdefault("data", Source.data)
    return {"data": load_splits(Source(**named), holdout=call["holdout"], cache_dir=cache_dir)}


def _changed(folder: Path, name: str, base: Mapping[str, Any], how: Mapping[str, Any], progress: Any) -> Comparison:
    place = make_folder(folder / FOLDER / name)
    panels = []
    for side, model in (("before", base), ("after", {"model": str(folder)})):
        with naming(name):
            panel = evaluate(name, **model, **how, progress=Named(progress, side))
        panel.save(place / f"{side}.json")
        panels.append(panel)
    found = compare(*panels)
    assert isinstance(found, Comparison)
    found.save(place / "comparison.json")
    return found
