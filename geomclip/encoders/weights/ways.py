"""Ways out of what is refused: lines of Python that a person runs, each of which makes a file that is read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

TENSORS, PICKLE = "weights.safetensors", "weights.pt"
"""Files that the lines write, in the folder where they are run."""
_SAVE_FILE = "from safetensors.torch import save_file"


def python_line(code: str) -> str:
    """A line for a terminal that runs this code.

    Examples
    --------
    >>> python_line('print("a b")')
    'python -c \\'print("a b")\\''
    """
    return f"python -c {shlex.quote(code)}"


def of_scripted(file: Path) -> str:
    """The line that saves the tensors of a TorchScript archive."""
    return python_line(
        f'import torch; {_SAVE_FILE}; m = torch.jit.load({_text(file)}, map_location="cpu"); '
        f'save_file({{k: v.clone() for k, v in m.state_dict().items()}}, "{TENSORS}")'
    )


def of_one_model(files: Sequence[Path], entry: Sequence[str], prefix: str) -> str:
    """The line that saves one of several models in a file, or in shards: what is below a prefix of its names."""
    kept = f"{{k.removeprefix({_text(prefix)}): v for k, v in s.items() if k.startswith({_text(prefix)})}}"
    mapped = files[0].suffix.lower() == ".safetensors"
    loaded = [
        f"load_file({_text(file)})" if mapped else f"torch.load({_text(file)}, weights_only=False){_keys(entry)}"
        for file in files
    ]
    state = loaded[0] if len(loaded) == 1 else f"{{{', '.join(f'**{each}' for each in loaded)}}}"
    if mapped:
        code = f"from safetensors.torch import load_file, save_file; s = {state}; "
        return python_line(f'{code}save_file({kept}, "{TENSORS}")')
    code = f"import torch; s = {state}; "
    return python_line(f'{code}torch.save({kept}, "{PICKLE}")')


def of_entry(file: Path, entry: Sequence[str]) -> str:
    """The line that saves one entry of what a trainer saved."""
    code = f"torch.load({_text(file)}, weights_only=False){_keys(entry)}"
    return python_line(f'import torch; torch.save({code}, "{PICKLE}")')


def of_unopened(file: Path, texts: Collection[str], entry: str | None) -> str:
    """The line that saves the state_dict of a pickle that holds objects; `texts` are those in it, `entry` a key."""
    loaded = f"torch.load({_text(file)}, weights_only=False){_keys((entry,) if entry else ())}"
    if "_modules" in texts and entry not in ("state_dict", "model_state_dict"):  # a whole module was saved
        state = f"{loaded}.state_dict()"
    elif entry:
        state = loaded
    else:
        state = f"{{k: v for k, v in {loaded}.items() if torch.is_tensor(v)}}"
    return python_line(f'import torch; torch.save({state}, "{PICKLE}")')


def _keys(entry: Sequence[str]) -> str:
    return "".join(f"[{_text(key)}]" for key in entry)


def _text(value: str | Path) -> str:
    """A text as Python and JSON both write it, in double quotes: the shell's are single ones."""
    return json.dumps(str(value), ensure_ascii=False)
