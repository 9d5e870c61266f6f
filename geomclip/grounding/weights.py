"""The weights of a model of moments on disk: with their fingerprint, by which damage is seen."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from geomclip.encoders.weights.fitting import weights_sha256
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import DamagedError
from geomclip.machine.files import atomic_bytes
from geomclip.machine.words import one_line
from geomclip.training.snapshots import own_memory

WEIGHTS_SUM = "geomclip_weights_sha256"
"""The entry of the file's metadata that holds the fingerprint."""


def save_weights(file: Path, module: nn.Module) -> None:
    """Write the weights of a module as safetensors, whole or not at all."""
    from safetensors.torch import save

    state = own_memory(module.state_dict())
    atomic_bytes(file, save(state, metadata={WEIGHTS_SUM: weights_sha256(state)}))


def load_weights(file: Path) -> dict[str, Tensor]:
    """The tensors that `save_weights` wrote; those of an earlier version, without a fingerprint, as they are.

    Raises
    ------
    DamagedError
        If the file cannot be read, or its tensors are not those that were saved.
    """
    from safetensors import safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            written = (opened.metadata() or {}).get(WEIGHTS_SUM)
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # damaged bytes surface as any exception of the parser
        raise unreadable(file, error, DamagedError(f"{file}: is damaged: {one_line(error)}")) from error
    if written is not None and written != weights_sha256(state):
        raise DamagedError(f"{file}: is damaged: its weights are not those that were saved (another sha256)")
    return state
