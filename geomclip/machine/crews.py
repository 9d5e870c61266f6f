"""The crew of an engine by its name."""

from __future__ import annotations

from geomclip.machine.engines import ENGINES, Crew, Processes
from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest, option


def crew_of(engine: str, payload: bytes, count: int, *, gpus: int = 0) -> Crew:
    """Workers that have what the payload makes; see `geomclip.machine.engines.payload_of`.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.
    payload : bytes
    count : int
    gpus : int
        How many GPUs this process sees, if the work is for one; each worker then has one.

    Raises
    ------
    InputError
        If there is no such engine, or a cluster cannot be used; a NotAvailableError if it is not installed.
    """
    if engine == "process":
        return Processes(payload, count, gpus=gpus)
    if engine == "ray":
        from geomclip.machine.on_ray import Actors

        return Actors(payload, count, gpus=gpus)
    close = nearest(engine, ENGINES) or f": use {' or '.join(ENGINES)}"
    raise InputError(f"{option('engine')} {engine!r} is not known{close}")
