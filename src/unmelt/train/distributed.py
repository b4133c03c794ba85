"""Several processes, one run: each computes its own rows of every batch, and gradients are averaged.

Processes are started by torchrun or accelerate, which set RANK, WORLD_SIZE and the address in the environment. In a
single process these functions do nothing. Gradients are averaged after the backward pass, not by hooks during it, so
that any loss works: several forward passes, Jacobian-vector products, several networks.

Weights may be sharded (FSDP2: Zhao et al., 2023). They are then DTensors: `local` is this process's part of one, and
`whole` is all of it, which every process must ask for together.
"""

import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unmelt.public_names import publish

__all__ = [
    "BUCKET",
    "all_gather",
    "any_process",
    "as_dtensor_like",
    "average_gradients",
    "broadcast_from_main",
    "distribute_like",
    "full_tensor",
    "is_dtensor",
    "is_main",
    "is_sharded",
    "process_group",
    "rank",
    "reshard",
    "shard",
    "to_local",
    "unsharded_class",
    "world_size",
]


BUCKET = 1 << 24
"""Elements per all-reduce."""

GROUPS = itertools.count()
"""Numbers of this process's groups."""


def _is_instance(value: object, module: str, name: str) -> bool:
    """`isinstance` without importing the class: where its module is not imported, it has no instances."""
    imported = sys.modules.get(module)
    return imported is not None and isinstance(value, getattr(imported, name))


def is_dtensor(tensor: Tensor) -> bool:
    """Whether a tensor is sharded. Plain tensors are told apart without importing DTensor, which takes long.

    Args:
        tensor: Any tensor.

    Returns:
        True if it is a DTensor.
    """
    return _is_instance(tensor, "torch.distributed.tensor", "DTensor")


def _is_fsdp_module(part: object) -> bool:
    return _is_instance(part, "torch.distributed.fsdp", "FSDPModule")


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Inside, this process is in the process group that the environment describes, if it describes one.

    Args:
        device: The device asked for.

    Yields:
        This process's own device: with CUDA, the one of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    store, own, processes = _rendezvous()
    store = dist.PrefixStore(f"group {next(GROUPS)}", store)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=own, world_size=processes)
    try:
        yield device
    finally:
        dist.destroy_process_group()


@functools.cache
def _rendezvous() -> tuple[dist.Store, int, int]:
    """Where the processes find one another, the number of this one, and how many there are.

    It outlives a group: a program that trains twice has two, one after the other. Each has keys of its own in the
    store, without which a process could read there how to reach the group before.
    """
    return next(dist.rendezvous("env://"))


def rank() -> int:
    """Return the number of this process in its group; process 0 writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this process is the one that prints, in the group or before and after it."""
    return int(os.environ.get("RANK", "0")) == 0


def world_size() -> int:
    """Return the number of processes, 1 outside of a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def any_process(flag: bool) -> bool:
    """Whether a flag is true in any process. Every process must call.

    Args:
        flag: This process's flag.

    Returns:
        Whether at least one is true, in every process.
    """
    if world_size() == 1:
        return flag
    largest = torch.tensor(float(flag))
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return bool(largest)


def broadcast_from_main(work: Callable[[], Any]) -> Any:
    """Compute something in the first process only. Every process must call.

    Args:
        work: Returns anything that JSON can hold.

    Returns:
        The first process's result, in every process.
    """
    if world_size() == 1:
        return work()
    encoded = json.dumps(work()).encode() if rank() == 0 else b""
    size = torch.tensor(len(encoded))
    dist.broadcast(size, 0)
    content = (
        torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        if encoded
        else torch.empty(int(size), dtype=torch.uint8)
    )
    dist.broadcast(content, 0)
    return json.loads(content.numpy().tobytes())


def all_gather(mine: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Gather chunks of rows that the processes hold in turn. Every process must call.

    Args:
        mine: This process's chunks on the CPU: numbers rank, rank + count and so on.
        sizes: Rows of every chunk.

    Returns:
        All rows in order, in every process, [sum of sizes, *shape].
    """
    shape, dtype = broadcast_from_main(lambda: [list(mine[0].shape[1:]), str(mine[0].dtype).removeprefix("torch.")])
    whole = torch.empty((sum(sizes), *shape), dtype=getattr(torch, dtype))
    held = iter(mine)
    for number, chunk in enumerate(whole.split(list(sizes))):
        owner = number % world_size()
        if owner == rank():
            chunk.copy_(next(held))
        dist.broadcast(chunk, owner)
    return whole


@torch.no_grad()
def average_gradients(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes. Every process must call.

    Args:
        tensors: Tensors, the same ones in every process. DTensors are skipped: FSDP has averaged them already.
    """
    if world_size() == 1:
        return
    plain = [each for each in tensors if not is_dtensor(each)]
    if not plain:
        return
    for bucket in _buckets(plain):
        flat = torch.cat([each.flatten() for each in bucket])
        dist.all_reduce(flat)
        flat /= world_size()
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
    """Shard a network (FSDP2): each process keeps its part of every weight, gathered block by block where needed.

    Args:
        network: The network, changed in place.
        blocks: Its modules that are gathered one at a time.
    """
    from torch.distributed.fsdp import fully_shard

    for each in (*blocks, network):
        fully_shard(each)


def reshard(network: nn.Module) -> None:
    """Free the gathered weights, so that its parameters are this process's parts; nothing to do if it is not sharded.

    Args:
        network: A network, sharded or not.
    """
    for each in network.modules():
        if _is_fsdp_module(each):
            cast(Any, each).reshard()


def is_sharded(network: nn.Module) -> bool:
    """Whether a network is sharded, so that the processes must call it together.

    Args:
        network: Any module.

    Returns:
        True if any of its parameters is a DTensor.
    """
    return any(is_dtensor(each) for each in network.parameters())


def unsharded_class(part: object) -> type:
    """Return the class of a part, without the one that FSDP puts in its place.

    Args:
        part: Any object.

    Returns:
        Its class as it was written.
    """
    return type(part).__bases__[1] if _is_fsdp_module(part) else type(part)


def to_local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor.

    Args:
        tensor: A tensor, sharded or not.

    Returns:
        The part, sharing memory; the tensor itself if it is not sharded.
    """
    return cast(Any, tensor).to_local() if is_dtensor(tensor) else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """Gather all of a tensor. Every process must call.

    Args:
        tensor: A tensor, sharded or not.

    Returns:
        All of it, a plain tensor.
    """
    return cast(Any, tensor).full_tensor() if is_dtensor(tensor) else tensor


def distribute_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Lay out a whole tensor, which every process has, as another one: on its device, and sharded if that is.

    Args:
        tensor: All of it.
        like: The tensor with the wanted layout.

    Returns:
        The tensor, or its DTensor.
    """
    tensor = tensor.to(like.device)
    if not is_dtensor(like):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    like = cast(DTensor, like)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def as_dtensor_like(part: Tensor, other: Tensor) -> Tensor:
    """Make a DTensor from this process's part, laid out as another one.

    Args:
        part: This process's part.
        other: A tensor of the same whole shape, sharded or not.

    Returns:
        The DTensor; the part itself if the other is not sharded.
    """
    if not is_dtensor(other):
        return part
    from torch.distributed.tensor import DTensor

    other = cast(DTensor, other)
    return DTensor.from_local(part, other.device_mesh, other.placements, shape=other.shape, stride=other.stride())


publish(__name__)
