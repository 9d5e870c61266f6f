"""The names of weights in transformers and in open_clip: one table, read in both directions.

Each row joins some tensors of one side into the same block of numbers as some tensors of the other: the three
projections of attention that open_clip keeps in one tensor, for example. Tensors are made when they are asked for,
one at a time, so that a conversion holds no second copy of a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IGNORED = re.compile(r"(^|\.)position_ids$")  # buffers that transformers before 4.31 wrote: 0, 1, 2, ...
_TEXT, _VISION = "text_model", "vision_model"


@dataclass(frozen=True)
class Row:
    """Tensors of open_clip and those of transformers with the same numbers, each side joined along its first axis."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    change: str = "same"  # of a tensor of transformers, to have the axes of open_clip's: a key of CHANGES
    parts: tuple[int, ...] = (1,)  # shares of each of `ours` in what is joined


def _patches(value: Tensor) -> Tensor:
    """Weights of a linear map of patches (d, p * p * 3) as those of a convolution (d, 3, p, p)."""
    side = round((value.shape[1] / 3) ** 0.5)
    return value.reshape(value.shape[0], side, side, -1).permute(0, 3, 1, 2)


CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "same": (lambda value: value, lambda value: value),
    "transposed": (lambda value: value.T, lambda value: value.T),
    "one number": (lambda value: value.reshape(()), lambda value: value.reshape(())),
    "one number of an axis": (lambda value: value.reshape(()), lambda value: value.reshape(1)),
    "batched": (lambda value: value[None], lambda value: value[0]),
    "patches": (_patches, lambda value: value.permute(0, 2, 3, 1).flatten(1)),
}
"""From the axes of transformers to those of open_clip, and back."""


def clip_rows(vision_layers: int, text_layers: int, text: str = "") -> tuple[Row, ...]:
    """The table of CLIPModel; `text` opens the names of the text tower in open_clip, where it has any."""
    rows = [
        Row(("logit_scale",), ("logit_scale",), "one number"),
        Row(("visual.proj",), ("visual_projection.weight",), "transposed"),
        Row((f"{text}text_projection",), ("text_projection.weight",), "transposed"),
        Row(("visual.class_embedding",), (f"{_VISION}.embeddings.class_embedding",)),
        Row(("visual.conv1.weight",), (f"{_VISION}.embeddings.patch_embedding.weight",)),
        Row(("visual.positional_embedding",), (f"{_VISION}.embeddings.position_embedding.weight",)),
        *_both("visual.ln_pre", f"{_VISION}.pre_layrnorm"),  # transformers' spelling
        *_both("visual.ln_post", f"{_VISION}.post_layernorm"),
        *_text_rows(text),
    ]
    for layer in range(vision_layers):
        rows += _block(f"visual.transformer.resblocks.{layer}", f"{_VISION}.encoder.layers.{layer}")
    return (*rows, *_text_blocks(text, text_layers))


def siglip_rows(vision_layers: int, text_layers: int, *, linear_patches: bool = False) -> tuple[Row, ...]:
    """The table of SiglipModel, or with `linear_patches` of Siglip2Model; the image tower is timm's in open_clip."""
    trunk, head, pool = "visual.trunk", f"{_VISION}.head", "visual.trunk.attn_pool"
    patches = "patches" if linear_patches else "same"
    rows = [
        Row(("logit_scale",), ("logit_scale",), "one number of an axis"),
        Row(("logit_bias",), ("logit_bias",), "one number of an axis"),
        *_both("text.text_projection", f"{_TEXT}.head"),
        Row((f"{trunk}.patch_embed.proj.weight",), (f"{_VISION}.embeddings.patch_embedding.weight",), patches),
        Row((f"{trunk}.patch_embed.proj.bias",), (f"{_VISION}.embeddings.patch_embedding.bias",)),
        Row((f"{trunk}.pos_embed",), (f"{_VISION}.embeddings.position_embedding.weight",), "batched"),
        *_both(f"{trunk}.norm", f"{_VISION}.post_layernorm"),
        Row((f"{pool}.latent",), (f"{head}.probe",)),
        *_both(f"{pool}.proj", f"{head}.attention.out_proj"),
        *_both(f"{pool}.norm", f"{head}.layernorm"),
        *_both(f"{pool}.mlp.fc1", f"{head}.mlp.fc1"),
        *_both(f"{pool}.mlp.fc2", f"{head}.mlp.fc2"),
        *_text_rows("text."),
    ]
    for kind in ("weight", "bias"):
        rows.append(Row((f"{pool}.q.{kind}", f"{pool}.kv.{kind}"), (f"{head}.attention.in_proj_{kind}",), parts=(1, 2)))
    for layer in range(vision_layers):
        rows += _timm_block(f"{trunk}.blocks.{layer}", f"{_VISION}.encoder.layers.{layer}")
    return (*rows, *_text_blocks("text.", text_layers))


def rows_of(shapes: Mapping[str, Any]) -> tuple[Row, ...]:
    """The table of a model of open_clip by the names of its tensors; empty where transformers has no such model.

    Examples
    --------
    >>> rows_of({"visual.trunk.stem.weight": (8, 3, 4, 4)})
    ()
    """
    text = "text." if any(name.startswith("text.") for name in shapes) else ""
    text_layers = _layers(shapes, f"{text}transformer.resblocks.")
    if "visual.trunk.attn_pool.latent" in shapes:
        rows = siglip_rows(_layers(shapes, "visual.trunk.blocks."), text_layers)
    else:
        rows = clip_rows(_layers(shapes, "visual.transformer.resblocks."), text_layers, text=text)
    return rows if {name for row in rows for name in row.ours} == set(shapes) else ()


def _layers(names: Iterable[str], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


def _text_rows(text: str) -> list[Row]:
    return [
        Row((f"{text}token_embedding.weight",), (f"{_TEXT}.embeddings.token_embedding.weight",)),
        Row((f"{text}positional_embedding",), (f"{_TEXT}.embeddings.position_embedding.weight",)),
        *_both(f"{text}ln_final", f"{_TEXT}.final_layer_norm"),
    ]


def _text_blocks(text: str, layers: int) -> list[Row]:
    return [
        row
        for layer in range(layers)
        for row in _block(f"{text}transformer.resblocks.{layer}", f"{_TEXT}.encoder.layers.{layer}")
    ]


def _both(ours: str, theirs: str) -> list[Row]:
    return [Row((f"{ours}.{kind}",), (f"{theirs}.{kind}",)) for kind in ("weight", "bias")]


def _block(ours: str, theirs: str) -> list[Row]:
    """One layer of a tower of open_clip's own."""
    pairs = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    pairs |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    return _layer(ours, theirs, pairs, "attn.in_proj_")


def _timm_block(ours: str, theirs: str) -> list[Row]:
    """One layer of a tower of timm."""
    pairs = {"attn.proj": "self_attn.out_proj", "norm1": "layer_norm1", "norm2": "layer_norm2"}
    pairs |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    return _layer(ours, theirs, pairs, "attn.qkv.")


def _layer(ours: str, theirs: str, pairs: Mapping[str, str], joint: str) -> list[Row]:
    rows = [row for here, there in pairs.items() for row in _both(f"{ours}.{here}", f"{theirs}.{there}")]
    for kind in ("weight", "bias"):
        rows.append(
            Row((f"{ours}.{joint}{kind}",), tuple(f"{theirs}.self_attn.{letter}_proj.{kind}" for letter in "qkv"))
        )
    return rows


class Renamed(Mapping[str, Tensor]):
    """A state dict in the other layout, each tensor made when it is taken; equal numbers, no copy of the whole.

    Parameters
    ----------
    tensors : mapping of name to Tensor
        All those that the rows name on the side that is read.
    rows : iterable of Row
        The table of the model.
    to : str
        "open_clip" or "transformers": the side that is given out.
    """

    def __init__(self, tensors: Mapping[str, Tensor], rows: Iterable[Row], *, to: str) -> None:
        self._tensors, self._forward = tensors, to == "open_clip"
        self._places: dict[str, tuple[Row, int]] = {}
        for row in rows:
            for place, name in enumerate(row.ours if self._forward else row.theirs):
                self._places[name] = (row, place)

    def pieces(self, name: str) -> list[Tensor]:
        """The tensors that, joined along their first axis, are the one of this name: to copy them saves the joining."""
        row, place = self._places[name]
        forward, back = CHANGES[row.change]
        if self._forward:
            found = [forward(self._tensors[source]) for source in row.theirs]
            return found if len(row.ours) == 1 else [_part(_joined(found), place, row.parts)]
        whole = _joined([self._tensors[source] for source in row.ours])
        return [back(whole) if len(row.theirs) == 1 else _part(whole, place, (1,) * len(row.theirs))]

    def __getitem__(self, name: str) -> Tensor:
        return _joined(self.pieces(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _joined(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.cat(values)


def _part(whole: Tensor, place: int, parts: tuple[int, ...]) -> Tensor:
    """The block of rows at a place, where the blocks have sizes in these proportions."""
    unit = len(whole) // sum(parts)
    return whole[unit * sum(parts[:place]) : unit * sum(parts[: place + 1])]


def shapes_in(rows: Iterable[Row], shapes: Mapping[str, Any], *, to: str) -> dict[str, tuple[int, ...]]:
    """The shapes that the tensors of a state dict have in the other layout; no memory is used.

    Examples
    --------
    >>> rows = [Row(("visual.proj",), ("visual_projection.weight",), "transposed")]
    >>> shapes_in(rows, {"visual.proj": (32, 16)}, to="transformers")
    {'visual_projection.weight': (16, 32)}
    """
    outlines = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return {name: tuple(value.shape) for name, value in Renamed(outlines, rows, to=to).items()}
