"""The processes of a run: one, or several that torchrun started, which share every joint batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.machine.errors import InputError


def is_follower() -> bool:
    """Whether torchrun started this process and another is the one that shows progress and results."""
    return os.environ.get("RANK", "0") != "0"


@dataclass(frozen=True)
class Processes:
    """This process among its like.

    Each process encodes its own part of a joint batch, gathers the rows of all, and computes the loss of the joint
    batch; as it differentiates that by its own rows only, the sum of the gradients over processes is the gradient
    of one process with the joint batch.
    """

    rank: int = 0
    count: int = 1
    joined: bool = False  # by this object, which then also leaves

    @classmethod
    def from_environment(cls, device: str) -> Processes:
        """Join the others, if torchrun started this process (it sets RANK and WORLD_SIZE).

        Raises
        ------
        InputError
            If what torchrun set cannot be used.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        import torch.distributed as dist

        alone = not dist.is_initialized()
        if alone:
            try:
                dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
            except (ValueError, RuntimeError) as error:
                raise InputError(f"cannot join the other processes: {error}; start them with torchrun") from error
        return cls(dist.get_rank(), dist.get_world_size(), joined=alone)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in their order; only this process's carry gradients."""
        if self.count == 1:
            return rows
        import torch.distributed as dist

        parts = [torch.empty_like(rows) for _ in range(self.count)]
        dist.all_gather(parts, rows.detach().contiguous())
        parts[self.rank] = rows
        return torch.cat(parts)

    def add_up(self, gradients: Sequence[Tensor]) -> None:
        """Each gradient becomes its sum over processes: one exchange for all of them."""
        if self.count == 1 or not gradients:
            return
        import torch.distributed as dist

        flat = torch.cat([each.reshape(-1) for each in gradients])
        dist.all_reduce(flat)
        for each, total in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            each.copy_(total.view_as(each))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()

    def leave(self) -> None:
        """End what `from_environment` began; nothing is shared afterwards."""
        if self.joined:
            import torch.distributed as dist

            dist.destroy_process_group()

    def agree(self, value: bool) -> bool:
        """True for all, if it is for any."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        flag = torch.tensor([float(value)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(flag)
        return bool(flag.item() > 0)
