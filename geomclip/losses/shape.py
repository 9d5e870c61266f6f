"""Terms on the shape of the space, added to a contrastive one: consistency, alignment, uniformity."""

from __future__ import annotations

import math

from torch import Tensor

from geomclip.losses.batch import cosines, paired, without_diagonal


def in_modal_consistency(image: Tensor, text: Tensor) -> Tensor:
    """How far the cosines among images are from those among their texts: Σ_ij (x_i · x_j − y_i · y_j)² / M.

    Parameters
    ----------
    image, text : Tensor of shape (M, D)
        Unit rows, M at least 2.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        If the shapes differ or are not (M, D), or M is below 2.

    References
    ----------
    Goel et al. (2022), "CyCLIP: cyclic contrastive language-image pretraining", NeurIPS.

    Examples
    --------
    >>> import torch
    >>> in_modal_consistency(torch.eye(2), torch.eye(2)[[0, 0]]).item()  # the two texts are one
    1.0
    """
    x, y = paired(image, text)
    return (cosines(x, x) - cosines(y, y)).square().sum() / len(x)


def cross_modal_consistency(image: Tensor, text: Tensor) -> Tensor:
    """How far the cosine of image i with text j is from that of image j with text i: Σ_ij (s_ij − s_ji)² / M.

    Parameters
    ----------
    image, text
        As in `in_modal_consistency`.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `in_modal_consistency`.

    References
    ----------
    Goel et al. (2022), as above.

    Examples
    --------
    >>> import torch
    >>> cross_modal_consistency(torch.eye(2), torch.eye(2)[[0, 0]]).item()
    1.0
    """
    x, y = paired(image, text)
    s = cosines(x, y)
    return (s - s.T).square().sum() / len(x)


def alignment(image: Tensor, text: Tensor) -> Tensor:
    """Mean squared distance of matched rows, as `geomclip.metrics.alignment`: 0 to 4.

    Parameters
    ----------
    image, text
        As in `in_modal_consistency`.

    Returns
    -------
    0-d Tensor

    Raises
    ------
    ValueError
        As in `in_modal_consistency`.

    References
    ----------
    Wang and Isola (2020), "Understanding contrastive representation learning through alignment and uniformity on
    the hypersphere", ICML.

    Examples
    --------
    >>> import torch
    >>> alignment(torch.eye(2), torch.eye(2)[[1, 0]]).item()
    2.0
    """
    x, y = paired(image, text)
    return (x - y).square().sum(1).mean()


def uniformity(image: Tensor, text: Tensor, *, t: float = 2.0) -> Tensor:
    """Mean over the modalities of log mean exp(−t‖z_i − z_j‖²), i ≠ j, as `geomclip.metrics.uniformity` of each.

    Parameters
    ----------
    image, text
        As in `in_modal_consistency`.
    t : float
        Sharpness, as in the metric.

    Returns
    -------
    0-d Tensor, −4t to 0

    Raises
    ------
    ValueError
        As in `in_modal_consistency`.

    References
    ----------
    Wang and Isola (2020), as above; of each modality: Fahim et al. (2024), arXiv 2405.18570.

    Examples
    --------
    >>> import torch
    >>> round(uniformity(torch.eye(2), torch.eye(2)).item(), 4)
    -4.0
    """
    x, y = paired(image, text)
    return (potential(cosines(x, x), t) + potential(cosines(y, y), t)) / 2


def cross_uniformity(image: Tensor, text: Tensor, *, t: float = 2.0) -> Tensor:
    """Log mean exp(−t‖x_i − y_j‖²), i ≠ j, as `geomclip.metrics.uniformity_cross`.

    Parameters
    ----------
    image, text, t
        As in `uniformity`.

    Returns
    -------
    0-d Tensor, −4t to 0

    Raises
    ------
    ValueError
        As in `in_modal_consistency`.

    References
    ----------
    Fahim et al. (2024), as above.

    Examples
    --------
    >>> import torch
    >>> round(cross_uniformity(torch.eye(2), torch.eye(2)).item(), 4)
    -4.0
    """
    return potential(cosines(*paired(image, text)), t)


def potential(similarity: Tensor, t: float) -> Tensor:
    """Log mean exp(−t‖x_i − y_j‖²) over i ≠ j; ‖x − y‖² = 2 − 2 x · y."""
    m = len(similarity)
    return without_diagonal(2 * t * (similarity - 1)).logsumexp((0, 1)) - math.log(m * (m - 1))
