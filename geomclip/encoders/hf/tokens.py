"""The tokenizer of a folder of transformers: OpenAI's, which open_clip brings along, or one of the folder's own."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders import foreign_code, towers
from geomclip.encoders.configuration import CONTEXT_LENGTH, UNCLEANED
from geomclip.encoders.hf.config import Description
from geomclip.encoders.reasons import first_line
from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes, atomic_json

START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = 49408  # of OpenAI's tokenizer; its last two entries are START and END
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "vocab.txt")
"""Any of these is a tokenizer; beside it may lie SETTINGS."""
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def openai_words() -> dict[str, int]:
    """OpenAI's vocabulary from open_clip's tokenizer, the two special tokens under the names that transformers uses."""
    special = {VOCABULARY - 2: START, VOCABULARY - 1: END}
    return {special.get(number, word): number for word, number in _openai().encoder.items()}


def openai_merges() -> list[str]:
    """OpenAI's byte pairs in the order in which they are merged, each "first second"."""
    ranks: dict[tuple[str, str], int] = _openai().bpe_ranks
    return [" ".join(pair) for pair in sorted(ranks, key=lambda pair: ranks[pair])]


def write_openai(folder: Path, length: int) -> None:
    """Write OpenAI's tokenizer as transformers keeps it."""
    atomic_json(folder / "vocab.json", openai_words(), indent=None)
    atomic_bytes(folder / "merges.txt", ("#version: 0.2\n" + "\n".join(openai_merges()) + "\n").encode())
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    atomic_json(folder / "special_tokens_map.json", special)
    limits = {"model_max_length": length, "do_lower_case": True, "add_prefix_space": False}
    atomic_json(folder / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", **special, **limits})


def tokenizer(model_cfg: Mapping[str, Any], *, source: str, cache_dir: Path | None, where: str) -> towers.Tokenizer:
    """As `towers.tokenizer`, and OpenAI's as transformers has it where a configuration asks for texts as they are."""
    text = model_cfg["text_cfg"]
    if text.get("hf_tokenizer_name") or (text.get("tokenizer_kwargs") or {}) != UNCLEANED:
        return towers.tokenizer(model_cfg, source=source, cache_dir=cache_dir, where=where)
    return _openai_of_transformers(int(text.get("context_length", CONTEXT_LENGTH)))


@functools.lru_cache(maxsize=4)
def _openai_of_transformers(length: int) -> towers.Tokenizer:
    name = "OpenAI's tokenizer"
    with tempfile.TemporaryDirectory(prefix="geomclip-tokenizer-") as folder:
        write_openai(Path(folder), length)
        text = {"hf_tokenizer_name": name, "context_length": length, "tokenizer_kwargs": dict(UNCLEANED)}
        return _Filled(towers.tokenizer({"text_cfg": text}, source=folder, cache_dir=None, where=name))


@dataclass(frozen=True)
class _Filled:
    """A tokenizer of transformers that fills texts up with the token that ends them, made to fill them up with 0.

    Both give the same rows: pooled is the first end, before which nothing behind it is seen. With 0, as open_clip has
    it, it can be told whether a text was cut.
    """

    of_transformers: towers.Tokenizer

    def __call__(self, texts: Sequence[str], context_length: int) -> Tensor:
        tokens: Tensor = self.of_transformers(texts, context_length=context_length).clone()  # (m, context_length)
        places = torch.arange(context_length)
        last = torch.where(tokens == VOCABULARY - 1, -1, places).amax(dim=1, keepdim=True)  # (m, 1)
        return tokens.masked_fill_(places > last + 1, 0)


def _openai() -> Any:
    return towers.tokenizer({"text_cfg": {}}, source="", cache_dir=None, where="OpenAI's tokenizer")


def read(folder: Path, model: Description, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the text_cfg says of the tokenizer in a folder, and notes: no name where it is OpenAI's.

    Parameters
    ----------
    name : str
        By which the tokenizer is looked for again, where the folder is not there.

    Raises
    ------
    InputError
        If there is none, it has more tokens than the model, or it fills short texts up in front.
    """
    for file in FILES:
        if (folder / file).is_file():
            break
    else:
        if model.kind == "clip" and model.model_cfg["text_cfg"]["vocab_size"] == VOCABULARY:
            return {}, (f"{folder.name} has no tokenizer: OpenAI's is taken, since it has as many words",)
        raise InputError(f"{folder}: has no tokenizer: save it there with processor.save_pretrained({str(folder)!r})")
    words, merges = _words(folder)
    if words and max(words.values()) >= model.model_cfg["text_cfg"]["vocab_size"]:
        raise InputError(
            f"{folder}: its tokenizer has the token {max(words.values())}, and the text tower has "
            f"{model.model_cfg['text_cfg']['vocab_size']}: they are of different models"
        )
    if model.kind == "clip" and words == openai_words() and merges == openai_merges():
        if importlib.util.find_spec("transformers") is None:
            return {}, ("texts are cleaned as open_clip does, since transformers, which cleans none, is not installed",)
        return {"tokenizer_kwargs": dict(UNCLEANED)}, ()
    if model.kind == "clip" and _settings(folder).get("padding_side") == "left":
        raise InputError(f"{folder / SETTINGS[0]}: fills short texts up in front (padding_side left): make it right")
    return {"hf_tokenizer_name": name, "tokenizer_kwargs": dict(UNCLEANED)}, ()


def sha256(folder: Path) -> str:
    """Fingerprint of the files in a folder that decide how texts are cut into tokens."""
    names = [name for name in (*FILES, *SETTINGS) if (folder / name).is_file()]
    lines = [f"{name} {hashlib.sha256(regular.read(folder / name, 'tokenizer-bytes')).hexdigest()}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _words(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Tokens with their numbers and byte pairs, from the files that are JSON and text; none of others' kinds."""
    whole, words = folder / FILES[0], folder / FILES[1]
    if whole.is_file():
        content = _json(whole)
        model = content.get("model")
        model = model if isinstance(model, dict) else {}
        found = _numbered(model.get("vocab"))
        for token in _listed(content.get("added_tokens")):
            if isinstance(token, dict) and isinstance(token.get("content"), str):
                found |= _numbered({token["content"]: token.get("id")})
        merges = _listed(model.get("merges"))
        pairs = [pair if isinstance(pair, str) else " ".join(map(str, _listed(pair))) for pair in merges]
        return found, pairs
    if words.is_file() and (folder / FILES[2]).is_file():
        text = regular.read(folder / FILES[2], "tokenizer-bytes").decode(errors="replace").split("\n")
        pairs = [line for line in text if line and not line.startswith("#version")]
        more = folder / SETTINGS[2]
        return _numbered(_json(words)) | _numbered(_json(more) if more.is_file() else {}), pairs
    return {}, []


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _numbered(words: Any) -> dict[str, int]:
    if not isinstance(words, dict):
        return {}  # a list of scores, as of SentencePiece: numbered by place, and known to the model alone
    return {str(word): number for word, number in words.items() if type(number) is int}


def _settings(folder: Path) -> Mapping[str, Any]:
    file = folder / SETTINGS[0]
    return foreign_code.read(file) if file.is_file() else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(regular.read(file, "tokenizer-bytes"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        damaged = InputError(f"{file}: cannot be read as JSON: {first_line(error, 100)}")
        raise unreadable(file, error, damaged) from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: is no JSON object: fetch or write it again")
    return content
