"""Stored: what a run of fine-tuning keeps of itself before and after, and of the tasks that it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomclip.machine.errors import naming
from geomclip.machine.words import one_line
from geomclip.panels.comparison import differences
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.loading import load
from geomclip.panels.record import Panel

FOLDER = "evaluations"
"""Folder of a run with before.json and after.json of each task, in one of its name."""
LEFT_OUT = "evaluation left out: "
"""How a line on a task begins that is not compared."""
CONFIG, BEFORE, AFTER = "config.json", "before.json", "after.json"


def run_of(side: object) -> Path | None:
    """The folder that a side names, if it is that of a run that was measured before and after."""
    if not isinstance(side, str | Path):
        return None
    folder = Path(side).expanduser()
    try:
        there = folder.is_dir() and all((folder / name).is_file() for name in (CONFIG, BEFORE, AFTER))
    except OSError:  # a name that is too long for a file is that of a model
        return None
    return folder if there else None


def of_itself(before: Any, after: Any) -> tuple[Any, Any]:
    """Two sides to compare: of one run that is named twice, its results before and after."""
    run = run_of(before)
    if run is None or run != run_of(after):
        return before, after
    return str(run / BEFORE), str(run / AFTER)


def tasks_of(run: Path) -> list[str]:
    """The tasks that a run was asked before and after, by name."""
    folder = run / FOLDER
    if not folder.is_dir():
        return []
    return sorted(each.name for each in folder.iterdir() if (each / BEFORE).is_file() and (each / AFTER).is_file())


def evaluations(before: Any, after: Any, **how: Any) -> tuple[dict[str, Comparison], list[str]]:
    """What changed in each task that both sides keep, and lines on what was not compared; nothing of other sides.

    Of one run that is named twice this is from before to after, of two runs from the one to the other.

    Raises
    ------
    InputError
        If a result cannot be read or is damaged.
    """
    one, other = run_of(before), run_of(after)
    if one is None or other is None:
        return {}, []
    if one == other:
        return of_run(one, **how)
    (known, notes), (also, others) = _kept(one), _kept(other)
    notes = [*notes, *others, *(f"{name}: kept by one of the two runs" for name in sorted(set(known) ^ set(also)))]
    found = {}
    for name in sorted(set(known) & set(also)):
        try:
            found[name] = differences.compare(known[name][1], also[name][1], **how)
        except ValueError as problem:  # of other images, or of other data
            notes.append(f"{name}: {problem}")
    return found, _lines(notes)


def of_run(run: Path, **how: Any) -> tuple[dict[str, Comparison], list[str]]:
    """What changed from before to after in each task that a run keeps, and why some have no comparison."""
    kept, notes = _kept(run)
    found = {}
    for name, panels in kept.items():
        with naming(str(run / FOLDER / name)):
            found[name] = differences.compare(*panels, **how)
    return found, _lines(notes)


def changed(run: Path, **how: Any) -> Comparison:
    """What a run changed: of the data that it reports on, and of the tasks that it keeps; raises as `evaluations`."""
    found, notes = of_run(run, **how)
    own = differences.compare(load(run / BEFORE), load(run / AFTER), **how)
    return own.replace(evaluations=found, notes=[*own.notes, *notes])


def left_out(comparison: Comparison) -> list[str]:
    """The lines of a comparison on tasks that it does not have."""
    return [note for note in comparison.notes if note.startswith(LEFT_OUT)]


def _kept(run: Path) -> tuple[dict[str, tuple[Panel, Panel]], list[str]]:
    """Both results of each task, and why some are not believed: the run has other weights since."""
    weights = load(run / AFTER).made_from.get("weights_sha256")
    found, notes = {}, []
    for name in tasks_of(run):
        before, after = (load(run / FOLDER / name / end) for end in (BEFORE, AFTER))
        own = after.made_from.get("weights_sha256")
        if weights and own and own != weights:
            notes.append(f"{name}: of other weights than {run} has now; evaluate it again")
        else:
            found[name] = before, after
    return found, notes


def _lines(notes: Sequence[str]) -> list[str]:
    return [f"{LEFT_OUT}{one_line(note)}" for note in notes]
