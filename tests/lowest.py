"""The lowest versions that pyproject.toml allows, as constraints for pip: `make test-lowest`."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
BOUND = re.compile(r"(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*>=\s*(?P<version>[\w.]+)")


def lowest(project: Mapping[str, Any]) -> Iterator[str]:
    """`name==version` of everything that a project and its extras require, but for the project itself.

    Raises
    ------
    ValueError
        If a requirement has no lower bound: then nobody knows what the lowest is.

    Examples
    --------
    >>> project = {"name": "mine", "dependencies": ["numpy>=1.26,<3"], "optional-dependencies": {"all": ["mine[x]"]}}
    >>> list(lowest(project))
    ['numpy==1.26']
    """
    extras = project.get("optional-dependencies", {}).values()
    for requirement in (*project["dependencies"], *(each for extra in extras for each in extra)):
        bound = BOUND.match(requirement)
        if bound is not None:
            yield f"{bound['name']}=={bound['version']}"
        elif not requirement.startswith(f"{project['name']}["):
            raise ValueError(f"{requirement!r} has no lower bound: write name>=VERSION")


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    sys.stdout.writelines(f"{line}\n" for line in lowest(project))
