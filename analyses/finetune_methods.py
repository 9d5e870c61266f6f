"""Every fine-tuning method from one base model at one cost: what each does to the space, and to retrieval.

The committed tables and figures were made by

    python analyses/finetune_methods.py study --data emoji
    python analyses/finetune_methods.py study --data flickr8k --base scratch --data-root FOLDER
    python analyses/finetune_methods.py study --report figures

A trained method gets two trials with seed 0 (learning rates), chosen by recall on val, and its choice is run
again with the other seeds; all runs have the same number of steps and pairs, and are measured on test with their
last weights. A set without a test split reports on its val split and chooses by the end of its train split.
"m2mix x10" and "m3mix x10" have ten times the weights of m2mix and m3mix on what these add to ft, to see a dose and
its response. WiSE-FT interpolates the runs of ft, ES shifts the base: both choose their amount on val too.

Each run leaves one JSON in STUDY/*/runs; a run that has its JSON is not made again, one that was stopped goes
on from its checkpoint. With `--engine process --processes N` so many are made at a time, by processes that share the
processors; with `--engine ray` by those of a cluster.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import trials as sharing

VAL_METRIC = ",".join(f"{way}_retrieval_recall@{k}" for way in ("text", "image") for k in (1, 5))
MIXED = {"m2_mix": 0.02, "v_mix": 0.05, "l_mix": 0.05, "vl_mix": 0.1}  # the defaults
TENFOLD = {"weights": {term: 10 * weight for term, weight in MIXED.items()}}
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "ft": ("ft", {}),
    "m2mix": ("m2mix", {"weights": MIXED}),
    "m2mix x10": ("m2mix", TENFOLD),
    "m3mix": ("m3mix", {"weights": MIXED}),
    "m3mix x10": ("m3mix", TENFOLD),
    **{name: (name, {"weights": MIXED}) for name in ("vmix", "lmix", "vlmix")},
    **{name: (name, {}) for name in ("imix", "unmix", "hcl", "cyclip", "cua", "cuaxu")},
    **{name: (name, {}) for name in ("geodesic", "g2l", "siglip", "lp-ft")},
}
"""Rows of the table that are trained: the method, and what differs from its defaults."""
WITHOUT_TRAINING = ("wise-ft", "es")
# a CLIP small enough to be trained from nothing in a few minutes on two cores
SMALL_CLIP = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 96, "layers": 5, "width": 160, "head_width": 40, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}


@dataclass(frozen=True)
class Trial:
    """One run: a row of the table, a learning rate (0 where nothing is trained) and a seed."""

    method: str
    lr: float = 0.0
    seed: int = 0

    @property
    def name(self) -> str:
        """Of its files."""
        rate = f"-lr{self.lr:g}" if self.lr else ""
        return f"{self.method.replace(' ', '-')}{rate}-seed{self.seed}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Study:
    """What all runs on one data set share."""

    folder: Path  # of this data set
    table: str  # csv:FILE with the splits
    base: str
    steps: int
    batch_size: int
    lrs: tuple[float, ...]
    seeds: int
    threads: int

    def file(self, trial: Trial) -> Path:
        """The JSON of a run."""
        return self.folder / "runs" / f"{trial.name}.json"

    def run_folder(self, trial: Trial) -> Path:
        """Where it happens."""
        return self.folder / "runs" / trial.name


# --------------------------------------------------------------------------------------------------- data and base


def prepare(data: str, folder: Path, *, data_root: Path | None, limit: int | None, scratch: bool, val: int) -> None:
    """Write pairs.csv (train, val, test), and base.csv (train, val) where the base is to be trained.

    Pictures that are not files are written as PNG once: rendering them in every run would take longer than it.
    """
    from geomclip.machine.errors import InputError
    from geomclip.pairs import Source, load_pairs

    train, held_out = (list(load_pairs(Source(data, split, data_root, limit)).pairs) for split in ("train", "val"))
    try:
        test = list(load_pairs(Source(data, "test", data_root, limit)).pairs)
    except InputError:
        test, held_out, train = held_out, train[-val:], train[:-val]
    if scratch:
        # what the base has seen is not what it is tuned on: 3 parts to 2
        cut = round(0.6 * len(train))
        write_table(folder / "base.csv", {"train": train[:cut], "val": held_out})
        train = train[cut:]
    write_table(folder / "pairs.csv", {"train": train, "val": held_out, "test": test})


def write_table(file: Path, splits: dict[str, list[Any]]) -> None:
    """A csv that `--data csv:FILE` reads: filepath, title, split; a row a caption."""
    from geomclip.machine.files import atomic_bytes, atomic_write
    from geomclip.pairs.record import FolderImage, ImageFile

    rows = [("filepath", "title", "split")]
    for split, pairs in splits.items():
        for place, pair in enumerate(pairs):
            if isinstance(pair.image, ImageFile | FolderImage):
                path = pair.image.file.resolve()
            else:
                path = file.parent / "images" / f"{file.stem}-{split}-{place:05}.png"
                if not path.exists():
                    atomic_bytes(path, pair.image.read())
            rows += [(os.path.relpath(path, file.parent), caption, split) for caption in pair.captions]
    with atomic_write(file) as out:
        out.write("".join(_csv_line(row) for row in rows).encode())


def _csv_line(row: Sequence[str]) -> str:
    import io

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(row)
    return buffer.getvalue()


def trained_base(folder: Path, *, steps: int, batch_size: int) -> str:
    """The small CLIP trained from random weights on base.csv; its run folder, where it can be found again."""
    from safetensors.torch import save_file

    from geomclip.encoders import towers
    from geomclip.training.finetune import finetune

    start, run = folder / "base-start", folder / "base"
    if not (start / "open_clip_model.safetensors").exists():
        start.mkdir(parents=True, exist_ok=True)
        module = towers.build(SMALL_CLIP, {}, seed=0, where="the small CLIP")
        (start / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL_CLIP, "preprocess_cfg": {}}))
        save_file(module.state_dict(), start / "open_clip_model.safetensors")
    result = finetune(
        "ft",
        f"local-dir:{start}",
        f"csv:{folder / 'base.csv'}",
        out=run,
        resume=run.exists(),
        cache_dir=folder / "cache",
        bootstrap=0,
        metrics=VAL_METRIC,
        split="val",
        steps=steps,
        epochs=10**6,
        batch_size=batch_size,
        lr=1e-3,
        weight_decay=0.5,
        augment="crop",
        temperature=0.07,
        eval_every=10,
        save_every=100,
        probe_every=0,
        val_metric=VAL_METRIC,
    )
    print(f"base: {result.notes[0]}", flush=True)
    return str(run)


# ------------------------------------------------------------------------------------------------------------ runs


def run(study: Study, trial: Trial) -> None:
    """Make one run, and keep its numbers as JSON; its weights too where others are made from them (ft)."""
    import torch

    from geomclip.machine.files import atomic_json
    from geomclip.training.finetune import finetune
    from geomclip.training.watching.journal import read_log

    torch.set_num_threads(study.threads)
    began = time.monotonic()
    folder = study.run_folder(trial)
    options: dict[str, Any] = {"seed": trial.seed, "val_metric": VAL_METRIC}
    method, model = trial.method, study.base
    if trial.method == "wise-ft":
        model = str(study.run_folder(best_trial(study, "ft", seed=trial.seed)))
    elif trial.method in TRAINED:
        method, own = TRAINED[trial.method]
        options |= {
            "steps": study.steps,
            "epochs": 10**6,
            "batch_size": study.batch_size,
            "lr": trial.lr,
            "eval_every": 0,
            "save_every": max(10, study.steps // 2),
            "probe_every": max(1, study.steps // 6),
            **own,
        }
    result = finetune(
        method,
        model,
        study.table,
        out=folder,
        resume=folder.exists(),
        cache_dir=study.folder / "cache",
        bootstrap=0,
        **options,
    )
    log = read_log(folder / "log.jsonl") if (folder / "log.jsonl").exists() else []
    kept = {
        "trial": asdict(trial),
        "settings": result.settings.to_dict(),
        "chosen": dict(result.chosen),
        "test": dict(result.after.values),
        "start": dict(result.before.values),
        "logit_scale": result.after.logit_scale,
        "path": [[line["step"], line["probe"]] for line in log if "probe" in line],
        "hardness": hardness_of(str(folder), study),
        "seconds": round(time.monotonic() - began, 1),
    }
    atomic_json(study.file(trial), kept)
    # wise-ft is made from the weights of ft; a run that was stopped here before has no checkpoints any more
    shutil.rmtree(folder / "checkpoints" if trial.method == "ft" else folder, ignore_errors=True)


def hardness_of(model: str, study: Study) -> dict[str, float]:
    """`hardness` on test, one caption an image."""
    from geomclip.encoders.extraction.calls import embed

    kept = embed(model, study.table, split="test", cache_dir=study.folder / "cache").first_texts()
    assert kept.text is not None
    assert kept.image_of_text is not None
    return hardness(kept.image[kept.image_of_text].double(), kept.text.double())


def hardness(image: Any, text: Any) -> dict[str, float]:
    """How close negatives are to their anchor: others' texts (images), and these mixed with their own images (texts).

    λ ~ Beta(½, ½), by its deciles' middles. `mean` over all negatives of all anchors, `hardest` the nearest one of
    each; both directions together; `harder` is the share of negatives that mixing brings nearer.
    """
    import torch

    from geomclip.losses import m2_cosines

    off = ~torch.eye(len(image), dtype=torch.bool)
    plain = [image @ text.T, text @ image.T]
    cosines: dict[str, list[float]] = {key: [] for key in ("mean", "hardest", "harder")}
    for share in shares().tolist():
        for direct, mixed in zip(plain, m2_cosines(image, text, share), strict=True):
            cosines["mean"].append(float(mixed[off].mean()))
            cosines["hardest"].append(float(mixed.masked_fill(~off, -2).amax(1).mean()))
            cosines["harder"].append(float((mixed > direct)[off].double().mean()))
    values = {f"mixed_{key}": sum(entries) / len(entries) for key, entries in cosines.items()}
    values["plain_mean"] = sum(float(each[off].mean()) for each in plain) / 2
    values["plain_hardest"] = sum(float(each.masked_fill(~off, -2).amax(1).mean()) for each in plain) / 2
    return values


def shares() -> Any:
    """Ten values of λ ~ Beta(½, ½), equally likely: its quantile function is sin²(πq/2)."""
    import torch

    return (math.pi / 2 * (torch.arange(10) + 0.5) / 10).sin().square()


def best_trial(study: Study, method: str, *, seed: int) -> Trial:
    """The learning rate that val prefers (the lowest of equal ones), with this seed."""
    trials = grid(study, method)
    scores = [json.loads(study.file(trial).read_text("utf-8"))["chosen"]["score"] for trial in trials]
    best = trials[scores.index(max(scores))]
    return Trial(method, best.lr, seed)


def grid(study: Study, method: str) -> list[Trial]:
    """The trials of a method that are compared on val."""
    return [Trial(method, lr) for lr in sorted(study.lrs)]


def run_all(study: Study, methods: Sequence[str], workers: sharing.Workers) -> None:
    """The grids, then the other seeds of what they chose, then what is made from these; what is there is kept."""
    trained = [method for method in methods if method in TRAINED]
    seeds = range(study.seeds)
    run_missing(study, [trial for method in trained for trial in grid(study, method)], workers, "grid")
    run_missing(
        study, [best_trial(study, method, seed=seed) for method in trained for seed in seeds[1:]], workers, "seeds"
    )
    last = [Trial("wise-ft", seed=seed) for seed in seeds] if "wise-ft" in methods else []
    run_missing(study, last + ([Trial("es")] if "es" in methods else []), workers, "without training")


def run_missing(study: Study, trials: Sequence[Trial], workers: sharing.Workers, what: str) -> None:
    """Make the runs that have no JSON yet, and say how long it will take."""
    missing = [trial for trial in trials if not study.file(trial).exists()]
    print(f"{what}: {len(missing)} of {len(trials)} runs to make", flush=True)
    began = time.monotonic()
    for done, trial in enumerate(sharing.made(missing, partial(run, study), workers), 1):
        left = (time.monotonic() - began) / done * (len(missing) - done)
        print(f"{what}: {done} of {len(missing)}, {trial.name}; {left / 60:.1f} minutes left", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, or the report of those that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder for data, runs and weights; 1 GB a data set")
    parser.add_argument("--data", default="emoji", help="a name that `geomclip data` lists")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--base", default="demo", help="a model, or scratch: train a small CLIP on part of train")
    parser.add_argument("--base-steps", type=int, default=700)
    parser.add_argument(
        "--methods", nargs="+", default=[*TRAINED, *WITHOUT_TRAINING], choices=[*TRAINED, *WITHOUT_TRAINING]
    )
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lrs", type=float, nargs="+", default=[1e-4, 4e-4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="only the first images of each split")
    parser.add_argument(
        "--val", type=int, default=300, help="images of train to choose by, where there is no test split"
    )
    sharing.add_options(parser)
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="only write tables and figures of what is there")
    args = parser.parse_args(argv)
    if args.report:
        from finetune_methods_report import report

        report(args.study, args.report)
        return
    workers = sharing.workers_of(parser, args)
    folder = args.study / Path(args.data.rpartition(":")[2]).stem
    scratch = args.base == "scratch"
    if not (folder / "pairs.csv").exists():
        prepare(args.data, folder, data_root=args.data_root, limit=args.limit, scratch=scratch, val=args.val)
    base = args.base
    if scratch:
        base = trained_base(folder, steps=args.base_steps, batch_size=args.batch_size)
    study = Study(
        folder,
        f"csv:{folder / 'pairs.csv'}",
        base,
        args.steps,
        args.batch_size,
        tuple(args.lrs),
        args.seeds,
        threads=workers.threads,
    )
    from geomclip.encoders.extraction.calls import embed

    for split in ("test", "train"):  # once, before the runs look for them at the same time
        embed(base, study.table, split=split, cache_dir=folder / "cache")
    run_all(study, args.methods, workers)


if __name__ == "__main__":
    import finetune_methods  # by its name, under which workers find it

    finetune_methods.main()
