"""Batches: every image in its turn, no false negatives, the same step the same batch."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geomclip.machine.errors import InputError
from geomclip.pairs.record import Pair
from geomclip.training.batches import Order, PairBatches
from geomclip.training.pictures import Pictures, random_crop
from geomclip.training.processes import Processes
from geomclip.training.seeds import generator


def order(captions: list[int], size: int, *, seed: int = 0, every: bool = False) -> Order:
    return Order(captions, size=size, seed=seed, every_caption=every, name="toy (train)")


@given(
    captions=st.lists(st.integers(0, 4), max_size=26).map(lambda more: [1, 2, 1, 4, *more]),
    size=st.integers(2, 4),
    seed=st.integers(0, 2**31),
    every=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_no_batch_holds_an_image_twice_and_every_place_exists(captions, size, seed, every):
    made = order(captions, size, seed=seed, every=every)
    for step in range(2 * made.steps_per_epoch):
        places = made.places(step)
        assert len(places) == size
        assert len({image for image, _ in places}) == size
        assert all(0 <= caption < captions[image] for image, caption in places)


@given(captions=st.lists(st.integers(1, 3), min_size=8, max_size=8), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_with_all_captions_an_epoch_shows_no_pair_twice(captions, seed):
    made = order(captions, 2, seed=seed, every=True)
    shown = [place for step in range(made.steps_per_epoch) for place in made.places(step)]
    assert len(set(shown)) == len(shown)
    assert made.steps_per_epoch == sum(sum(k > turn for k in captions) // 2 for turn in range(max(captions)))


def test_with_one_caption_an_epoch_shows_every_image_once_when_batches_fit():
    made = order([5] * 12, 4)
    shown = [image for step in range(3) for image, _ in made.places(step)]
    assert sorted(shown) == list(range(12))


def test_epochs_differ_in_order_and_captions_and_steps_do_not_depend_on_what_was_asked_before():
    made, again = order([5] * 12, 4), order([5] * 12, 4)
    first = [made.places(step) for step in range(9)]
    assert [again.places(step) for step in reversed(range(9))] == first[::-1]
    assert first[:3] != first[3:6]
    assert len({caption for places in first for _, caption in places}) > 1
    assert [order([5] * 12, 4, seed=1).places(step) for step in range(9)] != first


def test_too_few_images_for_a_batch_are_refused():
    with pytest.raises(InputError, match=r"a batch of 4 pairs is larger than toy \(train\), which has 3 images"):
        order([1, 1, 1, 0], 4)


@dataclass(frozen=True)
class Drawn:
    """A picture of one gray, or bytes that are none."""

    gray: int
    broken: bool = False

    @property
    def path(self) -> str:
        return f"{self.gray}.png"

    def read(self) -> bytes:
        if self.broken:
            return b"no picture"
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (self.gray,) * 3).save(buffer, "PNG")
        return buffer.getvalue()

    def identity(self) -> str:
        return ""


def to_pixels(picture):
    return torch.full((3, 2, 2), float(picture.getpixel((0, 0))[0]))


def tokens_of(texts):
    return torch.tensor([[int(text)] for text in texts]), torch.zeros(len(texts), dtype=torch.bool)


def toy(n: int, *, broken: tuple[int, ...] = ()) -> list[Pair]:
    return [Pair(str(i), Drawn(i, i in broken), (f"{10 * i}", f"{10 * i + 1}")) for i in range(n)]


def batches_of(pairs, *, size=4, **more) -> PairBatches:
    pictures = Pictures(pairs, to_pixels, name="toy (train)")
    return PairBatches(pictures, tokens_of, order([2] * len(pairs), size), **more)


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_and_tokens_of_a_batch_belong_together(workers):
    with batches_of(toy(12), workers=workers) as batches:
        for step in (0, 1, 5, 2):
            batch = batches.batch(step)
            images = batch.pixels[:, 0, 0, 0].long()
            assert torch.equal(batch.tokens[:, 0] // 10, images)
            assert tuple(zip(images.tolist(), (batch.tokens[:, 0] % 10).tolist(), strict=True)) == batch.places


def test_batches_for_a_gpu_are_put_into_pinned_memory(monkeypatch):
    calls = []
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory=False: calls.append(pin_memory) or empty(*size))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("tokens") or self)
    plain, pinned = (batches_of(toy(12), workers=0, pinned=pinned).batch(1) for pinned in (False, True))
    assert calls == [False, True, "tokens"]
    assert torch.equal(plain.pixels, pinned.pixels)
    assert torch.equal(plain.tokens, pinned.tokens)


def test_processes_share_a_joint_batch_in_order():
    with batches_of(toy(12), size=4, workers=0) as whole:
        joint = whole.batch(1)
    parts = []
    for rank in (0, 1):
        with batches_of(toy(12), size=4, workers=0, processes=Processes(rank, 2)) as part:
            parts.append(part.batch(1))
    assert torch.equal(torch.cat([part.pixels for part in parts]), joint.pixels)
    assert torch.equal(torch.cat([part.tokens for part in parts]), joint.tokens)


def test_an_unreadable_image_leaves_its_batch_shorter_and_is_named():
    with batches_of(toy(12, broken=(3,)), workers=0) as batches:
        sizes = [len(batches.batch(step)) for step in range(3)]
        assert sorted(sizes) == [3, 4, 4]
        assert list(batches.pictures.lost) == [3]


def test_more_than_a_tenth_unreadable_is_refused_naming_one():
    with (
        batches_of(toy(12, broken=(3, 4)), workers=0) as batches,
        pytest.raises(InputError, match=r"toy \(train\): 2 of 12 images cannot be read, more than a tenth"),
    ):
        [batches.batch(step) for step in range(3)]


def test_several_processes_refuse_an_unreadable_image():
    with (
        batches_of(toy(12, broken=(3,)), workers=0, processes=Processes(0, 2)) as first,
        batches_of(toy(12, broken=(3,)), workers=0, processes=Processes(1, 2)) as second,
        pytest.raises(InputError, match=r"3\.png cannot be read .*several processes need batches of one size"),
    ):
        [part.batch(step) for step in range(3) for part in (first, second)]


def test_pixels_are_decoded_once_while_they_fit_into_memory():
    reads = []

    def counting(picture):
        reads.append(1)
        return to_pixels(picture)

    pairs = toy(4)
    kept = Pictures(pairs, counting, name="toy")
    tight = Pictures(pairs, counting, name="toy", kept_bytes=2 * 48)
    for pictures, expected in ((kept, 4), (tight, 4 + 2)):
        reads.clear()
        for _ in range(2):
            for image in range(4):
                pictures.whole(image)
        assert len(reads) == expected


def test_a_crop_is_nine_tenths_of_the_area_or_more_and_follows_its_generator():
    picture = Image.new("RGB", (100, 60))
    sizes = [random_crop(picture, generator(0, "crop", k)).size for k in range(200)]
    assert all(0.85 * 6000 <= width * height <= 6000 for width, height in sizes)
    assert sizes == [random_crop(picture, generator(0, "crop", k)).size for k in range(200)]
    assert len(set(sizes)) > 20


def test_with_crops_a_step_shows_the_same_part_again():
    seen = []
    for _ in range(2):
        pictures = Pictures(toy(8), lambda picture: torch.tensor([[list(picture.size)]] * 3).float(), name="toy")
        with PairBatches(pictures, tokens_of, order([2] * 8, 4), crop=True, workers=2) as batches:
            seen.append(torch.cat([batches.batch(step).pixels for step in (0, 1, 3)]))
    assert torch.equal(seen[0], seen[1])
