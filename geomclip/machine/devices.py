"""Which device a name means on this machine."""

from __future__ import annotations

import torch

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option


def choose_device(device: str) -> str:
    """The device in use: "auto" is the GPU if there is one.

    Raises
    ------
    NotAvailableError
        If a GPU is named and torch sees none.
    InputError
        If it is none of cpu, cuda, cuda:N, auto.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise InputError(f"unknown device {device!r}: use cpu, cuda, cuda:N or auto")
    if kind == "cuda":
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= seen:
            raise NotAvailableError(
                f"{option('device', device)}: torch {torch.__version__} sees {seen} GPUs here; "
                f"use {option('device', 'cpu')}, or "
                "install a build of torch with CUDA"
            )
    return device


def gpus_of(device: str) -> int:
    """GPUs of this machine that processes with such a device share out, one each in turn; 0 for the CPU."""
    return torch.cuda.device_count() if device.startswith("cuda") else 0
