"""Memory: how much this process may still take, and the most that it has taken."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Of mallopt, in malloc.h."""

_GROUPS = (
    (r"^0::/(.*)$", "", "memory.max", "memory.current"),
    (r"^\d+:(?:[\w,]*,)?memory(?:,[\w,]*)?:/(.*)$", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Of control groups of version 2 and 1: the line of a process, their folder, their limit and what they hold."""


def memory_left(device: str | torch.device = "cpu") -> float:
    """Bytes that may still be taken: of a GPU, or by this process; infinity where the system does not tell.

    A process is held by its own limits, those of its control group and of the groups above it, and the machine.
    """
    import torch

    if torch.device(device).type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps what was freed
        return float(torch.cuda.mem_get_info(device)[0] + unused)
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


def peak_memory(device: str | torch.device = "cpu") -> dict[str, int]:
    """The most bytes that this process has had at one moment since it began, as far as the system tells.

    Returns
    -------
    dict
        "resident": of memory; "gpu", where the device is one: what torch had given out of it.
    """
    import torch

    found = {}
    with suppress(OSError, KeyError):
        found["resident"] = _fields(Path("/proc/self/status"))["VmHWM"]
    if "resident" not in found:
        with suppress(ImportError):
            import resource

            unit = 1 if platform.system() == "Darwin" else 1 << 10
            found["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.max_memory_allocated(device)
    return found


def keep_within_limits() -> None:
    """Where the system limits what this process reserves: have libraries reserve no more than they use.

    To be called before pyarrow is first imported, whose usual pool sets a gigabyte aside; glibc sets a heap aside for
    each thread, and keeps what was given back in it.
    """
    if not _limits():
        return
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    _ask_glibc(_M_ARENA_MAX, 1)
    give_back_what_is_freed()


def give_back_what_is_freed() -> None:
    """Have glibc give pieces of a megabyte and more back once they are free; left alone it learns to keep them."""
    _ask_glibc(_M_MMAP_THRESHOLD, 1 << 20)


@cache
def _ask_glibc(name: int, value: int) -> None:
    with suppress(AttributeError, OSError, TypeError):  # another library
        ctypes.CDLL(None).mallopt(name, value)


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
    """What is left of each limit on the memory of a control group, of either version, and of those above it."""
    for line, folder, most, held in _GROUPS:
        top = mount / folder
        match = re.search(line, membership, re.MULTILINE)
        group = top / match[1] if match else top
        for place in (group, *group.parents):
            if not place.is_relative_to(top):
                break
            with suppress(OSError, ValueError):
                left = int((place / most).read_text("ascii")) - int((place / held).read_text("ascii"))  # "max" is none
                stat = (place / "memory.stat").read_text("ascii", "replace")
                # pages of files are given back when they are wanted
                yield left + sum(int(size) for size in re.findall(r"^(?:in)?active_file (\d+)$", stat, re.MULTILINE))
