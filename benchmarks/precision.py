"""What `--precision auto` moves: every number of the panel in bfloat16 and float32, beside its confidence interval.

python benchmarks/precision.py [--case MODEL:WEIGHTS:DATA:IMAGES ...] [--data-root DIR] [--bootstrap 1000]
    [--table FILE.md] [--out FILE.json]

Each case is embedded in both precisions and measured; WEIGHTS is `own` or `random`. A number holds if its bfloat16
value lies in the interval of the float32 one; `share` is the drift over half the width of that interval. Numbers
without an interval are told and not judged. Rates are of images and texts together, in turns of one each.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goal import Goal, report

from geomclip.encoders import Encoder, load_encoder
from geomclip.encoders.clip import choose_precision
from geomclip.encoders.extraction.calls import embed
from geomclip.pairs import Pairs, Source, load_pairs
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

CASES = ("demo:own:emoji:100000",)
PHOTOGRAPHS = ("demo:own:flickr8k:500", "ViT-B-32:random:flickr8k:200")


@dataclass(frozen=True)
class Drift:
    """One number in both precisions."""

    key: str
    exact: float
    lower: float
    ends: tuple[float, float] | None

    @property
    def holds(self) -> bool | None:
        """Whether the lower precision stays inside the interval; None without one."""
        return None if self.ends is None else self.ends[0] <= self.lower <= self.ends[1]

    @property
    def share(self) -> float | None:
        """Drift over half the width of the interval."""
        if self.ends is None:
            return None
        half = (self.ends[1] - self.ends[0]) / 2
        drift = abs(self.lower - self.exact)
        return drift / half if half else math.inf if drift else 0.0


def embedded(encoder: Encoder, pairs: Pairs, bootstrap: int) -> tuple[Panel, float]:
    """The panel of these pairs, and images and texts a second."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        embeddings = embed(encoder, pairs, out=Path(folder) / "store")
        seconds = time.perf_counter() - begin
    assert embeddings.text is not None
    return measure(embeddings, bootstrap=bootstrap), (len(embeddings.image) + len(embeddings.text)) / seconds


def drifts(exact: Panel, lower: Panel) -> list[Drift]:
    """Every number that is defined in both."""
    both = {key: (value, lower.values.get(key)) for key, value in exact.values.items()}
    return [
        Drift(key, float(value), float(other), exact.ci.get(key))
        for key, (value, other) in both.items()
        if value is not None and other is not None
    ]


def judged(case: str, options: argparse.Namespace) -> tuple[list[dict[str, object]], Goal]:
    """A row a number of one case, and the goal that none leaves its interval."""
    model, weights, data, images = case.split(":")
    pretrained = None if weights == "own" else weights
    pairs = load_pairs(Source(data, data_root=options.data_root, limit=int(images)))
    exact, slow = embedded(load_encoder(model, pretrained=pretrained), pairs, options.bootstrap)
    lower, fast = embedded(load_encoder(model, pretrained=pretrained, precision="bf16"), pairs, 0)
    found = drifts(exact, lower)
    rows: list[dict[str, object]] = [
        {
            "case": f"{model} {weights}, {data}",
            "number": drift.key,
            "float32": drift.exact,
            "bfloat16": drift.lower,
            "low": None if drift.ends is None else drift.ends[0],
            "high": None if drift.ends is None else drift.ends[1],
            "share": drift.share,
            "holds": drift.holds,
        }
        for drift in found
    ]
    outside = [drift.key for drift in found if drift.holds is False]
    with_ends = sum(drift.holds is not None for drift in found)
    note = next(note for note in lower.made_from["notes"] if note.startswith("bf16"))
    why = (
        f"numbers of {with_ends} with an interval that bfloat16 moves out of it, on {exact.n_images:,} images and "
        f"{exact.n_texts:,} texts{': ' + ', '.join(outside) if outside else ''}; weights "
        f"{exact.made_from['weights_sha256'][:12]}; {fast / slow:.1f} times the rate of float32; {note}"
    )
    return rows, Goal(f"bf16, {model} {weights}, {data}", float(len(outside)), 0.0, "outside", "lower", why)


def markdown(rows: Sequence[dict[str, object]], goals: Sequence[Goal]) -> str:
    """The tables, a case each, and what each goal says."""
    lines = ["# What bfloat16 moves", "", "Written by `precision.py`; `share` is the drift over half the interval.", ""]
    for case, goal in zip(dict.fromkeys(row["case"] for row in rows), goals, strict=True):
        lines += [f"## {case}", "", f"{goal.measured:g} {goal.why}.", ""]
        lines += ["| number | float32 | bfloat16 | 95 % interval | share | holds |", "|---|--:|--:|:-:|--:|---|"]
        for row in rows:
            if row["case"] == case:
                ends = "" if row["low"] is None else f"{row['low']:.6g} to {row['high']:.6g}"
                share = "" if row["share"] is None else f"{row['share']:.3f}"
                holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]  # type: ignore[index]
                lines.append(
                    f"| `{row['number']}` | {row['float32']:.6g} | {row['bfloat16']:.6g} | {ends} | {share} | {holds} |"
                )
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; write it as Markdown and JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", metavar="MODEL:WEIGHTS:DATA:IMAGES")
    parser.add_argument("--data-root", type=Path, help="a folder with flickr8k adds cases on photographs")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    cases = options.case or [*CASES, *(PHOTOGRAPHS if options.data_root else ())]
    judgements = [judged(case, options) for case in cases]
    rows = [row for some, _ in judgements for row in some]
    goals = [goal for _, goal in judgements]
    if options.table is not None:
        options.table.write_text(markdown(rows, goals), encoding="utf-8")
    title = f"What bfloat16 moves; --precision auto is {choose_precision('auto', 'cpu')} on this processor"
    # JSON has no infinity: a share of an interval without width
    plain = [{key: str(v) if v == math.inf else v for key, v in row.items()} for row in rows]
    report(title, goals, plain, options.out)


if __name__ == "__main__":
    main()
