"""The space of moments and queries: our panel of it, and whether the graph of a video finds its planted repeats."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.embeddings.graphs import geodesic_distances
from geomclip.embeddings.record import EmbeddingSet
from geomclip.grounding.bench.composer import Videos
from geomclip.grounding.moments import Proposals, overlap
from geomclip.panels.measurement import measure

METRICS = (
    "alignment",
    "relative_alignment_text_to_image",
    "uniformity_image",
    "uniformity_text",
    "uniformity_joint",
    "uniformity_cross",
    "modality_gap",
    "relative_modality_gap",
)
NEIGHBORS = 5
"""Of each moment in the graph, and how many are looked at."""


def panel_of(moments: Tensor, sentences: Tensor, videos: Videos, every: Proposals) -> dict[str, float]:
    """The numbers of true moments (as images) and their sentences (as texts), by geomclip's own panel.

    Parameters
    ----------
    moments : Tensor of shape (B, N, j)
        Unit rows of all moments; the true one of a query is the proposal that overlaps its window most.
    sentences : Tensor of shape (Q, j)
    """
    best = overlap(videos.spans, every.spans).argmax(1)
    true = moments[videos.owner, best]
    panel = measure(EmbeddingSet(true.detach().cpu(), sentences.detach().cpu()), bootstrap=0, metrics=",".join(METRICS))
    return {key: float(value) for key in METRICS if (value := panel.values.get(key)) is not None}


def neighbours_of_truth(moments: Tensor, videos: Videos, every: Proposals) -> dict[str, float]:
    """Of the true moments of queries that have planted repeats: what their nearest moments show.

    `geodesic_precision` and `cosine_precision`: among the five nearest moments that do not touch the true one, by
    the way along the graph and by the cosine, the share that shows a repeat for at least half its length; `chance` is
    their share among all that do not touch it. `nearest_own`, `nearest_repeat` and `nearest_other` are the shares
    among the five nearest of all: those that touch the true one, of the others those that show a repeat, and the rest.
    Moments that no way leads to are not among the nearest.

    Parameters
    ----------
    moments : Tensor of shape (B, N, j)
        Unit rows.
    """
    chosen = torch.tensor([query for query, spans in enumerate(videos.repeats) if len(spans)], dtype=torch.int64)
    if not len(chosen):
        return {}
    owner = videos.owner[chosen]
    true = overlap(videos.spans[chosen], every.spans).argmax(1)
    distances = geodesic_distances(moments[owner], k=NEIGHBORS, sources=true[:, None])[:, 0]
    angles = torch.einsum("qj,qnj->qn", moments[owner, true], moments[owner]).clamp(-1, 1).arccos()
    shows = torch.stack([_shows(videos.repeats[query], every) for query in chosen.tolist()])
    touches = overlap(videos.spans[chosen], every.spans) > 0
    found = {"queries": float(len(chosen)), "chance": float((shows & ~touches).sum(1).div((~touches).sum(1)).mean())}
    for name, far in (("geodesic", distances), ("cosine", angles)):
        near, reached = _nearest(far.masked_fill(touches, torch.inf))
        found[f"{name}_precision"] = float((shows.gather(1, near) & reached).sum() / reached.sum().clamp(min=1))
    itself = torch.arange(len(every))[None] == true[:, None]
    near, reached = _nearest(distances.masked_fill(itself, torch.inf))
    own, repeat = touches.gather(1, near) & reached, (shows & ~touches).gather(1, near) & reached
    count = reached.sum()
    found |= {"nearest_own": float(own.sum() / count), "nearest_repeat": float(repeat.sum() / count)}
    return found | {"nearest_other": 1 - found["nearest_own"] - found["nearest_repeat"]}


def _nearest(far: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the five nearest, and which of them are reached at all."""
    order = far.argsort(dim=1, stable=True)[:, :NEIGHBORS]
    return order, far.gather(1, order).isfinite()


def _shows(repeats: Tensor, every: Proposals) -> Tensor:
    """Which moments show one of the spans for at least half their length: (N,) bool."""
    inside = torch.minimum(every.spans[:, None, 1], repeats[None, :, 1])
    inside = (inside - torch.maximum(every.spans[:, None, 0], repeats[None, :, 0])).clamp(min=0)
    return (inside.amax(1) / (every.spans[:, 1] - every.spans[:, 0])) >= 0.5
