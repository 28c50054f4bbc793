"""The processes that train together: one, or those that torchrun started. Each takes its share of every batch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Workers:
    """This process, of `count`: number `rank`, with its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """One of them prints and writes."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Every process's rows of a batch, equally many; of the test images, some have one more."""
        return rows[self.rank :: self.count]

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Gradients are then means over all processes."""
        if self.count == 1:
            return model
        # Said of convolutions of one channel, whose strides may be anything.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return DistributedDataParallel(model, [self.device] if self.device.type == "cuda" else None)

    def added(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[Workers]:
    """Meet the processes that torchrun started, if it did; `device` is cpu, cuda, or auto."""
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    own = torch.device("cpu")
    if kind == "cuda":
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(own)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Workers(0, 1, own)
        return
    # Restarted processes are given the store of those that died: what these left in it is theirs.
    shared, rank, count = next(iter(rendezvous("env://")))
    store = PrefixStore(f"attempt {restarts()}", shared)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo", store=store, rank=rank, world_size=count)
    try:
        yield Workers(rank, count, own)
    finally:
        distributed.destroy_process_group()


def restarts() -> int:
    """How often torchrun has started the processes again after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
