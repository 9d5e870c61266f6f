"""measure: all numbers of a set, from one pass over each modality and one over both."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.devices import choose_device
from geomclip.metrics import METRICS
from geomclip.panels.record import Panel
from geomclip.panels.run import Progress, Run
from geomclip.panels.stages import all_stages

NORM_DOUBT = 1e-2
"""A mean length of rows further than this from 1 is told: not every file of vectors is normalised."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One side of a comparison, measured: its panel, and its vectors unless it was a result."""

    panel: Panel
    embeddings: EmbeddingSet | None = None


def measure(
    embeddings: EmbeddingSet,
    *,
    metrics: str | Sequence[str] = "default",
    bootstrap: int = 1000,
    seed: int = 0,
    curves: bool = False,
    captions: str = "all",
    paper: str | None = None,
    by: str | None = None,
    logit_scale: float | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    null_cache: MutableMapping[str, dict[str, float]] | None = None,
    progress: Progress | None = None,
) -> Panel:
    """Every number of one set of embeddings, with intervals and nulls.

    Parameters
    ----------
    embeddings : EmbeddingSet
        Pairs, or class data (`labels` and `class_text`).
    metrics : str or sequence of str
        "default", "all", or keys of `geomclip.metrics.METRICS`.
    bootstrap : int
        Resamples of images for the 95 % intervals; 0 for none.
    seed : int
        Of resamples, halves, folds and nulls. The same seed and set give the same panel.
    curves : bool
        Also the gap-shift and gap-ablation curves.
    captions : str
        "all", or "first" for the one-caption protocol.
    paper : str, optional
        "oh2023" adds two numbers as the code of Oh et al. computes them.
    by : str, optional
        A column of the set: a panel of each of its values too.
    logit_scale : float, optional
        In place of the set's own.
    dtype : str
        "float32" or "float64": the precision of the similarities; sums are float64 in both.
    device : str
        "cpu", "cuda" ("cuda:1"), or "auto", the GPU if there is one: where the similarities of all pairs are computed
        and swept. What is not a sweep runs on the CPU.
    null_cache : mutable mapping, optional
        Where simulated nulls are looked up and kept.
    progress : callable, optional
        Called with (stage, done, of).

    Returns
    -------
    Panel

    Raises
    ------
    ValueError
        For an unknown metric, column, dtype, paper or captions.
    InputError, NotAvailableError
        For a device that is unknown, or not here.

    Examples
    --------
    >>> panel = measure(EmbeddingSet(torch.eye(4), torch.eye(4), logit_scale=10), bootstrap=0)
    >>> panel["image_retrieval_recall@1"], panel["alignment"]
    (1.0, 0.0)
    """
    _check_options(embeddings, bootstrap, captions, paper, by, dtype)
    wanted = metric_keys(metrics)
    device = choose_device(device)
    warnings = _norm_warnings(embeddings)
    if logit_scale is not None:
        embeddings = embeddings.replace(logit_scale=logit_scale, logit_scale_source="asked")
    if captions == "first":
        embeddings = embeddings.first_texts()
    embeddings = _in_precision(embeddings, torch.float64 if dtype == "float64" else torch.float32)
    options: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "device": device, "null_cache": null_cache}
    run = Run(embeddings, wanted, **options, progress=progress)
    all_stages(run, curves=curves, paper=paper)
    asked = metrics if isinstance(metrics, str) else list(metrics)
    of_run = {"metrics": asked, "captions": captions, "paper": paper, "dtype": dtype, "device": device, "by": by}
    panel = run.panel(of_run, warnings)
    if by is None:
        return panel
    return panel.replace(groups=dict(_groups(embeddings, by, wanted, options)))


def _check_options(
    embeddings: EmbeddingSet, bootstrap: int, captions: str, paper: str | None, by: str | None, dtype: str
) -> None:
    if bootstrap < 0:
        raise ValueError(f"bootstrap must be 0 (none) or more, got {bootstrap}")
    for name, value, allowed in (
        ("captions", captions, ("all", "first")),
        ("paper", paper, (None, "oh2023")),
        ("dtype", dtype, ("float32", "float64")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
    if by is not None and by not in embeddings.columns:
        have = ", ".join(embeddings.columns) or "none"
        raise ValueError(f"there is no column {by!r} to group by; columns of this set: {have}")


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
            near = difflib.get_close_matches(key, METRICS, n=3, cutoff=0.5)
            hint = f"; nearest: {', '.join(near)}" if near else "; `geomclip measure --metrics all` shows all keys"
            raise ValueError(f"unknown metric {key!r}{hint}")
    if not wanted:
        raise ValueError("no metric is named; give default, all, or keys")
    return wanted


def _in_precision(embeddings: EmbeddingSet, dtype: torch.dtype) -> EmbeddingSet:
    if embeddings.image.dtype == dtype:
        return embeddings
    changes: dict[str, Any] = {"image": embeddings.image.to(dtype)}
    for name in ("text", "class_text"):
        rows = getattr(embeddings, name)
        if rows is not None:
            changes[name] = rows.to(dtype)
    return embeddings.replace(**changes)


def _norm_warnings(embeddings: EmbeddingSet) -> list[str]:
    warnings = []
    for name, norms in (("image", embeddings.image_norms), ("text", embeddings.text_norms)):
        if norms is not None and abs(float(norms.mean()) - 1) > NORM_DOUBT:
            warnings.append(
                f"{name} rows came with lengths of {float(norms.min()):.4g} to {float(norms.max()):.4g} "
                f"(mean {float(norms.mean()):.4g}); they are measured at length 1"
            )
    return warnings


def _groups(
    embeddings: EmbeddingSet, by: str, wanted: set[str], options: dict[str, Any]
) -> Iterator[tuple[str, Panel]]:
    """A panel for each value of a column, in the order of their names; groups of one image say why they have none."""
    column = embeddings.columns[by]
    for value in sorted(set(column)):
        rows = torch.tensor([i for i, each in enumerate(column) if each == value])
        name = value or "(none)"
        try:
            group = embeddings.select_images(rows)
        except ValueError as too_few:
            yield name, Panel({}, notes={"group": str(too_few)}, n_images=len(rows))
            continue
        run = Run(group, wanted, **options)
        all_stages(run, curves=False, paper=None)
        yield name, run.panel({"group": {by: value}}, [])
