"""Do two commits of geomclip produce the same from the command line? For changes that are to change nothing.

python benchmarks/unchanged.py --before REV [--after REV] [--vectors FILE.npz ...] [--only measure extract ...] [--keep]

Every case is a few commands, run with `python -m geomclip` from each tree in a folder of its own, with the same
relative paths and an empty cache; the two trees run beside each other, one thread each. Left out of --after is the
working tree; both may be folders that hold geomclip/ too. What a case prints, its exit codes and all files that it
writes must be equal, byte for byte; where the bytes differ, JSON, pages (with what they carry compressed), parquet and
arrays are compared field by field, so that times, versions, hosts and the folders of the trees may differ (VARIES) and
so that the fields are named. What is meant to change is listed in CHANGES, with the words of CHANGELOG.md.

It exits 1 at a difference that nothing explains, 2 where a tree cannot be run.
"""

import argparse
import base64
import binascii
import contextlib
import fnmatch
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 5
"""Differences of a case that are printed."""


@dataclass(frozen=True)
class Change:
    """A difference that is meant: in which file of which case, of which field, and where CHANGELOG.md says so."""

    file: str  # "CASE/FILE", with the wildcards of fnmatch
    field: str  # a regular expression that is found in the field's name
    reason: str  # words of CHANGELOG.md
    within: float = math.inf  # how far apart the numbers of the two texts may be (`apart`)


KEPT = "keep rows that do not change bit for bit"
GONE = "`--quiet` is gone from `geomclip models`, `data` and `doctor`"
CHANGES: tuple[Change, ...] = (
    Change("*", r"^groups\.[^.]+\.(metrics|ci|reliability)\.", KEPT, within=1e-5),
    Change("*", r"^groups\.[^.]+\.ci\.twonn_", KEPT, within=1e-3),  # of a dozen near rows: 4e-4 seen
    Change("*", r"^metrics\.(linear_cka|linear_cka_biased|procrustes_distance)$", KEPT, within=1e-7),
    Change("store/*--logit-scale*", r"^metrics\.", KEPT, within=1e-7),
    Change("*", r"^(groups\.[^.]+\.)?features_sha256$", KEPT),
    Change("project/pca.csv", r"^line \d+$", KEPT, within=1e-5),
    Change("project/pca.png", "^$", KEPT),
    Change("help/*finetune --help*", r"^line \d+$", "lists the training options in the order of config.json"),
    *(Change(f"help/*: {name} --help*", r"^line \d+$", GONE) for name in ("models", "data", "doctor")),
)

VARIES = (
    r"(^|\.)seconds(\.[^.]+)?$",  # of stages, of a step
    r"(^|\.)images_per_second$",
    r"(^|\.)peak_memory\.[^.]+$",
    r"(^|\.)written\.(host|started|finished|created)$",
    r"(^|\.)(env|versions|written)\.geomclip$",
    r"(^|\.)content_sha256$",  # of all the other fields, these among them
)
"""Names of fields whose values may differ; that the field is there may not."""


# --- what is run


@dataclass(frozen=True)
class Case:
    """Commands, as words behind `geomclip`, the files and folders that they write, and the cases that go before."""

    name: str
    commands: tuple[str, ...]
    writes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


COMMANDS = (
    *("measure", "extract", "compare", "plan", "report", "plot-sphere", "project", "finetune", "export", "card"),
    *("models", "data"),
)
SMALL = "--limit 40 --bootstrap 50 --cache-dir cache --quiet"
OF_STORE = "--embeddings store --cache-dir cache --quiet"

CASES = (
    Case(
        "measure",
        (
            f"measure {SMALL} --metrics all --curves --by group --json --out panel.json",
            f"measure {SMALL} --captions first --paper oh2023 --seed 3 --dtype float64",
        ),
        ("panel.json", "panel.items.parquet"),
    ),
    Case(
        "extract",
        ("extract --limit 40 --shard-rows 16 --out store --cache-dir cache --quiet",),
        ("store",),
    ),
    Case(
        "readers",
        (
            "extract --data csv:inputs/pairs.csv --out of-csv --cache-dir cache",
            "extract --data folder:inputs/folder --raw --out of-folder --cache-dir cache",
            "extract --data imagenet-folder:inputs/classes --out of-classes --cache-dir cache",
            "measure --data imagenet-folder:inputs/classes --metrics all --bootstrap 50 --json --cache-dir cache",
            "measure --data csv:inputs/pairs.csv --by kind --bootstrap 50 --json --cache-dir cache --quiet",
        ),
        ("of-csv", "of-folder", "of-classes"),
    ),
    Case(
        "store",
        (
            f"measure {OF_STORE} --bootstrap 50 --out store.json",
            f"measure {OF_STORE} --bootstrap 0 --metrics alignment,modality_gap --logit-scale 10 --json",
        ),
        ("store.json", "store.items.parquet"),
        ("extract",),
    ),
    Case("vectors", ()),  # filled in from --vectors
    Case(
        "finetune",
        ("finetune --steps 2 --limit 40 --batch-size 16 --bootstrap 50 --out tuned --json --cache-dir cache --quiet",),
        ("tuned",),
    ),
    Case(
        "compare",
        (
            *(
                f"compare store.json tuned/after.json --bootstrap 50 --out change{end} --cache-dir cache --quiet"
                for end in (".json", ".csv", ".md", ".html")
            ),
            "compare store.json tuned/after.json --bootstrap 50 --json --fail-if alignment>9 --cache-dir cache",
        ),
        tuple(f"change{end}" for end in (".json", ".csv", ".md", ".html")),
        ("store", "finetune"),
    ),
    Case(
        "plan",
        (
            "plan store.json --width 0.05 --cache-dir cache",
            f"plan {OF_STORE} --width 0.05 --metric image_retrieval_recall@1 --bootstrap 50 --json",
        ),
        (),
        ("store",),
    ),
    Case(
        "report",
        ("report store --bootstrap 50 --out report.html --cache-dir cache --quiet",),
        ("report.html",),
        ("extract",),
    ),
    Case(
        "plot-sphere",
        (f"plot-sphere {OF_STORE} --out sphere.html --out sphere.png",),
        ("sphere.html", "sphere.png"),
        ("extract",),
    ),
    Case(
        "project",
        (
            f"project {OF_STORE} --method svd --out svd.csv",
            f"project {OF_STORE} --method pca --captions first --out pca.csv",
        ),
        ("svd.csv", "svd.png", "pca.csv", "pca.png"),
        ("extract",),
    ),
    Case(
        "export",
        ("export tuned --to openclip --out exported --cache-dir cache",),
        ("exported",),
        ("finetune",),
    ),
    Case("lists", ("models --cache-dir cache", "data --cache-dir cache")),
    Case(
        "help",
        (
            "--help",
            "--version",
            *(
                f"{name} --help"
                for name in (*COMMANDS, "doctor", "check", "data download", "ground", "schema", "cache")
            ),
            "reproduce --help",
            "evaluate --help",
        ),
    ),
    Case(
        "errors",
        (
            "mesure",
            "measure --batchsize 3",
            "measure --limit 1",
            "measure --model no-such-model --cache-dir cache",
            "measure --data no-such-data --cache-dir cache",
            "measure --data csv:absent.csv --cache-dir cache",
            "measure --data csv:inputs/pairs.csv --text-column absent --cache-dir cache",
            "measure --metrics alignmnet --cache-dir cache",
            "measure --embeddings absent.npz --cache-dir cache",
            "measure --embeddings inputs/pairs.csv --cache-dir cache",
            "measure --embeddings absent.npz --limit 3 --cache-dir cache",
            "measure --logit-scale 3 --temperature 2 --cache-dir cache",
            "measure --out result.txt --cache-dir cache",
            "extract --limit 4",
            "compare absent.json other.json --cache-dir cache",
            "compare absent.json other.json --fail-if nonsense --cache-dir cache",
            "plan absent.json --width 0.05",
            "plan --width nan",
            "report absent-store --cache-dir cache",
            "plot-sphere --out sphere.doc --cache-dir cache",
            "project --method nonsense --cache-dir cache",
            "finetune --method nonsense --cache-dir cache",
            "finetune --weight m2_mix --cache-dir cache",
            "finetune --steps 1 --out inputs --cache-dir cache",
            "export absent.safetensors --to hf --out exported-hf --cache-dir cache",
        ),
    ),
)


def chosen(cases: Sequence[Case], only: Sequence[str] | None) -> list[Case]:
    """The cases of these names with those that they need, in their order; all where no name is given."""
    of = {case.name: case for case in cases}
    if only is None:
        return list(cases)
    if unknown := sorted(set(only) - set(of)):
        raise SystemExit(f"--only {' '.join(unknown)}: the cases are {', '.join(of)}")
    wanted, left = set[str](), list(only)
    while left:
        name = left.pop()
        wanted.add(name)
        left += of[name].needs
    return [case for case in cases if case.name in wanted]


def with_vectors(cases: Sequence[Case], files: Sequence[Path]) -> list[Case]:
    """The cases with the commands that measure these files, each lying in inputs/ under its number."""
    commands, writes = list[str](), list[str]()
    for number, file in enumerate(files):
        told = f"--embeddings inputs/vectors-{number}{file.suffix} --cache-dir cache --quiet"
        commands.append(f"measure {told} --metrics all --curves --bootstrap 200 --json --out vectors-{number}.json")
        commands.append(f"measure {told} --bootstrap 50 --dtype float64 --seed 1")
        writes += [f"vectors-{number}.json", f"vectors-{number}.items.parquet"]
    filled = Case("vectors", tuple(commands), tuple(writes))
    return [filled if case.name == "vectors" else case for case in cases if case.name != "vectors" or commands]


def inputs(folder: Path, vectors: Sequence[Path]) -> None:
    """Small pictures with captions, as a table, a folder and classes, one of them broken; and the vectors."""
    from PIL import Image

    colours = ("red", "green", "blue", "gold", "gray", "pink", "teal", "navy", "tan", "plum", "lime", "cyan")
    rows = ["filepath,title,kind"]
    for place in ("folder", "classes/dark_ones", "classes/light_ones"):
        (folder / place).mkdir(parents=True)
    for number, colour in enumerate(colours):
        kind = ("dark_ones", "light_ones")[number % 2]
        image = Image.new("RGB", (40, 40), "white")
        image.paste(colour, (4, 4, 12 + 2 * number, 30))
        for file in (f"folder/{number:02}.png", f"classes/{kind}/{number:02}.png"):
            image.save(folder / file)
        (folder / f"folder/{number:02}.txt").write_text(f"a box in {colour}\n", encoding="utf-8")
        rows += [f"folder/{number:02}.png,{text},{kind}" for text in (f"a {colour} box", f"something {colour}")]
    (folder / "folder/broken.png").write_text("no picture", encoding="utf-8")
    (folder / "folder/broken.txt").write_text("no picture at all", encoding="utf-8")
    rows.append("folder/broken.png,no picture at all,dark_ones")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for number, file in enumerate(vectors):
        shutil.copyfile(file, folder / f"vectors-{number}{file.suffix}")


def environment(tree: Path, folder: Path) -> dict[str, str]:
    """One thread, this tree, no hub, and nothing of the user's."""
    names = ("GEOMCLIP_", "HF_", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    hub = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    return kept | hub | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def produced(tree: Path, folder: Path, cases: Sequence[Case], say: Callable[[str], None]) -> dict[str, bytes]:
    """Run the cases from a tree in a folder; every file by "CASE/FILE", what is printed among them."""
    env = environment(tree, folder)
    probe = [sys.executable, "-c", "import geomclip; print(geomclip.__file__)"]
    done = subprocess.run(probe, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode or not Path(done.stdout.strip()).resolve().is_relative_to(tree.resolve()):
        raise SystemExit(f"{tree}: geomclip is not imported from there: {(done.stdout + done.stderr).strip()}")
    found = dict[str, bytes]()
    for case in cases:
        say(case.name)
        for number, command in enumerate(case.commands, 1):
            words = [sys.executable, "-m", "geomclip", *command.split()]
            ran = subprocess.run(words, cwd=folder, env=env, capture_output=True, check=False)
            at = f"{case.name}/{number}: {command}"
            found[f"{at} | stdout"] = placeless(ran.stdout, tree, folder)
            found[f"{at} | stderr"] = placeless(ran.stderr, tree, folder)
            found[f"{at} | exit code"] = str(ran.returncode).encode()
        for name in case.writes:
            place = folder / name
            files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
            for path in files:
                if path.is_file():
                    found[f"{case.name}/{path.relative_to(folder)}"] = placeless(path.read_bytes(), tree, folder)
    return found


def unexpected(found: Mapping[str, bytes]) -> list[str]:
    """Commands that failed where they should not, or did not where they should: equal outcomes would say nothing."""
    codes = {name: code for name, code in found.items() if name.endswith(" | exit code")}
    return [
        f"before: {name} {code.decode()}: {found[name.replace('exit code', 'stderr')].decode(errors='replace').strip()}"
        for name, code in codes.items()
        if (code == b"0") == name.startswith("errors/")
    ]


def placeless(content: bytes, tree: Path, folder: Path) -> bytes:
    """With words in place of the folders that the two sides cannot share."""
    return content.replace(os.fsencode(folder), b"FOLDER").replace(os.fsencode(tree), b"TREE")


# --- what is compared


@dataclass(frozen=True)
class Difference:
    """A field of a file, "" for the whole, and what each side has."""

    file: str
    field: str
    before: str
    after: str
    apart: float = math.inf

    def __str__(self) -> str:
        name = f"{self.file} [{self.field}]" if self.field else self.file
        return f"{name}: {self.before} -> {self.after}"


def differences(file: str, before: bytes | None, after: bytes | None) -> list[Difference]:
    """What differs between two versions of a file; None: it is not there."""
    if before == after:
        return []
    if before is None or after is None:
        return [Difference(file, "", *("absent" if side is None else f"{len(side)} bytes" for side in (before, after)))]
    try:
        one, other = fields(file, before), fields(file, after)
    except ValueError as error:
        return [Difference(file, "", f"{len(before)} bytes", f"{len(after)} bytes that cannot be compared ({error})")]
    found = [
        Difference(file, name, *clipped(*both), apart(*both))
        for name in {**one, **other}
        if (both := (one.get(name, "absent"), other.get(name, "absent")))[0] != both[1]
    ]
    if not found and list(one) != list(other):
        name = next(name for name, beside in zip(one, other, strict=True) if name != beside)
        found.append(Difference(file, name, "in this place", "the same fields in another order"))
    return found


def apart(before: str, after: str) -> float:
    """The largest difference of the numbers of two texts, over 1 or the larger; infinite if the words differ too."""
    number = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
    if re.sub(number, "#", before) != re.sub(number, "#", after):
        return math.inf
    pairs = zip(re.findall(number, before), re.findall(number, after), strict=True)
    return max((abs(x - y) / max(1, abs(x), abs(y)) for x, y in ((float(a), float(b)) for a, b in pairs)), default=0)


def fields(file: str, content: bytes) -> dict[str, str]:
    """Name of each field -> its value as text, in their order; what may vary is left out of the values.

    Together they have all that the bytes have, but for parquet, whose values, types and metadata count.
    """
    if file.endswith(".parquet"):
        return of_parquet(content)
    if file.endswith(".npy"):
        return of_array(content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return {"": f"{len(content)} bytes, crc {zlib.crc32(content):08x}"}
    if file.endswith(".jsonl"):
        lines = text.split("\n")
        return {name: value for number, line in enumerate(lines, 1) for name, value in of_json(line, f"line {number}")}
    if text.lstrip().startswith(("{", "[")):
        with contextlib.suppress(json.JSONDecodeError):
            json.loads(text)
            return dict(of_json(text, ""))
    return of_text(text)


def of_text(text: str) -> dict[str, str]:
    """A field a line; JSON that it carries, plain or compressed, is apart from it."""
    carried = list[tuple[str, str]]()

    def apart(inside: str, match: re.Match[str]) -> str:
        carried.extend(of_json(inside, f"payload {len(carried)}"))
        return f"<payload, {len(carried)} fields before its end>"

    def compressed(match: re.Match[str]) -> str:
        try:
            return apart(zlib.decompress(base64.b64decode(match[0], validate=True)).decode("utf-8"), match)
        except (binascii.Error, zlib.error, UnicodeDecodeError):
            return match[0]

    def plain(match: re.Match[str]) -> str:
        return match[1] + apart(match[2], match) + match[3]

    text = re.sub(r'(<script type="application/json"[^>]*>)(.*?)(</script>)', plain, text, flags=re.DOTALL)
    text = re.sub(r"[A-Za-z0-9+/]{200,}={0,2}", compressed, text)
    return {f"line {number}": line for number, line in enumerate(text.split("\n"), 1)} | dict(carried)


def of_json(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Every value of a JSON text by its path, those inside strings that are JSON themselves, and how it is written."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        yield name, repr(text)
        return
    yield f"{name}(written)", written(text, value)
    yield from leaves(value, name)


def leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Path and value of everything that is no container; an empty one is a value."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from leaves(each, f"{name}[{number}]")
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        yield from of_json(value, name)
    elif isinstance(value, str) and value.count("\n") > 1:
        yield from ((f"{name} line {number}", line) for number, line in enumerate(value.split("\n"), 1))
    else:
        yield name, "varies" if any(re.search(pattern, name) for pattern in VARIES) else repr(value)


def written(text: str, value: Any) -> str:
    """Which way of writing JSON gives exactly this text."""
    for indent in (None, 1, 2, 4):
        for separators in ((", ", ": "), (",", ":"), (",", ": ")):
            for ascii_only in (True, False):
                for end in ("", "\n"):
                    options: dict[str, Any] = {"indent": indent, "separators": separators, "ensure_ascii": ascii_only}
                    if json.dumps(value, **options) + end == text:
                        return f"indent {indent}, separators {separators}, ascii {ascii_only}, end {end!r}"
    # numbers written in a way of their own, for example: nothing but the whole text says all
    return text if len(text) < 200 else f"{len(text)} characters"


def of_parquet(content: bytes) -> dict[str, str]:
    """Types, metadata and layout of a table, and its values by column and row."""
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(io.BytesIO(content))
    table = file.read()
    found = {
        "(row groups)": str(file.metadata.num_row_groups),
        "(columns)": ", ".join(f"{each.name}: {each.type}" for each in table.schema),
    }
    for key, value in (table.schema.metadata or {}).items():
        found.update(leaves(value.decode("utf-8", "replace"), f"(metadata).{key.decode()}"))
    for name in table.column_names:
        found.update((f"{name}[{row}]", repr(value)) for row, value in enumerate(table.column(name).to_pylist()))
    return found


def of_array(content: bytes) -> dict[str, str]:
    """Type, shape and values of an array, by row."""
    import numpy as np

    values = np.load(io.BytesIO(content), allow_pickle=False)
    order = "Fortran" if values.flags.f_contiguous and values.ndim > 1 else "C"
    rows = {f"row {number}": repr(row.tolist()) for number, row in enumerate(np.atleast_1d(values))}
    return {"(array)": f"{values.dtype.str} {values.shape} {order}", "(bytes)": str(len(content))} | rows


def clipped(before: str, after: str, room: int = 60) -> tuple[str, str]:
    """Both about the place where they begin to differ, short enough for a line."""
    pairs = enumerate(zip(before, after, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))
    start = max(0, same - room // 3)
    lead = "…" if start else ""
    return tuple(  # type: ignore[return-value]
        lead + side[start : start + room] + ("…" if len(side) > start + room else "") for side in (before, after)
    )


@dataclass
class Outcome:
    """Of one case: how many files both sides have, what differs, and how much of it was meant."""

    files: int = 0
    unexplained: list[Difference] = field(default_factory=list)
    explained: int = 0


def compared(
    before: Mapping[str, bytes], after: Mapping[str, bytes], changes: Sequence[Change] = CHANGES
) -> tuple[dict[str, Outcome], list[Change]]:
    """What each case came to, and the changes that explained nothing."""
    outcomes, idle = dict[str, Outcome](), set(changes)
    for file in {**before, **after}:
        outcome = outcomes.setdefault(file.partition("/")[0], Outcome())
        outcome.files += 1
        for each in differences(file, before.get(file), after.get(file)):
            reasons = {change for change in changes if explains(change, each)}
            idle -= reasons
            if reasons:
                outcome.explained += 1
            else:
                outcome.unexplained.append(each)
    return outcomes, [change for change in changes if change in idle]


def explains(change: Change, difference: Difference) -> bool:
    """Whether the difference is one that this change means."""
    named = fnmatch.fnmatchcase(difference.file, change.file) and re.search(change.field, difference.field) is not None
    return named and difference.apart <= change.within


def shown(outcomes: Mapping[str, Outcome], idle: Sequence[Change]) -> Iterator[str]:
    """The lines of the table."""
    yield f"{'case':14}{'files':>6}  outcome"
    for name, outcome in outcomes.items():
        meant = f", {outcome.explained} fields changed as CHANGELOG.md says" if outcome.explained else ""
        if not outcome.unexplained:
            yield f"{name:14}{outcome.files:6}  equal{meant}"
            continue
        yield f"{name:14}{outcome.files:6}  {len(outcome.unexplained)} DIFFERENCES{meant}"
        yield from (f"    {each}" for each in outcome.unexplained[:SHOWN])
        if more := len(outcome.unexplained) - SHOWN:
            yield from [f"    and {more} more"] if more > 0 else []
    for change in idle:
        yield f"unused in CHANGES: {change.file} [{change.field}]: {change.reason}"


# --- trees


@contextlib.contextmanager
def tree_of(place: str | None) -> Iterator[Path]:
    """The folder that holds geomclip/ at a revision, in a temporary worktree; or the folder itself; None: this one."""
    if place is None or (Path(place) / "geomclip" / "__init__.py").is_file():
        yield ROOT if place is None else Path(place).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="geomclip-tree-") as folder:
        tree = Path(folder).resolve() / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        added = subprocess.run(
            [*git, "add", "--quiet", "--detach", str(tree), place], capture_output=True, text=True, check=False
        )
        if added.returncode:
            raise SystemExit(f"{place} is no revision and no folder with geomclip/ in it: {added.stderr.strip()}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], capture_output=True, check=False)


def main() -> int:
    """Run the cases from both trees, side by side, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="REV", required=True)
    parser.add_argument("--after", metavar="REV", help="default: the working tree")
    parser.add_argument("--vectors", metavar="FILE", type=Path, nargs="+", default=[], help=".npz or .npy, also real")
    parser.add_argument("--only", metavar="CASE", nargs="+", help=f"of {', '.join(case.name for case in CASES)}")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="copy there what both sides wrote")
    options = parser.parse_args()
    for absent in (file for file in options.vectors if not file.is_file()):
        print(f"--vectors {absent}: not there, left out", file=sys.stderr)
    vectors = [file for file in options.vectors if file.is_file()]
    cases = with_vectors(chosen(CASES, options.only), vectors)
    with (
        tree_of(options.before) as before,
        tree_of(options.after) as after,
        tempfile.TemporaryDirectory(prefix="geomclip-unchanged-") as both,
    ):
        # names of equal length: a message that is wrapped or cut is so in the same place
        folders = [Path(both).resolve() / name for name in ("side-0", "side-1")]
        inputs(folders[0] / "inputs", vectors)
        # with the times of the files, which fingerprints of data hold
        shutil.copytree(folders[0] / "inputs", folders[1] / "inputs")
        with ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(produced, tree, folder, cases, lambda name, side=side: print(side, name, file=sys.stderr))
                for tree, folder, side in zip((before, after), folders, ("before", "after "), strict=True)
            ]
            found = [run.result() for run in runs]
        if options.keep:
            shutil.copytree(both, options.keep, dirs_exist_ok=True)
    if odd := unexpected(found[0]):
        print(*odd, sep="\n", file=sys.stderr)
        return 2
    outcomes, idle = compared(*found)
    # a change of a case that did not run could not have been used
    ran = [case.name for case in cases]
    idle = [change for change in idle if change.file.partition("/")[0] in (*ran, "*")]
    print("\n".join(shown(outcomes, idle)))
    return int(any(outcome.unexplained for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
