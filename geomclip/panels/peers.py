"""Results of other programs as panels: what CLIP_benchmark and MTEB wrote, where a number of theirs is one of ours.

They have no intervals and mostly do not say how many images they are of, so nothing can be paired with them.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from geomclip.machine import json_files
from geomclip.machine.errors import InputError
from geomclip.machine.sums import sum_in
from geomclip.metrics import METRICS
from geomclip.panels.fields import FIELDS
from geomclip.panels.lines import some
from geomclip.panels.naming import PROGRAM
from geomclip.panels.record import Panel

CLIP_BENCHMARK, MTEB = "CLIP_benchmark", "MTEB"
TABLE = re.compile(r"(?P<file>.+\.csv)(?::(?P<row>\d+))?", re.IGNORECASE | re.DOTALL)
"""A table of results, and which of its rows."""

RECALLS = [key.partition("_")[2] for key in METRICS if key.startswith("text_retrieval_recall@")]
OF_CLIP_BENCHMARK = {
    "acc1": "zeroshot_acc1",
    "acc5": "zeroshot_acc5",
    "mean_per_class_recall": "zeroshot_mean_per_class_recall",
}
"""Its names whose numbers are defined as ours are, and ours; its recalls have our names."""
OF_MTEB = {
    f"{theirs}_at_{recall.partition('@')[2]}": recall for recall in RECALLS for theirs in ("hit_rate", "cv_recall")
}
"""Of retrieval: whether any relevant item is among the first k. Its `recall_at_k` is the share of them that is."""
OF_MTEB_CLASSES = {"accuracy": "zeroshot_acc1", "recall": "zeroshot_mean_per_class_recall"}
WAYS = {"text": re.compile("I2TRetrieval"), "image": re.compile("(?<![IA])T2IRetrieval")}
"""What is retrieved, by the name of a task: of I2T texts, of T2I images (in IT2I an image asks too)."""
ZERO_SHOT = re.compile("ZeroShot(Classification)?$")

NO_NUMBERS = ("dataset", "model", "pretrained", "task", "language", "model_fullname", "schema")
"""What stands beside the numbers of a row of CLIP_benchmark's `build`."""
ABOUT_A_SCORE = ("hf_subset", "languages", "main_score")


def program(panel: Panel) -> str:
    """The other program that a panel was read from; '' of one that was measured."""
    return str(panel.made_from.get(PROGRAM) or "")


def is_of_unknown_size(panel: Panel) -> bool:
    """Whether a panel of another program does not say how many images it is of."""
    return bool(program(panel)) and not panel.n_images


def is_table(side: str | Path) -> bool:
    """Whether a name is that of a table of results, with or without the number of a row."""
    return TABLE.fullmatch(str(side)) is not None


def is_peers(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a result of another program."""
    if "schema" in record or sum_in(record) is not None:  # a damaged one of ours is no other program's
        return False
    return _is_of_clip_benchmark(record) or _is_of_mteb(record) or "task_results" in record


def read_record(record: Mapping[str, Any], path: Path) -> Panel:
    """The panel of a JSON object for which `is_peers` holds.

    Raises
    ------
    InputError
        If a field is not as it should be, or no number has a counterpart here.
    """
    if "task_results" in record:
        raise InputError(f"{path} is a list of results of {MTEB}: name the file of one task, as it lies beside others")
    try:
        return _of_mteb(record, path) if _is_of_mteb(record) else _of_clip_benchmark(record, str(path))
    except InputError:
        raise
    except ValueError as problem:
        raise InputError(f"{path} is malformed: {problem}") from problem


def read_table(side: str | Path) -> Panel:
    """The panel of a row of a table that CLIP_benchmark's `build` wrote: FILE.csv of one row, or FILE.csv:ROW.

    Raises
    ------
    InputError
        If the file cannot be read, is no such table, or has several rows of which none is named.
    """
    found = TABLE.fullmatch(str(side))
    assert found is not None
    path = Path(found["file"]).expanduser()
    rows = _rows(path)
    if found["row"] is None and len(rows) > 1:
        names = [f"{place} {_named(row)}" for place, row in enumerate(rows, 1)]
        raise InputError(f"{path} has {len(rows)} rows: name one, as {path}:1 ({some(names, between='; ')})")
    place = int(found["row"] or 1)
    if not 0 < place <= len(rows):
        raise InputError(f"{side}: the table has rows 1 to {len(rows)}")
    row = rows[place - 1]
    numbers = {name: text for name, text in row.items() if name and text and name not in _BESIDE}
    try:
        record = {**row, "metrics": {name: _number(text) for name, text in numbers.items()}}
        return _of_clip_benchmark(record, f"{path}:{place}")
    except InputError:
        raise
    except ValueError as problem:
        raise InputError(f"{path}, row {place}: {problem}") from problem


_BESIDE = {*NO_NUMBERS, *(each.name for each in FIELDS)}


def _rows(path: Path) -> list[dict[str, str]]:
    content = json_files.read_bytes(path)
    try:
        rows = list(csv.DictReader(StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"{path} is not readable as a table with commas ({problem})") from problem
    if not rows or not {"dataset", "model", "pretrained", "task"} <= rows[0].keys():
        what = "has no rows" if not rows else "has no columns dataset, model, pretrained and task"
        raise InputError(f"{path} is no table of {CLIP_BENCHMARK}'s build: it {what}")
    if any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path} is damaged: its rows are not all as long as its first")
    return [{name: json_files.clean(text) for name, text in row.items()} for row in rows]


def _named(row: Mapping[str, str]) -> str:
    return " ".join(filter(None, (row["model"], row["pretrained"], row["dataset"])))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # of a row with columns of its own, as lists


def _is_of_clip_benchmark(record: Mapping[str, Any]) -> bool:
    return {"metrics", "dataset", "model", "task"} <= record.keys()


def _is_of_mteb(record: Mapping[str, Any]) -> bool:
    return {"task_name", "scores"} <= record.keys()


def _of_clip_benchmark(record: Mapping[str, Any], where: str) -> Panel:
    names = ("dataset", "model", "pretrained", "language", "split", "task")
    kinds = dict.fromkeys(names, json_files.text)
    texts = json_files.fields({name: value for name, value in record.items() if value is not None}, kinds)
    metrics = json_files.mapped(json_files.anything)(record["metrics"], "metrics")
    named = {name: OF_CLIP_BENCHMARK.get(name, name if name in METRICS else "") for name in metrics}
    made = {name: text for name, text in texts.items() if name != "task"}
    counts = {name: int(record[name]) for name in ("n_images", "n_texts") if str(record.get(name, "")).isdecimal()}
    return _panel(metrics, named, CLIP_BENCHMARK, made, where).replace(**counts)  # a row may be of a result of ours


def _of_mteb(record: Mapping[str, Any], path: Path) -> Panel:
    task = json_files.text(record["task_name"], "task_name")
    splits = json_files.mapped(json_files.listed(json_files.mapped(json_files.anything)))(record["scores"], "scores")
    if not any(splits.values()):
        raise ValueError("scores: none of any split")
    split = "test" if splits.get("test") else next(name for name, scores in splits.items() if scores)
    retrieved = next((what for what, way in WAYS.items() if way.search(task)), "")
    table = {theirs: f"{retrieved}_{ours}" for theirs, ours in OF_MTEB.items()} if retrieved else {}
    table = OF_MTEB_CLASSES if ZERO_SHOT.search(task) else table
    subsets = [json_files.text(score.get("hf_subset", ""), "hf_subset") for score in splits[split]]
    scores = _mean(splits[split], table, f"scores.{split}")
    made = {"dataset": task, "split": split, "model": _model_beside(path), "language": ""}
    panel = _panel(scores, {name: table.get(name, "") for name in scores}, MTEB, made, str(path))
    notes = [f"mean of {len(subsets)} subsets: {some(subsets)}"] if len(subsets) > 1 else []
    if others := [name for name in splits if name != split]:
        notes.append(f"of split {split}; not read: {some(others)}")
    return panel.replace(warnings=[*panel.warnings, *notes])


def _mean(scores: list[dict[str, Any]], table: Mapping[str, str], name: str) -> dict[str, Any]:
    """Of each score the mean over subsets, as the program's own main score is; others stay as the first has them."""
    found = {key: value for key, value in scores[0].items() if key not in ABOUT_A_SCORE}
    for key in table.keys() & found.keys():
        values = [json_files.number(each.get(key), f"{name}.{key}") for each in scores]
        found[key] = math.fsum(values) / len(values)
    return found


def _model_beside(path: Path) -> str:
    """The model that `model_meta.json` in the folder of a result names, as MTEB leaves it there; '' without one."""
    try:
        name = json_files.read_json(path.parent / "model_meta.json").get("name")
    except InputError:
        return ""
    return name if isinstance(name, str) else ""


def _panel(
    metrics: Mapping[str, Any], named: Mapping[str, str], program: str, made: Mapping[str, str], where: str
) -> Panel:
    """The panel of the metrics that have a name of ours; the others are counted in a warning."""
    values: dict[str, float | None] = {}
    notes: dict[str, str] = {}
    left = [name for name in metrics if not named[name]]
    for name, key in named.items():
        if not key or key in values:
            continue
        value = metrics[name]
        if value is None or (isinstance(value, float) and math.isnan(value)):  # acc5 of fewer than five classes
            values[key], notes[key] = None, f"{program} has no number"
            continue
        values[key] = json_files.number(value, f"metrics.{name}")
        if METRICS[key].interval == "share" and not 0 <= value <= 1:
            raise ValueError(f"metrics.{name} is {value:g}, and a share is from 0 to 1")
    if not values:
        which = f" ({some(left)})" if left else ""
        way = "name a result of zero-shot retrieval or classification"
        raise InputError(
            f"{where} is of {program}: none of its {len(left)} numbers{which} has a counterpart here: {way}"
        )
    lines = [f"numbers of {program}, without intervals"]
    if left:
        lines.append(f"{len(left)} of its numbers left out, without a counterpart here: {some(left)}")
    return Panel(
        {key: values[key] for key in METRICS if key in values},
        notes=notes,
        no_interval=dict.fromkeys((key for key, value in values.items() if value is not None), "not in the file"),
        warnings=lines,
        params={"metrics": ",".join(values)},
        made_from={**made, PROGRAM: program},
        task="classification" if any(METRICS[key].group == "zeroshot" for key in values) else "retrieval",
    )
