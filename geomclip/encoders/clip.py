"""Encoder: two towers, a tokenizer and a transform, with everything a result must say about them."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geomclip.encoders import short_texts, towers
from geomclip.encoders.hf.tokens import sha256 as tokenizer_sha256
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.places import shown_in
from geomclip.machine.words import option

if TYPE_CHECKING:
    from PIL.Image import Image

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MAX_ELONGATION = 200  # side to side; 224 pixels the short way is then up to 224 x 44,800 x 3 bytes = 30 MB
CHARACTERS_PER_TOKEN = 32  # a text is cut at this many characters for each place of the context


class Preprocess:
    """open_clip's inference transform for one model: PIL image to float32 tensor (3, height, width).

    `uint8` stops before the numbers are scaled, which `Encoder.encode_image` then does. Picklable, so that worker
    processes can hold it.

    Raises
    ------
    InputError
        When called with an image so elongated that resizing its short side would take gigabytes.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.transform, self._shape = towers.image_transform(self.settings)

    def __call__(self, image: Image) -> Tensor:
        """The image as the model wants it."""
        self._check_elongation(image)
        return self.transform(image)

    def uint8(self, image: Image) -> Tensor:
        """The image at the model's size as bytes (3, height, width): a quarter of the memory to hand over."""
        self._check_elongation(image)
        return torch.from_numpy(np.array(self._shape(image))).permute(2, 0, 1)

    def _check_elongation(self, image: Image) -> None:
        short, long = sorted(image.size)
        # the longest side first: a short side may then be left with no pixel at all
        size = self.settings["size"]
        limit = min(size) if self.settings["resize_mode"] == "longest" else MAX_ELONGATION
        if self.settings["resize_mode"] != "squash" and long > limit * short:
            raise InputError(f"{image.width} x {image.height} pixels: too elongated to be resized")


@dataclass(frozen=True, eq=False)
class Encoder:
    """A dual encoder in eval mode: pixels and tokens in, float32 rows out, not normalised.

    With a `shift` s the rows are x' = norm(norm(x) - s/2) for images and y' = norm(norm(y) + s/2) for texts
    (Liang et al. 2022, "Mind the gap": s is an amount times the difference of the two means).

    A row depends on its own image or text alone, up to rounding: processors choose other kernels for other
    batch sizes, so equal bytes need equal batch sizes (extraction pads its last batch).
    """

    model: str  # what results call it
    pretrained: str  # what results call its weights; "random" where they are
    arch: str  # open_clip's configuration, "custom" where it came with the weights
    quick_gelu: bool
    dim: int
    context_length: int
    logit_scale: float  # 1/temperature, as a factor
    logit_bias: float | None  # what a SigLIP model adds to its logits
    weights_sha256: str  # of the float32 weights, whatever the precision in use
    preprocessing: Mapping[str, Any]  # size, mean, std, interpolation, resize_mode, fill_color
    precision: str  # in use: fp32, bf16 or fp16, never "auto"
    device: str
    notes: tuple[str, ...]
    module: torch.nn.Module = field(repr=False)
    model_cfg: Mapping[str, Any] = field(repr=False)  # open_clip's configuration
    tokenizer: towers.Tokenizer = field(repr=False)
    tokenizer_source: str = field(default="", repr=False)  # folder of its files; "" = named in model_cfg
    shift: Tensor | None = field(default=None, repr=False)  # (dim,): of method `es`, applied to unit rows
    finetuned: Mapping[str, Any] = field(default_factory=dict, repr=False)  # of a checkpoint of ours: base, made

    def preprocess(self) -> Preprocess:
        """What turns a PIL image into the (3, height, width) pixels of `encode_image`."""
        return Preprocess(self.preprocessing)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens (m, context_length) int64, and (m,) bool: which texts were too long and are cut."""
        return tokenize(self.tokenizer, texts, self.context_length)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Rows (b, dim), float32 on the CPU, not normalised, of pixels (b, 3, height, width); bytes are scaled here."""
        dtype = PRECISIONS[self.precision]
        if pixels.dtype == torch.uint8:
            # a copy from pinned memory need not be waited for: what follows is queued behind it
            pixels = pixels.to(self.device, non_blocking=True)
            pixels = scaled(pixels, self.preprocessing["mean"], self.preprocessing["std"], dtype)
        else:
            pixels = pixels.to(self.device, dtype)
        return self._rows(self.module.encode_image, pixels, -0.5)  # type: ignore[arg-type]

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Rows (m, dim), float32 on the CPU, not normalised, of tokens (m, context_length), or of fewer: `lengths`."""
        short = tokens.shape[1] < self.context_length
        if short and not self._reads_to_the_end:
            raise ValueError(f"tokens must be (m, {self.context_length}), got {tuple(tokens.shape)}")
        encode: Any = partial(short_texts.encode_text, self.module) if short else self.module.encode_text
        return self._rows(encode, tokens.to(self.device), 0.5)

    def lengths(self, tokens: Tensor) -> Tensor | None:
        """Of each text (m,) how many of its tokens decide its row, or a few more; None where that is not known."""
        return short_texts.lengths(self.module, tokens) if self._reads_to_the_end else None

    @cached_property
    def _reads_to_the_end(self) -> bool:
        return short_texts.reads_to_the_end(self.module)

    def _rows(self, encode: Callable[..., Any], batch: Tensor, share: float) -> Tensor:
        with torch.inference_mode():
            rows = encode(batch, normalize=False)  # CoCa normalises unless told not to
            rows = rows[0] if isinstance(rows, tuple) else rows
            rows = rows.float().cpu()
        if not torch.isfinite(rows).all():
            way_out = (
                ""
                if self.precision == "fp32"
                else f": {self.precision} overflows here, use {option('precision', 'fp32')}"
            )
            raise GeomclipError(f"{self.model}: its rows are not finite{way_out}")
        return rows if self.shift is None else shifted(rows, share * self.shift)

    def made_from(self) -> dict[str, Any]:
        """What a manifest says of the encoder; JSON-able.

        `finetuned` (method, step, data, base) and `shift` are there only where the encoder has them.
        """
        made: dict[str, Any] = {
            "model": self.model,
            "pretrained": self.pretrained,
            "arch": self.arch,
            "quick_gelu": self.quick_gelu,
            "dim": self.dim,
            "context_length": self.context_length,
            "logit_scale": self.logit_scale,
            "logit_bias": self.logit_bias,
            "weights_sha256": self.weights_sha256,
            "preprocessing": dict(self.preprocessing),
            "precision": self.precision,
            "device": self.device,
            "fingerprint": self.fingerprint(),
            "notes": list(self.notes),
            "open_clip": towers.version(),
        }
        if self.finetuned:
            made["finetuned"] = self._finetuned()
        if self.shift is not None:
            made["shift"] = {"length": float(self.shift.norm()), "sha256": shift_sha256(self.shift)}
        return dict(shown_in(copy.deepcopy(made)))

    def _finetuned(self) -> dict[str, Any]:
        """How the weights came to be, without the list of settings: method, step, data, and from which base."""
        base, made = self.finetuned["base"], self.finetuned["made"]
        names = ("model", "pretrained", "arch", "weights_sha256", "finetuned")
        brief = {key: base[key] for key in names if key in base}
        return {**{key: value for key, value in made.items() if key != "settings"}, "base": brief}

    def fingerprint(self) -> str:
        """sha256 of all that decides rows: weights, configuration, preprocessing, tokenizer, shift, precision, device.

        Two encoders with the same weights and another activation or image size have other fingerprints.
        """
        decides: list[Any] = [
            self.weights_sha256,
            self.model_cfg,
            self.preprocessing,
            self.precision,
            torch.device(self.device).type,
        ]
        if self.shift is not None:  # only then: the fingerprints of all other encoders are what they were
            decides.append(shift_sha256(self.shift))
        if self.tokenizer_source:
            decides.append(tokenizer_sha256(Path(self.tokenizer_source)))
        return hashlib.sha256(json.dumps(decides, sort_keys=True, default=dict).encode()).hexdigest()


def scaled(pixels: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Pixels of pictures (b, 3, h, w) in bytes, made what a model wants; the same numbers as of `Preprocess`.

    Examples
    --------
    >>> scaled(torch.tensor([[[[51]]]], dtype=torch.uint8), [0.2], [0.5], torch.float32).abs() < 1e-7
    tensor([[[[True]]]])
    """
    centre, spread = (torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (mean, std))
    made = torch.empty(pixels.shape, dtype=dtype, device=pixels.device)
    step = len(pixels) if pixels.is_cuda else 1  # one picture stays in a processor's cache
    for start in range(0, len(pixels), step):
        some = slice(start, start + step)
        # torchvision's operations in their order, so that they round alike
        made[some] = pixels[some].float().div_(255).sub_(centre).div_(spread)
    return made


def shifted(rows: Tensor, by: Tensor) -> Tensor:
    """Rows (b, d) made unit, moved by a vector (d,) and made unit again; a row of zeros stays one.

    Examples
    --------
    >>> moved = shifted(torch.tensor([[0.0, 2.0]]), torch.tensor([0.75, 0.0]))
    >>> [round(value, 6) for value in moved[0].tolist()]
    [0.6, 0.8]
    """
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    moved = torch.nn.functional.normalize(unit + by.double(), dim=1)
    return torch.where(rows.any(dim=1, keepdim=True), moved, 0.0).float()


def shift_sha256(shift: Tensor) -> str:
    """Fingerprint of a shift, of its float32 bytes."""
    return hashlib.sha256(shift.float().contiguous().numpy().tobytes()).hexdigest()


def tokenize(tokenizer: towers.Tokenizer, texts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
    """Tokens (m, length) and which of the m texts are cut: too long, or ended by an end token of their own.

    Which did not fit is found in a way that depends on where the padding goes.

    Each text is tokenised once at one place more than the model has. Where padding follows the text (CLIP's,
    T5's, Gemma's and BERT's tokenizers) only the rows whose last places are taken are tokenised again at the
    true length, and a text was cut if the two differ. Where it does not (CLIPS puts its class token last),
    a text was cut if twice the length holds more tokens of it. Texts of more than 32 characters a place are
    cut before tokenising, as splitting a very long word takes quadratic time, and count as cut. So does a text that
    spells the end token ("<end_of_text>") before its end: nothing after it is read.
    """
    if not texts:
        return torch.zeros(0, length, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    limit = CHARACTERS_PER_TOKEN * (length + 2)
    shortened = list(texts)
    if any(len(text) > limit for text in texts):
        runs, single = tokenizer(["a \t\n b", "a b"], context_length=length)
        if torch.equal(runs, single):  # spaces that it does not see must not be what is left of a text
            shortened = [text if len(text) <= limit else " ".join(text.split()) for text in texts]
    overlong = torch.tensor([len(text) > limit for text in shortened])
    shortened = [text[:limit] for text in shortened]
    empty, longer_empty = tokenizer([""], context_length=length), tokenizer([""], context_length=length + 1)
    padding = longer_empty[0, -1]
    if not torch.equal(empty, longer_empty[:, :length]):
        tokens, twice = (tokenizer(shortened, context_length=size) for size in (length, 2 * length))
        padding = empty.mode().values  # an empty text is nearly all padding
        cut = (twice != padding).sum(dim=1) > (tokens != padding).sum(dim=1)
        return tokens.long(), cut | overlong | _ends_early(tokenizer, tokens, padding)
    longer = tokenizer(shortened, context_length=length + 1).long()
    tokens, cut = longer[:, :length].clone(), overlong.clone()
    full = ((longer[:, length - 1 :] != padding).any(dim=1)).nonzero()[:, 0]
    if len(full):
        tokens[full] = tokenizer([shortened[row] for row in full.tolist()], context_length=length).long()
        cut[full] |= (tokens[full] != longer[full, :length]).any(dim=1) | (longer[full, length] != padding)
    return tokens, cut | _ends_early(tokenizer, longer, padding)


def _ends_early(tokenizer: towers.Tokenizer, tokens: Tensor, padding: Tensor) -> Tensor:
    """Which rows (m,) have tokens of a text after an end token; none where a tokenizer has no such token.

    The end token is what closes the empty text and a short one alike, with something before it.
    """
    probes = tokenizer(["", "1"], context_length=tokens.shape[1]).long()
    closing = [row[row != padding] for row in probes]
    if not len(closing[0]) or len(closing[1]) < 2 or closing[0][-1] != closing[1][-1]:
        return torch.zeros(len(tokens), dtype=torch.bool)
    end = closing[0][-1]
    after = (tokens == end).cumsum(dim=1) > 0
    return (after & (tokens != end) & (tokens != padding)).any(dim=1)


def choose_precision(precision: str, device: str) -> str:
    """The precision in use: "auto" is the fastest for this device.

    That is fp16 on a GPU, bf16 on a processor with instructions for it, else fp32. The whole model is
    converted: autocast is slower than float32 on CPUs.

    Raises
    ------
    InputError
        If it is none of fp32, bf16, fp16, auto, or fp16 on a CPU.
    """
    on_gpu = device.startswith("cuda")
    if precision == "auto":
        return "fp16" if on_gpu else "bf16" if _has_bf16() else "fp32"
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: use fp32, bf16, fp16 or auto")
    if precision == "fp16" and not on_gpu:
        raise InputError(f"{option('precision', 'fp16')} needs a GPU; on a processor use bf16, fp32 or auto")
    return precision


def _has_bf16() -> bool:
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False  # not Linux: nothing known to be faster
    return bool(words & {"amx_bf16", "avx512_bf16", "bf16"})  # the last is ARM's name
