"""Probe: a few held-out pairs looked at again and again while a model trains: its path through the space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geomclip import metrics
from geomclip.embeddings.geometry import normalize
from geomclip.encoders.protocol import Encodes
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.pairs.record import Pairs
from geomclip.training.pictures import Pictures
from geomclip.training.watching.undisturbed import eval_mode

BATCH = 64
"""Rows that the model sees at once."""

NUMBERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "alignment": metrics.alignment,
    "uniformity_image": lambda image, text: metrics.uniformity(image),
    "uniformity_text": lambda image, text: metrics.uniformity(text),
    "uniformity_joint": metrics.uniformity_joint,
    "uniformity_cross": metrics.uniformity_cross,
    "modality_gap": metrics.modality_gap,
    "relative_modality_gap": metrics.relative_modality_gap,
}
"""What is measured, under the keys of the panel."""


class Probe:
    """Pixels and tokens of a fixed set: `size` images spread evenly over a split, each with its first text.

    Parameters
    ----------
    encoder : Encodes
        Whose preprocessing and tokenizer are used; its weights are not.
    pairs : Pairs
        The validation split; images without text, or that cannot be read, are left out.
    size : int
        At least 2. Pixels are kept in float32: 256 images of 224 x 224 take 154 MB.

    Raises
    ------
    InputError
        If fewer than 2 pairs can be used, or more than a tenth of the images cannot be read.
    """

    def __init__(self, encoder: Encodes, pairs: Pairs, *, size: int = 256) -> None:
        if size < 2:
            raise ValueError(f"a probe needs at least 2 pairs, got size {size}")
        described = pairs.described().pairs
        count = min(size, len(described))
        spread = [described[i * len(described) // count] for i in range(count)]
        name = pairs.title
        pictures = Pictures(spread, encoder.preprocess(), name=name, kept_bytes=0)
        seen = [(pair.first_text, pictures.whole(place)) for place, pair in enumerate(spread)]
        read = [(text, pixels) for text, pixels in seen if pixels is not None]
        if len(read) < 2:
            raise InputError(
                f"{name}: {len(read)} images can be read and have a text, and looking at them while training needs 2 "
                f"({option('probe_every', 0)} does not look)"
            )
        self.pixels = torch.stack([pixels for _, pixels in read])
        self.tokens = encoder.tokenize([text for text, _ in read])[0]

    def __len__(self) -> int:
        return len(self.pixels)

    def measure(self, module: nn.Module, device: str | torch.device = "cpu") -> dict[str, float]:
        """Alignment, uniformities and gaps of these pairs under `module`, on the device that it is on.

        The module is measured in eval mode and without gradients, and left in the mode it was in, part by part;
        the random generators are left as they were. Equal weights give equal numbers. A number that is not
        defined (rows with NaN, all rows one point) is NaN.

        Parameters
        ----------
        module : Module
            With `encode_image` and `encode_text`, as open_clip's models; of any precision.
        device : str or torch.device

        Returns
        -------
        dict of str to float
            The keys are those of `NUMBERS`.
        """
        device = torch.device(device)
        dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        generators = range(torch.cuda.device_count()) if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=generators), eval_mode(module):
            image = _rows(module.encode_image, self.pixels, device, dtype)  # type: ignore[arg-type]
            text = _rows(module.encode_text, self.tokens, device, None)  # type: ignore[arg-type]
        try:
            image, text = normalize(image)[0], normalize(text)[0]
        except ValueError:  # NaN, or no direction
            return dict.fromkeys(NUMBERS, math.nan)
        return {key: _value(function, image, text) for key, function in NUMBERS.items()}


def _rows(encode: Callable[..., Any], inputs: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """Rows (n, d), float32 on the CPU, not normalised."""
    rows = []
    for batch in inputs.split(BATCH):
        out = encode(batch.to(device, dtype), normalize=False)  # CoCa normalises unless told not to
        rows.append((out[0] if isinstance(out, tuple) else out).float().cpu())
    return torch.cat(rows)


def _value(function: Callable[[Tensor, Tensor], Any], image: Tensor, text: Tensor) -> float:
    try:
        return float(function(image, text))
    except ValueError:
        return math.nan
