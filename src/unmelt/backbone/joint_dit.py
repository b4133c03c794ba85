"""A transformer in which patches of x and the tokens of a sequence attend to one another: MMDiT.

    (h, c) <- (h, c) + gate * attention over [h; c] together,      each with queries, keys and values of its own weights
    h <- h + gate * mlp_h(...),   c <- c + gate * mlp_c(...)       each with its own modulation

(Esser et al., 2024, "Scaling Rectified Flow Transformers", section 4 and figure 2.) Queries and keys are normalised.
Those of patches are rotated by their place along each axis, so that grids of any size and shape are taken.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least, check_grid
from unmelt.backbone.attention import AttendedSequence, read
from unmelt.backbone.embed import Conditioner
from unmelt.backbone.modulation import adaptive_norm, zeroed
from unmelt.backbone.patches import from_patches, to_patches
from unmelt.backbone.rotary import rotary_angles, rotate
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError

PARTS = 6
"""Scale, shift and gate of attention, and of the perceptron."""


class Heads(NamedTuple):
    """What one side brings to attention, each [rows, heads, tokens, features].

    Args:
        query: Queries.
        key: Keys.
        value: Values.
    """

    query: Tensor
    key: Tensor
    value: Tensor


@final
class Side(nn.Module):
    """The weights of one side of a block: of the patches, or of the sequence.

    Args:
        width: Features.
        heads: Attention heads.
        hidden: Hidden features of the perceptron.
        listens: Whether the side is changed by the block. The sequence is not, in the last one.
    """

    def __init__(self, width: int, heads: int, hidden: int, listens: bool) -> None:
        super().__init__()
        self.heads = heads
        self.key_norm = nn.RMSNorm(width // heads)
        self.project = nn.Linear(width, (3 if listens else 2) * width)
        self.listens = listens
        if listens:
            self.query_norm = nn.RMSNorm(width // heads)
            self.out = nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))

    def speak(self, x: Float[Tensor, "rows tokens width"], angle: Tensor | None) -> Heads:
        """Queries, keys and values.

        Args:
            x: [rows, tokens, width], normalised features.
            angle: Rotation of each token; None for none.

        Returns:
            The heads; keys stand in for queries where the side does not listen.
        """
        parts = self.project(x).chunk(3 if self.listens else 2, dim=-1)
        *query, key, value = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in parts)
        key = self.key_norm(key)
        asked = self.query_norm(query[0]) if query else key
        if angle is not None:
            asked, key = rotate(asked, angle), rotate(key, angle)
        return Heads(asked.to(value.dtype), key.to(value.dtype), value)

    def hear(self, x: Tensor, answer: Tensor, modulation: Sequence[Tensor]) -> Tensor:
        """The features after attention and the perceptron.

        Args:
            x: [rows, tokens, width], features.
            answer: [rows, heads, tokens, features], of attention.
            modulation: Gate of attention; scale, shift and gate of the perceptron.

        Returns:
            [rows, tokens, width].
        """
        gate1, scale2, shift2, gate2 = modulation
        x = torch.addcmul(x, gate1, self.out(answer.transpose(1, 2).flatten(2)))
        return torch.addcmul(x, gate2, self.mlp(adaptive_norm(x, scale2, shift2)))


@final
class JointBlock(nn.Module):
    """One block.

    Args:
        width: Features.
        heads: Attention heads.
        hidden: Hidden features of the perceptrons.
        with_sequence: Whether there can be a sequence.
        last: Whether it is the last block, after which nobody asks for the sequence.
    """

    def __init__(self, width: int, heads: int, hidden: int, with_sequence: bool, last: bool) -> None:
        super().__init__()
        self.patches = Side(width, heads, hidden, True)
        self.sequence = Side(width, heads, hidden, not last) if with_sequence else None
        self.features = nn.Identity()  # the features of the patches pass through it

    def forward(
        self,
        h: Float[Tensor, "rows places width"],
        angle: Float[Tensor, "places half"],
        tokens: AttendedSequence | None,
        of_patches: Sequence[Tensor],
        of_sequence: Sequence[Tensor],
    ) -> tuple[Tensor, AttendedSequence | None]:
        """Both sides after the block.

        Args:
            h: [rows, places, width], features of the patches.
            angle: [places, half], rotation of each place.
            tokens: The sequence; None where no row has one.
            of_patches: Six parts of the patches' modulation, each [rows, 1, width].
            of_sequence: Those of the sequence.

        Returns:
            Features of the patches, and the sequence.
        """
        own = self.patches.speak(adaptive_norm(h, of_patches[0], of_patches[1]), angle)
        if tokens is None or self.sequence is None:
            return self.features(self.patches.hear(h, read(*own), of_patches[2:])), tokens
        said = self.sequence.speak(adaptive_norm(tokens.values, of_sequence[0], of_sequence[1]), None)
        places = h.shape[1]
        key, value = torch.cat([own.key, said.key], 2), torch.cat([own.value, said.value], 2)
        query = torch.cat([own.query, said.query], 2) if self.sequence.listens else own.query
        mask = None if tokens.mask is None else F.pad(tokens.mask, (places, 0), value=True)
        answer = read(query, key, value, mask)
        to_image, to_sequence = answer[:, :, :places], answer[:, :, places:]
        if tokens.silent is not None:  # the same, bit for bit, whether a row's sequence is empty or is not there
            to_image = torch.where(tokens.silent[..., None], read(*own), to_image)
        h = self.features(self.patches.hear(h, to_image, of_patches[2:]))
        if not self.sequence.listens:
            return h, tokens
        values = self.sequence.hear(tokens.values, to_sequence, of_sequence[2:])
        return h, AttendedSequence(values, tokens.mask, tokens.silent)


@checked_init("um.backbone.JointDiT")
class JointDiT(CallRepr, nn.Module):
    """Diffusion transformer with joint attention, on grids of any size: images, video, sound, with captions.

    Args:
        channels: Of x.
        space: Dimensions of the grid.
        patch: Sides of a patch, which divide the sides of x. One number serves for all.
        width: Features; a multiple of 2 * heads.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden features of each block's perceptrons, as a multiple of width.
        context_channels: Channels of `condition.context`; 0 for none.
        classes: Number of labels; 0 if no label can be given, as for the two that follow.
        vector_width: Numbers in a vector.
        sequence_width: Numbers in each token of a sequence.
        with_arrival: Whether the network is also given the noise level that a jump arrives at (`denoiser.FlowMap`).
        with_guidance: Whether the network is also given the guidance scale of each row (`Condition.guidance_scale`).

    Raises:
        UsageError: If a size is below 1, or there is no even number of features for each head.
    """

    feature_axis: ClassVar[int] = -1
    """The axis of features in the outputs of `feature_modules`."""

    takes_any_size: ClassVar[bool] = True
    """Whether x may be larger than what the network was trained on."""

    def __init__(
        self,
        *,
        channels: int,
        space: int = 2,
        patch: int | Sequence[int] = 2,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        context_channels: int = 0,
        classes: int = 0,
        vector_width: int = 0,
        sequence_width: int = 0,
        with_arrival: bool = False,
        with_guidance: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.space, self.width, self.depth = channels, space, width, depth
        self.patch = (patch,) * space if isinstance(patch, int) else tuple(patch)
        self.heads, self.mlp_ratio, self.context_channels = heads, mlp_ratio, context_channels
        self.classes, self.vector_width, self.sequence_width = classes, vector_width, sequence_width
        self.with_arrival, self.with_guidance = with_arrival, with_guidance
        self._check_arguments()

        hidden, box = max(1, int(mlp_ratio * width)), math.prod(self.patch)
        self.conditioner = Conditioner(
            width,
            classes=classes,
            vector_width=vector_width,
            sequence_width=sequence_width,
            context_channels=context_channels,
            with_arrival=with_arrival,
            with_guidance=with_guidance,
        )
        self.into = nn.Linear((channels + context_channels) * box, width)
        self.blocks = nn.ModuleList(
            JointBlock(width, heads, hidden, bool(sequence_width), last=i == depth - 1) for i in range(depth)
        )
        self.modulation = zeroed(nn.Linear(width, (PARTS * depth + 2) * width))
        heard = PARTS * (depth - 1) + 2  # in the last block the sequence is only asked
        self.sequence_modulation = zeroed(nn.Linear(width, heard * width)) if sequence_width else None
        self.out = zeroed(nn.Linear(width, channels * box))

    @property
    def feature_modules(self) -> list[nn.Module]:
        """One module of each block, in order; their outputs are the features of the patches, [rows, places, width]."""
        return [block.features for block in self.blocks]  # type: ignore[misc]

    def _check_arguments(self) -> None:
        at_least(1, "JointDiT", channels=self.channels, width=self.width, depth=self.depth, heads=self.heads)
        at_least(1, "JointDiT", space=self.space, patch=min(self.patch, default=1))
        if len(self.patch) != self.space:
            raise UsageError(
                f"JointDiT was given patch={self.patch} and space={self.space}",
                "a side of the patch for each dimension",
                f"JointDiT(..., space={len(self.patch)})",
            )
        if self.width % (2 * self.heads):
            raise UsageError(
                f"JointDiT was given width={self.width} and heads={self.heads}",
                "an even number of features for each head",
                f"JointDiT(..., width={2 * self.heads * max(1, round(self.width / (2 * self.heads)))})",
            )

    def forward(
        self,
        x: Float[Tensor, "rows channels *space"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
        arrival: Float[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows channels *space"]:
        """The output.

        Args:
            x: [rows, channels, *space], inputs of unit size.
            level: [rows], noise levels.
            condition: What is known of each row.
            arrival: [rows], noise levels to arrive at; None where there is none.

        Returns:
            [rows, channels, *space].

        Raises:
            UsageError: If x, the level or the condition does not fit what the network was made for.
        """
        check_grid("JointDiT", x, level, self.channels, self.patch)
        size = x.shape[2:]
        inputs, vector, tokens = self.conditioner(x, level, condition, arrival)
        modulation = self._parts(self.modulation, vector)
        of_sequence = [] if self.sequence_modulation is None else self._parts(self.sequence_modulation, vector)
        h, angle = self.into(to_patches(inputs, self.patch)), self._angles(size, x.device)
        for i, block in enumerate(self.blocks):
            parts = slice(PARTS * i, PARTS * i + PARTS)
            h, tokens = block(h, angle, tokens, modulation[parts], of_sequence[parts])
        scale, shift = modulation[-2:]
        return from_patches(self.out(adaptive_norm(h, scale, shift)), size, self.patch)

    def _parts(self, layer: nn.Module, vector: Float[Tensor, "rows width"]) -> list[Tensor]:
        return list(layer(vector).view(vector.shape[0], -1, 1, self.width).unbind(1))

    def _angles(self, size: Sequence[int], device: torch.device) -> Float[Tensor, "places half"]:
        """Rotation of each place, by its number along each axis."""
        sides = [torch.arange(n // p, device=device) for n, p in zip(size, self.patch, strict=True)]
        places = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, -2)
        return rotary_angles(places, self.width // self.heads)
