"""Calibration of retrieval: does the softmax at the model's own scale know how often it is right?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.machine import scratch
from geomclip.metrics.bins import BINS
from geomclip.metrics.calibration_scores import ece, fit_logit_scale
from geomclip.metrics.folds import Block
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import FLOAT32_DOUBT, TIE, sweep

PROMISED = 2e-5
"""By how much a confidence, or a likelihood in parts of one above 1, may differ from that of exact cosines."""

FLOAT32_ERROR = 5e-7
"""By how much float32 scores do differ from exact cosines at most; `FLOAT32_DOUBT` allows four times as much."""

COARSE = 4 * PROMISED / FLOAT32_ERROR
"""The logit scale, 160, up to which that moves no confidence p further than promised, since p (1 − p) is at most ¼."""


@dataclass(frozen=True)
class Posterior:
    """What calibration needs of each query: float64 vectors (q,), natural logarithms of probability.

    `own`: of the right answer; `best`: of the best wrong one; `squares`: sum over classes of p² (0 unless
    wanted).
    """

    own: Tensor
    best: Tensor
    squares: Tensor

    @property
    def confidence(self) -> Tensor:
        """Probability of the prediction."""
        return torch.maximum(self.own, self.best).exp()

    def of(self, queries: Tensor) -> Posterior:
        """Of some queries, by their places."""
        return Posterior(self.own[queries], self.best[queries], self.squares[queries])

    def hit(self, logit_scale: float) -> Tensor:
        """Whether the prediction is right, float64; scores that tie within 1e-9 count against the query."""
        return (self.own > self.best + logit_scale * TIE).double()


@dataclass(frozen=True)
class Masses:
    """Fold: softmax masses of wrong answers at one logit scale, for both directions of retrieval.

    Text queries see every image as a class. Image queries see every image as a class too, its probability
    being the sum over its texts; `best` is the largest such sum. Each running sum is relative to the running
    maximum score, so no exponential overflows. States of blocks that share no texts merge.
    """

    logit_scale: float
    squares: bool = False
    unmatched: ClassVar[bool] = True

    def start(self, pairing: Pairing) -> dict[str, Tensor]:
        """No score seen: maxima −inf, sums 0."""
        state = {}
        for axis, size in (("text", pairing.m), ("image", pairing.n)):
            state[f"{axis}_top"] = pairing.text.new_full((size,), -torch.inf, dtype=torch.float64)
            state[f"{axis}_total"] = pairing.text.new_zeros(size, dtype=torch.float64)
            state[f"{axis}_squares"] = pairing.text.new_zeros(size, dtype=torch.float64)
        state["image_best"] = pairing.text.new_full((pairing.n,), -torch.inf, dtype=torch.float64)
        return state

    def update(self, state: dict[str, Tensor], block: Block) -> None:
        """One exponential an entry and direction."""
        if "text" in block.axes:
            weights, _ = self._relative(state, block, "text", block.texts, dim=1)
            state["text_total"][block.texts] += weights.sum(1)
            if self.squares:
                state["text_squares"][block.texts] += weights.square().sum(1)
        if "image" in block.axes:
            self._update_images(state, block)

    def _update_images(self, state: dict[str, Tensor], block: Block) -> None:
        weights, top = self._relative(state, block, "image", block.images, dim=0)
        state["image_total"][block.images] += weights.sum(0)
        # not the number of groups tells whether some image has several texts: others may have none
        if bool((block.groups[1:] == block.groups[:-1]).any()) or self.squares:
            lengths = block.pairing.texts_of_image[block.group_images]
            masses = torch.segment_reduce(weights, "sum", lengths=lengths, axis=0)  # in one order on every device
            largest = masses.amax(0).double().log() + self.logit_scale * top
            if self.squares:
                state["image_squares"][block.images] += masses.double().square().sum(0)
        else:
            largest = self.logit_scale * block.s.amax(0).double()
        best = state["image_best"][block.images]
        torch.maximum(best, largest, out=best)

    def _relative(
        self, state: dict[str, Tensor], block: Block, axis: str, where: slice, *, dim: int
    ) -> tuple[Tensor, Tensor]:
        """Exp(scale (s − running maximum)) in the block's scratch, the sums so far brought to that maximum."""
        top = state[f"{axis}_top"][where]
        new = torch.maximum(top, block.s.amax(dim).double())
        finite = torch.where(torch.isneginf(new), 0.0, new)  # nothing but matched entries so far
        shrink = torch.exp(self.logit_scale * (torch.where(torch.isneginf(top), finite, top) - finite))
        state[f"{axis}_total"][where] *= shrink
        state[f"{axis}_squares"][where] *= shrink.square()
        top.copy_(new)
        if self.logit_scale > COARSE:  # a product as large as scale * score has no digits for what is left of it
            most = finite.to(block.s.dtype)
            torch.sub(block.s, most[:, None] if dim == 1 else most, out=block.scratch).mul_(self.logit_scale)
        else:
            shift = (-self.logit_scale * finite).to(block.s.dtype)
            torch.add(shift[:, None] if dim == 1 else shift, block.s, alpha=self.logit_scale, out=block.scratch)
        return block.scratch.exp_(), finite

    def take(self, state: dict[str, Tensor], block: Block) -> None:
        """As `update`, in compiled loops."""
        from geomclip.metrics.kernels import masses_columns, masses_rows

        kinds = ("top", "total", "squares")
        of_texts = (state[f"text_{kind}"][block.texts].numpy() for kind in kinds)
        of_images = (state[f"image_{kind}"][block.images].numpy() for kind in (*kinds, "best"))
        if "text" in block.axes:
            masses_rows(block.s.numpy(), self.logit_scale, self.squares, *of_texts)
        if "image" in block.axes:
            masses_columns(block.s.numpy(), self.logit_scale, self.squares, block.groups.numpy(), *of_images)

    def merge(self, first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring both to the larger maximum and add; the best of the two."""
        merged: dict[str, Tensor] = {"image_best": torch.maximum(first["image_best"], second["image_best"])}
        for axis in ("text", "image"):
            top = torch.maximum(first[f"{axis}_top"], second[f"{axis}_top"])
            merged[f"{axis}_top"] = top
            for kind, power in (("total", 1), ("squares", 2)):
                merged[f"{axis}_{kind}"] = sum(  # type: ignore[assignment]
                    side[f"{axis}_{kind}"]
                    * torch.exp(power * self.logit_scale * (side[f"{axis}_top"] - top)).nan_to_num(1.0)
                    for side in (first, second)
                )
        return merged

    def finish(self, state: dict[str, Tensor], pairing: Pairing) -> dict[str, Posterior]:
        """`text`: queries (m,) in sorted order; `image`: queries (n,), NaN for an image without text."""
        scale = self.logit_scale
        own = {"text": scale * pairing.matched, "image": log_sums(scale * pairing.matched, pairing)}
        best = {"text": scale * state["text_top"], "image": state["image_best"]}
        result = {}
        for axis in ("text", "image"):
            top = torch.where(torch.isneginf(state[f"{axis}_top"]), 0.0, state[f"{axis}_top"])
            wrong = state[f"{axis}_total"].log() + scale * top
            total = torch.logaddexp(own[axis], wrong)
            squares = torch.exp(2 * (own[axis] - total))
            squares += state[f"{axis}_squares"] * torch.exp(2 * (scale * top - total))
            # no probability passes 1, which float32 sums of a group can by their rounding
            result[axis] = Posterior(own[axis] - total, (best[axis] - total).clamp(max=0), squares)
        if pairing.text.dtype != torch.float64:
            result = {axis: _settle(posterior, pairing, axis, scale) for axis, posterior in result.items()}
        no_text = pairing.texts_of_image == 0
        result["image"].own[no_text] = torch.nan
        result["image"].best[no_text] = torch.nan
        return result


def log_sums(logits: Tensor, pairing: Pairing) -> Tensor:
    """(n, ...) logarithm of the sum of exp over the texts of each image, from (m, ...); −inf without text."""
    found = logits.new_empty(pairing.n, *logits.shape[1:])
    # some at a time: four tables of this size are made on the way
    for images in exact.slices(found.view(pairing.n, -1)):
        texts = slice(int(pairing.starts[images.start]), int(pairing.starts[images.stop]))
        lengths = pairing.texts_of_image[images]
        top = torch.segment_reduce(logits[texts], "max", lengths=lengths, axis=0)
        finite = torch.where(torch.isneginf(top), 0.0, top)
        weights = (logits[texts] - finite[pairing.own[texts] - images.start]).exp()
        found[images] = finite + torch.segment_reduce(weights, "sum", lengths=lengths, axis=0).log()
    return found


def _settle(posterior: Posterior, pairing: Pairing, axis: str, scale: float) -> Posterior:
    """Decide in float64 the queries whose bin or hit float32 cannot tell, or whose confidence it cannot give."""
    doubt = 2 * scale * FLOAT32_DOUBT  # of a logarithm of probability
    confidence = posterior.confidence
    edge = (confidence * BINS).round() / BINS
    unsure = (confidence - edge).abs() <= doubt * confidence
    unsure &= (edge > 0) & (edge < 1)
    tie = (posterior.own - posterior.best).abs() <= doubt
    rough = _rough(posterior, scale)
    others = pairing.n if axis == "text" else pairing.m
    step = max(1, 2**21 // others)  # 16 MB of float64 scores
    close = (unsure & ~rough) | tie
    lengths = _lengths(pairing) if rough.any() else None
    if axis == "text" and bool((close | rough).any()):
        pairing = replace(pairing, image=scratch.to(pairing.image, torch.float64))  # once for all of them
    for some in _places(close, step):
        own, best, squares = _exact_posterior(some, pairing, axis, scale)
        posterior.own[some], posterior.best[some] = own, best
        posterior.squares[some] = squares
    for some in _places(rough, step):
        exacter = Posterior(*_exact_posterior(some, pairing, axis, scale, lengths))
        # a tie stays decided by the rows as they are, as ranks are
        same = exacter.hit(scale) == posterior.hit(scale)[some]
        for name in ("own", "best", "squares"):
            getattr(posterior, name)[some[same]] = getattr(exacter, name)[same]
    return posterior


def _places(chosen: Tensor, step: int) -> Sequence[Tensor]:
    """Where a mask is true, so many places at a time; none where it is nowhere, of which torch makes one empty part."""
    places = chosen.nonzero()[:, 0]
    return places.split(step) if len(places) else ()


def _rough(posterior: Posterior, scale: float) -> Tensor:
    """Which queries (q,) have a confidence or likelihood that float32 may miss by more than is promised."""
    confidence = posterior.confidence
    if scale <= COARSE:
        return torch.zeros_like(confidence, dtype=torch.bool)
    error = scale * FLOAT32_ERROR  # of a logarithm of probability
    rough = error * confidence * (1 - confidence) > PROMISED
    return rough | (error * (1 - posterior.own.exp()) > PROMISED * (-posterior.own).clamp(min=1))


def _lengths(pairing: Pairing) -> dict[str, Tensor]:
    """Lengths of the rows of both sides, float64: float32 rows are unit to 1e-7 only."""
    sides = {"image": pairing.image, "text": pairing.text}
    norm = partial(torch.linalg.vector_norm, dim=1, dtype=torch.float64)
    return {side: scratch.each(norm, rows) for side, rows in sides.items()}


def _exact_posterior(
    queries: Tensor, pairing: Pairing, axis: str, scale: float, lengths: dict[str, Tensor] | None = None
) -> tuple[Tensor, ...]:
    """Own, best wrong and squared masses of some queries from all their float64 scores, or cosines if given lengths."""
    image, text = pairing.image, pairing.text
    if axis == "text":
        logits = (text[queries].double() @ image.double().T).mul_(scale)  # (q, n)
        if lengths is not None:
            _divide(logits, lengths["text"][queries], lengths["image"])
        right = pairing.own[queries]
    else:
        scores = exact.dots(text, scale * image[queries].double().T)  # (m, q)
        if lengths is not None:
            _divide(scores, lengths["text"], lengths["image"][queries])
        logits = log_sums(scores, pairing).T  # (q, n), −inf for an image without text
        del scores
        right = queries
    # one table besides, laid out alike, so that sums are taken in one order: `torch.logsumexp` makes its own
    weights = torch.empty_like(logits)
    top = logits.amax(1, keepdim=True)
    logits -= torch.sub(logits, top, out=weights).exp_().sum(1, keepdim=True).log_().add_(top)
    own = logits.gather(1, right[:, None])[:, 0]
    squares = torch.mul(logits, 2, out=weights).exp_().sum(1)
    best = logits.scatter_(1, right[:, None], -torch.inf).amax(1)
    return own, best, squares


def _divide(scores: Tensor, of_rows: Tensor, of_columns: Tensor) -> None:
    """Scores (r, c) by the lengths of both their rows, in place."""
    for some in exact.slices(scores):
        scores[some] /= of_rows[some, None] * of_columns


@on_unit_rows
def retrieval_posterior(
    image: Tensor, text: Tensor, image_of_text: Tensor | None = None, *, logit_scale: float
) -> dict[str, Tensor]:
    """Confidence (0 to 1), hit (0 or 1) and negative log-likelihood of every query, both ways. Rows are normalised.

    Parameters
    ----------
    image, text, image_of_text
        As in `alignment`.
    logit_scale : float
        1/temperature, the factor on the cosines.

    Returns
    -------
    dict of float64 vectors
        `text_retrieval_confidence`, `_hit`, `_nll` (n,), NaN for an image without text;
        `image_retrieval_*` (m,), in the order of the texts.

    Examples
    --------
    >>> answer = retrieval_posterior(torch.eye(2), torch.eye(2), logit_scale=1.0)
    >>> round(answer["text_retrieval_confidence"][0].item(), 6)  # e/(e + 1)
    0.731059
    """
    pairing = Pairing.of(image, text, image_of_text)
    (both,) = sweep(pairing, [Masses(logit_scale)])
    result = {}
    for prefix, axis in (("text_retrieval", "image"), ("image_retrieval", "text")):
        posterior = both[axis]
        vectors = {
            "confidence": posterior.confidence,
            "hit": torch.where(posterior.own.isnan(), torch.nan, posterior.hit(logit_scale)),
            "nll": -posterior.own,
        }
        for key, vector in vectors.items():
            result[f"{prefix}_{key}"] = pairing.unsorted(vector) if axis == "text" else vector
    return result


def _log_partition(scale: float, rows: Tensor, items: Tensor) -> Tensor:
    """(r,) log Σ exp(scale · score) of float64 rows over all items, a block of items at a time."""
    parts = [(scale * (rows @ some.double().T)).logsumexp(1) for some in items.split(8192)]
    return torch.stack(parts).logsumexp(0)


def calibrated(pairing: Pairing, axis: str, *, seed: int) -> tuple[float, float]:
    """The temperature that fits one half of the images, and the ECE of the other half at it.

    The temperature minimises the negative log-likelihood of the queries of the first half against the full
    gallery. `axis` is "text" (text queries) or "image".

    Returns
    -------
    (temperature, ece)

    Raises
    ------
    ValueError
        If a half has no query, or no temperature is best.

    References
    ----------
    Guo et al. (2017), "On calibration of modern neural networks", ICML: temperature scaling.
    """
    order = torch.randperm(pairing.n, generator=torch.Generator().manual_seed(seed))
    fitted = torch.zeros(pairing.n, dtype=torch.bool).index_fill_(0, order[: pairing.n // 2], True)
    has_text = pairing.texts_of_image > 0
    if axis == "text":
        fit, judged = fitted[pairing.own], ~fitted[pairing.own]
    else:
        fit, judged = fitted & has_text, ~fitted & has_text
    if not fit.any() or not judged.any():
        raise ValueError("a half of the images has no query to fit or judge a temperature")
    queries = fit.nonzero()[:, 0]

    rows, items = (pairing.text, pairing.image) if axis == "text" else (pairing.image, pairing.text)
    asking = rows[queries].double()

    def nll(scale: float) -> float:
        # float64: at a scale of 10,000 a float32 score is off by a thousandth of a nat
        logits = scale * pairing.matched
        own = logits[queries] if axis == "text" else log_sums(logits, pairing)[queries]
        total = [_log_partition(scale, some, items) for some in asking.split(1024)]
        return float((torch.cat(total) - own).mean())

    scale = fit_logit_scale(nll)
    (both,) = sweep(pairing, [Masses(scale)])
    posterior = both[axis]
    return 1 / scale, float(ece(posterior.confidence[judged], posterior.hit(scale)[judged]))
