"""EmbeddingSet and unit rows: checked where they are made, so that everything after may trust them."""

from __future__ import annotations

import dataclasses
import weakref

import numpy as np
import pytest
import torch
from helpers import random_rows, small_set
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geomclip.embeddings.geometry import normalize
from geomclip.embeddings.record import ROWS, EmbeddingSet, as_tensor

pytestmark = pytest.mark.numeric


def test_rows_become_unit_rows_and_their_lengths_are_kept():
    made = EmbeddingSet(np.array([[3.0, 4.0], [0.0, 2.0]]), np.eye(2), logit_scale=1)
    assert made.image.tolist() == [[0.6, 0.8], [0.0, 1.0]]
    assert made.image_norms.tolist() == [5.0, 2.0]


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (np.float16, torch.float32),
        (np.float32, torch.float32),
        (np.float64, torch.float64),
        (np.int64, torch.float64),
        (">f4", torch.float32),
    ],
)
def test_half_types_become_float32_and_float64_stays(dtype, kept):
    assert EmbeddingSet(np.eye(3).astype(dtype), np.eye(3).astype(dtype)).image.dtype == kept


def test_numpy_and_torch_give_the_same_set():
    rows = np.random.default_rng(0).normal(size=(5, 4))
    from_numpy, from_torch = EmbeddingSet(rows, rows), EmbeddingSet(torch.from_numpy(rows), torch.from_numpy(rows))
    assert torch.equal(from_numpy.image, from_torch.image)


def test_a_read_only_and_a_reversed_array_are_taken():
    rows = np.eye(4)
    rows.setflags(write=False)
    assert EmbeddingSet(rows[::-1], rows).image[0].tolist() == [0, 0, 0, 1]


def test_the_callers_arrays_are_left_alone():
    rows = np.full((3, 2), 5.0)
    EmbeddingSet(rows, rows)
    assert rows.tolist() == [[5.0, 5.0]] * 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": np.array([[1.0, np.nan], [1.0, 0.0]])}, "image row 0 holds NaN or infinity"),
        ({"text": np.array([[1.0, 0.0], [0.0, 0.0]])}, r"text row 1 is zero and has no direction \(1 such rows\)"),
        ({"image": np.ones((1, 2))}, "at least 2 images are needed, got 1"),
        ({"text": np.ones((1, 2)), "image_of_text": [0]}, "at least 2 texts are needed, got 1"),
        ({"text": np.ones((2, 3))}, "image rows have 2 dimensions, text rows 3"),
        ({"text": np.ones((3, 2))}, "3 texts for 2 images: say which image each describes"),
        ({"image": np.ones(4)}, r"image must be \(n, d\), got shape \(4,\)"),
        ({"image": np.array([["a", "b"], ["c", "d"]])}, "image must be numeric"),
        ({"image": np.array([[{}, 1], [2, 3]], dtype=object)}, "image must be numeric, got dtype object"),
        ({"image_of_text": [0, 2]}, "image_of_text entry 1 is 2, outside the 2 image rows"),
        ({"image_of_text": [-1, 0]}, "image_of_text entry 0 is -1"),
        ({"image_of_text": [0.0, 1.0]}, "image_of_text must hold whole numbers"),
        ({"image_of_text": [0]}, "1 entries in image_of_text for 2 texts"),
        ({"image_of_text": [[0], [1]]}, "image_of_text must be one-dimensional"),
        ({"logit_scale": 0.0}, "logit_scale must be positive and finite, got 0.0"),
        ({"logit_scale": float("inf")}, "logit_scale must be positive and finite"),
        ({"labels": [0, 1]}, "labels and class_text go together"),
        ({"class_text": np.eye(2), "labels": [0, 1]}, "give text or class_text, not both"),
        ({"text": None, "image_of_text": [0, 1]}, "image_of_text is given but text is not"),
        ({"text": None, "class_text": np.eye(2), "labels": [0, 5]}, "labels entry 1 is 5, outside the 2 class_text"),
        ({"text": None, "class_text": np.eye(2), "labels": [0]}, "1 labels for 2 images"),
        ({"text": None, "class_text": np.eye(2), "labels": [0, 1], "classes": ("a",)}, "1 class names for 2"),
        ({"image_id": ("a",)}, "1 entries in image_id for 2 rows"),
        ({"columns": {"source": ("a",)}}, "1 entries in column 'source' for 2 images"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_row_or_both_numbers(changes, text):
    with pytest.raises(ValueError, match=text):
        EmbeddingSet(**{"image": np.eye(2), "text": np.eye(2), **changes})


def test_the_first_text_of_each_image_is_the_first_in_the_order_given():
    made = EmbeddingSet(np.eye(3), np.eye(3)[[1, 0, 1, 0]], [1, 0, 1, 0], caption=("a", "b", "c", "d"))
    first = made.first_texts()
    assert first.caption == ("b", "a")
    assert first.image_of_text.tolist() == [0, 1]
    assert len(first.image) == 3  # the image without text stays


def test_some_images_keep_their_texts_ids_and_columns():
    made = small_set(4, 2)
    some = made.select_images(torch.tensor([3, 1]))
    assert some.image_id == ("3", "1")
    assert some.caption_id == ("2", "3", "6", "7")
    assert some.image_of_text.tolist() == [1, 1, 0, 0]
    assert some.columns["source"] == ("b", "b")
    assert torch.allclose(some.text, made.text[[2, 3, 6, 7]], atol=1e-15)


COUNTS = st.integers(2, 5)


@st.composite
def sets(draw: st.DrawFn) -> EmbeddingSet:
    """Pairs or classes, with rows of any length, float32 or float64, and every field filled."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m, d = draw(COUNTS), draw(COUNTS), draw(COUNTS)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    image, other = ((rng.normal(size=(count, d)) * rng.uniform(0.1, 9)).astype(dtype) for count in (n, m))
    about = {"image_id": [f"i{i}" for i in range(n)], "image_path": [f"{i}.png" for i in range(n)]}
    about |= {"columns": {"source": ["ab"[i % 2] for i in range(n)]}, "made_from": {"model": "none"}}
    about |= {"logit_scale": 7, "logit_bias": -1.0}
    if draw(st.booleans()):
        labels, names = rng.integers(0, m, n), [f"class {c}" for c in range(m)]
        return EmbeddingSet(image, class_text=other, labels=labels, classes=names, **about)
    texts = {"caption_id": [f"t{j}" for j in range(m)], "caption": ["dog"] * m, "truncated": rng.random(m) < 0.5}
    return EmbeddingSet(image, other, rng.integers(0, n, m), **about, **texts)


def assert_same(one: EmbeddingSet, other: EmbeddingSet, fields: set[str]) -> None:
    """Rows and their norms are the same tensors, all else is equal bit for bit."""
    for name in fields:
        was, now = getattr(one, name), getattr(other, name)
        if name in ROW_FIELDS:
            assert now is was, name
        else:
            assert torch.equal(now, was) if isinstance(was, torch.Tensor) else now == was, name


FIELDS = {field.name for field in dataclasses.fields(EmbeddingSet)}
ROW_FIELDS = {name for name in FIELDS if name.removesuffix("_norms") in ROWS}


@given(sets(), st.sampled_from(sorted(FIELDS - ROW_FIELDS)))
def test_replacing_a_field_leaves_all_others_as_they_are(made, name):
    value = getattr(made, name)
    if isinstance(value, torch.Tensor):
        value = value.flip(0)
    elif isinstance(value, tuple):
        value = tuple(f"new {each}" for each in value)
    elif isinstance(value, float):
        value = value + 1
    elif isinstance(value, dict):
        value = {"other": ("x",) * len(made.image)}
    new = made.replace(**{name: value})
    assert_same(made, new, FIELDS - {name})
    now = getattr(new, name)
    assert torch.equal(now, value) if isinstance(value, torch.Tensor) else now == value


@given(sets(), st.sampled_from(ROWS), st.floats(0.5, 20))
def test_new_rows_are_made_unit_with_their_norms_and_leave_all_others_as_they_are(made, name, length):
    if getattr(made, name) is None:
        name = "image"
    rows = getattr(made, name).flip(1) * length
    new = made.replace(**{name: rows})
    assert_same(made, new, FIELDS - {name, f"{name}_norms"})
    unit, norms = normalize(rows)
    assert torch.equal(getattr(new, name), unit)
    assert torch.equal(getattr(new, f"{name}_norms"), norms)


@given(sets(), st.data())
def test_chosen_rows_keep_their_bits_and_their_norms(made, data):
    rows = torch.tensor(data.draw(st.permutations(range(len(made.image)))))[: data.draw(COUNTS)]
    if made.text is not None:
        texts = torch.tensor(data.draw(st.permutations(range(len(made.text)))))
        some = made.select_texts(texts)
        assert torch.equal(some.text, made.text[texts])
        assert torch.equal(some.text_norms, made.text_norms[texts])
        assert_same(made, some, {"image", "image_norms"})
        made = made.replace(image_of_text=torch.arange(len(made.text)) % 2)  # two images have all texts
        rows = torch.cat([torch.tensor([0, 1]), rows[rows > 1]])
    some = made.select_images(rows)
    assert torch.equal(some.image, made.image[rows])
    assert torch.equal(some.image_norms, made.image_norms[rows])


@given(sets())
def test_another_precision_is_unit_in_it_and_keeps_the_norms(made):
    other = torch.float32 if made.image.dtype == torch.float64 else torch.float64
    turned = made.in_precision(other)
    assert made.in_precision(made.image.dtype) is made
    for name in ROWS:
        if (rows := getattr(made, name)) is not None:
            unit = getattr(turned, name)
            assert unit.dtype == other
            if other == torch.float32:
                assert torch.equal(unit, normalize(rows.to(other))[0])
            else:  # what they were given as is closer to them than their own rounding
                assert torch.equal(torch.linalg.vector_norm(unit, dim=1).round(decimals=12), torch.ones(len(unit)))
                assert (unit - normalize(rows.double())[0]).abs().max() < 2e-7
            assert getattr(turned, f"{name}_norms") is getattr(made, f"{name}_norms")
    assert_same(made, turned, FIELDS - ROW_FIELDS)


def test_an_assumed_scale_is_recorded_and_a_given_one_too():
    assert EmbeddingSet(np.eye(2), np.eye(2)).logit_scale_source == "assumed"
    assert EmbeddingSet(np.eye(2), np.eye(2), logit_scale=7).logit_scale_source == "given"


def test_a_set_is_frozen():
    with pytest.raises(AttributeError):
        EmbeddingSet(np.eye(2), np.eye(2)).image = torch.eye(2)  # type: ignore[misc]


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 6)),
        elements=st.floats(-1e300, 1e300, allow_nan=False),
    )
)
@settings(max_examples=200)
def test_any_finite_row_that_is_not_zero_becomes_a_unit_row(rows):
    if (np.abs(rows).max(1) == 0).any():
        with pytest.raises(ValueError, match="is zero"):
            normalize(torch.from_numpy(rows))
        return
    unit, norms = normalize(torch.from_numpy(rows))
    assert torch.allclose(unit.norm(dim=1), torch.ones(len(rows), dtype=torch.float64), atol=1e-12)
    assert torch.isfinite(unit).all()
    assert (norms > 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_rows_that_overflow_when_squared_are_fine(dtype):
    unit, norms = normalize(torch.full((2, 4), 60000.0, dtype=dtype))
    assert unit.dtype == torch.float32
    assert torch.allclose(unit, torch.full((2, 4), 0.5))
    assert norms[0] == pytest.approx(120000, rel=1e-2)


def test_rows_shorter_than_a_float32_can_square_are_fine():
    assert torch.allclose(normalize(torch.full((1, 4), 1e-30))[0], torch.full((1, 4), 0.5))


def test_whole_numbers_have_no_unit_rows():
    with pytest.raises(ValueError, match="floating-point"):
        normalize(torch.ones(2, 2, dtype=torch.int64))


def test_a_tensor_is_taken_without_its_gradient():
    assert not as_tensor(torch.ones(2, 2, requires_grad=True), "x").requires_grad


def float64_rows(given: torch.Tensor) -> torch.Tensor:
    """What float64 is from rows as they were given: normalised in it."""
    return normalize(given.double())[0]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 5.5, 1e4])
def test_float64_rows_are_those_that_were_given(kind, scale):
    generator = torch.Generator().manual_seed(0)
    image, text = ((scale * torch.randn(n, 40, generator=generator)).to(kind) for n in (30, 50))
    own = torch.randint(30, (50,), generator=generator)
    exact = EmbeddingSet(image, text, own).in_precision(torch.float64)
    assert torch.equal(exact.image, float64_rows(image))
    assert torch.equal(exact.text, float64_rows(text))


def test_entries_of_any_size_lead_back_to_the_rows_given():
    generator = torch.Generator().manual_seed(0)
    sizes = 10 ** (70 * torch.rand(40, 30, generator=generator, dtype=torch.float64) - 35)
    given = (torch.randn(40, 30, generator=generator, dtype=torch.float64) * sizes).float()
    found = EmbeddingSet(given, given).in_precision(torch.float64).image
    assert (found - float64_rows(given)).abs().max() < 1e-40


def test_chosen_rows_lead_back_to_the_rows_given_too():
    given = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([3, 17, 4])
    some = EmbeddingSet(given, given).select_images(rows).replace(logit_scale=3)
    assert torch.equal(some.in_precision(torch.float64).image, float64_rows(given[rows]))
    assert torch.equal(some.in_precision(torch.float64).text, float64_rows(given[rows.sort().values]))


@pytest.mark.parametrize("wide", ["image", "text"])
def test_rows_of_two_types_are_each_those_that_were_given(wide):
    given = {name: random_rows(12, 6, seed=seed) for seed, name in enumerate(("image", "text"))}
    given = {name: rows if name == wide else rows.float() for name, rows in given.items()}
    made = EmbeddingSet(**given)
    assert made.image.dtype == made.text.dtype == given["image"].dtype
    exact = made.in_precision(torch.float64)
    for name, rows in given.items():
        assert torch.equal(getattr(exact, name), float64_rows(rows)), name


def test_the_way_back_takes_a_byte_a_number_and_leaves_the_given_rows_to_their_owner():
    given = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    gone = weakref.ref(given)
    made = EmbeddingSet(given, given)
    del given
    assert gone() is None
    held = [each for name in ("image", "text") for each in vars(made._unit_rows[name]).values()]
    assert sum(each.numel() * each.element_size() for each in held) == 2 * 500 * (64 * (4 + 1) + 8)
