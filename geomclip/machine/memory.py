"""Memory: how much this process may still take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def memory_left() -> float:
    """Bytes that this process may still take, by the limits of the process, its control group and the machine."""
    found = [math.inf]
    with suppress(OSError):
        found.append(_fields(Path("/proc/meminfo"))["MemAvailable"])
    if limits := _limits():
        with suppress(OSError):
            held = _fields(Path("/proc/self/status"))
            found += [most - held[name] for name, most in limits.items()]
    with suppress(OSError):
        found += _left_of_groups(Path("/proc/self/cgroup").read_text("utf-8", "replace"), Path("/sys/fs/cgroup"))
    return max(0.0, min(found))


def is_limited() -> bool:
    """Whether the system limits what this process may reserve, used or not."""
    return bool(_limits())


def _limits() -> dict[str, int]:
    """The limits of this process, by the field of /proc/self/status that has what is taken of each."""
    try:
        import resource
    except ImportError:
        return {}
    soft = {"VmData": resource.RLIMIT_DATA, "VmSize": resource.RLIMIT_AS}
    found = {name: resource.getrlimit(limit)[0] for name, limit in soft.items()}
    return {name: most for name, most in found.items() if most != resource.RLIM_INFINITY}


def _fields(path: Path) -> dict[str, int]:
    """Sizes in kB of a file of /proc, in bytes."""
    return {
        name: int(size) << 10 for name, size in re.findall(r"(\w+):\s+(\d+) kB", path.read_text("ascii", "replace"))
    }


def _left_of_groups(membership: str, mount: Path) -> Iterator[float]:
    """What is left of each limit on the memory of a control group (version 2) and of those above it."""
    match = re.search(r"^0::/(.*)$", membership, re.MULTILINE)
    group = mount / match[1] if match else mount
    for place in (group, *group.parents):
        if not place.is_relative_to(mount):
            return
        with suppress(OSError, ValueError):
            most = int((place / "memory.max").read_text("ascii"))  # "max" is none
            held = int((place / "memory.current").read_text("ascii"))
            stat = (place / "memory.stat").read_text("ascii", "replace")
            # pages of files are given back when they are wanted
            cached = sum(int(size) for size in re.findall(r"^(?:in)?active_file (\d+)$", stat, re.MULTILINE))
            yield most - held + cached
