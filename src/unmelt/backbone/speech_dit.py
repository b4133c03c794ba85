"""A transformer over the frames of speech, each of which is given the character that is spoken there, approximately.

    h <- into(x, known frames, stretched text)
    h <- h + gate1 * rotary_attention(adaptive_norm1(h))
    h <- h + gate2 * mlp(along_time(adaptive_norm2(h)))

Nobody says when a character is spoken: frame i of n is given character floor(i L / n) of L, and attention finds the
rest (ZipVoice: Zhu et al., 2025, section 3.2). Characters have read their neighbours before, by convolutions. Frames
that are known, such as a recording whose voice is to go on, are inputs beside the noisy ones (F5-TTS: Chen et al.,
2025). Rows of a batch may have different lengths: frames that are neither generated nor known are padding, which
nothing is read from.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least, level_of_rows
from unmelt.backbone.attention import read
from unmelt.backbone.embed import Conditioner
from unmelt.backbone.modulation import adaptive_norm, zeroed
from unmelt.backbone.rotary import RotaryAttention, rotary_angles
from unmelt.call_repr import CallRepr
from unmelt.condition import KNOWN_FRAMES, Condition
from unmelt.errors import UsageError

PLACES = 3
"""Numbers that say where in the text a frame is."""

TEXT_KERNEL, FRAME_KERNEL = 5, 9
"""Characters and frames that a convolution reaches over."""


class AlongTime(nn.Module):
    """Each feature convolved along time; places that are not real count as zeros and stay zeros.

    Args:
        width: Features.
        kernel: Places that the convolution reaches over; odd.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(
        self, h: Float[Tensor, "rows places width"], real: Bool[Tensor, "rows places 1"]
    ) -> Float[Tensor, "rows places width"]:
        """The features after the convolution.

        Args:
            h: [rows, places, width].
            real: [rows, places, 1], True where a place is no padding.

        Returns:
            [rows, places, width].
        """
        return self.conv((h * real).mT).mT * real


class TextBlock(nn.Module):
    """A ConvNeXt block over characters: along time, then a perceptron at each (Liu et al., 2022).

    Args:
        width: Features of a character.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.along = AlongTime(width, TEXT_KERNEL)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(
        self, h: Float[Tensor, "rows length width"], real: Bool[Tensor, "rows length 1"]
    ) -> Float[Tensor, "rows length width"]:
        """The features after the block.

        Args:
            h: [rows, length, width].
            real: [rows, length, 1], True where a character is no padding.

        Returns:
            [rows, length, width].
        """
        return h + self.mlp(self.norm(self.along(h, real)))


class SpeechBlock(nn.Module):
    """One block over frames: rotary attention, and a perceptron on what a convolution along time makes.

    Args:
        width: Features.
        heads: Attention heads.
        hidden: Hidden features of the perceptron.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = RotaryAttention(width, heads)
        self.along = AlongTime(width, FRAME_KERNEL)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))

    def forward(
        self,
        h: Float[Tensor, "rows frames width"],
        modulation: Sequence[Tensor],
        angle: Float[Tensor, "frames half"],
        real: Bool[Tensor, "rows frames 1"],
    ) -> Float[Tensor, "rows frames width"]:
        """The features after the block.

        Args:
            h: [rows, frames, width].
            modulation: Scale, shift and gate of attention and of the perceptron, each [rows, 1, width].
            angle: Rotation angles of the frames.
            real: [rows, frames, 1], True where a frame is no padding.

        Returns:
            [rows, frames, width].
        """
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation
        attend = partial(read, mask=real[:, None, None, :, 0])
        h = torch.addcmul(h, gate1, self.attention(adaptive_norm(h, scale1, shift1), angle, attend))
        normed = adaptive_norm(h, scale2, shift2)
        return torch.addcmul(h, gate2, self.mlp(normed + self.along(normed, real)))


@checked_init("um.backbone.SpeechDiT")
class SpeechDiT(CallRepr, nn.Module):
    """Diffusion transformer on frames [rows, frames, bands] of any number, conditioned by characters and a voice.

    Args:
        bands: Numbers in a frame.
        sequence_width: Numbers in each character of `condition.sequence`.
        width: Features; a multiple of twice `heads`.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden features of each block's perceptron, as a multiple of width.
        text_width: Features of a character.
        text_depth: Blocks in which characters read their neighbours.
        classes: Number of voices; 0 if none can be given.
        with_arrival: Whether the network is also given the noise level that a jump arrives at (`denoiser.FlowMap`).
        with_guidance: Whether the network is also given the guidance scale of each row (`Condition.guidance_scale`).

    Raises:
        UsageError: If a size is below 1, or twice the heads do not divide the width.
    """

    feature_axis: ClassVar[int] = -1
    """The axis of features in the outputs of `feature_modules`."""

    takes_any_size: ClassVar[bool] = True
    """x may have any number of frames."""

    def __init__(
        self,
        *,
        bands: int,
        sequence_width: int,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 3.0,
        text_width: int = 128,
        text_depth: int = 3,
        classes: int = 0,
        with_arrival: bool = False,
        with_guidance: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, "SpeechDiT", bands=bands, sequence_width=sequence_width, width=width, depth=depth, heads=heads)
        at_least(1, "SpeechDiT", text_width=text_width, hidden=int(mlp_ratio * width))
        at_least(0, "SpeechDiT", text_depth=text_depth)
        self.bands, self.sequence_width, self.width, self.depth = bands, sequence_width, width, depth
        self.heads, self.mlp_ratio, self.text_width, self.text_depth = heads, mlp_ratio, text_width, text_depth
        self.classes, self.with_arrival, self.with_guidance = classes, with_arrival, with_guidance
        self.conditioner = Conditioner(width, classes=classes, with_arrival=with_arrival, with_guidance=with_guidance)
        self.characters = nn.Linear(sequence_width, text_width, bias=False)
        self.text_blocks = nn.ModuleList(TextBlock(text_width) for _ in range(text_depth))
        self.null_text = nn.Parameter(torch.zeros(text_width))
        self.into = nn.Linear(2 * bands + 1 + text_width + PLACES, width)
        self.blocks = nn.ModuleList(SpeechBlock(width, heads, int(mlp_ratio * width)) for _ in range(depth))
        self.modulation = zeroed(nn.Linear(width, (6 * depth + 2) * width))
        self.out = zeroed(nn.Linear(width, bands))

    @property
    def feature_modules(self) -> list[nn.Module]:
        """The blocks, in order; the outputs of each are features, [rows, frames, width]."""
        return list(self.blocks)

    def forward(
        self,
        x: Float[Tensor, "rows frames bands"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
        arrival: Float[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows frames bands"]:
        """The output.

        Args:
            x: [rows, frames, bands], inputs of unit size.
            level: [rows], noise levels.
            condition: What is known of each row: the characters, the voice, which frames are to be generated
                (`x_mask`), and `extra["known_frames"]`.
            arrival: [rows], noise levels to arrive at; None where there is none.

        Returns:
            [rows, frames, bands].

        Raises:
            UsageError: If x, the level or the condition does not fit what the network was made for.
        """
        condition = Condition() if condition is None else condition
        self._check(x, level, condition)
        known, given = condition.extra.get(KNOWN_FRAMES), condition.is_given(KNOWN_FRAMES)
        wanted = condition.x_mask
        wanted = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if wanted is None else wanted
        is_known = torch.zeros_like(wanted) if known is None else known[..., -1] > 0
        real = wanted | is_known
        if known is None:
            known = x.new_zeros(*x.shape[:2], self.bands + 1)
        elif given is not None:
            known = known * given[:, None, None]
        count = real.sum(1)
        text, places = self._text(condition, count, x)
        voice = Condition(
            label=condition.label,
            guidance_scale=condition.guidance_scale,
            given={name: flags for name, flags in condition.given.items() if name == "label"},
        )
        vector = self.conditioner(x, level, voice, arrival).vector
        modulation = self.modulation(vector).view(x.shape[0], -1, 1, self.width).unbind(1)
        h = self.into(torch.cat([x * wanted[..., None], known.to(x), text, places], -1))
        angle = rotary_angles(torch.arange(x.shape[1], device=x.device)[:, None], self.width // self.heads)
        for i, block in enumerate(self.blocks):
            h = block(h, modulation[6 * i : 6 * i + 6], angle, real[..., None])
        scale, shift = modulation[-2:]
        return self.out(adaptive_norm(h, scale, shift))

    def _text(self, condition: Condition, count: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features of the character at each frame, and where in the text the frame is."""
        rows, frames = x.shape[:2]
        null = self.null_text.expand(rows, frames, -1)
        nowhere = x.new_zeros(rows, frames, PLACES)
        if condition.sequence is None or condition.sequence.shape[1] == 0:
            return null, nowhere
        real = condition.sequence_mask
        if real is None:
            real = torch.ones(condition.sequence.shape[:2], dtype=torch.bool, device=x.device)
        has_text = real.any(1)
        if (given := condition.is_given("sequence")) is not None:
            has_text = has_text & given
        h = self.characters(condition.sequence)
        for block in self.text_blocks:
            h = block(h, real[..., None])
        length = real.sum(1)
        # In whole numbers, so that no rounding depends on how rows are computed.
        scaled = torch.arange(frames, device=x.device) * length[:, None]
        per = count.clamp_min(1)[:, None]
        at = torch.minimum(scaled // per, (length - 1).clamp_min(0)[:, None])
        text = h.gather(1, at[..., None].expand(-1, -1, h.shape[-1]))
        within = (scaled % per).to(x) / per.to(x)
        speed = (length[:, None].to(x) / per.to(x)).expand_as(within)
        along = torch.arange(frames, device=x.device).to(x) / per.to(x)
        places = torch.stack([within, 4 * speed, along], -1)
        has_text = has_text[:, None, None]
        return torch.where(has_text, text, null), torch.where(has_text, places, nowhere)

    def _check(self, x: Tensor, level: Tensor, condition: Condition) -> None:
        level_of_rows("SpeechDiT", level)
        if x.ndim != 3 or x.shape[2] != self.bands:
            raise UsageError(
                f"x has rows of shape {tuple(x.shape[1:])}",
                f"this SpeechDiT was made for frames of {self.bands} bands",
                f"SpeechDiT(bands={x.shape[-1]}, ...)",
            )
        sequence, known = condition.sequence, condition.extra.get(KNOWN_FRAMES)
        if sequence is not None and sequence.shape[2] != self.sequence_width:
            raise UsageError(
                f"the condition has a sequence of {sequence.shape[2]} numbers",
                f"the backbone was made for {self.sequence_width}",
                f"sequence_width={sequence.shape[2]}",
            )
        if condition.vector is not None or condition.context is not None:
            raise UsageError("a vector or a context for a SpeechDiT", "characters, a voice, known frames", "label=...")
        wanted = (*x.shape[:2], self.bands + 1)
        if known is not None and tuple(known.shape) != wanted:
            raise UsageError(
                f"known frames of shape {tuple(known.shape)}",
                f"{wanted}: bands, and 1 where a frame is known",
                f"extra={{{KNOWN_FRAMES!r}: torch.zeros{wanted}}}",
            )
        if condition.x_mask is not None and condition.x_mask.shape != x.shape[:2]:
            raise UsageError(
                f"an x_mask of shape {tuple(condition.x_mask.shape)}",
                f"one for each frame, {tuple(x.shape[:2])}",
                "x_mask=torch.ones(x.shape[:2], dtype=torch.bool)",
            )
