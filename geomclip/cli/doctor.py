"""What is installed and reachable on this machine, and what to do about what is not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from geomclip.machine.version import __version__
from geomclip.pairs.emoji import PACKAGES

NEEDED = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "numpy",
    "scipy",
    "pyarrow",
    "pillow",
    "safetensors",
)
LITTLE_SPACE = 2e9  # bytes; less than the weights of a large model
HUB = "https://huggingface.co"
HUB_TIMEOUT = 3.0  # seconds; name look-ups know no time limit of their own


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, whether all is well, and what to do if not."""

    name: str
    found: str
    well: bool = True
    advice: str = ""


def examine(*, cache_dir: Path | None = None) -> list[Finding]:
    """Everything `geomclip doctor` looks at, in order; takes a few seconds and never fails or hangs."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        versions,
        threads,
        accelerator,
        compiler,
        jpeg,
        lambda: cache(cache_dir),
        demo,
        hub,
    )
    return [finding for check in checks for finding in check()]


def versions() -> Iterator[Finding]:
    """geomclip, Python, and the packages that it needs."""
    yield Finding("geomclip", __version__)
    yield Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in NEEDED:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", well=False, advice="pip install geomclip brings it")


def threads() -> Iterator[Finding]:
    """How many threads torch uses of the processors it may use."""
    import torch

    used = torch.get_num_threads()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    idle = used * 2 < allowed
    advice = f"OMP_NUM_THREADS={allowed} would use them all" if idle else ""
    yield Finding("threads", f"{used} of {allowed} processors", well=not idle, advice=advice)


def accelerator() -> Iterator[Finding]:
    """The device that is best here, and the precision that is fastest on it."""
    import torch

    from geomclip.encoders.clip import choose_precision
    from geomclip.machine.devices import choose_device

    device = choose_device("auto")
    if device == "cuda":
        yield Finding("device", f"cuda ({torch.cuda.get_device_name(0)})", advice="--device cuda uses it")
    else:
        yield Finding("device", "cpu (torch sees no GPU)")
    precision = choose_precision("auto", device)
    advice = "" if precision == "fp32" else f"--precision {precision} uses it; auto does too, and says the drift"
    yield Finding("fastest precision", precision, advice=advice)


def compiler() -> Iterator[Finding]:
    """The C++ compiler that torch.compile calls; nothing here needs one."""
    named = os.environ.get("CXX")
    found = next((path for name in (named, "g++", "clang++", "c++") if name and (path := shutil.which(name))), None)
    yield Finding("C++ compiler", found or "none (not needed: the sweep compiles nothing)")


def jpeg() -> Iterator[Finding]:
    """What decodes JPEG: Pillow's own wheels bring libjpeg-turbo, builds from source take what the system has."""
    from PIL import features

    turbo = features.version_feature("libjpeg_turbo")
    if turbo:
        yield Finding("JPEG decoder", f"libjpeg-turbo {turbo}, of Pillow")
    else:
        advice = "pip install --force-reinstall --only-binary :all: pillow brings libjpeg-turbo, which is faster"
        yield Finding("JPEG decoder", "libjpeg without turbo, of Pillow", well=False, advice=advice)


def cache(cache_dir: Path | None) -> Iterator[Finding]:
    """Where weights, data and features are kept, and the room left there."""
    from geomclip.machine.files import cache_dir as cache_folder

    where = cache_folder(cache_dir)
    standing = next(path for path in (where, *where.absolute().parents) if path.exists())
    try:
        free = shutil.disk_usage(standing).free
    except OSError as error:
        yield Finding("cache", f"{where}: {error.strerror}", well=False, advice="--cache-dir names another")
        return
    if not os.access(standing, os.W_OK | os.X_OK):
        yield Finding("cache", f"{where} cannot be written", well=False, advice="--cache-dir names another")
        return
    little = free < LITTLE_SPACE
    advice = "--cache-dir or GEOMCLIP_CACHE names a folder with more room" if little else ""
    yield Finding("cache", f"{where}, {free / 1e9:.1f} GB free", well=not little, advice=advice)


def demo() -> Iterator[Finding]:
    """What the built-in data set `emoji` is made from."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        advice = "pip install 'geomclip[demo]'"
        yield Finding("emoji data", f"without {', '.join(missing)}", well=False, advice=advice)
    else:
        yield Finding("emoji data", "installed")


def hub(timeout: float = HUB_TIMEOUT) -> Iterator[Finding]:
    """Whether weights can be fetched; at most `timeout` seconds, whatever the network does."""
    address = os.environ.get("HF_ENDPOINT", HUB)
    advice = "weights already here, local-dir: and checkpoint files work; `geomclip models` says which are here"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        yield Finding("hub", "HF_HUB_OFFLINE is set", advice=advice)
        return
    reasons: list[str] = []
    # a daemon thread, since looking up a name may take minutes and cannot be stopped
    asking = threading.Thread(target=lambda: reasons.append(reach(address, timeout)), daemon=True)
    asking.start()
    asking.join(timeout + 0.5)
    reason = reasons[0] if reasons else f"no answer in {timeout:g} s"
    if reason:
        yield Finding("hub", f"{address} not reached: {reason}", well=False, advice=advice)
    else:
        yield Finding("hub", f"{address} answers")


def reach(address: str, timeout: float) -> str:
    """'' if a server answers at the address, else why not."""
    try:
        request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": f"geomclip/{__version__}"})
        with urllib.request.urlopen(request, timeout=timeout):
            return ""
    except urllib.error.HTTPError:
        return ""  # an answer all the same
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
