"""Every benchmark, one after the other, and the table of all goals: measured, limit, met or missed.

python benchmarks/goals.py [--only NAME ...] [--quick] [--data-root DIR] [--turns N] [--results FILE.json]

Each script runs in a process of its own. What it measured is kept in benchmarks/results.json, and the table of all in
benchmarks/README.md; with --only the other scripts keep what they measured last. --quick runs toy sizes, whose numbers
mean nothing, and keeps nothing unless --results says where. --data-root is a folder with photographs (Flickr8k as
`geomclip extract` reads it): with it pictures are read from there, without it from the built-in ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alone import recorded
from goal import MARKS, Goal, goal_lines, shown, suffix

FOLDER = Path(__file__).parent
README, RESULTS = FOLDER / "README.md", FOLDER / "results.json"
BEGIN, END = "<!-- goals: written by goals.py -->", "<!-- end of goals -->"


@dataclass(frozen=True)
class Script:
    """What a benchmark answers, and how it is run in full and as a toy."""

    answers: str
    full: Sequence[str] = ()
    toy: Sequence[str] = ()
    photographs: Sequence[str] = ()
    """Added in full where --data-root is given, and followed by it."""
    turns: bool = True
    """Whether it has --turns."""


SMALL = ("--images", "60", "--dim", "16")
ON_CPU = ("--device", "cpu", "--model", "demo", "--pairs", "64", "--pictures", "12", "--batch-size", "8")
SCRIPTS = {
    "panel": Script(
        "The panel, as a multiple of the bare matrix products",
        full=("--turns", "7"),  # a turn scatters by a tenth
        toy=(*SMALL, "--turns", "1"),
    ),
    "peers": Script(
        "The panel beside what peers offer of it",
        toy=(*SMALL, "--turns", "1", "--large", "100", "--memory-limit-gb", "1"),
    ),
    "scaling": Script(
        "Time and memory as the rows grow",
        toy=("--texts", "200", "400", "--dim", "16", "--fit-from", "200", "--turns", "1"),
    ),
    "gpu": Script(
        "Sweeps, losses, extraction and a step on a GPU, as multiples of what is bare",
        toy=(*SMALL, *ON_CPU, "--turns", "1"),
    ),
    "extraction": Script(
        "Images a second, as a share of the bare forward pass",
        full=("--images", "1000", "--turns", "5"),
        toy=("--model", "demo", "--images", "24", "--turns", "1"),
        photographs=("--data", "flickr8k", "--data-root"),
    ),
    "digests": Script("What digests of images cost an extraction", toy=("--images", "9", "--known", "40"), turns=False),
    "reading": Script("Reading, beside the plainest loop over the same file", toy=("--rows", "500"), turns=False),
    "weights": Script(
        "Filling a model from a weights file, beside bare reading, in time and memory",
        toy=("--arch", "ViT-S-32-alt", "--turns", "1"),
    ),
    "grounding": Script(
        "Reading videos, beside bare decoding and the bare forward pass",
        toy=("--model", "demo", "--minutes", "0.1", "--longer", "0.2", "--size", "320", "180", "--turns", "1"),
    ),
    "precision": Script(
        "What bfloat16 moves, number by number",
        toy=("--case", "demo:own:emoji:40", "--bootstrap", "20"),
        photographs=("--data-root",),
        turns=False,
    ),
    "finetune": Script(
        "The cost of a step of training",
        toy=("--model", "demo", "--batch-size", "8", "--turns", "1"),
        photographs=("--data", "flickr8k", "--data-root"),
    ),
    "watch": Script(
        "What a watch adds to a step of training", toy=("--model", "demo", "--batch-size", "8", "--turns", "1")
    ),
    "terms": Script(
        "What geodesics and interactions add to a step",
        toy=("--videos", "2", "--clips", "4", "--dim", "16", "--batch-size", "8", "--turns", "1"),
    ),
    "grounding_step": Script(
        "What terms add to a step of grounding",
        toy=("--dim", "16", "--width", "4", "--batch-size", "2", "--clips", "6", "--turns", "1"),
    ),
    "conversion": Script(
        "Taking a folder of transformers, beside reading its tensors",
        toy=("--layers", "2", "--width", "256", "--turns", "1"),
    ),
    "startup": Script("What a command costs before it works", toy=("--images", "40", "--no-model", "--turns", "1")),
    "page": Script(
        "How soon a page shows its first picture, beside an earlier commit",
        toy=("--images", "12", "--dim", "16", "--turns", "1", "--before", str(FOLDER.parent)),
    ),
    "fewshot": Script(
        "Few-shot fits, beside scikit-learn's", toy=("--classes", "3", "--dim", "8", "--draws", "2", "--turns", "1")
    ),
    "sums": Script(
        "What sums and syncs cost, beside an earlier commit",
        toy=("--images", "16", "--steps", "2", "--turns", "1", "--before", str(FOLDER.parent)),
    ),
    "blockwise": Script(
        "Contrastive losses by tiles, beside the whole matrix",
        toy=("--pairs", "256", "--large", "512", "--dim", "16", "--turns", "1"),
    ),
    "stores": Script(
        "A store larger than memory: the most memory above the imports, and the same numbers",
        toy=("--images", "60", "--dim", "16", "--compared", "50"),
        turns=False,
    ),
    "sampled": Script(
        "Numbers from blocks: exact ones inside their error bars, and the time and memory of the exact",
        toy=(
            "--images",
            "600",
            "--dim",
            "16",
            "--blocks",
            "2",
            "--seeds",
            "2",
            "--large",
            "700",
            "--large-blocks",
            "2",
        ),
        turns=False,
    ),
    "sphere": Script("Maps on the sphere", toy=("--points", "300", "--dim", "16"), turns=False),
    "heat_geodesic": Script(
        "The heat-geodesic map of up to 50,000 points", toy=("--points", "300", "--dimensions", "3"), turns=False
    ),
    "large": Script(
        "Maps of very many points, beside an earlier commit",
        toy=("--points", "300", "--heat-points", "400", "--dim", "16", "--turns", "1", "--before", str(FOLDER.parent)),
    ),
}

Record = Mapping[str, Any]


def run(name: str, arguments: Sequence[str]) -> tuple[Record | None, int]:
    """What a script wrote, None where it wrote nothing, and how it ended; what it prints is passed on."""
    print(f"\n== {name}: {SCRIPTS[name].answers}", flush=True)
    record, _, ended = recorded(FOLDER / f"{name}.py", *arguments)
    return record, ended


def arguments_of(script: Script, options: argparse.Namespace) -> list[str]:
    """How a script is run."""
    if options.quick:
        return list(script.toy)
    arguments = list(script.full)
    if options.data_root is not None and script.photographs:
        arguments += [*script.photographs, str(options.data_root)]
    if options.turns is not None and script.turns:
        arguments += ["--turns", str(options.turns)]
    return arguments


def goals_of(record: Record) -> list[Goal]:
    """The goals that a script wrote."""
    return [Goal(**{key: value for key, value in each.items() if key != "met"}) for each in record["goals"]]


def machines(records: Mapping[str, Record]) -> Iterator[str]:
    """The machine, or each of several with the scripts that ran there."""
    found: dict[str, list[str]] = {}
    for name, record in records.items():
        machine = {key: value for key, value in record["machine"].items() if key != "load" and value is not None}
        found.setdefault(", ".join(f"{key} {value}" for key, value in machine.items()), []).append(name)
    for machine_text, names in found.items():
        yield machine_text if len(found) == 1 else f"{', '.join(names)}: {machine_text}"


def markdown(records: Mapping[str, Record]) -> str:
    """The table of all goals."""
    lines = [f"Measured on: {'; '.join(machines(records))}.", ""]
    lines += ["| script | goal | measured | limit | | of |", "|---|---|---:|---:|---|---|"]
    for name, record in records.items():
        for goal in goals_of(record):
            found = "–" if goal.measured is None else shown(goal.measured) + suffix(goal.unit)
            sign = "≤" if goal.better == "lower" else "≥"
            cells = [f"`{name}.py`", goal.name, found, f"{sign} {goal.limit:g}{suffix(goal.unit)}", MARKS[goal.met]]
            lines.append(f"| {' | '.join([*cells, goal.why])} |")
    return "\n".join(lines)


def put_between_marks(text: str, table: str) -> str:
    """The page with its table replaced.

    Raises
    ------
    ValueError
        If the page has not one of each mark, in their order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise ValueError(f"the page needs {BEGIN!r} and then {END!r}, once each")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def keep(records: Mapping[str, Record], results: Path | None) -> None:
    """Write what was measured so far, so that an hour is not lost with its last script."""
    if results is None:
        return
    results.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    if results == RESULTS:
        README.write_text(put_between_marks(README.read_text(encoding="utf-8"), markdown(records)), encoding="utf-8")


def main() -> None:
    """Run, keep, and print the table; end with 1 where a script failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--turns", type=int)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    results = options.results or (None if options.quick else RESULTS)
    kept = json.loads(results.read_text(encoding="utf-8")) if results is not None and results.exists() else {}
    failed = []
    for name in [name for name in SCRIPTS if name in options.only]:
        record, ended = run(name, arguments_of(SCRIPTS[name], options))
        if record is not None:
            kept[name] = record
            kept = {each: kept[each] for each in SCRIPTS if each in kept}
            keep(kept, results)
        if ended:
            failed.append(f"{name}.py ended with {ended}")
    print("\n== All goals")
    for told in machines(kept):
        print(told)
    print("\n".join(goal_lines([goal for record in kept.values() for goal in goals_of(record)])))
    if failed:
        sys.exit("; ".join(failed))


if __name__ == "__main__":
    main()
