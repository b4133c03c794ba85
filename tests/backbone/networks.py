"""One small network of each kind, each able to hear everything it can, and conditions to tell it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unmelt.backbone import MLP, DiT, FrameMLP, FrameTransformer, JointDiT, UNet
from unmelt.condition import Condition

ROWS, CLASSES, FEATURES, SEQUENCE_WIDTH, LENGTH, CONTEXT = 6, 3, 5, 4, 7, 2
KNOWS = {"classes": CLASSES, "vector_width": FEATURES, "sequence_width": SEQUENCE_WIDTH}
SMALL = {
    "width": 8,
    "blocks": 1,
    "multipliers": (1, 2),
    "attention": (False, True),
    "heads": 2,
    "context_channels": CONTEXT,
}
TINY = {"width": 16, "depth": 2, "heads": 2, "context_channels": CONTEXT}

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: MLP(shape=(2, 3), width=16, depth=2, **KNOWS),
    "unet-1d": lambda: UNet(channels=1, space=1, **SMALL, **KNOWS),
    "unet-2d": lambda: UNet(channels=1, space=2, **SMALL, **KNOWS),
    "unet-3d": lambda: UNet(channels=1, space=3, **SMALL, **KNOWS),
    "unet-patches": lambda: UNet(channels=1, patch=2, **SMALL, **KNOWS),
    "dit-1d": lambda: DiT(channels=1, size=(8,), **TINY, **KNOWS),
    "dit-2d": lambda: DiT(channels=1, size=(4, 6), qk_norm=True, **TINY, **KNOWS),
    "dit-3d": lambda: DiT(channels=1, size=(2, 4, 4), patch=(1, 2, 2), **TINY, **KNOWS),
    "joint-1d": lambda: JointDiT(channels=1, space=1, **TINY, **KNOWS),
    "joint-2d": lambda: JointDiT(channels=1, **TINY, **KNOWS),
    "joint-3d": lambda: JointDiT(channels=1, space=3, patch=(1, 2, 2), **TINY, **KNOWS),
    "unet-queries": lambda: UNet(channels=1, sequence_queries=3, **SMALL, **KNOWS),
    "dit-queries": lambda: DiT(
        channels=1, size=(4, 6), any_size=True, sequence_queries=9, sequence_depth=1, **TINY, **KNOWS
    ),
    "joint-queries": lambda: JointDiT(channels=1, sequence_queries=3, **TINY, **KNOWS),
    "frames-mlp": lambda: FrameMLP(frames=3, shape=(2,), width=16, depth=2, **KNOWS),
    "frames": lambda: FrameTransformer(frames=4, shape=(2,), width=16, depth=2, heads=2, **KNOWS),
}

SHAPES = {
    "mlp": (2, 3),
    "unet-1d": (1, 5),
    "unet-2d": (1, 5, 6),
    "unet-3d": (1, 3, 4, 5),
    "unet-patches": (1, 8, 4),
    "dit-1d": (1, 8),
    "dit-2d": (1, 4, 6),
    "dit-3d": (1, 2, 4, 4),
    "joint-1d": (1, 8),
    "joint-2d": (1, 4, 6),
    "joint-3d": (1, 2, 4, 4),
    "unet-queries": (1, 4, 4),
    "dit-queries": (1, 4, 6),
    "joint-queries": (1, 4, 6),
    "frames-mlp": (3, 2),
    "frames": (3, 2),
}
WITHOUT_CONTEXT = ("mlp", "frames-mlp", "frames")


def awake(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with nothing left at zero, as if trained, so that every path can be seen in its output."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
    return network.eval()


def inputs(name: str, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """(x, level)"""
    rng = torch.Generator().manual_seed(1)
    return torch.randn(rows, *SHAPES[name], generator=rng), torch.linspace(-2.5, 2.5, rows)


def condition(name: str, rows: int = ROWS) -> Condition:
    """Everything at once, each row with a sequence of a different length, the last with none."""
    rng = torch.Generator().manual_seed(2)
    return Condition(
        label=torch.arange(rows) % CLASSES,
        vector=torch.randn(rows, FEATURES, generator=rng),
        sequence=torch.randn(rows, LENGTH, SEQUENCE_WIDTH, generator=rng),
        sequence_mask=torch.arange(LENGTH) < torch.arange(rows - 1, -1, -1)[:, None],
        context=None if name in WITHOUT_CONTEXT else torch.randn(rows, CONTEXT, *SHAPES[name][1:], generator=rng),
    )
