"""HeldOut: the validation split, measured again and again while a model is trained on another."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor, nn

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders import Encoder
from geomclip.machine.errors import InputError
from geomclip.machine.threads import default_workers
from geomclip.machine.words import option
from geomclip.metrics import METRICS
from geomclip.pairs.record import Pairs
from geomclip.panels.measurement import measure
from geomclip.training.pictures import Pictures

SHOWN = (
    "text_retrieval_recall@1",
    "image_retrieval_recall@1",
    "alignment",
    "uniformity_joint",
    "modality_gap",
)
"""Measured at every evaluation beside the metric that decides."""


class HeldOut:
    """Metrics of a module on one split; its pictures are decoded once, if they fit into memory.

    Parameters
    ----------
    encoder : Encoder
        Says how images and texts are prepared.
    pairs : Pairs
    metric : str
        The key that decides, or several with commas between: their mean decides.
    """

    def __init__(
        self, encoder: Encoder, pairs: Pairs, *, metric: str, batch_size: int = 64, workers: int | None = None
    ) -> None:
        self.encoder, self.batch_size = encoder, batch_size
        self.deciding = deciding(metric)
        self.keys = list(dict.fromkeys([*self.deciding, *SHOWN]))
        self.pictures = Pictures(pairs.pairs, encoder.preprocess(), name=pairs.title)
        self.workers = default_workers() if workers is None else workers
        texts, owner = pairs.texts()
        self.owner = torch.tensor(owner)
        self.tokens, _ = encoder.tokenize(texts)

    def __call__(self, module: nn.Module, *, device: str) -> dict[str, float]:
        """Every key in `keys` that is defined, of this module in eval mode."""
        scale = float(module.logit_scale.detach().exp())  # type: ignore[operator]
        return self.of(replace(self.encoder, module=module.eval(), device=device, precision="fp32", logit_scale=scale))

    def of(self, encoder: Encoder) -> dict[str, float]:
        """Every key in `keys` that is defined, of an encoder that prepares images and texts as this one does."""
        panel = measure(self.embeddings(encoder), metrics=self.keys, bootstrap=0)
        return {key: float(value) for key, value in panel.values.items() if value is not None}

    def score(self, values: dict[str, float]) -> float:
        """What decides which weights are best: higher is better.

        Raises
        ------
        InputError
            If the deciding metric is undefined on this split.
        """
        missing = [key for key in self.deciding if key not in values]
        if missing:
            raise InputError(f"{option('val_metric')} {missing[0]} is undefined on {self.pictures.name}: name another")
        signs = [1.0 if METRICS[key].better == "higher" else -1.0 for key in self.deciding]
        return sum(sign * values[key] for sign, key in zip(signs, self.deciding, strict=True)) / len(signs)

    def embeddings(self, encoder: Encoder) -> EmbeddingSet:
        """The unit rows of the split; images that cannot be read are left out with their texts."""
        kept, image = image_rows(encoder, self.pictures, batch_size=self.batch_size, workers=self.workers)
        place = torch.full((len(self.pictures.pairs),), -1)
        place[kept] = torch.arange(len(kept))
        texts = place[self.owner] >= 0
        parts = [encoder.encode_text(part) for part in self.tokens[texts].split(self.batch_size)]
        return EmbeddingSet(
            image,
            torch.cat(parts),
            image_of_text=place[self.owner[texts]],
            logit_scale=encoder.logit_scale,
        )


def image_rows(encoder: Encoder, pictures: Pictures, *, batch_size: int, workers: int) -> tuple[Tensor, Tensor]:
    """Which images (n,) could be read, and their rows (n, d) as the encoder gives them."""
    kept: list[int] = []
    rows: list[Tensor] = []
    images = range(len(pictures.pairs))
    with ThreadPoolExecutor(max(1, workers), "decode") as pool:
        for first in range(0, len(images), batch_size):
            some: Sequence[int] = images[first : first + batch_size]
            decoded = list(pool.map(pictures.whole, some))
            read = [(i, pixels) for i, pixels in zip(some, decoded, strict=True) if pixels is not None]
            if read:
                kept += [i for i, _ in read]
                rows.append(encoder.encode_image(torch.stack([pixels for _, pixels in read])))
    return torch.tensor(kept), torch.cat(rows)


def deciding(metric: str) -> tuple[str, ...]:
    """The keys that a `val_metric` names.

    Raises
    ------
    InputError
        For an unknown key, or one of which neither high nor low is better.
    """
    from geomclip.panels.measurement import metric_keys

    keys = tuple(metric.replace(",", " ").split())
    try:
        metric_keys(keys)
    except ValueError as error:
        raise InputError(f"{option('val_metric')}: {error}") from error
    for key in keys:
        if key not in METRICS:
            raise InputError(f"{option('val_metric')} {key}: name single metrics")
        if not METRICS[key].better:
            raise InputError(f"{option('val_metric')} {key}: neither high nor low is better, so it cannot decide")
    return keys
