"""A map shows its picture where a notebook asks for it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import geomclip as gc
from geomclip.machine.errors import NotAvailableError
from geomclip.plots import shown
from geomclip.plots.static.canvas import rendered

pytest.importorskip("matplotlib")

SPHERE = gc.Map(np.eye(3), -np.eye(3), [0, 1, 2], "sphere", "angles")
PLANE = gc.Map(np.eye(3)[:, :2], np.eye(3)[:, 1:], [0, 1, 2], "plane", "umap")


def test_a_map_on_a_sphere_or_plane_is_its_static_picture() -> None:
    assert SPHERE._repr_png_() == rendered(gc.plots.static.sphere(SPHERE), ".png")
    assert PLANE._repr_png_() == rendered(gc.plots.static.plane(PLANE), ".png")


def test_a_space_has_no_still_picture() -> None:
    assert gc.Map(np.eye(3), None, None, "space", "pca")._repr_png_() is None


def test_a_map_shows_its_text_where_pictures_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(map: object) -> bytes:
        raise NotAvailableError("a static picture needs matplotlib")

    monkeypatch.setattr(shown, "png_of", absent)
    assert SPHERE._repr_png_() is None


def test_nothing_that_draws_is_loaded_before_a_notebook_asks() -> None:
    code = (
        "import sys, geomclip.projections.maps as maps\n"
        "before = 'matplotlib' in sys.modules, 'geomclip.plots' in sys.modules\n"
        "png = maps.Map([[0, 0]], None, None, 'plane', 'svd')._repr_png_()\n"
        "print(before, png[:4])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "(False, False) " + repr(b"\x89PNG") + "\n", done.stderr
