"""Files of a model hub repository: from its cache, from where a person placed them, or fetched.

A copy on this machine is used as it is, without asking the network. Without network the answer comes within
seconds (one short request, no retries) and says what is missing, where it belongs and how to place it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geomclip.encoders.configuration import CONFIG_FILE
from geomclip.encoders.reasons import first_line
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option

ANSWER_SECONDS = 8  # for the first request; a hub that is slower than this is as good as absent
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CONFIG = (CONFIG_FILE, "config.json")  # in the layout of open_clip, or else in that of transformers


def cache_folder(cache_dir: Path | None) -> Path:
    """Where hub files are kept: `weights` in the cache folder that is named, else the hub's own cache (HF_HOME)."""
    if cache_dir is not None:
        return Path(cache_dir) / "weights"
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repository_folder(repo: str, cache_dir: Path | None) -> Path:
    """The folder of one repository in that cache; a file placed there by hand is found too."""
    return cache_folder(cache_dir) / f"models--{repo.replace('/', '--')}"


def cached(repo: str, names: Sequence[str], cache_dir: Path | None) -> Path | None:
    """The first of these files that is on this machine already."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        by_hand = repository_folder(repo, cache_dir) / name
        if by_hand.is_file():
            return by_hand
        fetched = try_to_load_from_cache(repo, name, cache_dir=cache_folder(cache_dir))
        if isinstance(fetched, str):
            return Path(fetched)
    return None


def get(repo: str, names: Sequence[str], *, cache_dir: Path | None, what: str) -> Path:
    """The first of these files that the repository has, fetched if it is not on this machine.

    Raises
    ------
    NotAvailableError
        If it cannot be had; the message says why, the address, the place for it, and `what` it was for.
    InputError
        If the repository's name cannot be one, or it has none of the files.
    """
    try:
        here = cached(repo, names, cache_dir)
    except ValueError as error:  # the hub's own check of names
        raise InputError(f"{what}: {repo!r} is no repository name: write hf-hub:ORGANISATION/NAME") from error
    if here is not None:
        return here
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        address = hf_hub_url(repo, name)
        try:
            get_hf_file_metadata(address, timeout=ANSWER_SECONDS)
            return Path(hf_hub_download(repo, name, cache_dir=cache_folder(cache_dir)))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # a subclass, but it means that the network failed
                raise _unavailable(repo, name, address, cache_dir, what, error) from error
        except Exception as error:  # httpx, requests (older hubs), OSError and the hub's own: all mean "not had"
            raise _unavailable(repo, name, address, cache_dir, what, error) from error
    raise InputError(
        f"{what}: the repository {repo} has no {' or '.join(names)}: it is neither in the layout of "
        "open_clip nor in that of transformers (geomclip models lists what can be named)"
    )


def those_there(repo: str, names: Sequence[str], *, cache_dir: Path | None) -> list[Path]:
    """Those of these files that the repository has; without network, those that are on this machine."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    found, network = [], True
    for name in names:
        here = cached(repo, (name,), cache_dir)
        absent = try_to_load_from_cache(repo, name, cache_dir=cache_folder(cache_dir)) is _CACHED_NO_EXIST
        if here is None and network and not absent:
            try:
                here = get(repo, (name,), cache_dir=cache_dir, what=repo)
            except NotAvailableError:
                network = False  # for whoever asks next too
            except InputError:
                continue  # the repository has none
        if here is not None:
            found.append(here)
    return found


def placed_by_hand(file: Path, repo: str, cache_dir: Path | None) -> bool:
    """Whether a file lies where the messages here tell people to place it, outside the hub's own layout."""
    return file.parent == repository_folder(repo, cache_dir)


def _unavailable(
    repo: str, name: str, address: str, cache_dir: Path | None, what: str, error: Exception
) -> NotAvailableError:
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        reason = "its owner asks you to accept terms on its page, then to set HF_TOKEN"
    elif isinstance(error, RepositoryNotFoundError):
        reason = "the hub knows no such repository, or it is private: then set HF_TOKEN"
    elif isinstance(error, OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set"
    else:
        reason = f"{type(error).__name__}: {first_line(error, 120)}"
    place = repository_folder(repo, cache_dir) / name
    own = f", or give the file with {option('pretrained', 'FILE')}" if name.endswith((".safetensors", ".bin")) else ""
    return NotAvailableError(
        f"{what}: {name} is not on this machine and cannot be fetched ({reason}): "
        f"download {address} elsewhere and place it at {place}{own}"
    )
