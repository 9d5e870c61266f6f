"""measure: all numbers of a set, from one pass over each modality and one over both."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.wording import worded
from geomclip.machine import scratch
from geomclip.machine.clock import utc_now
from geomclip.machine.devices import choose_device
from geomclip.machine.engines import count_of
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.tally import Read
from geomclip.machine.threads import free_threads, one_torch_thread
from geomclip.machine.version import __version__
from geomclip.machine.words import near, option, typed
from geomclip.metrics import METRICS
from geomclip.metrics.bins import BINS
from geomclip.metrics.pairing import Pairing
from geomclip.panels import stages
from geomclip.panels.items import EFFECT, Columns, Items
from geomclip.panels.options import Measuring
from geomclip.panels.record import Panel
from geomclip.panels.run import NEIGHBORS, Classes, Nulls, Run

if TYPE_CHECKING:
    from geomclip.metrics.sharing import Shared

LOGARITHMS = (2.25, 4.85)
"""Logarithms of the scales that CLIP and SigLIP begin with and learn: 10 to 120. As factors they are of no model."""
NORM_DOUBT = 1e-2
"""A mean length of rows further than this from 1 is a warning: not every file of vectors is normalised."""

TRUNCATED_DOUBT = 0.01
"""More texts cut than this is a warning."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One side of a comparison, measured: its panel, and its vectors unless it was a result."""

    panel: Panel
    embeddings: EmbeddingSet | None = None


def measure(
    embeddings: EmbeddingSet,
    *,
    null_cache: Nulls | None = None,
    progress: Progress = SILENT,
    engine: str | None = None,
    processes: int | None = None,
    workers: int | None = None,
    **options: Any,
) -> Panel:
    """Every number of one set of embeddings, with intervals and nulls.

    Parameters
    ----------
    embeddings : EmbeddingSet
        Pairs, or class data (`labels` and `class_text`).
    null_cache : mutable mapping, optional
        Where simulated nulls are looked up and kept.
    progress : Progress
        Gets the sweeps, each a stage.
    engine : {"process", "ray"}, optional
        Who sweeps in place of this process: other processes of this machine, or actors of a Ray cluster. The same
        bits. Groups, nulls and what is not a sweep stay here.
    processes : int, optional
        Workers of the engine, 2 if left out.
    workers : int, optional
        Threads of each of those; left out: torch's, shared out.
    **options
        Those of `geomclip.panels.options.Measuring`: metrics, bootstrap, seed, curves, captions, paper, by,
        logit_scale, dtype, sample_blocks (and then bootstrap is 0), device.

    Returns
    -------
    Panel

    Raises
    ------
    ValueError
        For an unknown metric, column, dtype, paper or captions; for blocks that this set or another option rules out.
    InputError, NotAvailableError
        For a device that is unknown, or not here; for an engine likewise.

    Examples
    --------
    >>> panel = measure(EmbeddingSet(torch.eye(4), torch.eye(4), logit_scale=10), bootstrap=0)
    >>> panel["image_retrieval_recall@1"], panel["alignment"]
    (1.0, 0.0)
    """
    if options.get("sample_blocks") is not None:
        options.setdefault("bootstrap", 0)
    how = Measuring(**options)
    if how.sample_blocks is not None:
        _check_blocks(embeddings, how.sample_blocks, engine)
    if how.by is not None and how.by not in embeddings.columns:
        have = ", ".join(embeddings.columns) or "none"
        raise ValueError(f"there is no column {how.by!r} to group by; columns of this set: {have}")
    count_of(engine, processes)  # refused before the long work
    wanted = metric_keys(how.metrics)
    how = replace(how, device=choose_device(how.device))
    warnings = [worded(embeddings, line) for line in _norm_warnings(embeddings)]
    if how.logit_scale is not None:
        embeddings = embeddings.replace(logit_scale=how.logit_scale, logit_scale_source="asked")
    if how.captions == "first":
        embeddings = embeddings.first_texts()
    embeddings = embeddings.in_precision(torch.float64 if how.dtype == "float64" else torch.float32)
    nulls: Nulls = {} if null_cache is None else null_cache
    with one_torch_thread():
        panel = _panel(embeddings, wanted, how, nulls, progress, Engine(engine, processes, workers))
        groups = {} if how.by is None else dict(_groups(embeddings, wanted, how, nulls))
    if line := scratch.note():
        progress.log(line)
    params = how.params() | dict(panel.params)
    panel = panel.replace(params=params, warnings=[*warnings, *panel.warnings], written={"created": utc_now()})
    return panel.replace(groups=groups) if groups else panel


def _check_blocks(embeddings: EmbeddingSet, count: int, engine: str | None) -> None:
    """Refuse blocks of what has none, or beside an engine; ValueError."""
    flag = option("sample_blocks")
    if engine is not None:
        raise ValueError(f"{option('engine')} is of whole sweeps: leave it out, or {flag}")
    if embeddings.text is None:
        what = "classes in place of texts" if embeddings.class_text is not None else "no texts"
        raise ValueError(f"{flag} is of image-text pairs, and this set has {what}: leave it out")
    if count > len(embeddings.image):
        raise ValueError(f"{flag} must be at most the {len(embeddings.image):,} images of this set, got {count:,}")


def metric_keys(metrics: str | Sequence[str]) -> set[str]:
    """The keys that a choice of metrics stands for; ValueError with the nearest names for one that is unknown."""
    if metrics == "all":
        return set(METRICS)
    if metrics == "default":
        return {key for key, metric in METRICS.items() if metric.default}
    keys = metrics.replace(",", " ").split() if isinstance(metrics, str) else list(metrics)
    wanted: set[str] = set()
    for key in keys:
        if key == "default":
            wanted |= metric_keys("default")
        elif key in METRICS:
            wanted.add(key)
        else:
            close = near(key, METRICS)
            hint = (
                f"nearest: {', '.join(close)}"
                if close
                else typed("`geomclip measure --metrics all` shows all keys", "geomclip.metrics.METRICS has all keys")
            )
            raise ValueError(f"unknown metric {key!r}; {hint}")
    if not wanted:
        raise ValueError("no metric is named; give default, all, or keys")
    return wanted


def _norm_warnings(embeddings: EmbeddingSet) -> list[str]:
    warnings = []
    for name, norms in (("image", embeddings.image_norms), ("text", embeddings.text_norms)):
        if norms is not None and abs(float(norms.mean()) - 1) > NORM_DOUBT:
            warnings.append(
                f"{name} rows came with lengths of {float(norms.min()):.4g} to {float(norms.max()):.4g} "
                f"(mean {float(norms.mean()):.4g}); they are measured at length 1"
            )
    return warnings


def _groups(embeddings: EmbeddingSet, wanted: Set[str], how: Measuring, nulls: Nulls) -> Iterator[tuple[str, Panel]]:
    """A panel for each value of a column, in the order of their names; groups of one image say why they have none."""
    assert how.by is not None
    column = embeddings.columns[how.by]
    for value in sorted(set(column)):
        rows = torch.tensor([i for i, each in enumerate(column) if each == value])
        name = value or "(none)"
        try:
            group = embeddings.select_images(rows)
        except ValueError as too_few:
            yield name, Panel({}, notes={"group": str(too_few)}, n_images=len(rows))
            continue
        panel = _panel(group, wanted, replace(how, curves=False, paper=None), nulls, SILENT)
        yield name, panel.replace(params={"group": {how.by: value}, **panel.params})


@dataclass(frozen=True)
class Engine:
    """Who sweeps, if not this process."""

    name: str | None = None
    processes: int | None = None
    workers: int | None = None

    def holding(self, run: Run) -> AbstractContextManager[Shared | None]:
        """Workers with the rows of a run; nothing where no engine is named."""
        if self.name is None:
            return nullcontext()
        from geomclip.metrics.sharing import Shared

        own = None if run.pairing is None else run.pairing.own
        how: dict[str, Any] = {"processes": self.processes, "threads": self.workers, "device": run.options.device}
        return Shared(self.name, run.image, run.text, own, **how)


def _panel(
    embeddings: EmbeddingSet,
    wanted: Set[str],
    how: Measuring,
    nulls: Nulls,
    progress: Progress,
    engine: Engine = Engine(),
) -> Panel:
    """The panel of a set as it stands: all stages, and everything that they found as the record."""
    image, text, classes = embeddings.image, embeddings.text, embeddings.class_text
    pairing = None if text is None else Pairing.of(image, text, embeddings.image_of_text)
    labelled = None if embeddings.labels is None or classes is None else Classes(embeddings.labels, classes)
    run = Run(image, pairing, labelled, float(embeddings.logit_scale), wanted, how, nulls, progress)
    with engine.holding(run) as shared:
        stages.of_vectors(replace(run, shared=shared))
    _of_texts(run, embeddings)
    stages.conclude(run)
    found = run.found
    return Panel(
        values=found.values,
        ci=found.ci,
        sampled=found.sampled,
        no_interval=found.no_interval,
        null=found.null,
        null_error=found.null_error,
        p=found.p,
        notes=found.notes,
        warnings=_warnings(run, embeddings),
        reliability=found.reliability,
        curves=found.curves,
        items=_items(run, embeddings),
        params={"bins": BINS, "t": 2.0, "k": NEIGHBORS} | found.params,
        seconds={stage: round(seconds, 4) for stage, seconds in found.seconds.items()},
        made_from=dict(embeddings.made_from),
        env={
            "geomclip": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": free_threads(),
        },
        n_images=run.n,
        n_texts=0 if run.text is None else len(run.text),
        dim=image.shape[1],
        logit_scale=run.logit_scale,
        logit_scale_source=embeddings.logit_scale_source,
        task="retrieval" if pairing is not None else "classification" if labelled is not None else "cloud",
        seed=how.seed,
        features_sha256=embeddings.features_sha256(),
    )


def _of_texts(run: Run, embeddings: EmbeddingSet) -> None:
    """Shares of texts that occur under different images, and that the encoder cut."""
    if run.pairing is None:
        return
    run.put("duplicate_text_share", embeddings.duplicate_text_share)
    if embeddings.truncated is not None:
        run.put("truncated_text_share", float(embeddings.truncated.double().mean()))
    else:
        silent = embeddings.made_from.get("truncated") == "unknown"
        run.found.notes["truncated_text_share"] = (
            "not known: this encoder does not say which texts it cuts"
            if silent
            else "not known for vectors that were not extracted here"
        )


def _warnings(run: Run, embeddings: EmbeddingSet) -> list[str]:
    """What the reader must not miss."""
    warnings = []
    share = run.found.values.get("truncated_text_share") or 0.0
    if share > TRUNCATED_DOUBT:
        warnings.append(f"{share:.1%} of the texts were cut at the model's context length, or by an end token in them")
    if embeddings.text is None and embeddings.class_text is None:
        pass  # one cloud has no logits
    elif embeddings.logit_scale_source == "assumed":
        scale = f"{embeddings.logit_scale:g} is assumed ({option('logit_scale')} sets it)"
        warnings.append(f"no logit scale came with these vectors: {scale}")
    elif logarithm := _logarithm(embeddings):
        warnings.append(logarithm)
    if run.pairing is not None:
        without = int((run.pairing.texts_of_image == 0).sum())
        if without:
            warnings.append(f"{without} of {run.n} images have no text: they are candidates, not queries")
    warnings += [line for line in (run.found.copies, run.found.from_blocks, run.found.slower) if line]
    warnings = [worded(embeddings, line) for line in warnings]
    if twelve_bits := embeddings.made_from.get("twelve_bit_images"):
        warnings.append(f"{twelve_bits} images of 16 bits have no value above 4095 and were read as images of 12 bits")
    warnings += Read.from_dict(embeddings.made_from.get("read") or {}).warnings()
    return warnings + [str(note) for note in embeddings.made_from.get("notes") or []]


def _logarithm(embeddings: EmbeddingSet) -> str:
    """That a logit scale of a file looks like the logarithm that models keep; '' where it does not."""
    scale = embeddings.logit_scale
    if embeddings.logit_scale_source == "model" or not LOGARITHMS[0] <= scale <= LOGARITHMS[1]:
        return ""
    meant = f"{math.exp(scale):.4g}"
    way = f"{option('logit_scale', meant)} sets it"
    return f"logit scale {scale:.6g} is the log of {meant}, which a model keeps and is likely meant: {way}"


def _items(run: Run, embeddings: EmbeddingSet) -> Items:
    """What was found of each image and text, and what the draws gave that sums cannot give."""
    found = run.found
    items: dict[str, dict[str, Any]] = {"image": {"image_id": list(embeddings.image_id)}, "text": {}}
    if embeddings.image_path is not None:
        items["image"]["image_path"] = list(embeddings.image_path)
    items["image"] |= found.image_items
    items["image"] |= {f"sum.{name}": column for name, column in found.columns.items()}
    items["image"] |= {f"influence.{key}": column for key, column in found.influence.items()}
    if embeddings.image_of_text is not None:
        items["text"] = {
            "caption_id": list(embeddings.caption_id),
            "image_id": [embeddings.image_id[i] for i in embeddings.image_of_text.tolist()],
            **found.text_items,
        }
    if found.pairs is not None:
        items["pair"] = {
            "asking": found.pairs.asking,
            "candidate": found.pairs.candidate,
            **{f"{EFFECT}{name}": effects for name, effects in found.pairs.effects.items()},
        }
    return {kind: Columns(_in_one_table(columns)) for kind, columns in items.items()}


def _in_one_table(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns, those of float64 side by side in one table, for which memory may have no room."""
    wide = {name: each for name, each in columns.items() if isinstance(each, Tensor) and each.dtype == torch.float64}
    if not wide:
        return dict(columns)
    table = scratch.empty(len(wide), len(next(iter(wide.values()))), dtype=torch.float64)
    return {**columns, **{name: row.copy_(wide[name]) for name, row in zip(wide, table, strict=True)}}
