"""A model's controls: pictures that are aligned with the result, which the network itself or one beside it reads.

A model that was trained with a control (`control=`) has it in `Condition.context`, which guidance drops. Control
networks that were trained elsewhere (`add_control`) have their pictures among the extras of the condition, which
guidance keeps on both sides, and each row has a scale. Both travel with their rows.
"""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked
from unmelt.condition import Condition
from unmelt.control import PICTURE, SCALE
from unmelt.errors import UsageError, nearest
from unmelt.model.adaptable import AdaptableModel
from unmelt.model.control_rows import control_rows, resized, scale_rows
from unmelt.model.data_rows import DataRows, data_rows

OF_DIFFUSERS = "unmelt.interop.network.control"
"""The module that reads files of diffusers; it imports models."""


class ControllableModel(AdaptableModel, ABC):
    """A model with controls; its arguments are those of `StoredModel`."""

    @final
    @checked("model.add_control")
    def add_control(self, name: str, control: str | Path | nn.Module) -> nn.Module:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(
                f"a control called {name!r}", "letters, digits and underscores", 'add_control("edges", folder)'
            )
        if name in self.control_names:
            raise UsageError(f"a second control called {name!r}", "a name of its own", f'add_control("{name}_2", ...)')
        backbone = self.denoiser.backbone
        if not hasattr(backbone, "attach_control"):
            raise UsageError(
                f"a control network for a {type(backbone).__name__}",
                "a model of Stable Diffusion 1, 2 or XL; others are trained with a control",
                'um.recipe.images(folder="faces", control="edges")',
            )
        if isinstance(control, str | Path):
            network: nn.Module = import_module(OF_DIFFUSERS).read_control(Path(control))
        else:
            network = control
        network.eval().requires_grad_(False).to(self.device)
        backbone.attach_control(name, network)
        self.controls[name] = network
        return network

    @final
    def remove_control(self, name: str) -> None:
        """Take a control network out of the model, which is then bit for bit what it was without.

        Args:
            name: Name of the control.

        Raises:
            UsageError: If there is none of this name.
        """
        if name not in self.controls:
            raise self._unknown_control(name)
        self.denoiser.backbone.controls.pop(name)
        del self.controls[name]

    @final
    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of all controls: the one that the network was trained with, and the networks beside it."""
        return (*(() if self.control is None else (self.control.name,)), *self.controls)

    @final
    @checked("model.control_of")
    def control_of(self, x: DataRows) -> Float[Tensor, "rows own h w"]:
        """The control pictures of pictures, as the model was trained to read them.

        Args:
            x: [rows, *shape], in data space: a tensor, an array of numpy, or images of PIL.

        Returns:
            [rows, own channels, height, width], in [0, 1].

        Raises:
            UsageError: If the model was not trained with a control, or x is not of its shape.
        """
        if self.control is None:
            raise UsageError(
                "control pictures of a model that was not trained with a control",
                "one that was",
                "um.control.Edges()(x)",
            )
        return self.control(data_rows(self, x, any_size=True))  # type: ignore[arg-type]

    @final
    def with_control(self, known: Condition, rows: int, control: Any, scale: Any) -> Condition:
        """What is known of rows, with their controls.

        Args:
            known: What else is known.
            rows: How many rows.
            control: A picture for all rows, or one or None for each; by the control's name if there are several.
            scale: How much of it is added, a number or one for each row; or these by the control's name. None: all.

        Returns:
            The condition of each row. Pictures have the size that they were given in.

        Raises:
            UsageError: If the model has no such control, or something is no picture or no scale.
        """
        pictures, scales = self._by_name(control, "control"), self._by_name(scale, "control_scale")
        for name in scales:
            if name not in pictures:
                raise UsageError(
                    "a control_scale without a control", "a picture, too", "control=picture, control_scale=0.5"
                )
        for name, picture in pictures.items():
            is_own = self.control is not None and name == self.control.name
            found = control_rows(picture, rows, (self.control if is_own else self.controls[name]).channels)  # type: ignore[union-attr]
            if found is None:
                continue
            of_rows = scale_rows(scales.get(name, 1.0), rows)
            key = "context" if is_own else PICTURE + name
            if is_own and known.context is not None:
                raise UsageError("a control and a condition with a context", "one of them", "condition=condition")
            if is_own and not (of_rows == 1).all():
                raise UsageError(
                    "a control_scale for the control that the network was trained with",
                    "1; guidance makes it count for more",
                    "guidance=2.0",
                )
            if not found.given.all():
                known = replace(known, given={**known.given, key: found.given})
            if is_own:
                known = replace(known, context=found.pictures)
                continue
            extra = {key: found.pictures, SCALE + name: of_rows * found.given}
            known = replace(known, extra={**known.extra, **extra}, kept=(*known.kept, *extra))
        return known

    @final
    def of_size(self, condition: Condition | None, shape: tuple[int, ...]) -> Condition | None:
        """A condition whose maps have the size of the rows, and its control pictures that of the result.

        Args:
            condition: What is known of each row.
            shape: The shape of a row in model space.

        Returns:
            The condition.
        """
        if condition is None or len(shape) != 3:
            return condition
        if condition.negative is not None:
            condition = replace(condition, negative=self.of_size(condition.negative, shape))
        context, size = condition.context, shape[1:]
        if context is not None and context.ndim == len(shape) + 1 and context.shape[2:] != size:
            sized = nn.functional.interpolate(context, size) if self.control is None else resized(context, size)
            condition = replace(condition, context=sized)
        pixels = [getattr(self.denoiser.backbone, "pixels", 1) * side for side in size]
        pictures = {name: each for name, each in condition.extra.items() if name.startswith(PICTURE)}
        if any(each.shape[2:] != torch.Size(pixels) for each in pictures.values()):
            extra = {name: resized(each, pixels) for name, each in pictures.items()}
            condition = replace(condition, extra={**condition.extra, **extra})
        return condition

    def _by_name(self, given: Any, argument: str) -> Mapping[str, Any]:
        """What was given for each control."""
        if given is None:
            return {}
        if not (names := self.control_names):
            raise UsageError(
                f"{argument}=... for a model that knows no control",
                "a control network beside it, or a model that was trained with a control",
                'model.add_control("edges", "path/to/controlnet")',
            )
        if isinstance(given, Mapping):
            if odd := [name for name in given if name not in names]:
                raise self._unknown_control(odd[0])
            return {name: each for name, each in given.items() if each is not None}
        if len(names) > 1:
            raise UsageError(
                f"one {argument} for a model with the controls {', '.join(names)}",
                "each by its name",
                f"{argument}={{{names[0]!r}: ..., {names[1]!r}: ...}}",
            )
        return {names[0]: given}

    def _unknown_control(self, name: Any) -> UsageError:
        names = self.control_names
        known = ", ".join(map(repr, names)) or "none; add_control adds one"
        instead = f"control={{{nearest(str(name), names)!r}: picture}}" if names else 'add_control("edges", "folder")'
        return UsageError(f"a control called {name!r}", f"one of the model's controls: {known}", instead)
