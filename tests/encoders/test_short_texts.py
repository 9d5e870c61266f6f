"""Texts encoded at their own lengths have the rows that they have at the whole length of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from geomclip.encoders import load_encoder, short_texts
from geomclip.encoders.clip import Encoder
from geomclip.encoders.extraction.batches import Encoding

pytestmark = pytest.mark.numeric

VISION = {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8}
TEXT = {"context_length": 40, "vocab_size": 64, "width": 16, "heads": 2, "layers": 2}


def clip_of(**text: Any) -> open_clip.CLIP:
    torch.manual_seed(0)
    return open_clip.CLIP(embed_dim=8, vision_cfg=VISION, text_cfg={**TEXT, **text}).eval()


def tokens_of(lengths: list[int], *, end: int = 63, places: int = 40) -> Tensor:
    """Random tokens, each text ended after so many."""
    draw = torch.Generator().manual_seed(1)
    tokens = torch.zeros(len(lengths), places, dtype=torch.int64)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = torch.randint(1, end, (length,), generator=draw)
        row[length - 1] = end
    return tokens


@pytest.mark.parametrize("text", [{}, {"pool_type": "eos", "eos_id": 63}, {"proj_bias": True}, {"proj_type": "none"}])
def test_a_text_that_is_cut_after_its_end_has_the_row_of_the_whole(text: dict[str, Any]) -> None:
    if text.get("proj_type") == "none":
        text |= {"width": 8}
    module = clip_of(**text)
    assert short_texts.reads_to_the_end(module)
    tokens = tokens_of([1, 2, 7, 8, 9, 23, 39, 40])
    lengths = short_texts.lengths(module, tokens)
    assert lengths.tolist() == [8, 8, 8, 8, 16, 24, 40, 40]
    with torch.inference_mode():
        for normalize in (False, True):
            whole = module.encode_text(tokens, normalize=normalize)
            for row, length in enumerate(lengths.tolist()):
                short = short_texts.encode_text(module, tokens[row : row + 1, :length], normalize=normalize)
                torch.testing.assert_close(short[0], whole[row], rtol=1e-5, atol=1e-6)


def test_a_text_without_an_end_token_keeps_all_its_places() -> None:
    module = clip_of(pool_type="eos", eos_id=63)
    assert short_texts.lengths(module, torch.ones(2, 40, dtype=torch.int64)).tolist() == [40, 40]


@pytest.mark.parametrize("text", [{"no_causal_mask": True}, {"pool_type": "last"}, {"pool_type": "first"}])
def test_towers_that_read_past_the_end_are_given_every_place(text: dict[str, Any]) -> None:
    assert not short_texts.reads_to_the_end(clip_of(**text))


def test_towers_of_another_class_are_given_every_place() -> None:
    torch.manual_seed(0)
    assert not short_texts.reads_to_the_end(open_clip.CustomTextCLIP(8, VISION, TEXT))


@pytest.fixture(scope="module")
def demo() -> Encoder:
    encoder = load_encoder("demo")
    assert isinstance(encoder, Encoder)
    return encoder


def test_fewer_places_are_refused_where_they_would_change_the_row(demo: Encoder) -> None:
    other = replace(demo, module=torch.nn.Module())
    with pytest.raises(ValueError, match=r"^tokens must be \(m, 16\), got \(1, 8\)$"):
        other.encode_text(torch.zeros(1, 8, dtype=torch.int64))


WORDS = "a small red car near the big old house on a green hill under clouds and rain".split()  # noqa: SIM905


def test_texts_of_all_lengths_have_the_rows_of_the_whole_length_in_their_order(demo: Encoder) -> None:
    texts = [" ".join(WORDS[: 1 + 7 * i % 17]) for i in range(61)]
    tokens, truncated = demo.tokenize(texts)
    assert len(demo.lengths(tokens).unique()) > 1  # type: ignore[union-attr]
    with Encoding(demo, batch=4, workers=2, raw=True) as encoding:
        found = encoding.finished(encoding.texts(texts), lambda done, reasons: None)
    whole = torch.cat([demo.encode_text(part) for part in tokens.split(4)])
    torch.testing.assert_close(found.rows, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
    assert found.kept == list(range(61))
    assert found.truncated == set(truncated.nonzero()[:, 0].tolist())


def test_a_text_has_the_places_and_the_row_that_it_has_with_others_around_it(demo: Encoder) -> None:
    class Watched:
        dim, device = demo.dim, "cpu"
        preprocess, tokenize, lengths = demo.preprocess, demo.tokenize, demo.lengths

        def __init__(self) -> None:
            self.places: dict[tuple[int, ...], int] = {}

        def encode_text(self, tokens: Tensor) -> Tensor:
            assert len(tokens) == 8  # always as many, so that no product has another shape
            for row in tokens.tolist():
                self.places[tuple(each for each in row if each)] = tokens.shape[1]
            return demo.encode_text(tokens)

    texts = [" ".join(WORDS[: 1 + 7 * i % 17]) for i in range(40)]
    rows, places = [], []
    for some in (texts, texts[::3]):
        watched = Watched()
        with Encoding(watched, batch=8, workers=0, raw=True) as encoding:  # type: ignore[arg-type]
            rows.append(encoding.finished(encoding.texts(some), lambda done, reasons: None).rows)
        places.append(watched.places)
    assert places[1].items() <= places[0].items()
    # which row of a batch it is may move the last digits: kernels take rows by sixes or by fours
    torch.testing.assert_close(rows[0][::3], rows[1], rtol=1e-5, atol=1e-5)


def test_a_text_whose_row_is_no_number_is_lost_alone(demo: Encoder) -> None:
    class Blind:
        dim, device = demo.dim, "cpu"
        preprocess, tokenize, lengths = demo.preprocess, demo.tokenize, demo.lengths

        def encode_text(self, tokens: Tensor) -> Tensor:
            rows = demo.encode_text(tokens)
            return torch.where((tokens == demo.tokenize(["car"])[0][0, 1]).any(dim=1)[:, None], torch.nan, rows)

    texts = ["a hill", "a car", "a small house near the old green hill under clouds", "car", "rain"]
    with Encoding(Blind(), batch=2, workers=0) as encoding:  # type: ignore[arg-type]
        found = encoding.finished(encoding.texts(texts), lambda done, reasons: None)
    assert found.kept == [0, 2, 4]
    assert sorted(found.reasons) == [1, 3]
    assert len(found.rows) == 3
