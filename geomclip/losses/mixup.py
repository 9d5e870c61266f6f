"""The contrastive term of CLIP, and the same on geodesic mixtures of the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.embeddings.geometry import geodesic_mixup
from geomclip.losses import blockwise
from geomclip.losses.batch import cosines, cross_entropy, own, own_entropy, paired, partners, scaled

VL_TARGETS = ("identity", "both")


def contrastive(image: Tensor, text: Tensor, temperature: float | Tensor) -> Tensor:
    """Cross-entropy of matching each row with its own among all of the other modality, at logits x_i · y_j / τ.

    Parameters
    ----------
    image, text : Tensor of shape (M, D)
        Unit rows, M at least 2.
    temperature : float or 0-d Tensor
        τ, positive; the inverse of the logit scale.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        If the shapes differ or are not (M, D), M is below 2, or τ is a float that is not positive.

    References
    ----------
    Radford et al. (2021), "Learning transferable visual models from natural language supervision", ICML.

    Examples
    --------
    >>> round(contrastive(torch.eye(2), torch.eye(2), 1.0).item(), 4)  # log(1 + 1/e)
    0.3133
    """
    x, y = paired(image, text)
    if len(x) > blockwise.DENSE_UP_TO:
        return blockwise.contrastive(x, y, temperature)
    return cross_entropy(scaled(cosines(x, y), temperature), [(1.0, own(x))])


def m2_mix(image: Tensor, text: Tensor, lam: float | Tensor, temperature: float | Tensor) -> Tensor:
    """The contrastive term with each negative j replaced by the mixture of image j and text j.

    Cross-entropy over the rows of both matrices of `m2_cosines`, divided by τ: the positive stays unmixed.

    Parameters
    ----------
    image, text, temperature
        As in `contrastive`.
    lam : float, or Tensor of shape () or (M,)
        λ of m_λ(x_j, y_j): 1 gives the image, 0 the text; per row, column j has λ_j.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `contrastive`, and if λ is neither one number nor one a row.

    References
    ----------
    Oh et al. (2023), "Geodesic Multi-Modal Mixup for Robust Fine-Tuning", NeurIPS.

    Examples
    --------
    >>> round(m2_mix(torch.eye(2), torch.eye(2), 0.5, temperature=1.0).item(), 4)  # both modalities in one place
    0.3133
    """
    if len(image) > blockwise.DENSE_UP_TO:
        x, y = paired(image, text)
        mixed, matched = blockwise.mixed(image, text, lam).to(x.dtype), (x * y).sum(1)
        halves = [blockwise.own_entropy(rows, mixed, matched, temperature) for rows in (x, y)]
        return (halves[0] + halves[1]) / 2
    towards_text, towards_image = m2_cosines(image, text, lam)
    return (own_entropy(scaled(towards_text, temperature)) + own_entropy(scaled(towards_image, temperature))) / 2


def m2_cosines(image: Tensor, text: Tensor, lam: float | Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of images and of texts with the mixtures of other pairs; with their own partner on the diagonal.

    Off the diagonal x_i · m_λ(x_j, y_j) and y_i · m_λ(x_j, y_j); on it x_i · y_i in both.

    Parameters
    ----------
    image, text, lam
        As in `m2_mix`.

    Returns
    -------
    of_image, of_text : Tensor of shape (M, M)

    Examples
    --------
    >>> of_image, of_text = m2_cosines(torch.eye(2), torch.eye(2)[[1, 0]], 0.0)
    >>> round(of_image[0, 1].item(), 4), of_image[0, 0].item()  # text 1 is image 0; text 0 is not
    (1.0, 0.0)
    """
    x, y = paired(image, text)
    mixed = geodesic_mixup(image, text, lam)  # (M, D)
    matched = (x * y).sum(1)
    return torch.diagonal_scatter(cosines(x, mixed), matched), torch.diagonal_scatter(cosines(y, mixed), matched)


def v_mix(image: Tensor, text: Tensor, lam: float | Tensor, partner: Tensor, temperature: float | Tensor) -> Tensor:
    """Images mixed with each other: logits m_λ(x_i, x_r(i)) · y_j / τ, target λ on i and 1 − λ on r(i).

    The text direction has the transpose of logits and target, so with one λ a row its target rows do not sum to 1.

    Parameters
    ----------
    image, text, temperature
        As in `contrastive`.
    lam : float, or Tensor of shape () or (M,)
        λ; 1 mixes nothing.
    partner : integer Tensor of shape (M,)
        r, a permutation of 0 to M − 1.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `m2_mix`, and if partner is no (M,) tensor of integers.

    References
    ----------
    Oh et al. (2023), as above.

    Examples
    --------
    >>> x, y = torch.eye(2), torch.eye(2)
    >>> round(v_mix(x, y, 0.5, torch.tensor([1, 0]), temperature=1.0).item(), 4)  # half way between: log 2
    0.6931
    """
    x, y = paired(image, text)
    r = partners(partner, x)
    logits = scaled(cosines(geodesic_mixup(image, image[r], lam), y), temperature)
    return cross_entropy(logits, [(per_row(lam, x), own(x)), (1 - per_row(lam, x), r)])


def l_mix(image: Tensor, text: Tensor, lam: float | Tensor, partner: Tensor, temperature: float | Tensor) -> Tensor:
    """Texts mixed with each other: logits x_i · m_λ(y_j, y_r(j)) / τ; the mirror image of `v_mix`.

    Parameters
    ----------
    image, text, lam, partner, temperature
        As in `v_mix`.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `v_mix`.

    References
    ----------
    Oh et al. (2023), as above.

    Examples
    --------
    >>> round(l_mix(torch.eye(2), torch.eye(2), 0.5, torch.tensor([1, 0]), temperature=1.0).item(), 4)
    0.6931
    """
    paired(image, text)  # so that an error names the two in the order given
    return v_mix(text, image, lam, partner, temperature)


def vl_mix(
    image: Tensor,
    text: Tensor,
    lam: float | Tensor,
    partner: Tensor,
    temperature: float | Tensor,
    *,
    target: str = "identity",
) -> Tensor:
    """Both mixed with the same λ and partner: logits m_λ(x_i, x_r(i)) · m_λ(y_j, y_r(j)) / τ, target the identity.

    Parameters
    ----------
    image, text, lam, partner, temperature
        As in `v_mix`.
    target : {"identity", "both"}
        "both": the identity plus the partner, rows summing to 2, as the authors' code has it.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `v_mix`, and for another target.

    References
    ----------
    Oh et al. (2023), as above.

    Examples
    --------
    >>> round(vl_mix(torch.eye(2), torch.eye(2), 1.0, torch.tensor([1, 0]), temperature=1.0).item(), 4)
    0.3133
    """
    if target not in VL_TARGETS:
        raise ValueError(f"target {target!r}: use one of {', '.join(VL_TARGETS)}")
    x, _ = paired(image, text)
    r = partners(partner, x)
    mixed = geodesic_mixup(image, image[r], lam), geodesic_mixup(text, text[r], lam)
    logits = scaled(cosines(*mixed), temperature)
    return cross_entropy(logits, [(1.0, own(x)), (1.0, r)] if target == "both" else [(1.0, own(x))])


def per_row(lam: float | Tensor, x: Tensor) -> float | Tensor:
    """λ as it weighs the entropies (M,) of rows."""
    return lam.to(x) if isinstance(lam, Tensor) and lam.ndim else lam
