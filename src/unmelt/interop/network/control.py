"""Control networks of diffusers: they read a picture that is aligned with the result, beside a UNet.

    h_k <- h_k + sum over controls of scale r_k(picture, x, timestep, prompt)

h_k are the UNet's skip connections and its middle (ControlNet: Zhang et al., 2023), or the outputs of its blocks going
down, and then r_k depends on the picture alone (T2I-adapter: Mou et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.control import PICTURE, SCALE
from unmelt.errors import UsageError
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.network.settings import Settings, make_network, settings_of

SAME = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block", "addition_embed_type")
"""Settings that a ControlNet shares with its UNet."""

ONLY: dict[str, Any] = {"global_pool_conditions": False, "class_embed_type": None, "num_class_embeds": None}
ONLY |= {"encoder_hid_dim_type": None}
"""Settings of a ControlNet that need other inputs, and the one value of each that is supported."""


@dataclass(frozen=True)
class NetworkCall:
    """What a UNet is called with.

    Args:
        x: Noisy latents.
        timestep: Their timesteps.
        sequence: The vectors of each prompt.
        added: The prompt's pooled vector and the size of the picture, of XL; None for others.
    """

    x: Float[Tensor, "rows channels h w"]
    timestep: Float[Tensor, " rows"]
    sequence: Float[Tensor, "rows length features"]
    added: Mapping[str, Tensor] | None

    def __getitem__(self, rows: Int64[Tensor, " some"]) -> NetworkCall:
        """Some of the rows."""
        added = None if self.added is None else {name: value[rows] for name, value in self.added.items()}
        return NetworkCall(self.x[rows], self.timestep[rows], self.sequence[rows], added)


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """What controls add to the features of a UNet.

    Args:
        skips: To its skip connections, the middle of the UNet last; empty for nothing.
        blocks: To the outputs of its blocks going down; empty for nothing.
    """

    skips: tuple[Tensor, ...] = ()
    blocks: tuple[Tensor, ...] = ()

    def of_rows(self, at: Int64[Tensor, " some"], rows: int, scale: Float[Tensor, " some"]) -> Residuals:
        """The scaled residuals of some rows among those of all, which are 0.

        Args:
            at: [some], the numbers of the rows.
            rows: How many rows there are.
            scale: [some], the scale of each.

        Returns:
            The residuals of all rows.
        """

        def placed(value: Tensor) -> Tensor:
            value = value * scale.to(value).view(-1, 1, 1, 1)
            return value if len(at) == rows else value.new_zeros(rows, *value.shape[1:]).index_copy(0, at, value)

        return Residuals(skips=tuple(map(placed, self.skips)), blocks=tuple(map(placed, self.blocks)))

    def __add__(self, other: Residuals) -> Residuals:
        return Residuals(skips=_added(self.skips, other.skips), blocks=_added(self.blocks, other.blocks))

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of UNet2DConditionModel."""
        found: dict[str, Any] = {}
        if self.skips:
            found["down_block_additional_residuals"] = self.skips[:-1]
            found["mid_block_additional_residual"] = self.skips[-1]
        if self.blocks:
            found["down_intrablock_additional_residuals"] = list(self.blocks)  # which it empties
        return found


def _added(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True)) if one and other else one or other


class DiffusersControlNet(CallRepr, nn.Module):
    """A ControlNetModel.

    Args:
        settings: Arguments of ControlNetModel.

    Raises:
        UsageError: If ControlNetModel does not take the settings, or they ask for inputs that are not supported.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.network, self.settings = make_network("ControlNetModel", settings)
        known: Any = self.network.config
        if odd := [name for name, only in ONLY.items() if known[name] != only]:
            raise UsageError(
                f"a ControlNetModel with {odd[0]}={known[odd[0]]!r}", f"{ONLY[odd[0]]!r}", "another checkpoint"
            )
        self.channels = int(known.conditioning_channels)

    def forward(self, call: NetworkCall, picture: Float[Tensor, "rows channels high wide"]) -> Residuals:
        """What is added to the UNet's features.

        Args:
            call: What the UNet is called with.
            picture: The control picture of each row, from 0 to 1.

        Returns:
            The residuals at scale 1.
        """
        skips, middle = self.network(
            call.x,
            call.timestep,
            encoder_hidden_states=call.sequence,
            controlnet_cond=picture,
            added_cond_kwargs=call.added,
            return_dict=False,
        )
        return Residuals(skips=(*skips, middle))

    def check_fits(self, known: Any) -> None:
        """Refuse a UNet of another kind than the one that it was trained beside.

        Args:
            known: Settings of the UNet.

        Raises:
            UsageError: If it differs in a setting that both share.
        """
        own: Any = self.network.config
        for name in SAME:
            mine, theirs = (tuple(each) if isinstance(each, list) else each for each in (own[name], known[name]))
            if mine != theirs:
                raise UsageError(
                    f"a ControlNet with {name}={mine!r} for a network with {name}={theirs!r}",
                    "one that was trained beside such a network (Stable Diffusion 1, 2 or XL)",
                    "another ControlNet",
                )


class DiffusersT2IAdapter(CallRepr, nn.Module):
    """A T2IAdapter.

    Args:
        settings: Arguments of T2IAdapter.

    Raises:
        UsageError: If T2IAdapter does not take the settings.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.network, self.settings = make_network("T2IAdapter", settings)
        self.channels = int(self.network.config.in_channels)

    def forward(self, call: NetworkCall, picture: Float[Tensor, "rows channels high wide"]) -> Residuals:
        """What is added to the UNet's features.

        Args:
            call: What the UNet is called with, which does not matter here.
            picture: The control picture of each row, from 0 to 1.

        Returns:
            The residuals at scale 1.
        """
        return Residuals(blocks=tuple(self.network(picture)))

    def check_fits(self, known: Any) -> None:
        """Refuse a UNet of other widths than the one that it was trained beside.

        Args:
            known: Settings of the UNet.

        Raises:
            UsageError: If they differ.
        """
        mine, theirs = tuple(self.network.config.channels), tuple(known.block_out_channels)
        if mine != theirs:
            raise UsageError(
                f"a T2I-adapter with channels={mine} for a network with block_out_channels={theirs}",
                "one that was trained beside such a network (Stable Diffusion 1, 2 or XL)",
                "another T2I-adapter",
            )


KINDS: dict[str, Any] = {"ControlNetModel": DiffusersControlNet, "T2IAdapter": DiffusersT2IAdapter}
"""Classes of diffusers, by name."""


def read_control(folder: Path) -> DiffusersControlNet | DiffusersT2IAdapter:
    """Read a control network that diffusers saved.

    Args:
        folder: Its folder, with config.json and diffusion_pytorch_model.safetensors.

    Returns:
        The control network.

    Raises:
        UsageError: If it is of another class, damaged, or a pickle.
    """
    about = read_json(folder / "config.json")
    kind = str(about.get("_class_name"))
    if kind not in KINDS:
        raise UsageError(f"{folder} holds a {kind}", f"a {' or a '.join(KINDS)}", "another control network")
    control: DiffusersControlNet | DiffusersT2IAdapter = KINDS[kind](settings_of(about))
    fill(control.network, folder)
    return control


def residuals(
    controls: Mapping[str, nn.Module], call: NetworkCall, condition: Condition | None, pixels: int
) -> Residuals:
    """What all controls add up to.

    Args:
        controls: Control networks by name.
        call: What the UNet is called with.
        condition: What is known of each row, control pictures and their scales among it.
        pixels: Pixels of a picture along the side of one place of the latents.

    Returns:
        The sum, which is empty where no row has a control.

    Raises:
        UsageError: If a picture is not of the size of what is made.
    """
    total, rows = Residuals(), len(call.x)
    if condition is None:
        return total
    for name, control in controls.items():
        picture, scale = condition.extra.get(PICTURE + name), condition.extra.get(SCALE + name)
        if picture is None or scale is None:
            continue
        needed = (control.channels, *(pixels * side for side in call.x.shape[-2:]))
        if tuple(picture.shape[1:]) != needed:
            raise UsageError(
                f"a picture of shape {tuple(picture.shape[1:])} for the control {name!r}",
                f"one of shape {needed}, as large as what is made",
                "model.sample(4, control=picture), which resizes it",
            )
        has, given = scale != 0, condition.is_given(PICTURE + name)
        at = (has if given is None else has & given).nonzero()[:, 0]
        if len(at) == rows:
            total = total + control(call, picture.to(call.x.dtype)).of_rows(at, rows, scale)
        elif len(at):
            total = total + control(call[at], picture[at].to(call.x.dtype)).of_rows(at, rows, scale[at])
    return total


def check_runs(network: Any, control: Any, pixels: int, call: NetworkCall) -> None:
    """Refuse a control network whose residuals the UNet cannot add.

    Args:
        network: The UNet.
        control: The control network.
        pixels: Pixels of a picture along the side of one place of the latents.
        call: A small call of the UNet, by which this is tried.

    Raises:
        UsageError: If they do not fit one another.
    """
    control.check_fits(network.config)
    picture = call.x.new_zeros(len(call.x), control.channels, *(pixels * side for side in call.x.shape[-2:]))
    try:
        with torch.no_grad():
            found = control(call, picture)
            network(
                call.x,
                call.timestep,
                encoder_hidden_states=call.sequence,
                added_cond_kwargs=call.added,
                **found.arguments,
            )
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise UsageError(
            f"a control network that does not fit this model's ({str(error).splitlines()[0]:.80})",
            "one that was trained beside such a network",
            "another control network",
        ) from None
