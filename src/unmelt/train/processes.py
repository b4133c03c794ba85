"""Several processes, one run: each works through its own rows of every batch, and gradients are averaged.

Started as torchrun or accelerate start them (RANK, WORLD_SIZE and the address in the environment); alone, all of this
is nothing. Gradients are averaged once they are there, not by hooks on the way, so that any objective will do: several
forward passes, Jacobian-vector products, two networks.

Weights may be sharded (FSDP2: Zhao et al., 2023): tensors are then DTensors, whose own part is `local` and of which all
is `whole`, wherever it is asked for by every process together.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

BUCKET = 1 << 24
"""Numbers sent at a time."""


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Inside, this process is one of those that the environment speaks of; gives the device that is its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Which of the processes this is; the first is 0, and writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this process, before or after `joined`, is the one that speaks for all."""
    return int(os.environ.get("RANK", "0")) == 0


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def any_of(flag: bool) -> bool:
    """Whether it is true in any process; every process must ask."""
    if count() == 1:
        return flag
    told = torch.tensor(float(flag))
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def from_first(work: Callable[[], Any]) -> Any:
    """What the work came to in the first process, which alone does it; anything that JSON can hold."""
    if count() == 1:
        return work()
    said = json.dumps(work()).encode() if rank() == 0 else b""
    size = torch.tensor(len(said))
    dist.broadcast(size, 0)
    content = (
        torch.frombuffer(bytearray(said), dtype=torch.uint8) if said else torch.empty(int(size), dtype=torch.uint8)
    )
    dist.broadcast(content, 0)
    return json.loads(content.numpy().tobytes())


def gathered(mine: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Chunks of rows, on the CPU, of these sizes, which the processes hold in turn, as one tensor in all of them."""
    shape, dtype = from_first(lambda: [list(mine[0].shape[1:]), str(mine[0].dtype).removeprefix("torch.")])
    whole = torch.empty((sum(sizes), *shape), dtype=getattr(torch, dtype))
    held = iter(mine)
    for number, chunk in enumerate(whole.split(list(sizes))):
        owner = number % count()
        if owner == rank():
            chunk.copy_(next(held))
        dist.broadcast(chunk, owner)
    return whole


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Replace each by its mean over the processes. Shards have been averaged on the way, and are left alone."""
    if count() == 1:
        return
    plain = [each for each in tensors if not isinstance(each, DTensor)]
    if not plain:
        return
    for bucket in _buckets(plain):
        flat = torch.cat([each.flatten() for each in bucket])
        dist.all_reduce(flat)
        flat /= count()
        parts = flat.split([each.numel() for each in bucket])
        torch._foreach_copy_(bucket, [part.view_as(each) for part, each in zip(parts, bucket, strict=True)])


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for each in tensors:
        if bucket and (sum(x.numel() for x in bucket) + each.numel() > BUCKET or each.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(each)
    yield bucket


def shard(network: nn.Module, blocks: Sequence[nn.Module]) -> None:
    """Let each process keep its own part of every weight, gathered block by block while it is needed."""
    for each in (*blocks, network):
        fully_shard(each)


def reshard(network: nn.Module) -> None:
    """Free the gathered weights, so that its parameters are this process's parts; nothing to do if it is not sharded.

    Args:
        network: A network, sharded or not.
    """
    for each in network.modules():
        if isinstance(each, FSDPModule):
            each.reshard()


def sharded(network: nn.Module) -> bool:
    """Whether processes hold parts of its weights, so that they have to call it together."""
    return any(isinstance(each, DTensor) for each in network.parameters())


def kind(part: object) -> type:
    """Its class, which sharding has changed for one of its own."""
    return type(part).__bases__[1] if isinstance(part, FSDPModule) else type(part)


def local(tensor: Tensor) -> Tensor:
    """What this process holds of it, sharing memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of it; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, laid out as another: on its device, and sharded if that is."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def like(part: Tensor, other: Tensor) -> Tensor:
    """This process's part of something that is laid out as `other`, as that something."""
    if not isinstance(other, DTensor):
        return part
    return DTensor.from_local(part, other.device_mesh, other.placements, shape=other.shape, stride=other.stride())
