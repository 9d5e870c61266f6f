"""What fine-tuning gains on its own data and what it costs elsewhere: methods, with and without terms for the base.

The committed tables and figures were made by

    python analyses/transfer.py STUDY --data-root FOLDER --cifar FOLDER/cifar10_subset.npz --vectors FOLDER
    python analyses/transfer.py STUDY --report figures

The demo model, which has seen emoji alone, is tuned on the photos of Flickr8k by each row of `ROWS` for as many steps,
once with the temperature learned and once with it fixed, with several seeds. The weights of the last step are asked:
retrieval on photos not trained on (the gain), retrieval of emoji and zero-shot classification of their groups (what is
forgotten), zero-shot and few-shot classification of CIFAR-10, of which neither has seen an image (transfer), and
the emoji groups again with noise (shift). All rows have one learning rate: a difference is the method's.

Each run leaves one JSON in STUDY/runs; a run that has its JSON is not made again, one that was stopped goes on from
its checkpoint. Seeds come one after the other, each with all rows, so that what is there can be reported at any time.
With `--engine process --processes N` so many runs are made at a time, by processes that share the processors; with
`--engine ray` by those of a cluster. With `--known TABLE`, the csv of an earlier report, the runs in that table are not
made again and join the report: a study can be given more seeds where its folder is gone.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import trials as sharing
from finetune_methods import VAL_METRIC, prepare, write_table

PRESERVED = {"embedding": 10.0, "cosine": 10.0, "similarity": 1000.0}  # the defaults of --preserve
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("ft", "m2mix", "m3mix", "hcl", "cyclip", "siglip", "lp-ft")},
    **{
        f"{method} + {kind}": (method, {"preserve": {kind: weight}})
        for method in ("ft", "m2mix")
        for kind, weight in PRESERVED.items()
    },
    "wise-ft": ("wise-ft", {}),  # between the base and ft of the same seed, the share chosen on val
}
"""Rows of the table: the method, and what differs from its defaults."""
TEMPERATURES = {"learned": True, "fixed": False}
CORRUPTED = "noise"
SHOTS, DRAWS = "1,4,16", 5
WINDOW = 20  # steps whose losses are averaged in a learning curve


@dataclass(frozen=True)
class Trial:
    """One run."""

    row: str
    temperature: str
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.row.replace(' + ', '+')}-{self.temperature}-seed{self.seed}"

    def __str__(self) -> str:
        return self.name

    @property
    def needs(self) -> Trial | None:
        """The run that must be there before: of wise-ft the one whose weights it takes."""
        return replace(self, row="ft") if self.row == "wise-ft" else None


@dataclass(frozen=True)
class Study:
    """What all runs share."""

    folder: Path
    cifar: Path  # npz with images, labels and classes
    base: str = "demo"
    steps: int = 300
    batch_size: int = 12
    lr: float = 3e-4
    train: int = 1200  # images, so that an epoch has 100 steps
    queries: int = 200  # images of what is tuned on, none of them trained on, with all their texts
    images: int = 300  # of each other set that is asked, at most
    seeds: Mapping[str, int] | None = None  # by temperature
    known: frozenset[Trial] = frozenset()  # of an earlier report: not made again

    def table(self, name: str) -> str:
        """A set of pairs: "tuned" or "emoji"."""
        return f"csv:{self.folder / name / 'pairs.csv'}"

    def file(self, name: str) -> Path:
        """The JSON of a run, of the base, or of vectors."""
        return self.folder / "runs" / f"{name}.json"

    def trials(self) -> list[Trial]:
        """All runs, a seed after the other."""
        wanted = self.seeds or {}
        return [
            Trial(row, temperature, seed)
            for seed in range(max(wanted.values(), default=0))
            for temperature, seeds in wanted.items()
            if seed < seeds
            for row in ROWS
            if Trial(row, temperature, seed) not in self.known
        ]


def runs_of(table: Path) -> dict[Trial, dict[str, str]]:
    """The runs of a table that an earlier report wrote, each with its cells."""
    with table.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["seed"]]
    return {Trial(row["row"], row["temperature"], int(row["seed"])): row for row in rows}


# ------------------------------------------------------------------------------------------------------------ data


def prepared(study: Study, data: str, data_root: Path | None, val: int) -> None:
    """Write the pairs that are tuned on, and the emoji with their groups, as tables with pictures as files."""
    if not (study.folder / "tuned" / "pairs.csv").exists():
        prepare(data, study.folder / "tuned", data_root=data_root, limit=None, scratch=False, val=val)
        _shorten(study.folder / "tuned" / "pairs.csv", {"train": study.train, "val": val, "test": study.queries})
    if not (study.folder / "emoji" / "pairs.csv").exists():
        from geomclip.pairs import Source, load_pairs

        pairs = list(load_pairs(Source("emoji", "test")).pairs)
        write_table(study.folder / "emoji" / "pairs.csv", {"test": pairs})
        _add_groups(study.folder / "emoji" / "pairs.csv", [dict(pair.columns)["group"] for pair in pairs])


def _shorten(table: Path, most: Mapping[str, int]) -> None:
    """Keep the first images of each split."""
    with table.open(encoding="utf-8", newline="") as lines:
        head, *rows = csv.reader(lines)
    seen: dict[str, dict[str, None]] = {split: {} for split in most}
    kept = [row for row in rows if _among_first(seen[row[2]], row[0], most[row[2]])]
    _write(table, [head, *kept])


def _among_first(seen: dict[str, None], image: str, most: int) -> bool:
    if len(seen) < most:
        seen[image] = None
    return image in seen


def _add_groups(table: Path, groups: Sequence[str]) -> None:
    """A column with the group of each emoji; a group of one image is none."""
    with table.open(encoding="utf-8", newline="") as lines:
        head, *rows = csv.reader(lines)
    images = list(dict.fromkeys(row[0] for row in rows))
    known = dict(zip(images, groups, strict=True))
    _write(table, [[*head, "group"], *([*row, known[row[0]]] for row in rows if groups.count(known[row[0]]) > 1)])


def _write(table: Path, rows: Sequence[Sequence[str]]) -> None:
    import io

    from geomclip.machine.files import atomic_bytes

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    atomic_bytes(table, buffer.getvalue().encode())


# ----------------------------------------------------------------------------------------------------------- asked


def asked(study: Study, model: str, cache: Path) -> dict[str, dict[str, float | None]]:
    """What a model does on each set: retrieval of two, classes of two, and one of these corrupted."""
    from geomclip.encoders.extraction.calls import embed
    from geomclip.evaluations.calls import evaluate
    from geomclip.panels import measure

    found = {}
    for name, most in (("tuned", study.queries), ("emoji", study.images)):
        rows = embed(model, study.table(name), split="test", limit=most, cache_dir=cache, workers=0)
        found[f"{name} retrieval"] = dict(measure(rows, metrics=VAL_METRIC, bootstrap=0, cache_dir=cache).values)
    common: dict[str, Any] = {"split": "test", "bootstrap": 0, "cache_dir": cache, "workers": 0}
    few = {"shots": SHOTS, "draws": DRAWS, "holdout": 0.5, **common}
    groups = {"data": study.table("emoji"), "label_column": "group", "limit": study.images}
    cifar = {"data": f"npz:{study.cifar}", "limit": study.images}
    for name, data in (("emoji classes", groups), ("cifar10 classes", cifar)):
        found[name] = dict(evaluate("fewshot", model, **data, **few).values)
        found[name] |= evaluate("zeroshot", model, **data, **common).values  # of all images, not of half
    shifted = evaluate("shift", model, **groups, corrupt=CORRUPTED, severities="3", **common)
    found["emoji shift"] = dict(shifted.values)
    return found


def asked_of_vectors(vectors: Path) -> dict[str, dict[str, float | None]]:
    """The same questions of vectors with classes, as far as they need no encoder."""
    from geomclip.evaluations.calls import evaluate

    few = evaluate("fewshot", embeddings=vectors, shots=SHOTS, draws=DRAWS, holdout=0.5, bootstrap=0)
    whole = evaluate("zeroshot", embeddings=vectors, bootstrap=0)
    return {"cifar10 classes": {**few.values, **whole.values}}


# ------------------------------------------------------------------------------------------------------------ runs


def run(study: Study, trial: Trial) -> dict[str, Any]:
    """Make one run and ask it; what its JSON holds."""
    from geomclip.training.finetune import finetune
    from geomclip.training.folder import LAST
    from geomclip.training.watching.journal import read_log

    began = time.monotonic()
    folder = study.folder / "work" / trial.name
    method, own = ROWS[trial.row]
    options: dict[str, Any] = {"seed": trial.seed, "val_metric": VAL_METRIC, "workers": 0}
    if method == "wise-ft":
        model = str(study.folder / "work" / Trial("ft", trial.temperature, trial.seed).name)
    else:
        model = study.base
        options |= {
            "steps": study.steps,
            "epochs": 10**6,
            "batch_size": study.batch_size,
            "lr": study.lr,
            "learn_temperature": TEMPERATURES[trial.temperature],
            "precision": "fp32",
            "save_every": 100,
            "probe_every": 0,
            **own,
        }
    result = finetune(
        method,
        model,
        study.table("tuned"),
        split="val",
        out=folder,
        resume=folder.exists(),
        cache_dir=study.folder / "cache",
        bootstrap=0,
        metrics=VAL_METRIC,
        **options,
    )
    return {
        "trial": asdict(trial),
        "settings": result.settings.to_dict(),
        "chosen": dict(result.chosen),
        "logit_scale": result.after.logit_scale,
        **course(read_log(folder / "log.jsonl") if (folder / "log.jsonl").exists() else []),
        "asked": asked(study, str(folder / LAST), folder / "asked"),
        "seconds": round(time.monotonic() - began, 1),
    }


def tidied(study: Study, trial: Trial) -> None:
    """Remove what a run leaves beside its JSON, but the weights of ft until wise-ft is made of them."""
    folder, ft = (study.folder / "work" / each.name for each in (trial, replace(trial, row="ft")))
    gone = {"ft": (folder / "asked", folder / "checkpoints"), "wise-ft": (folder, ft)}
    for place in gone.get(trial.row, (folder,)):
        shutil.rmtree(place, ignore_errors=True)


def course(log: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Learning curves: the score on val at each look at it, and each term averaged over a few steps."""
    keys = VAL_METRIC.split(",")
    looks = [[line["step"], sum(line["val"][key] for key in keys) / len(keys)] for line in log if "val" in line]
    steps = [line for line in log if "terms" in line]
    parts = [steps[first : first + WINDOW] for first in range(0, len(steps), WINDOW)]
    losses = [
        [part[-1]["step"], {term: sum(each["terms"][term] for each in part) / len(part) for term in part[0]["terms"]}]
        for part in parts
    ]
    return {"val": looks, "losses": losses}


def make(study: Study, trial: Trial) -> None:
    """Make one run, keep its JSON, and remove the rest."""
    from geomclip.machine.files import atomic_json

    atomic_json(study.file(trial.name), run(study, trial))
    tidied(study, trial)


def made(study: Study, vectors: Path | None, workers: sharing.Workers) -> Iterator[str]:
    """Make what is missing: the base, vectors at hand, and all runs."""
    from geomclip.machine.files import atomic_json

    if not study.file("base").exists():
        atomic_json(study.file("base"), {"asked": asked(study, study.base, study.folder / "cache")})
        yield "base"
    if vectors is not None and not study.file("vectors").exists():
        atomic_json(study.file("vectors"), {"asked": asked_of_vectors(vectors)})
        yield "vectors"
    missing = [trial for trial in study.trials() if not study.file(trial.name).exists()]
    for trial in sharing.made(missing, partial(make, study), workers, needs=lambda trial: trial.needs):
        yield trial.name


def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, or the report of those that are there."""
    usual = Study(Path(), Path())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder for data and runs; 1 GB")
    parser.add_argument("--data", default="flickr8k", help="what is tuned on: a name that `geomclip data` lists")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--cifar", type=Path, help="npz with test_images, test_labels and classes")
    parser.add_argument("--vectors", type=Path, help="vectors with classes, asked without any tuning")
    parser.add_argument("--base", default=usual.base)
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--batch-size", type=int, default=usual.batch_size)
    parser.add_argument("--lr", type=float, default=usual.lr)
    parser.add_argument("--train", type=int, default=usual.train, help="images that are tuned on")
    parser.add_argument("--val", type=int, default=100)
    parser.add_argument("--queries", type=int, default=usual.queries, help="images of the tuned data that are asked")
    parser.add_argument("--images", type=int, default=usual.images, help="of each other set, at most")
    parser.add_argument("--seeds", type=int, default=5, help="with the temperature learned")
    parser.add_argument("--fixed-seeds", type=int, default=5, help="with it fixed")
    parser.add_argument("--known", type=Path, metavar="TABLE", help="csv of an earlier report, for what it has")
    sharing.add_options(parser)
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="only write tables and figures of what is there")
    args = parser.parse_args(argv)
    if args.report:
        from transfer_report import report

        report(args.study, args.report, args.known)
        return
    workers = sharing.workers_of(parser, args)
    if args.cifar is None:
        parser.error("--cifar names the npz of CIFAR-10 that is asked")
    study = Study(
        args.study,
        args.cifar,
        args.base,
        args.steps,
        args.batch_size,
        args.lr,
        args.train,
        args.queries,
        args.images,
        {"learned": args.seeds, "fixed": args.fixed_seeds},
        frozenset(runs_of(args.known)) if args.known else frozenset(),
    )
    prepared(study, args.data, args.data_root, args.val)
    trials = study.trials()
    began, first = time.monotonic(), sum(study.file(trial.name).exists() for trial in trials)
    for name in made(study, args.vectors, workers):
        there = sum(study.file(trial.name).exists() for trial in trials)
        spent = (time.monotonic() - began) / 60
        left = f", {spent / (there - first) * (len(trials) - there):.0f} left" if there > first else ""
        print(f"{there} of {len(trials)}: {name}; {spent:.1f} minutes{left}", flush=True)


if __name__ == "__main__":
    import transfer  # by its name, under which workers find it

    transfer.main()
