"""Which items are held out.

By content: an item is held out if the hash of its content, with the seed, falls under the share. Its side is its own
affair. Items that are added or removed move no others, wherever they come in the order, and exact duplicates are on one
side. The share is kept on average: of n items about n share are held out, give or take the square root of that. A class
of which the rule holds out none holds out its smallest hash, and one that it holds out whole keeps its largest, so that
a class of two different items or more is on both sides. Only there can a change of the data move another item.

By position: exactly the asked share of every class, by the rank of fold(seed, position). It depends on nothing but the
number of items, and an item that is added moves the others. It is for fixed data, and for runs of version 0.1.0.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.rng import fold

SplitBy: TypeAlias = Literal["content", "position"]

CHUNK = 1024
"""Rows that are copied at a time."""


def check_split(held_out: float, by: str) -> None:
    """Refuse a share or a rule that there is not.

    Args:
        held_out: The held-out share.
        by: The rule.

    Raises:
        UsageError: If the share is not between 0 and 1, or the rule is unknown.
    """
    if not 0 < held_out < 1:
        raise UsageError(f"held_out={held_out}", "a share between 0 and 1", "held_out=0.1")
    if by not in ("content", "position"):
        raise UsageError(f"split by {by!r}", "content or position", "split='content'")


def held_out_rows(
    groups: Sequence[Int64[Tensor, "..."]],
    keys: Callable[[], Tensor],
    held_out: float,
    seed: int,
    by: SplitBy,
) -> Bool[Tensor, " n"]:
    """Choose held-out items by either rule.

    Args:
        groups: The items of each class; of data without classes, all in one group.
        keys: Returns a key of each item's content.
        held_out: The held-out share.
        seed: Seed of the split.
        by: The rule.

    Returns:
        [n], True where an item is held out.

    Raises:
        UsageError: If the share is not between 0 and 1, leaves one side empty, or the rule is unknown.
    """
    check_split(held_out, by)
    members = [group.tolist() for group in groups]
    count = sum(map(len, members))
    if by == "content":
        out = torch.tensor(held_out_by_content(keys().tolist(), members, held_out, seed))
    else:
        out = torch.tensor(held_out_by_position(count, members, held_out, seed))
    if out.all() or not out.any():
        kinds = len(set(keys().tolist()))
        raise UsageError(
            f"split(held_out={held_out}) of {count} items leaves one side empty",
            f"at least two different items ({kinds} here: identical ones count as one), and one on each side",
            "held_out=0.5" if kinds > 1 else "data with another item, which differs",
        )
    return out


def items_by_class(count: int, labels: Int64[Tensor, " n"] | None, classes: int) -> list[Int64[Tensor, "..."]]:
    """Group items by their class.

    Args:
        count: Number of items.
        labels: The class of each; None where there are no classes.
        classes: Number of classes.

    Returns:
        The items of each class; all in one group where there are no classes.
    """
    if labels is None:
        return [torch.arange(count)]
    return [torch.nonzero(labels == label).flatten() for label in range(classes)]


def content_key(content: bytes | memoryview) -> int:
    """Hash a content.

    Args:
        content: All of it.

    Returns:
        63 bits of its BLAKE2b hash.
    """
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") >> 1


def digest(content: bytes) -> str:
    """Digest a content, to recognise it.

    Args:
        content: All of it.

    Returns:
        The first half of its SHA-256 hash, in hexadecimal digits.
    """
    return hashlib.sha256(content).hexdigest()[:32]


def row_keys(rows: Tensor, which: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Hash every row, all of its content.

    Args:
        rows: What is stored, [stored, *shape], in memory or in a mapped file, which is read once.
        which: Indices of the rows.

    Returns:
        A key for each.
    """
    keys = []
    for chunk in which.split(CHUNK):
        content = rows[chunk].reshape(len(chunk), -1).contiguous().view(torch.uint8).numpy()
        keys += [content_key(row.data) for row in content]
    return torch.tensor(keys, dtype=torch.int64)


def held_out_by_content(keys: Sequence[int], groups: Sequence[Sequence[int]], held_out: float, seed: int) -> list[bool]:
    """Choose held-out items by the rule of content.

    Args:
        keys: A key of each item's content.
        groups: The items of each class; of data without classes, all in one group.
        held_out: The held-out share.
        seed: Seed of the split.

    Returns:
        For each item whether it is held out.
    """
    hashes = [fold(seed, key) for key in keys]
    limit = int(held_out * 2**63)
    chosen = {each for each in hashes if each < limit}
    kinds = [kind for group in groups if (kind := {hashes[item] for item in group})]
    chosen |= {min(kind) for kind in kinds if len(kind) > 1 and not kind & chosen}
    chosen -= {max(kind) for kind in kinds if kind <= chosen}
    return [each in chosen for each in hashes]


def held_out_by_position(
    count: int, groups: Sequence[Sequence[int]], held_out: float, seed: int, least: int = 0
) -> list[bool]:
    """Choose held-out items by the rule of position.

    Args:
        count: Number of items.
        groups: The items of each class; of data without classes, all in one group.
        held_out: The held-out share.
        seed: Seed of the split.
        least: Fewest items of a group on either side.

    Returns:
        For each item whether it is held out.
    """
    out = [False] * count
    for group in groups:
        ranked = sorted(group, key=lambda item: fold(seed, item))
        for item in ranked[: max(least, min(len(group) - least, round(held_out * len(group))))]:
            out[item] = True
    return out
