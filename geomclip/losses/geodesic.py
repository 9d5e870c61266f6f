"""Contrast along the geodesics of a cloud, and alignment with what pairs are worth together.

The formulas are geomclip's own, in the sense of the abstract of Li et al. (2023), whose body could not be read: the
distance along the graph of neighbours says which rows mean the same, and the Shapley interaction of sentences and
moments which of them belong together. What the released code computes differs in signs, masks and exponents.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.embeddings.graphs import geodesic_distances
from geomclip.losses.batch import cosines, own, paired, scaled
from geomclip.losses.interaction import draw_coalitions, pair_removal, sampled_interaction

NEIGHBORS = 5
"""Of each row in the graph (Li et al. 2023)."""

WIDTH = 0.35
"""Radians along the graph at which a row has 1/e of the weight of the row itself."""

NEAR = 0.5
"""Weight from which a row is no negative."""

SOFTNESS = 0.1
"""Difference of interaction that makes one moment e times as likely as another."""


def geodesic_weights(distances: Tensor, *, width: float = WIDTH) -> Tensor:
    """How much a row at each geodesic distance counts as the row itself: exp(−(d/width)²), 1 to 0; 0 of ∞.

    Parameters
    ----------
    distances : Tensor of shape (..., N)
        Radians.
    width : float
        Where a weight is 1/e.

    Returns
    -------
    Tensor of shape (..., N), of no gradient

    Examples
    --------
    >>> geodesic_weights(torch.tensor([0.0, 0.5, torch.inf]), width=0.5).tolist()
    [1.0, 0.3678794503211975, 0.0]
    """
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}")
    return (-(distances.detach() / width).square()).exp()


# ------------------------------------------------------------------------------------------ sentences and moments


def moment_contrastive(
    moments: Tensor,
    queries: Tensor,
    owner: Tensor,
    best: Tensor,
    overlaps: Tensor,
    weights: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    margin: float = 0.3,
    least: float = 0.5,
    most: int = 5,
    allowed: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of telling the moments that a sentence names, near ones counted in, from all others of a batch.

    Of sentence q, with c its cosine with a moment, w the weights and τ the temperature,

        −log Σ_P w e^((c − μ)/τ) / (Σ_P w e^((c − μ)/τ) + Σ_I (1 + w) e^(c/τ) + Σ_O e^(c/τ)):

    P are the `most` moments of its video with the largest weights (none of weight 0), I those of its video that
    overlap less than `least` and have a weight below 0.5, O those of other videos. Without weights P is the best
    moment alone, and the term is that of MMN with its masked moments absent. geomclip's own formula, in the sense of
    Li et al. (2023).

    Parameters
    ----------
    moments : Tensor of shape (B, N, d)
        Unit rows of the moments of B videos.
    queries : Tensor of shape (Q, d)
        Unit rows of sentences.
    owner : integer Tensor of shape (Q,)
        The video of each.
    best : integer Tensor of shape (Q,)
        The moment of its video that each names.
    overlaps : Tensor of shape (Q, N)
        Intersection over union of each moment of its video with what a sentence names.
    weights : Tensor of shape (Q, N), optional
        Of the moments of its video, 1 for the best: `geodesic_weights` of the distances from it.
    temperature, margin : float
        τ and μ, which is taken off the cosine of what belongs together.
    least : float
        From this overlap on a moment is no negative.
    most : int
        Positives of a sentence, at most.
    allowed : bool Tensor of shape (Q, B, N), optional
        Which moments may be negatives. Left out: all.

    Returns
    -------
    Tensor of shape (Q,), at least 0
        Of each sentence; 0 where nothing is a negative.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Wang et al. (2022), "Negative sample matters: a renaissance of metric learning for temporal grounding", AAAI (MMN);
    Li et al. (2023), "G2L: semantically aligned and uniform video grounding via geodesic and game theory", ICCV.

    Examples
    --------
    >>> moments = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> named, query = torch.tensor([0]), moments[0, :1]
    >>> moment_contrastive(moments, query, named, named, torch.tensor([[1.0, 0.0]]), temperature=1.0, margin=0.0)
    tensor([0.3133])
    """
    _check_moments(moments, queries, owner, best, overlaps, weights, allowed)
    videos, count = moments.shape[:2]
    at = own(queries)
    if weights is None:
        weights = torch.zeros_like(overlaps).scatter(1, best[:, None], 1)
    weights = weights.detach().to(overlaps)
    logits = scaled(cosines(queries, moments.flatten(0, 1)), temperature).unflatten(1, (videos, count))  # (Q, B, N)
    kept = torch.ones_like(logits, dtype=torch.bool)
    kept[at, owner] = (overlaps < least) & (weights < NEAR)
    if allowed is not None:
        kept = kept & allowed
    louder = torch.zeros_like(logits).index_put((at, owner), weights.log1p().to(logits))
    against = (logits + louder).where(kept, -torch.inf).flatten(1).logsumexp(dim=1)  # (Q,)
    first = weights.scatter(1, best[:, None], torch.inf)  # of equal weights the best moment is never left out
    chosen = first.topk(min(most, count), dim=1).indices  # (Q, most)
    quieter = weights.gather(1, chosen).log().to(logits) - margin / temperature
    towards = (logits[at, owner].gather(1, chosen) + quieter).logsumexp(dim=1)
    return torch.logaddexp(towards, against) - towards


def interaction_alignment(
    logits: Tensor,
    interaction: Tensor,
    *,
    softness: float = SOFTNESS,
    sentences: Tensor | None = None,
    moments: Tensor | None = None,
) -> Tensor:
    """How far the distribution of each sentence over moments is from softmax(interaction / softness).

    The mean over the sentences present of the Kullback-Leibler divergence Σ_m T log(T/A), A the softmax of the logits
    over the moments present, T that of the interactions, which get no gradient. geomclip's own formula, in the sense
    of Li et al. (2023).

    Parameters
    ----------
    logits : Tensor of shape (..., S, M)
        Cosines over a temperature.
    interaction : Tensor of shape (..., S, M)
        Of each sentence with each moment, of either sign.
    softness : float
        Positive; the smaller, the surer.
    sentences : bool Tensor of shape (..., S), optional
        Who is present; left out: all. A block without moments has no sentences.
    moments : bool Tensor of shape (..., M), optional

    Returns
    -------
    0-d Tensor, at least 0
        0 if no sentence is present.

    Examples
    --------
    >>> interaction_alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.1, 0.0]]), softness=0.1).item()
    0.0
    """
    if not softness > 0:
        raise ValueError(f"softness must be positive, got {softness}")
    if logits.ndim < 2 or logits.shape != interaction.shape:
        raise ValueError(
            f"logits and interaction must be (..., S, M), got {tuple(logits.shape)} and {tuple(interaction.shape)}"
        )
    if moments is None:
        moments = torch.ones_like(logits[..., 0, :], dtype=torch.bool)
    if sentences is None:
        sentences = torch.ones_like(logits[..., 0], dtype=torch.bool)
    there = moments[..., None, :].expand_as(logits)
    lowest = torch.finfo(logits.dtype).min  # not −∞, whose softmax over nobody has no gradient
    target = (interaction.detach() / softness).masked_fill(~there, lowest).log_softmax(dim=-1)
    model = logits.masked_fill(~there, lowest).log_softmax(dim=-1)
    divergence = torch.where(there, target.exp() * (target - model), 0).sum(dim=-1).clamp(min=0)  # of rounding
    counted = sentences & moments.any(dim=-1, keepdim=True)
    return (divergence * counted).sum() / counted.sum().clamp(min=1)


def moment_alignment(
    moments: Tensor,
    queries: Tensor,
    owner: Tensor,
    distances: Tensor,
    *,
    generator: torch.Generator | None,
    temperature: float | Tensor = 0.1,
    most: int = 7,
    samples: int = 64,
    softness: float = SOFTNESS,
) -> Tensor:
    """Sentences of each video aligned with the moments they are worth most together with.

    The players of a video are its sentences and, each once, the `most` moments nearest to what each sentence names;
    `interaction_alignment` with their sampled interaction, or, without a generator, with `pair_removal`.

    Parameters
    ----------
    moments, queries, owner
        As in `moment_contrastive`.
    distances : Tensor of shape (Q, N)
        Of each moment of its video from what the sentence names; infinite ones are no players.
    generator : torch.Generator or None
        On the CPU; None: one coalition, that of all others, is looked at.
    temperature : float
        Of the game and of the model.
    most, samples, softness
        Moments of a sentence, coalitions of a video, and as in `interaction_alignment`.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Li et al. (2023), "G2L: semantically aligned and uniform video grounding via geodesic and game theory", ICCV.
    """
    _check_moments(moments, queries, owner, owner * 0, distances, None, None)
    videos = len(moments)
    of_video = owner == torch.arange(videos, device=owner.device)[:, None]  # (B, Q)
    sentence, sentences = _present(of_video)  # (B, S)
    nearest = distances.sort(dim=1, stable=True)
    is_near = torch.zeros_like(distances, dtype=torch.bool)
    is_near.scatter_(1, nearest.indices[:, :most], nearest.values[:, :most].isfinite())
    moment, there = _present((of_video[:, :, None] & is_near).any(dim=1))  # (B, M)
    place = moment + torch.arange(videos, device=owner.device)[:, None] * moments.shape[1]
    rows = moments.flatten(0, 1).index_select(0, place.flatten()).unflatten(0, place.shape)  # (B, M, d)
    texts = queries.index_select(0, sentence.flatten()).unflatten(0, sentence.shape)  # (B, S, d)
    with torch.autocast(rows.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(rows.dtype, texts.dtype), torch.float32)
        similarity = texts.to(dtype) @ rows.to(dtype).mT  # (B, S, M)
    logits = scaled(similarity, temperature)
    if generator is None:
        found = pair_removal(logits, sentences, there)
    else:
        coalitions = draw_coalitions(samples, videos, sum(logits.shape[1:]), generator=generator)
        found = sampled_interaction(logits, coalitions, sentences, there).values
    return interaction_alignment(logits, found, softness=softness, sentences=sentences, moments=there)


def _present(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of what is set in each row of a mask (B, n), in order and then others, and which of them are set.

    Both (B, k), k the most that a row has, at least 1.
    """
    most = max(1, int(mask.sum(dim=1).max()))
    order = mask.to(torch.int8).sort(dim=1, descending=True, stable=True)
    return order.indices[:, :most], order.values[:, :most].bool()


def _check_moments(
    moments: Tensor,
    queries: Tensor,
    owner: Tensor,
    best: Tensor,
    overlaps: Tensor,
    weights: Tensor | None,
    allowed: Tensor | None,
) -> None:
    if moments.ndim != 3 or queries.ndim != 2 or moments.shape[2] != queries.shape[1]:
        shapes = f"{tuple(moments.shape)} and {tuple(queries.shape)}"
        raise ValueError(f"moments must be (B, N, d) and queries (Q, d), got {shapes}")
    videos, count, number = *moments.shape[:2], len(queries)
    named = {"owner": owner, "best": best, "overlaps": overlaps, "weights": weights, "allowed": allowed}
    expected = [(number,), (number,), (number, count), (number, count), (number, videos, count)]
    for (name, value), shape in zip(named.items(), expected, strict=True):
        if value is not None and value.shape != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(value.shape)}")


# ------------------------------------------------------------------------------------------------ images and texts


def geodesic_contrastive(
    image: Tensor,
    text: Tensor,
    temperature: float | Tensor,
    *,
    neighbors: int = NEIGHBORS,
    width: float = WIDTH,
    most: int = 5,
) -> Tensor:
    """The contrastive term in which near images stand in for each other, by their distance along the batch's graph.

    Of text i, with s its cosine with an image, τ the temperature, d the geodesic distance of images and
    w_ij = exp(−(d_ij/width)²),

        −log Σ_P w e^(s/τ) / (Σ_P w e^(s/τ) + Σ (1 + w) e^(s/τ)),

    P being the `most` images with the largest w_ij (i among them) and the other sum that over images with w below
    0.5. Images i likewise over texts, with the same w. Where all images are far it is `contrastive` but for the
    weight of pairs of images in both sums. geomclip's own formula, in the sense of Li et al. (2023).

    Parameters
    ----------
    image, text, temperature
        As in `contrastive`.
    neighbors : int
        Of each image in the graph.
    width : float
        Radians.
    most : int
        Positives of a row, at most; 1 with a small width: `contrastive`.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `contrastive`, and if neighbors or most is below 1 or width is not positive.

    References
    ----------
    Li et al. (2023), "G2L: semantically aligned and uniform video grounding via geodesic and game theory", ICCV.

    Examples
    --------
    >>> round(geodesic_contrastive(torch.eye(2), torch.eye(2), 1.0).item(), 4)  # at a right angle: far
    0.3133
    """
    x, y = paired(image, text)
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    weights = geodesic_weights(geodesic_distances(x[None], k=neighbors)[0], width=width)  # (M, M)
    weights = torch.maximum(weights, weights.T)  # there and back are added up in another order
    logits = scaled(cosines(x, y), temperature)
    return (_weighted_entropy(logits, weights, most) + _weighted_entropy(logits.T, weights, most)) / 2


def _weighted_entropy(logits: Tensor, weights: Tensor, most: int) -> Tensor:
    """Mean over the rows: weights say which columns count as the row's own, and how much."""
    ranks = torch.diagonal_scatter(weights, torch.full_like(weights[0], torch.inf))
    chosen = ranks.topk(min(most, len(weights)), dim=1).indices
    towards = (logits.gather(1, chosen) + weights.gather(1, chosen).log()).logsumexp(dim=1)
    against = (logits + weights.log1p()).where(weights < NEAR, -torch.inf).logsumexp(dim=1)
    return (torch.logaddexp(towards, against) - towards).mean()


def shapley_alignment(
    image: Tensor,
    text: Tensor,
    temperature: float | Tensor,
    coalitions: Tensor,
    *,
    neighbors: int = NEIGHBORS,
    softness: float = SOFTNESS,
) -> Tensor:
    """Each pair and the images nearest to its own, aligned with what texts and images are worth together.

    A block of a pair are its image and those of the smallest geodesic distance on the batch's graph, with their
    texts. In it texts play with images the game of `matching_value`, whose shares are the model's distribution, and
    `interaction_alignment` brings each text's distribution to the sampled interactions; images likewise with texts.
    geomclip's own formula, in the sense of Li et al. (2023).

    Parameters
    ----------
    image, text, temperature
        As in `contrastive`.
    coalitions : bool Tensor of shape (K, 2 · P)
        As `draw_coalitions` draws them, the same for all blocks; P is how many pairs are in a block, at most M.
    neighbors : int
        Of each image in the graph.
    softness : float
        As in `interaction_alignment`.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `contrastive`, and if neighbors is below 1, softness not positive, or the coalitions are none.

    References
    ----------
    Li et al. (2023), "G2L: semantically aligned and uniform video grounding via geodesic and game theory", ICCV.
    """
    x, y = paired(image, text)
    if coalitions.ndim != 2 or coalitions.shape[1] < 2 or coalitions.shape[1] % 2:
        raise ValueError(f"coalitions must be (K, 2 P), got {tuple(coalitions.shape)}")
    half = coalitions.shape[1] // 2
    players = min(half, len(x))
    far = geodesic_distances(x[None], k=neighbors)[0]
    far = torch.diagonal_scatter(torch.minimum(far, far.T), torch.full_like(far[0], -1))  # its own first
    near = far.sort(dim=1, stable=True)
    block, there = near.indices[:, :players], near.values[:, :players].isfinite()  # (M, P)
    logits = scaled(cosines(y, x), temperature)  # (M, M), texts in rows
    logits = torch.stack([logits, logits.T])[:, block[:, :, None], block[:, None, :]]  # (2, M, P, P)
    both = there.expand(2, -1, -1)
    of_block = torch.cat([coalitions[:, :players], coalitions[:, half : half + players]], dim=1)
    found = sampled_interaction(logits, of_block, both, both).values
    return interaction_alignment(logits, found, softness=softness, sentences=both, moments=both)
