"""Terms that preserve a base: their definitions by loops, what costs nothing, and their gradients."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows
from torch import Tensor
from torch.nn.functional import normalize

from geomclip.losses import cosine_preservation, embedding_preservation, similarity_preservation
from geomclip.training.settings import PRESERVE

pytestmark = pytest.mark.numeric

TERMS = {"embedding": embedding_preservation, "cosine": cosine_preservation, "similarity": similarity_preservation}
every = pytest.mark.parametrize("kind", TERMS)


def rows(m: int = 6, d: int = 4, *, unit: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and texts, and those of a base near to them; signed."""
    base = [random_rows(m, d, seed=seed) for seed in (0, 1)]
    moved = [each + 0.4 * random_rows(m, d, seed=seed) for each, seed in zip(base, (2, 3), strict=True)]
    made = [*moved, *base]
    if unit:
        return tuple(normalize(each, dim=1) for each in made)  # type: ignore[return-value]
    return tuple(each * (1 + i) for i, each in enumerate(made))  # type: ignore[return-value]


def looped(kind: str, x: Tensor, y: Tensor, x0: Tensor, y0: Tensor) -> float:
    """By the definitions, in plain Python floats."""
    now, then = (x.tolist(), y.tolist()), (x0.tolist(), y0.tolist())
    m = range(len(x))
    dot = lambda a, b: sum(p * q for p, q in zip(a, b, strict=True))  # noqa: E731
    away = lambda a, b: sum((p - q) ** 2 for p, q in zip(a, b, strict=True))  # noqa: E731
    if kind == "embedding":
        return (
            sum(
                sum(away(a[i], b[i]) for i in m) / sum(dot(b[i], b[i]) for i in m)
                for a, b in zip(now, then, strict=True)
            )
            / 2
        )
    if kind == "cosine":
        return sum(1 - dot(a[i], b[i]) for a, b in zip(now, then, strict=True) for i in m) / (2 * len(m))
    total = 0.0
    for one, other in ((0, 0), (1, 1), (0, 1)):
        total += sum((dot(now[one][i], now[other][j]) - dot(then[one][i], then[other][j])) ** 2 for i in m for j in m)
    return total / (3 * len(m) ** 2)


def test_every_kind_has_its_term():
    assert set(TERMS) == set(PRESERVE)


@every
@pytest.mark.parametrize(("m", "d"), [(2, 3), (6, 4), (9, 12)])
@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_equals_its_float64_loop(kind, m, d, dtype, rel):
    made = rows(m, d, unit=kind != "embedding")
    found = TERMS[kind](*(each.to(dtype) for each in made))
    assert (found.shape, found.dtype) == ((), dtype)
    assert found.item() == pytest.approx(looped(kind, *made), rel=rel)


@every
def test_its_gradients_are_those_of_small_steps(kind):
    image, text, *base = rows(4, 3, unit=kind != "embedding")
    free = [each.clone().requires_grad_() for each in (image, text)]
    assert torch.autograd.gradcheck(lambda x, y: TERMS[kind](x, y, *base), free)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_has_not_moved_costs_exactly_nothing_and_pulls_nowhere(kind, dtype):
    image, text = (each.to(dtype) for each in rows()[:2])
    free = [each.clone().requires_grad_() for each in (image, text)]
    found = TERMS[kind](*free, image, text)
    assert found.item() == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(found, free))


def test_a_turn_by_60_degrees_of_the_images_alone():
    half, root = 0.5, 0.75**0.5
    here = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    turned = here @ torch.tensor([[half, root], [-root, half]], dtype=torch.float64)
    assert cosine_preservation(turned, here, here, here).item() == pytest.approx(0.25)  # 1 - 1/2, and texts 0
    assert embedding_preservation(turned, here, here, here).item() == pytest.approx(0.5)  # |60 degrees|² = 1, and 0
    # images with images and texts with texts are the same; of images with texts all entries were 0 or 1
    across = (2 * (1 - half) ** 2 + 2 * root**2) / 4
    assert similarity_preservation(turned, here, here, here).item() == pytest.approx(across / 3)


def test_of_unit_rows_the_distance_is_twice_the_cosine_term():
    made = rows()
    assert embedding_preservation(*made).item() == pytest.approx(2 * cosine_preservation(*made).item(), rel=1e-12)


def test_lengths_count_for_the_distance_but_not_their_unit():
    image, text, base_image, base_text = rows(unit=False)
    one = embedding_preservation(image, text, base_image, base_text)
    assert embedding_preservation(7 * image, text, 7 * base_image, base_text).item() == pytest.approx(one.item())
    assert embedding_preservation(7 * image, text, base_image, base_text) > one
    assert embedding_preservation(3 * base_image, base_text, base_image, base_text).item() == pytest.approx(4 / 2)


def test_a_rotation_of_all_rows_together_costs_similarity_nothing_and_the_others_something():
    *_, image, text = rows()
    turn = torch.linalg.qr(random_rows(4, 4, seed=9)).Q
    costs = {kind: TERMS[kind](image @ turn, text @ turn, image, text).item() for kind in TERMS}
    assert costs["similarity"] == pytest.approx(0, abs=1e-28)
    assert min(costs["embedding"], costs["cosine"]) > 0.1


@every
def test_images_and_texts_may_change_places_and_pairs_their_order(kind):
    image, text, base_image, base_text = made = rows()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    there = TERMS[kind](*made).item()
    assert TERMS[kind](text, image, base_text, base_image).item() == pytest.approx(there, rel=1e-12)
    assert TERMS[kind](*(each[order] for each in made)).item() == pytest.approx(there, rel=1e-12)


@every
def test_rows_that_are_not_those_of_the_base_are_refused(kind):
    image, text, base_image, base_text = rows()
    with pytest.raises(ValueError, match=r"one shape, got \(6, 4\) and \(5, 4\), \(6, 4\) and \(6, 4\)"):
        TERMS[kind](image, text, base_image[1:], base_text)
    with pytest.raises(ValueError, match=r"must be \(M, D\)"):
        TERMS[kind](image, text[:, 1:], base_image, base_text[:, 1:])


@every
def test_what_it_takes_is_left_alone(kind):
    made, kept = rows(), rows()
    TERMS[kind](*made)
    assert all(torch.equal(now, then) for now, then in zip(made, kept, strict=True))
