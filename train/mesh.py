"""Where one process stands among many: a device mesh of data x column, started by torchrun.

Each column of the network lives on one rank (or the whole network, with one column a rank); ranks of the same column
share each batch. One process alone is a mesh of 1 x 1 without any communication.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.rendezvous import rendezvous

from alexnet.errors import InputError, TrainingError

# Within which a message to a rank that is gone fails, and within which all ranks have to have come.
TIMEOUT = timedelta(seconds=20)
GATHERING = timedelta(hours=1)


@dataclass(frozen=True)
class World:
    """This process's place: `data_rank` of `data_size` parts of each batch, `column` of `columns` of the network.

    The groups are None when there is nobody to speak to.
    """

    data_rank: int = 0
    data_size: int = 1
    column: int = 0
    columns: int = 1
    data_group: dist.ProcessGroup | None = None
    column_group: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that prints, logs and writes the state."""
        return self.data_rank == 0 and self.column == 0

    def share(self, number: int) -> slice:
        """Return this rank's part of `number` pictures: the parts of all data ranks together are all, each once."""
        return slice(self.data_rank * number // self.data_size, (self.data_rank + 1) * number // self.data_size)

    def sum_over_data(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over the data ranks."""
        return _sum(values, self.data_group if self.data_size > 1 else None)

    def sum_over_columns(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over the ranks of the columns."""
        return _sum(values, self.column_group if self.columns > 1 else None)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all data ranks in place, in one message.

        Each rank's loss is its pictures' sum over the whole batch's number, so the sum is the batch's mean gradient.
        """
        if self.data_group is None or self.data_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat, group=self.data_group)
        for gradient, values in zip(
            gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(values.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Return whether `flag` holds on any rank; every rank gets the same answer."""
        if self.data_size * self.columns == 1:
            return flag
        value = torch.tensor([int(flag)])
        if dist.get_backend() == "nccl":
            value = value.cuda()
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        self.any(False)


def _sum(values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the sum of `values` over the ranks of a group, on the device of `values`."""
    if group is None:
        return values
    sent = values.cuda() if dist.get_backend() == "nccl" else values.clone()
    dist.all_reduce(sent, group=group)
    return sent.to(values.device)


def join_world(columns: int, split: bool, timeout: timedelta = TIMEOUT) -> World:
    """Return this process's place from torchrun's environment, a World of one without it.

    `split` puts each of the network's `columns` on a rank of its own; the rest of the ranks share the batches. NCCL on
    GPUs, gloo on CPUs; a rank that dies lets the others' next message fail within `timeout`. Raises InputError when
    the number of ranks cannot hold the columns.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    wanted = columns if split else 1
    if ranks % wanted:
        raise InputError(
            f"--columns split needs a multiple of {columns} ranks, found {ranks}; start it with: "
            f"torchrun --nproc-per-node {columns} -m alexnet train --columns split"
        )
    if ranks == 1:
        return World()
    cuda = torch.cuda.is_available()
    try:
        # Ranks come when their data have been fetched: only once all are here do messages have a time to arrive in.
        store, rank, _ = next(rendezvous("env://", timeout=GATHERING))
        store.set(f"here/{rank}", "")
        store.wait([f"here/{other}" for other in range(ranks)], GATHERING)
        dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=ranks, timeout=timeout)
    except RuntimeError as error:
        raise TrainingError(
            f"the {ranks} ranks did not all meet ({str(error).splitlines()[0]}); start them again with the same "
            "torchrun command"
        ) from None
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    mesh = init_device_mesh("cuda" if cuda else "cpu", (ranks // wanted, wanted), mesh_dim_names=("data", "column"))
    return World(
        data_rank=mesh.get_local_rank("data"),
        data_size=ranks // wanted,
        column=mesh.get_local_rank("column"),
        columns=wanted,
        data_group=mesh.get_group("data"),
        column_group=mesh.get_group("column"),
    )


def leave_world() -> None:
    """End the process group, if this process joined one."""
    if dist.is_initialized():
        dist.destroy_process_group()
