"""Code that a model's folder or repository brings along: never run, never asked about, refused by file.

transformers runs such code where its caller trusts it, and asks on standard input where its caller does not say.
Every call of geomclip's into it passes `trust_remote_code=False`; what reaches it through open_clip, which passes
nothing on, and what it calls in turn, is checked here first.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geomclip.encoders import sizes
from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError

SETTINGS = ("tokenizer_config.json", "config.json")
"""The files of a tokenizer that can name code."""
_KEYS = ("auto_map", "custom_code", "custom_pipelines", "trust_remote_code")
_WAY_OUT = "code that comes with a model is never run"


def refuse(file: Path) -> None:
    """Refuse a tokenizer_config.json or config.json of a tokenizer that needs code of its own; absent ones need none.

    Raises
    ------
    InputError
        If it asks for code anywhere, names a tokenizer class that transformers has not, or is no JSON object.
    """
    if file.is_file():
        settings = _read(file, regular.read(file, "config-bytes"))
        for name in _tokenizer_classes(settings):
            if not _is_known(name):
                raise InputError(
                    f"{file}: the tokenizer class {str(name)[:60]!r} is none that transformers has or loads alone, "
                    f"only code of the model's own could bring it: refused, {_WAY_OUT}"
                )


def checked_tower(file: Path) -> bytes:
    """The bytes of the config.json of a text tower, which build it without any other file.

    Raises
    ------
    InputError
        As `refuse`, or if it is of a kind that open_clip does not build.
    """
    from open_clip.hf_configs import arch_dict

    try:
        content = regular.read(file, "config-bytes")
    except OSError as error:
        raise unreadable(file, error) from error
    settings = _read(file, content)
    sizes.check(settings, str(file))
    kind = settings.get("model_type")
    if kind not in arch_dict:  # kinds made of other models load those in ways that nobody checks
        raise InputError(
            f"{file}: open_clip builds no text tower of the kind {str(kind)[:60]!r}: {', '.join(arch_dict)}"
        )
    return content


def read(file: Path, limit: str = "config-bytes") -> dict[str, Any]:
    """The JSON object of a configuration that asks for no code of its own, no larger than the limit of this name.

    Raises
    ------
    InputError
        If it asks for code anywhere, cannot be read, or is no JSON object.
    """
    try:
        return _read(file, regular.read(file, limit))
    except OSError as error:
        raise unreadable(file, error) from error


def _read(file: Path, content: bytes) -> dict[str, Any]:
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is no JSON ({type(error).__name__}): fetch or write it again") from error
    if not isinstance(settings, dict):
        raise InputError(f"{file}: is no JSON object: fetch or write it again")
    for key, value in _entries(settings):
        if value and (key in _KEYS or (key.endswith("attn_implementation") and "/" in str(value))):
            raise InputError(f"{file}: asks to run code of its own ({key}): refused, {_WAY_OUT}")
    return settings


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """All names and values in a JSON value, at any depth; it was parsed, so it is not too deep to walk."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield from here.items()
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)


def _tokenizer_classes(settings: dict[str, Any]) -> Iterator[Any]:
    """The classes that a configuration makes transformers load: named, or those of its kind of model."""
    if settings.get("tokenizer_class"):
        yield settings["tokenizer_class"]
    if isinstance(kind := settings.get("model_type"), str) and importlib.util.find_spec("transformers") is not None:
        from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

        names = TOKENIZER_MAPPING_NAMES.get(kind)
        yield from [name for name in (names if isinstance(names, tuple) else (names,)) if name]  # (slow, fast) before 5


def _is_known(name: Any) -> bool:
    """Whether transformers has a tokenizer class of this name that is not made of others, as RagTokenizer is."""
    if importlib.util.find_spec("transformers") is None:
        return True  # nothing is loaded then
    from transformers import PreTrainedTokenizerBase
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    if not isinstance(name, str):
        return False
    stem = name.removesuffix("Fast")
    for found in map(tokenizer_class_from_name, (name, stem, f"{stem}Fast")):
        # a class whose package is absent is a placeholder, which says what is missing
        if isinstance(found, type) and (issubclass(found, PreTrainedTokenizerBase) or hasattr(found, "_backends")):
            return True
    return False
