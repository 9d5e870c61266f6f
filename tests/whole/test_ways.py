"""The count of files that know of a thing: what counts, what does not, and that a new name is seen."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import ways

TOY = {
    "__init__.py": "",
    "cli.py": (
        "import click\n"
        "from geomclip import api\n"
        "from geomclip.options import MEASURE\n"
        "@app.command(params=MEASURE)\n"
        "def measure(**given):\n"
        "    other = 3  # no call of the command of that name\n"
        "    return api.measure(other, bootstrap=given['bootstrap'])\n"
        "@app.command()\n"
        "def other(**given):\n"
        "    from geomclip.elsewhere import resample\n"
        "    return resample(given['bootstrap'])\n"
    ),
    "options.py": "MEASURE = [whole('--bootstrap', 'Resamples.')]\nTOOL = 1\n",
    "api.py": "from geomclip.inner import run\ndef measure(x, **options):\n    return run(x, **options)\n",
    "inner.py": (
        "from geomclip.draws import drawn\n"
        "from geomclip.record import hold\n"
        "def run(x, *, bootstrap=10):\n"
        "    return hold(x), drawn(x, bootstrap)\n"
    ),
    "draws.py": "def drawn(x, resamples):\n    return [x] * resamples\n",
    "record.py": '"""Says bootstrap."""\ndef hold(x):\n    """Of bootstrap."""\n    return x  # bootstrap\n',
    "kinds.py": "from dataclasses import dataclass\nKIND = Metric(interval='bootstrap')\n",
    "elsewhere.py": "def resample(bootstrap):\n    return bootstrap\n",
}
BOOTSTRAP = ways.WAYS[0]


def followed(**changes: str) -> ways.Found:
    """What the way of a bootstrap is in the toy package, with some of its files changed."""
    files = TOY | {f"{name}.py": source for name, source in changes.items()}
    return ways.follow(ways.Package(files), BOOTSTRAP)


def test_files_count_that_hand_a_thing_on_or_use_it_where_its_command_comes_to() -> None:
    found = followed()
    # not record (docstring, comment), kinds (how an interval is made), elsewhere (another command)
    assert list(found.files) == ["api.py", "cli.py", "draws.py", "inner.py", "options.py"]
    assert found.unknown == []
    assert found.met == {"bootstrap", "resamples"}


def test_handing_on_a_whole_record_does_not_count() -> None:
    found = followed(
        api="from geomclip.inner import run\ndef measure(x, options):\n    return run(x, options)\n",
        inner="from geomclip.draws import drawn\ndef run(x, options):\n    return drawn(x, options.bootstrap)\n",
    )
    assert list(found.files) == ["cli.py", "draws.py", "inner.py", "options.py"]


@pytest.mark.parametrize(
    ("file", "source", "told"),
    [
        ("draws", "def drawn(x, times):\n    return [x] * times\n", "inner.py:4: times = bootstrap"),
        ("inner", "def run(x, *, bootstrap=10):\n    n = bootstrap\n    return n\n", "inner.py:2: n = bootstrap"),
        ("inner", "def run(x, *, bootstrap=10):\n    return far(n=bootstrap)\n", "inner.py:2: n = bootstrap"),
        ("inner", "def run(x, *, bootstrap=10):\n    return {'n': bootstrap}\n", "inner.py:2: n = bootstrap"),
        ("inner", "def run(x, *, bootstrap=10):\n    return {'n': bootstrap[0]}\n", "inner.py:2: n = bootstrap[0]"),
        ("inner", "def run(x, *, n=10):\n    return far(bootstrap=n)\n", "inner.py:2: bootstrap = n"),
        ("inner", "def run(x, *, bootstrap=10):\n    x.a, x.n = 1, bootstrap\n", "inner.py:2: n = bootstrap"),
    ],
)
def test_a_new_name_is_no_shorter_way(file: str, source: str, told: str) -> None:
    assert followed(**{file: source}).unknown == [told]


def test_a_name_that_the_code_has_no_more_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = TOY | {"draws.py": "def drawn(x, bootstrap):\n    return [x] * bootstrap\n"}
    monkeypatch.setattr(ways, "sources", lambda revision: TOY if revision else now)
    monkeypatch.setattr(ways, "WAYS", (BOOTSTRAP,))
    monkeypatch.setattr(sys, "argv", ["ways.py"])
    assert ways.main() == 1
    assert "after: no resamples in the code" in capsys.readouterr().out
    monkeypatch.setattr(ways, "WAYS", (replace(BOOTSTRAP, gone=frozenset({"resamples"})),))
    assert ways.main() == 0
    assert "a --bootstrap              5       5    1.00   MISSED" in capsys.readouterr().out


def test_a_thing_that_has_another_name_everywhere_is_missed() -> None:
    renamed = {file: source.replace("bootstrap", "times").replace("resamples", "times") for file, source in TOY.items()}
    with pytest.raises(SystemExit, match=r"a --bootstrap has other names now"):
        ways.follow(ways.Package(renamed), BOOTSTRAP)


def test_a_command_that_is_not_there_is_missed() -> None:
    with pytest.raises(SystemExit, match="no command gauge"):
        ways.follow(ways.Package(TOY), replace(BOOTSTRAP, commands=("gauge",)))


def test_the_set_is_known_by_its_fields_whatever_its_name() -> None:
    way = replace(ways.WAYS[-1], fields=frozenset("abcd"))
    files = {
        "__init__.py": "_PUBLIC = {'Cloud': 'sets'}\n",
        "sets.py": "class Cloud:\n    a: int\n    b: int\nclass Half:\n    a: int\n",
        "again.py": "from geomclip.sets import Cloud as Rows\n",
        "uses.py": "from geomclip import again\ndef f(x: again.Rows): ...\n",
        "not.py": "from geomclip.sets import Half\ndef f(x: Half):\n    'Of Cloud.'\n",
    }
    assert list(ways.follow(ways.Package(files), way).files) == ["__init__.py", "sets.py", "uses.py"]


def test_the_ways_of_the_package_can_be_followed() -> None:
    package = ways.Package(ways.sources(None))
    for way in ways.WAYS:
        found = ways.follow(package, way)
        assert len(found.files) > 1, way.title
        assert list(found.unknown) == [], way.title
