"""Captions written by a decoder: greedy takes the likeliest token, enough beams find the best of all sequences."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_coca
from torch import Tensor

from geomclip.encoders import load_encoder
from geomclip.evaluations.captions import writing
from geomclip.evaluations.captions.writing import Marks, search
from geomclip.machine.errors import InputError

START, END, PADDING = 3, 4, 0
MARKS = Marks(START, END, PADDING)
MOST = 4


def language(seed: int, images: int, vocabulary: int = 6) -> tuple[dict[tuple[int, ...], Tensor], writing.Next]:
    """Logits of every beginning, apart for each image, and what looks them up."""
    draw = torch.Generator().manual_seed(seed)
    table: dict[tuple[int, ...], Tensor] = {}

    def follow(ids: Tensor) -> Tensor:
        each = len(ids) // images
        found = []
        for row, beginning in enumerate(ids.tolist()):
            key = (row // each, *beginning)
            if key not in table:
                table[key] = 2 * torch.randn(vocabulary, generator=draw)
            found.append(table[key])
        return torch.stack(found)

    return table, follow


def likelihood(follow: writing.Next, words: tuple[int, ...]) -> float:
    """Mean log-likelihood of a token, the end included."""
    total, ids = 0.0, [START]
    for token in (*words, END):
        logits = follow(torch.tensor([ids])).double()[0]
        logits[[START, PADDING]] = -torch.inf
        total += float(logits.log_softmax(0)[token])
        ids.append(token)
    return total / (len(words) + 1)


@pytest.mark.parametrize("seed", range(5))
def test_enough_beams_find_the_best_of_all_sequences(seed: int) -> None:
    _, follow = language(seed, images=1)
    words = (1, 2, 5)
    every = [each for size in range(MOST) for each in itertools.product(words, repeat=size)]
    best = max(every, key=lambda each: likelihood(follow, each))
    assert search(follow, 1, MARKS, beams=200, most=MOST) == [list(best)]


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_takes_the_likeliest_token_each_time(seed: int) -> None:
    table, follow = language(seed, images=3)
    found = search(follow, 3, MARKS, beams=1, most=MOST)
    for image, words in enumerate(found):
        ids = [START]
        while len(ids) < MOST:
            logits = table[(image, *ids)].clone()
            logits[[START, PADDING]] = -torch.inf
            token = int(logits.argmax())
            if token == END:
                break
            ids.append(token)
        assert words == ids[1:]


def test_what_an_image_gets_does_not_depend_on_its_neighbours() -> None:
    table, follow = language(0, images=4)
    together = search(follow, 4, MARKS, beams=3, most=MOST)
    for image in range(4):

        def alone(ids: Tensor, image: int = image) -> Tensor:
            return torch.stack([table.get((image, *each), torch.zeros(6)) for each in ids.tolist()])

        assert search(alone, 1, MARKS, beams=3, most=MOST) == [together[image]]


def test_more_beams_are_never_less_likely_than_the_greedy_choice_of_a_whole_search() -> None:
    for seed in range(5):
        _, follow = language(seed, images=1)
        greedy, all_of_them = (search(follow, 1, MARKS, beams=each, most=MOST)[0] for each in (1, 200))
        assert likelihood(follow, tuple(all_of_them)) >= likelihood(follow, tuple(greedy))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_coca_writes_as_its_forward_pass_with_all_places_says(tmp_path: Path, beams: int) -> None:
    encoder = load_encoder(str(tiny_coca(tmp_path / "coca")))
    marks = writing.marks_of(encoder)
    assert (marks.start, marks.end, marks.padding) == (49406, 49407, 0)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def follow(ids: Tensor) -> Tensor:  # the text padded to the whole context, as in training
        each = len(ids) // 2
        whole = torch.nn.functional.pad(ids, (0, 12 - ids.shape[1]))
        with torch.no_grad():
            made = encoder.module(pixels.repeat_interleave(each, dim=0), whole, output_labels=False)
        return made["logits"][:, ids.shape[1] - 1]

    expected = [writing.text_of(encoder, ids) for ids in search(follow, 2, marks, beams=beams, most=6)]
    assert writing.write(encoder, pixels, beams=beams, most=6) == expected


def test_tokens_become_the_text_that_they_were_made_of(tmp_path: Path) -> None:
    encoder = load_encoder(str(tiny_coca(tmp_path / "coca")))
    tokens = encoder.tokenize(["a red dog runs"])[0][0].tolist()
    marks = writing.marks_of(encoder)
    words = [each for each in tokens if each not in (marks.start, marks.end, marks.padding)]
    assert writing.text_of(encoder, words) == "a red dog runs"


def test_a_tokenizer_without_start_and_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(str(tiny_coca(tmp_path / "coca")))
    monkeypatch.setattr(type(encoder), "tokenize", lambda self, texts: (torch.zeros(1, 12).long(), None))
    with pytest.raises(InputError, match="no start and end of a text"):
        writing.marks_of(encoder)
