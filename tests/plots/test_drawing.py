"""Maps and spheres as files: how their messages name options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from geomclip.machine.errors import InputError
from geomclip.machine.words import speak_of_flags
from geomclip.plots import drawing, globe


@pytest.mark.parametrize(
    ("refused", "python", "flags"),
    [
        (lambda: drawing.check("map.txt", "svd"), "out map.txt must end in", "--out map.txt must end in"),
        (lambda: globe.check(["s.html", "s.html"]), "out s.html is given twice", "--out s.html is given twice"),
        (
            lambda: drawing.options_of("svd", min_dist=0.1),
            "min_dist is of umap and umap-sphere: leave it out with svd",
            "--min-dist is of umap and umap-sphere: leave it out with svd",
        ),
    ],
    ids=["coordinates", "sphere", "estimator"],
)
def test_options_are_named_as_who_called_writes_them(
    refused: Callable[[], object], python: str, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for on_the_command_line, message in ((False, python), (True, flags)):
        speak_of_flags(on_the_command_line)
        try:
            with pytest.raises(InputError) as problem:
                refused()
        finally:
            speak_of_flags(False)
        assert str(problem.value).startswith(message)
