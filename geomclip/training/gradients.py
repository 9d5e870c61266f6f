"""Gradients of a joint loss: by the rows first, and then the rows by the weights.

Between the two, rows of several forward passes and of several processes are put together, so the gradients are those
of the joint batch however it was divided (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup"). Of several forward passes all but the last are made twice: first for the rows, then with gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from geomclip.training.batches import Batch
from geomclip.training.objective import Loss

Rows = tuple[Tensor, ...]
"""Of a part: those of the images, those of the texts, and what else there is a row of for each image."""


def differentiated(parts: Sequence[Batch], rows_of: Callable[[int], Rows], loss_of: Callable[..., Loss]) -> Loss:
    """The loss of all parts together; its gradients are added to `grad` of the weights that made the rows.

    Parameters
    ----------
    parts : sequence of Batch
        Of one batch, in order.
    rows_of : callable
        The rows of a part, by its number; asked twice it gives the same.
    loss_of : callable
        The loss of the rows of all parts: an argument a side.
    """
    last = len(parts) - 1
    rows: list[Rows] = []
    for number in range(len(parts)):
        with torch.set_grad_enabled(number == last):
            rows.append(rows_of(number))
    leaves = [torch.cat([part.detach() for part in side]).requires_grad_() for side in zip(*rows, strict=True)]
    loss = loss_of(*leaves)
    loss.total.backward()
    # the last part first: its activations are there
    for number in reversed(range(len(parts))):
        own = rows[number] if number == last else rows_of(number)
        outputs, gradients = [], []
        for side, leaf in enumerate(leaves):
            if own[side].requires_grad and leaf.grad is not None:
                # chunks of the image rows are runs; of the text rows too, part by part
                first = sum(len(each[side]) for each in rows[:number])
                outputs.append(own[side])
                gradients.append(leaf.grad[first : first + len(own[side])])
        if outputs:
            torch.autograd.backward(outputs, gradients)
    return loss


def divided(batch: Batch, parts: int) -> list[Batch]:
    """The batch in at most `parts` parts of about equal size, images in order with their texts."""
    if parts == 1 or len(batch) < 2:
        return [batch]
    rounds = len(batch.tokens) // len(batch)
    if rounds != 1:
        raise ValueError("a batch with several texts an image cannot be divided")
    pixels, tokens = batch.pixels.chunk(parts), batch.tokens.chunk(parts)
    return [Batch(*each) for each in zip(pixels, tokens, strict=True)]
