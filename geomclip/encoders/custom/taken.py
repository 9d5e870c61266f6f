"""What an object of the caller's is called by: the rule, in one place.

1. What has `preprocess`, `tokenize`, `encode_image`, `encode_text` and `made_from`, as `protocol.Encodes` says, is an
   encoder as it is.
2. A SentenceTransformer encodes by its `encode`; queries and documents by its `encode_query` and `encode_document`.
3. A class is made an object of, without arguments.
4. What has `encode_image` or `encode_text` (or `encode_query`, `encode_document`) is called by these, each with a list.
5. A function with a parameter `images` or `texts` is called with that one, by its name: `f(images=[...])`.
6. A function that can be called without arguments makes the encoder: what it returns is taken by these rules.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from geomclip.encoders.custom import sentence
from geomclip.encoders.custom.failures import failed
from geomclip.encoders.custom.functions import Encode, FunctionEncoder
from geomclip.encoders.protocol import AnyEncoder, EncodesInputs, Kind
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.words import option

METHODS: Mapping[Kind, str] = {
    "image": "encode_image",
    "text": "encode_text",
    "query": "encode_query",
    "document": "encode_document",
}
PARAMETERS: Mapping[Kind, str] = {"image": "images", "text": "texts"}
WHOLE = ("preprocess", "tokenize", "encode_image", "encode_text", "made_from")
"""What an encoder has that is used as it is."""
WAYS = "write def f(images=None, texts=None), or an object with encode_image and encode_text"
MOST_CALLS = 3
"""A factory may give a class, which gives an object; more than that is a circle."""


def taken(
    found: Any, *, what: str = "", name: str | None = None, logit_scale: float | None = None, calls: int = 0
) -> AnyEncoder:
    """The encoder that an object, a class or a function is, by the rule above.

    Parameters
    ----------
    found : Any
    what : str, optional
        What messages and results call it. Left out: its own name.
    name : str, optional
        What its rows are known by in the cache; left out, they are not kept.
    logit_scale : float, optional
        In place of what the object says (an attribute `logit_scale`, as a factor).

    Raises
    ------
    InputError
        If it is called by none of the rules, or says its rows are known by a name and has one already.
    GeomclipError
        If the caller's code fails, with file and line.
    """
    what = what or name_of(found)
    if not inspect.isclass(found) and (isinstance(found, EncodesInputs) or _has(found, WHOLE)):
        if name is not None or logit_scale is not None:
            idle = option("name" if name is not None else "logit_scale")
            raise InputError(f"{what} says itself what it is made from: leave out {idle}")
        return found
    if sentence.is_sentence_model(found):
        return sentence.encoder(found, what=what, name=name, logit_scale=logit_scale)
    again = functools.partial(taken, what=what, name=name, logit_scale=logit_scale, calls=calls + 1)
    if inspect.isclass(found):
        return again(_made(found, what))
    functions: dict[Kind, Encode] = {
        kind: getattr(found, method) for kind, method in METHODS.items() if _has(found, [method])
    }
    if functions:
        _refuse_open_clip(found, what)
        scale = _own_scale(found) if logit_scale is None else logit_scale
        return FunctionEncoder(functions, model=what, name=name, logit_scale=scale)
    if not callable(found):
        raise InputError(f"{what} is {type(found).__name__}, which encodes nothing: {WAYS}")
    names = _parameters(found)
    by_name = {kind: functools.partial(_by_name, found, each) for kind, each in PARAMETERS.items() if each in names}
    if by_name:
        return FunctionEncoder(by_name, model=what, name=name, logit_scale=logit_scale)
    if _without_arguments(found) and calls < MOST_CALLS:
        return again(_made(found, what))
    raise InputError(f"{what} has no parameter images or texts, and cannot be called without arguments: {WAYS}")


def name_of(found: Any) -> str:
    """What an object is called: module and name of a function or class, the class of an object.

    Examples
    --------
    >>> name_of(name_of)
    'geomclip.encoders.custom.taken:name_of'
    """
    one = found if hasattr(found, "__qualname__") else type(found)
    module = getattr(one, "__module__", "") or ""
    return f"{module}:{one.__qualname__}" if module not in ("", "builtins") else one.__qualname__


def _has(found: Any, names: Any) -> bool:
    return all(callable(getattr(found, name, None)) for name in names)


def _made(factory: Callable[[], Any], what: str) -> Any:
    """What a class or factory makes; one that needs arguments is refused, with the way out."""
    if not _without_arguments(factory):
        raise InputError(f"{what} needs arguments: name a function without any that makes it")
    try:
        return factory()
    except (GeomclipError, MemoryError):
        raise
    except Exception as error:
        raise failed(error, factory, what) from error


def _by_name(function: Callable[..., Any], parameter: str, inputs: list[Any]) -> Any:
    return function(**{parameter: inputs})


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some that are written in C have none
        return None


def _parameters(function: Any) -> set[str]:
    signature = _signature(function)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {each.name for each in signature.parameters.values() if each.kind in by_name} if signature else set()


def _without_arguments(function: Any) -> bool:
    signature = _signature(function)
    try:
        return signature is not None and bool(signature.bind() or True)
    except TypeError:
        return False


def _own_scale(found: Any) -> float | None:
    """The logit scale that an object says as a number; a tensor may be its logarithm, and is not taken."""
    scale = getattr(found, "logit_scale", None)
    return float(scale) if isinstance(scale, float | int) and not isinstance(scale, bool) else None


def _refuse_open_clip(found: Any, what: str) -> None:
    """InputError for a model of open_clip or OpenAI, which takes pixels and tokens in place of pictures and texts."""
    module = type(found).__module__.partition(".")[0]
    if module in ("open_clip", "clip") and isinstance(getattr(found, "logit_scale", None), Tensor):
        raise InputError(
            f"{what} is a model of {module}, which takes pixels and tokens: write encode_image and encode_text that "
            "prepare these, or save its weights and name the file as the model"
        )
