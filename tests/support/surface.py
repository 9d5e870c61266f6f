"""The public surface as data: names, signatures, commands, and the keys of what is written.

python tests/support/surface.py     # writes tests/whole/surface.json, which test_surface.py compares with
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

import click

FILE = Path(__file__).resolve().parents[1] / "whole" / "surface.json"
PACKAGES = ("matplotlib", "plotly", "sklearn", "jinja2", "pandas")
"""What the modules import whose names are listed."""


# --- Python


def python_surface() -> dict[str, Any]:
    """Every public name of geomclip and of its public namespaces, whatever file it lies in."""
    import geomclip

    return namespace(geomclip)


def namespace(module: ModuleType) -> dict[str, Any]:
    """The public names of a module: `__all__`, else what is defined in or brought into it from geomclip."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items() if not name.startswith("_") and of_geomclip(value)]
    return {name: described(getattr(module, name)) for name in sorted(names)}


def of_geomclip(value: Any) -> bool:
    """Whether a name of a module without `__all__` is its own: no module, nothing from another package."""
    if isinstance(value, ModuleType):
        return False
    home = getattr(value, "__module__", None) if callable(value) else "geomclip"
    return str(home).split(".")[0] == "geomclip" and not isinstance(value, type(sys.flags))


def described(value: Any) -> Any:
    """A namespace, class, function or table as strings, lists and dicts."""
    if isinstance(value, ModuleType):
        return namespace(value)
    if isinstance(value, type):
        return class_surface(value)
    if callable(value):
        return signature(value)
    if isinstance(value, Mapping):
        return {"keys": [str(key) for key in value], "of": sorted({type(each).__name__ for each in value.values()})}
    return shown(value)


def class_surface(cls: type) -> dict[str, Any]:
    """Bases, how it is made, fields, and the public members that geomclip's own classes give it."""
    own = [each for each in cls.__mro__ if each.__module__.split(".")[0] == "geomclip"]
    members: dict[str, Any] = {}
    for each in reversed(own):
        for name, value in vars(each).items():
            # scikit-learn hangs methods of its own on estimators
            if not name.startswith("_") and type(value).__module__.split(".")[0] != "sklearn":
                members[name] = member(value)
    found: dict[str, Any] = {"is a": [each.__name__ for each in cls.__mro__[1:] if known(each)]}
    if not dataclasses.is_dataclass(cls):  # whose fields tell it
        if any("__init__" in vars(each) for each in own):
            found["made by"] = signature(cls.__init__)
    else:
        found["fields"] = [field_surface(field) for field in dataclasses.fields(cls)]
        for field in dataclasses.fields(cls):
            members.pop(field.name, None)  # a default lies in the class as well
    special = ("__getitem__", "__len__", "__iter__", "__contains__", "__call__", "_repr_html_")
    found["members"] = dict(sorted(members.items()))
    found["special"] = [name for name in special if any(name in vars(each) for each in own)]
    return found


def known(cls: type) -> bool:
    """Whether users can name it: a class of Python, of scikit-learn's interface, or a public one of geomclip."""
    import geomclip

    if cls.__module__.split(".")[0] == "geomclip":
        spaces = [
            geomclip,
            *(value for name in geomclip.__all__ if isinstance(value := getattr(geomclip, name), ModuleType)),
        ]
        return any(cls.__name__ in getattr(space, "__all__", ()) for space in spaces)
    return cls is not object and (cls.__module__ == "builtins" or cls.__name__ in ("BaseEstimator", "TransformerMixin"))


def field_surface(field: dataclasses.Field[Any]) -> str:
    """Name, default and what is unusual of a field."""
    told = field.name
    if field.default is not dataclasses.MISSING:
        told += f" = {shown(field.default)}"
    elif field.default_factory is not dataclasses.MISSING:
        told += f" = {field.default_factory.__name__}()"
    return told + (" (keyword)" if field.kw_only else "") + ("" if field.init else " (not given)")


def member(value: Any) -> str:
    """What a class has under a name."""
    if isinstance(value, property | functools.cached_property):
        return "property"
    if isinstance(value, classmethod | staticmethod):
        return f"{type(value).__name__} {signature(value.__func__)}"
    if inspect.isfunction(value):
        return signature(value)
    return shown(value)


def signature(function: Any, name: str | None = None) -> str:
    """The parameters by name, kind and default; `self` and `cls` left out."""
    words, starred = list[str](), False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            words.append("*")
        starred |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        lead = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        end = ", /" if parameter.kind is parameter.POSITIONAL_ONLY else ""
        default = "" if parameter.default is parameter.empty else f"={shown(parameter.default)}"
        words.append(f"{lead}{parameter.name}{default}{end}")
    return f"{name or ''}({', '.join(words)})"


def shown(value: Any) -> str:
    """A default, alike on every machine and Python: a value by its repr, anything else by its name or type."""
    if isinstance(value, PurePath):
        return f"Path({value.as_posix()!r})"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        inside = ", ".join(map(shown, value))
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{shown(key)}: {shown(each)}" for key, each in value.items()) + "}"
    return getattr(value, "__qualname__", None) or f"a {type(value).__name__}"


# --- command line


def commands_surface() -> dict[str, Any]:
    """Every command with its arguments and options."""
    from geomclip.cli.app import app

    found: dict[str, Any] = {}

    def visit(command: click.Command, name: str) -> None:
        found[name] = dict(parameter_surface(each) for each in command.params)
        for inner, each in getattr(command, "commands", {}).items():
            visit(each, f"{name} {inner}")

    visit(app, "geomclip")
    return dict(sorted(found.items()))


def parameter_surface(parameter: click.Parameter) -> tuple[str, str]:
    """Its flags, and its type, default and what is unusual of it, as words."""
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    kind, default = parameter.type, parameter.default
    words = [kind.name]
    if isinstance(kind, click.Choice):
        words = ["one of " + ", ".join(map(str, kind.choices))]
    for bound in ("min", "max"):
        if (limit := getattr(kind, bound, None)) is not None:
            words.append(f"{bound} {limit}" + (" (open)" if getattr(kind, f"{bound}_open", False) else ""))
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    # what stands for "no default" depends on the version of click
    if not (default is None or "UNSET" in repr(default) or default == () or (flag and default is False)):
        words.append(f"default {shown(default)}")
    words += [word for word in ("required", "multiple") if getattr(parameter, word, False)]
    words += ["flag"] if flag else []
    words += ["argument"] if isinstance(parameter, click.Argument) else []
    return names, "; ".join(words)


# --- what is written


def records_surface(folder: Path) -> dict[str, Any]:
    """The keys of results, stores, run folders and comparisons, made in a folder of tiny models and sets."""
    from helpers import class_set, small_set
    from tiny_models import tiny_model
    from toy_pairs import toy_csv

    from geomclip.cli.app import app
    from geomclip.embeddings.store import save

    model = f"local-dir:{tiny_model(folder / 'model')}"
    data = toy_csv(folder / "pictures")
    save(small_set(), folder / "pairs.npz")
    save(class_set(), folder / "classes.npz")
    always = ("--cache-dir", folder / "cache", "--quiet")
    found: dict[str, Any] = {}
    for name, more in (("pairs", ("--curves", "--by", "source")), ("classes", ())):
        options = ("--embeddings", folder / f"{name}.npz", "--metrics", "all", "--bootstrap", 20, *more)
        printed = json.loads(called("measure", *options, "--json", "--out", folder / f"{name}.json", *always))
        found[f"measure {name} --json"] = keys(printed)
        found[f"measure {name} --out"] = keys_of_file(folder / f"{name}.json")
        found[f"measure {name} metrics"] = list(printed["metrics"])
        found[f"measure {name} items"] = columns_by_kind(folder / f"{name}.items.parquet")
    called("extract", "--model", model, "--data", data, "--out", folder / "store", *always)
    found["store manifest.json"] = keys_of_file(folder / "store" / "manifest.json")
    found["store columns"] = {
        kind: columns(folder / "store" / kind / f"{kind}_0000.parquet") for kind in ("metadata", "text_metadata")
    }
    run = folder / "run"
    few = ("--steps", 2, "--batch-size", 8, "--probe-every", 1, "--save-every", 1, "--bootstrap", 20)
    printed = json.loads(called("finetune", "--model", model, "--data", data, "--out", run, *few, "--json", *always))
    found["finetune --json"] = keys(printed)
    found["run config.json"] = keys_of_file(run / "config.json")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    found["run log.jsonl"] = unlike(", ".join(keys(line)) for line in lines)
    found["run files"] = sorted(str(path.relative_to(run).as_posix()) for path in run.rglob("*") if path.is_file())
    sides = (run / "before.json", run / "after.json", "--bootstrap", 20)
    found["compare --json"] = keys(json.loads(called("compare", *sides, "--json", *always)))
    called("compare", *sides, "--out", folder / "change.json", *always)
    found["compare --out"] = keys_of_file(folder / "change.json")
    called("compare", *sides, "--out", folder / "change.csv", *always)
    found["compare csv"] = (folder / "change.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    for name in ("models", "data"):
        if any("--json" in option.opts for option in app.commands[name].params):
            found[f"{name} --json"] = keys(json.loads(called(name, "--json", *always)))
    return found


def called(*words: object) -> str:
    """What a command prints, run in this process."""
    from geomclip.cli.app import main

    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()) as told:
        code = main([str(word) for word in words])
    if code:
        raise RuntimeError(f"geomclip {words[0]} ended with {code}: {told.getvalue()}")
    return printed.getvalue()


TABLES = (
    "metrics", "ci", "null", "null_error", "p", "notes", "reliability", "curves", "seconds", "groups", "files",
    "columns",
)  # fmt: skip
"""Keys under which each key is a name from the data: of a metric, a group, a file."""


def keys(value: Any, name: str = "") -> list[str]:
    """The paths of all keys in their order; [] stands for any element of a list, * for any name in a table."""
    if isinstance(value, dict):
        found = list[str]()
        for key, each in value.items():
            found.append(f"{name}{key}")
            if key in TABLES and isinstance(each, dict):
                found += unlike(path for one in each.values() for path in keys(one, f"{name}{key}.*."))
            else:
                found += keys(each, f"{name}{key}.")
        return found
    if isinstance(value, list):
        return unlike(path for each in value for path in keys(each, f"{name[:-1]}[]."))
    return []


def keys_of_file(file: Path) -> list[str]:
    """Those of a JSON file."""
    return keys(json.loads(file.read_text(encoding="utf-8")))


def unlike(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of their first places."""
    return list(dict.fromkeys(names))


def columns(file: Path) -> list[str]:
    """Names and types of a table."""
    import pyarrow.parquet as parquet

    return [f"{field.name}: {field.type}" for field in parquet.read_schema(file)]


def columns_by_kind(file: Path) -> dict[str, list[str]]:
    """Kind of item -> the columns of which some item of it has a value."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(file).to_pylist()
    found: dict[str, list[str]] = {}
    for kind in unlike(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        found[kind] = [name for name in rows[0] if any(row[name] is not None for row in of_kind)]
    return found


# --- together


def surface(folder: Path) -> dict[str, Any]:
    """All of it."""
    return {"python": python_surface(), "commands": commands_surface(), "records": records_surface(folder)}


def as_text(value: Any) -> str:
    """One line a name, so that a difference is one line."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write(file: Path = FILE) -> None:
    """Make it anew, with no cache or hub of the user's."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"GEOMCLIP_CACHE": folder, "HF_HUB_OFFLINE": "1", "HF_HOME": str(Path(folder, "hub"))}
        file.write_text(as_text(surface(Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    write()
