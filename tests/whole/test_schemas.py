"""The JSON Schemas of the package hold of what commands write, describe every field, and see what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from helpers import Done, class_set, picture, run_cli, small_set
from jsonschema import Draft202012Validator
from tiny import TinyEncoder
from tiny_models import tiny_model
from toy_pairs import toy_csv

import geomclip as gc
from geomclip.cli import schemas
from geomclip.cli.app import main
from geomclip.grounding.predict import predict
from geomclip.grounding.splits import SCHEMA as CHECK
from geomclip.panels.comparison.record import SCHEMA as COMPARE
from geomclip.panels.comparison.record import VERDICTS
from geomclip.panels.comparison.several import SCHEMA as COMPARISONS
from geomclip.panels.fields import FIELDS
from geomclip.panels.fields import SCHEMA as MEASURE
from geomclip.panels.files import ITEMS_SUM
from geomclip.panels.planning import SCHEMA as PLAN
from geomclip.reproduction.record import SCHEMA as REPRODUCE
from geomclip.reproduction.rows import Number, Row
from geomclip.reproduction.verdicts import VERDICTS as OF_NUMBERS
from geomclip.training.folder import SCHEMA as RUN

NUMBERS = {
    "measure": MEASURE,
    "compare": COMPARE,
    "comparisons": COMPARISONS,
    "plan": PLAN,
    "run": RUN,
    "ground-check": CHECK,
    "reproduce": REPRODUCE,
}


def described(name: str) -> dict[str, Any]:
    return dict(json.loads(schemas.schema(name)))


def faults(name: str, value: Any) -> list[str]:
    """Where a value is not as the schema has it, and the top fields that the schema does not describe."""
    schema = described(name)
    found = [f"{error.json_path}: {error.message[:200]}" for error in Draft202012Validator(schema).iter_errors(value)]
    return found + [f"{key}: not described" for key in value if key not in schema["properties"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


@pytest.fixture(scope="module")
def made(place: Path) -> dict[str, list[Any]]:
    """What commands wrote, by the name of the schema."""

    def printed(*words: object) -> Any:
        with redirect_stdout(StringIO()) as out:
            assert main([str(word) for word in words]) == 0, words
        return json.loads(out.getvalue())

    gc.save(small_set(24), place / "pairs.npz")
    gc.save(class_set(), place / "classes.npz")
    always = ("--cache-dir", place / "cache", "--quiet", "--json")
    found: dict[str, list[Any]] = {name: [] for name in schemas.names()}
    for name, more in (("pairs", ("--curves", "--by", "source", "--metrics", "all")), ("classes", ())):
        how = ("--embeddings", place / f"{name}.npz", "--bootstrap", 20, *more)
        found["measure"].append(printed("measure", *how, "--out", place / f"{name}.json", *always))
        found["measure"].append(json.loads((place / f"{name}.json").read_text()))
    data = toy_csv(place / "pictures")
    model = f"local-dir:{tiny_model(place / 'model')}"
    few = ("--steps", 2, "--batch-size", 8, "--probe-every", 1, "--save-every", 1, "--bootstrap", 20)
    run = place / "run"
    found["compare"].append(printed("finetune", "--model", model, "--data", data, "--out", run, *few, *always))
    found["measure"] += [json.loads((run / name).read_text()) for name in ("before.json", "after.json")]
    found["run"].append(json.loads((run / "config.json").read_text()))
    found["log"] += map(json.loads, (run / "log.jsonl").read_text().splitlines())
    sides = (place / "pairs.npz", place / "pairs.npz", "--by", "source", "--bootstrap", 20)
    found["compare"].append(printed("compare", *sides, *always))
    found["comparisons"].append(printed("compare", *sides[:2], place / "pairs.npz", *sides[2:], *always))
    found["plan"].append(printed("plan", place / "pairs.json", "--width", 0.1, "--json"))
    rows = [
        {"video": f"v{i % 3}", "text": f"thing {i}", "start": 1.0, "end": 2.0 + i, "duration": 12.0} for i in range(8)
    ]
    for name, some in (("train", rows), ("test", rows[:2])):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    found["ground-check"].append(printed("ground", "check", place / "train.jsonl", place / "test.jsonl", "--json"))
    numbers = (Number("modality_gap", 0.5, 2.0), Number("uniformity_joint"), Number("alignment", below_zero=True))
    here = Row("here", model, data, "all", 0, numbers, "x")
    absent = Row("absent", str(place / "absent.pt"), data, "all", 9, numbers[:1], "x")
    how: dict[str, Any] = {"out": place / "reproduced", "cache_dir": place / "cache", "bootstrap": 20}
    found["reproduce"].append(json.loads(json.dumps(gc.reproduce(rows=(here, absent), **how).to_dict())))
    return found


@pytest.mark.parametrize("name", schemas.names())
def test_a_schema_is_one_of_the_draft_that_it_names(name: str) -> None:
    schema = described(name)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:geomclip:{name}:1"
    assert set(schema.get("required", ())) <= set(schema["properties"])


@pytest.mark.parametrize("name", [name for name in schemas.names() if name != "ground-predict"])
def test_what_commands_write_is_as_the_schema_has_it(made: dict[str, list[Any]], name: str) -> None:
    assert made[name]
    for value in made[name]:
        assert faults(name, value) == []


def test_moments_that_were_found_are_as_the_schema_has_it(tmp_path: Path) -> None:
    for second in range(8):
        (tmp_path / f"{second}.png").write_bytes(picture(second // 4))
    found = predict(tmp_path, ["a", "b"], model=TinyEncoder(), fps=1, clips=4).to_dict()
    assert found["moments"]
    assert faults("ground-predict", json.loads(json.dumps(found))) == []
    assert faults("ground-predict", {**found, "moments": [{"start": 1.0}]})


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_the_number_of_a_schema_is_that_of_the_code(name: str, number: str) -> None:
    assert described(name)["properties"]["schema"] == {"const": number}


def test_the_fields_of_a_result_are_those_of_the_code() -> None:
    assert list(described("measure")["properties"]) == ["schema", *(each.name for each in FIELDS), "groups", ITEMS_SUM]
    verdicts = described("compare")["properties"]["metrics"]["additionalProperties"]["properties"]["verdict"]
    assert set(verdicts["enum"]) == {*VERDICTS, ""}
    numbers = described("reproduce")["properties"]["rows"]["items"]["properties"]["numbers"]["items"]
    assert tuple(numbers["properties"]["verdict"]["enum"]) == OF_NUMBERS


def spoilt(value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A value with each of its fields in turn of another kind."""
    for key in value:
        worse = copy.deepcopy(value)
        worse[key] = 1.5 if isinstance(value[key], str | dict | list | bool) else "x"
        yield key, worse


@pytest.mark.parametrize("name", ["measure", "compare", "plan", "run", "ground-check", "reproduce"])
def test_a_field_of_another_kind_is_seen(made: dict[str, list[Any]], name: str) -> None:
    value = made[name][0]
    for key, worse in spoilt(value):
        assert faults(name, worse), key
    for key in described(name)["required"]:
        assert faults(name, {other: kept for other, kept in value.items() if other != key}), key


def test_the_schemas_are_printed_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    run: Callable[..., Done] = lambda *words: run_cli(capsys, "schema", *words)  # noqa: E731
    assert run().out.split() == schemas.names()
    assert json.loads(run("plan").out) == described("plan")
    done = run("mesure")
    assert (done.code, done.err) == (2, "geomclip: error: no schema 'mesure'; did you mean measure?\n")
