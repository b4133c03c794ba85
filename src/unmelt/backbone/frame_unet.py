"""A U-Net over a short window of pictures, each of which may stand at its own noise level.

    the frames of a window are the channels of one picture;      vector = what is known of each frame | its level

One pass makes all frames, at little more than the cost of one picture: what changes from frame to frame is read off as
differences of channels. Past frames at t near 0 beside a new one at t = 1 make a world model (Alonso et al., 2024;
Valevski et al., 2024).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.embed import WAVES, LevelEmbedding
from unmelt.backbone.unet import UNet
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError


@checked_init("um.backbone.FrameUNet")
class FrameUNet(CallRepr, nn.Module):
    """U-Net on a fixed number of frames [channels, height, width].

    Args:
        frames: Number of frames of a row.
        channels: Of one frame.
        patch: Side of the squares of pixels that are the places of the finest level.
        width: Channels on the finest level, a multiple of 4.
        multipliers: Of the width, one for each level from the finest to the coarsest.
        blocks: Residual blocks on each level, each way.
        attention: Whether each level has attention.
        heads: Attention heads.
        classes: Number of labels; 0 if no label can be given.
        vector_width: Numbers in the vector of a frame, such as the action before it; 0 for none.

    Raises:
        UsageError: If a size is below 1 or sizes do not fit one another.
    """

    feature_axis: ClassVar[int] = 1
    """The axis of features in the outputs of `feature_modules`."""

    def __init__(
        self,
        *,
        frames: int,
        channels: int,
        patch: int = 1,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        attention: Sequence[bool] = (False, False, True),
        heads: int = 4,
        classes: int = 0,
        vector_width: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, "FrameUNet", frames=frames, channels=channels)
        self.frames, self.channels, self.patch, self.width = frames, channels, patch, width
        self.multipliers, self.blocks, self.attention = tuple(multipliers), blocks, tuple(attention)
        self.heads, self.classes, self.vector_width = heads, classes, vector_width
        self.level = LevelEmbedding()
        self.unet = UNet(
            channels=frames * channels,
            patch=patch,
            width=width,
            multipliers=multipliers,
            blocks=blocks,
            attention=attention,
            heads=heads,
            positions=True,
            classes=classes,
            vector_width=frames * (2 * WAVES + vector_width),
        )

    @property
    def feature_modules(self) -> list[nn.Module]:
        """The blocks, in order; the outputs of each are features, [rows, channels, *space]."""
        return self.unet.feature_modules

    def forward(
        self,
        x: Float[Tensor, "rows frames channels height width"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows frames channels height width"]:
        """The output.

        Args:
            x: [rows, frames, channels, height, width], inputs of unit size.
            level: [rows] or [rows, frames], noise levels.
            condition: What is known of each row; its vector is [rows, frames, numbers], or [rows, numbers] for all
                frames. A vector that is not given is 0.

        Returns:
            Of the shape of x.

        Raises:
            UsageError: If x, the level or the vector does not fit what the network was made for.
        """
        if x.shape[1:3] != (self.frames, self.channels) or x.ndim != 5:
            raise UsageError(
                f"x has rows of shape {tuple(x.shape[1:])}",
                f"this FrameUNet was made for {self.frames} frames of {self.channels} channels",
                f"FrameUNet(frames={x.shape[1] if x.ndim > 1 else 1}, ...)",
            )
        if level.shape not in (x.shape[:1], x.shape[:2]):
            raise UsageError(
                f"levels of shape {tuple(level.shape)} for x of shape {tuple(x.shape)}",
                "one level a row, or one a frame",
                f"levels of shape {tuple(x.shape[:2])}",
            )
        known = condition or Condition()
        fine = level if level.ndim == 2 else level[:, None].expand(-1, self.frames)
        parts = [self.level(fine)]
        if self.vector_width or known.vector is not None:
            parts.append(self._of_frames(known, fine))
        known = replace(
            known,
            vector=torch.cat(parts, 2).flatten(1),
            given={name: flags for name, flags in known.given.items() if name != "vector"},
        )
        output: Tensor = self.unet(x.flatten(1, 2), fine.mean(1), known)
        return output.view_as(x)

    def _of_frames(self, known: Condition, level: Tensor) -> Float[Tensor, "rows frames numbers"]:
        """The vector of each frame, 0 where none is given."""
        vector = known.vector
        if vector is None:
            return level.new_zeros(*level.shape, self.vector_width)
        vector = vector if vector.ndim == 3 else vector[:, None].expand(-1, self.frames, -1)
        if vector.shape != (*level.shape, self.vector_width):
            raise UsageError(
                f"the condition has vectors of shape {tuple(vector.shape)}",
                f"{self.vector_width} numbers for each of {self.frames} frames",
                f"vector of shape {(*level.shape, self.vector_width)}",
            )
        given = known.is_given("vector")
        return vector if given is None else torch.where(given[:, None, None], vector, 0.0)
