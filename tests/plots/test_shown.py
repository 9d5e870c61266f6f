"""A map shows its picture where a notebook asks for it."""

from __future__ import annotations

import base64
import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from helpers import small_set

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


# --- a still picture beside a figure to turn


def test_a_sphere_to_turn_has_a_still_picture_beside_for_exporters(monkeypatch: pytest.MonkeyPatch) -> None:
    import plotly.io as pio

    figure = gc.plot_sphere(small_set(12), n_iter=10)
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    bundle = figure._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert "application/vnd.plotly.v1+json" in bundle
    monkeypatch.setattr(pio.renderers, "default", "browser")
    assert figure._repr_mimebundle_() == {}


def test_a_copy_of_a_sphere_to_turn_is_the_figure() -> None:
    figure = gc.plot_sphere(small_set(12), n_iter=10)
    for copied in (copy.deepcopy(figure), pickle.loads(pickle.dumps(figure))):
        assert copied.to_dict()["data"][0]["type"] == figure.to_dict()["data"][0]["type"]
        assert len(copied.data) == len(figure.data)
