"""Code that the command line names, MODULE:NAME or FILE.py:NAME: imported, which runs it. It is the caller's own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from geomclip.encoders.custom.failures import not_loaded
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import near, typed

_loaded: dict[tuple[str, int], ModuleType] = {}
"""Files that were run, by path and time of change."""


def located(spec: str) -> Any:
    """What `MODULE:NAME` or `FILE.py:NAME` names; the module is found from the working folder too.

    Raises
    ------
    InputError, NotAvailableError
        If nothing has this name, or the code cannot be loaded: file and line of where it fails.

    Examples
    --------
    >>> located("json:dumps")([1])
    '[1]'
    """
    place, colon, name = spec.rpartition(":")
    flag = typed("--encoder", "encoder:")
    if not colon or not place or not name:
        raise InputError(f"{flag} {spec}: write MODULE:NAME or FILE.py:NAME, for example my_encoder:encode")
    is_file = place.endswith(".py") or os.sep in place
    module = _of_file(Path(place).expanduser(), spec) if is_file else _of_name(place, spec)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            own = [each for each in dir(found) if not each.startswith("__")]
            close = near(part, [each for each in own if not isinstance(getattr(found, each, None), ModuleType)])
            hint = f": did you mean {' or '.join(close)}?" if close else ""
            raise InputError(f"{place} has no {part!r}{hint}")
        found = getattr(found, part)
    return found


def _of_file(file: Path, spec: str) -> ModuleType:
    if not file.is_file():
        raise NotAvailableError(f"{spec}: no such file {file}")
    key = (str(file.resolve()), file.stat().st_mtime_ns)
    if key not in _loaded:
        _find_from(str(file.resolve().parent))
        name = file.stem if file.stem not in sys.modules else f"{file.stem}_of_geomclip"
        outline = importlib.util.spec_from_file_location(name, file)
        if outline is None or outline.loader is None:
            raise InputError(f"{spec}: {file} is no Python file: its name must end in .py")
        module = importlib.util.module_from_spec(outline)
        sys.modules[name] = module  # dataclasses and pickle look there
        try:
            outline.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise not_loaded(error, str(file), spec) from error
        _loaded[key] = module
    return _loaded[key]


def _of_name(name: str, spec: str) -> ModuleType:
    _find_from(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise NotAvailableError(
                f"{spec}: no module {error.name!r} in this folder or where Python looks: name its file, "
                f"path/to/{error.name.rpartition('.')[2]}.py:{spec.rpartition(':')[2]}"
            ) from error
        raise not_loaded(error, "", spec) from error
    except Exception as error:
        raise not_loaded(error, "", spec) from error


def _find_from(folder: str) -> None:
    """Have modules found in this folder, as `python FILE` in it would."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
