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
from geomclip.panels import compare
from geomclip.panels.comparison import Comparison
from geomclip.panels.stored import FOLDER
from geomclip.training.folder import call_of, read_config

OF_BASE = ("model", "pretrained", "arch")
OF_DATA = ("data_root", "image_column", "text_column", "image_id_column", "image_root")


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
    run: str | Path, tasks: Sequence[str], *, cache_dir: Path | None = None, progress: Progress = SILENT, **options: Any
) -> dict[str, Comparison]:
    """What a finished run changed in what the space is good for: each task before and after, and their comparison.

    Parameters
    ----------
    run : path
        A finished run folder; before.json, after.json and comparison.json go to RUN/evaluations/TASK.
    tasks : sequence of str
        TASK, on the data of the run, or TASK=DATA.
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
    base = {name: call[name] for name in OF_BASE if call.get(name) is not None}
    own = {name: call[name] for name in OF_DATA if call.get(name) is not None}
    common: dict[str, Any] = {**options, "cache_dir": cache_dir}
    for name, data in wanted.items():  # all before the first, which takes long
        check(name, **base, **_data(data, call, own), **common)
    return {
        name: _changed(folder, name, base, _data(data, call, own), common, Named(progress, name))
        for name, data in wanted.items()
    }


def _data(data: str | None, call: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a task: those named for it, else those of the run as the run reads them."""
    if data is not None:
        return {"data": data, **{name: own[name] for name in ("data_root",) if name in own}}
    return {"data": call["data"], **own} if call.get("data") else dict(own)


def _changed(
    folder: Path, name: str, base: Mapping[str, Any], data: Mapping[str, Any], common: Mapping[str, Any], progress: Any
) -> Comparison:
    place = make_folder(folder / FOLDER / name)
    panels = []
    for side, model in (("before", base), ("after", {"model": str(folder)})):
        with naming(name):
            panel = evaluate(name, **model, **data, **common, progress=Named(progress, side))
        panel.save(place / f"{side}.json")
        panels.append(panel)
    found = compare(*panels)
    assert isinstance(found, Comparison)
    found.save(place / "comparison.json")
    return found
