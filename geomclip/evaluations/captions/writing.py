"""Writing: captions of images by CoCa's decoder, greedy or by beams.

open_clip's own `generate` of 3.3 asks transformers for classes that its version 5 no longer has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders.clip import PRECISIONS, Encoder
from geomclip.machine.errors import InputError

Next = Callable[[Tensor], Tensor]
"""From token ids (rows, length) to logits of the next token (rows, vocabulary)."""


@dataclass(frozen=True)
class Marks:
    """Tokens that are no words."""

    start: int
    end: int
    padding: int


def marks_of(encoder: Encoder) -> Marks:
    """The marks of an encoder's tokens, of how it writes the empty text.

    Raises
    ------
    InputError
        If that is not a start and an end: then nobody knows how a caption begins.
    """
    padding = int(encoder.module.pad_id)  # type: ignore[arg-type]
    empty = encoder.tokenize([""])[0][0]
    known = empty[empty != padding].tolist()
    if len(known) != 2:
        raise InputError(f"{encoder.model}: its tokenizer has no start and end of a text, so no caption can be begun")
    return Marks(known[0], known[1], padding)


def write(encoder: Encoder, pixels: Tensor, *, beams: int, most: int) -> list[str]:
    """A caption of each image of pixels (b, 3, h, w): at most so many tokens, the likeliest that so many beams find."""
    module, marks = encoder.module, marks_of(encoder)
    with torch.inference_mode():
        image = module(pixels.to(encoder.device, PRECISIONS[encoder.precision]))

        def follow(ids: Tensor) -> Tensor:
            # beams of an image lie together
            each = len(ids) // len(pixels)
            known = {
                "image_latent": image["image_features"].repeat_interleave(each, dim=0),
                "image_embs": image["image_embs"].repeat_interleave(each, dim=0),
            }
            logits: Tensor = module(None, ids.to(encoder.device), **known, output_labels=False)["logits"][:, -1]
            return logits.float().cpu()

        found = search(follow, len(pixels), marks, beams=beams, most=most)
    return [text_of(encoder, ids) for ids in found]


def search(follow: Next, images: int, marks: Marks, *, beams: int, most: int) -> list[list[int]]:
    """The words of each image, without marks: of the sequences found the one of highest mean log-likelihood a token.

    At each place the `beams` likeliest beginnings of an image go on. One that ends among them is set aside, its end
    counted as a token; an image is done when as many have ended. One beam is the greedy choice.
    """
    ids = torch.full((images, 1, 1), marks.start)  # (images, beams, length)
    total = torch.zeros(images, 1, dtype=torch.float64)
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(images)]
    for length in range(1, most + 1):
        kept = ids.shape[1]
        step = follow(ids.flatten(0, 1)).double()
        step[:, [marks.start, marks.padding]] = -torch.inf
        step = step.log_softmax(dim=1).reshape(images, kept, -1)  # (images, beams, vocabulary)
        if length == most:
            step = step[:, :, marks.end : marks.end + 1]  # the last place is that of the end
        joined = (total[:, :, None] + step).flatten(1)
        best, place = joined.topk(min(2 * beams, joined.shape[1]), dim=1)
        beam, token = place // step.shape[2], place % step.shape[2]
        ends = token == marks.end if length < most else torch.ones_like(token, dtype=torch.bool)
        for image, rank in ends[:, :beams].nonzero().tolist():
            if len(ended[image]) < beams and best[image, rank] > -torch.inf:
                words = ids[image, beam[image, rank], 1:].tolist()
                ended[image].append((float(best[image, rank]) / length, words))
        if length == most or all(len(each) >= beams for each in ended):
            break
        # those that do not end, in their order: an end takes one of the places of a beam, so there are enough
        going = ends.long().argsort(dim=1, stable=True)[:, : min(beams, kept * (step.shape[2] - 1))]
        total, token, beam = (each.gather(1, going) for each in (best, token, beam))
        before = ids.gather(1, beam[:, :, None].expand(-1, -1, length))
        ids = torch.cat([before, token[:, :, None]], dim=2)
    return [max(each, key=lambda one: one[0])[1] for each in ended]


def text_of(encoder: Encoder, ids: Sequence[int]) -> str:
    """The text of token ids, spaces as they are written."""
    tokenizer: Any = encoder.tokenizer
    if hasattr(tokenizer, "decode"):
        text = tokenizer.decode(list(ids))
    else:  # one of transformers; what it writes for an unknown word is no word
        text = tokenizer.tokenizer.decode(list(ids), skip_special_tokens=True)
    return " ".join(text.split())
