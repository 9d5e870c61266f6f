"""The same bits of every number of a panel and of a comparison, whatever the number of torch's threads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.threads import free_threads, one_torch_thread
from geomclip.metrics import gallery, gap
from geomclip.panels import compare
from geomclip.panels.measurement import measure

OF_THE_RUN = {"seconds", "env", "written"}


def bits(value: Any) -> Any:
    """A JSON value with every number as the digits that tell it from all others."""
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items() if key not in OF_THE_RUN}
    return [bits(each) for each in value] if isinstance(value, list) else repr(value)


def drawn(n: int, m: int, dim: int, noise: float, classes: bool) -> EmbeddingSet:
    draw = np.random.default_rng(0)
    image = draw.normal(size=(n, dim)) + 0.3
    own = np.arange(m) % n
    text = image[own] + 2 * draw.normal(size=(m, dim))
    image += noise * draw.normal(size=(n, dim))
    if classes:
        return EmbeddingSet(image, labels=np.arange(n) % 7, class_text=text[:7], logit_scale=50.0)
    return EmbeddingSet(
        image, text, image_of_text=own, logit_scale=50.0, columns={"half": [str(i % 2) for i in range(n)]}
    )


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("n", "m", "dim", "classes"), [(401, 1103, 67, False), (33, 41, 70, False), (600, 600, 64, True)]
)
def test_panels_and_comparisons_have_the_same_bits_on_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, m: int, dim: int, classes: bool
) -> None:
    monkeypatch.setattr(gallery, "CELLS", 2**16)  # so that there are parts to share
    monkeypatch.setattr(gap, "ROWS", 256)
    found = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        sides = [drawn(n, m, dim, noise, classes) for noise in (0.0, 0.1)]
        compared = compare(*sides, metrics="all", bootstrap=50, cache_dir=tmp_path)
        panel = measure(sides[0], metrics="all", bootstrap=50)
        found.append(bits([compared.to_dict(), panel.to_dict()]))
        assert torch.get_num_threads() == count
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("threads")
def test_groups_have_the_same_bits_on_any_number_of_threads() -> None:
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(bits(measure(drawn(400, 400, 65, 0.0, False), by="half", bootstrap=20).to_dict()))
    assert found[0]["groups"].keys() == {"0", "1"}
    assert found[0] == found[1]


@pytest.mark.usefixtures("threads")
def test_inside_one_torch_thread_the_others_are_free_also_where_it_is_entered_again() -> None:
    torch.set_num_threads(3)
    with one_torch_thread(), one_torch_thread():
        inside = torch.get_num_threads(), free_threads()
    assert inside == (1, 3)
    assert (torch.get_num_threads(), free_threads()) == (3, 3)
