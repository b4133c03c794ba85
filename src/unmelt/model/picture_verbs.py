"""Verbs on existing data: editing and variations of any, inpainting and outpainting of pictures.

They make a request of their arguments; `painting.py` does the work.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.class_labels import Label
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.model import painting
from unmelt.model.base import BaseModel
from unmelt.model.control_rows import ControlPictures, ControlScales
from unmelt.model.data_rows import DataRows, data_rows
from unmelt.model.mask import mask_rows
from unmelt.model.planned_captions import Plan, Words
from unmelt.model.request import CONDITIONS, Guide, SampleRequest, Start, check_rows, given_seed
from unmelt.process.tokens import Tokens
from unmelt.rng import Seed


class EditSettings(TypedDict, total=False):
    """What `Model.variations`, `inpaint` and `outpaint` take as `edit` does."""

    label: Label | None
    caption: Words
    prompt: Words
    plan: Plan
    negative: Words
    control: ControlPictures
    control_scale: ControlScales | None
    condition: Condition | None
    guidance: Guide
    steps: int | None
    seed: Seed
    adapter: str | Sequence[str | None] | None


class PictureVerbs(BaseModel, ABC):
    """A model that edits data; its arguments are those of `StoredModel`."""

    @property
    def of_tokens(self) -> bool:
        """Whether it learns tokens, which its codec makes of data and data of."""
        return isinstance(self.denoiser.process, Tokens)

    @checked("model.edit")
    def edit(
        self,
        x: DataRows,
        *,
        strength: float,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        prompt: Words = None,
        plan: Plan = None,
        negative: Words = None,
        control: ControlPictures = None,
        control_scale: ControlScales | None = None,
        condition: Condition | None = None,
        guidance: Guide = 1.0,
        steps: int | None = None,
        seed: Seed = 0,
        adapter: str | Sequence[str | None] | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """Data noised to t = strength and denoised again: what is finer than the noise is made anew (SDEdit).

        Args:
            x: [rows, *shape], in data space: a tensor, an array of numpy (bytes are divided by 255), or images of PIL.
            strength: Above 0 (nothing changes) and at most 1 (all is made anew).
            label: A class, or one for each row.
            caption: A caption, or one for each row.
            prompt: What is asked for, as of `sample`, in place of a caption.
            plan: Whether it is planned, or a plan, as of `sample`.
            negative: What they should not show, as of `sample`.
            control: A picture that they are to follow, as of `sample`.
            control_scale: How much a control network counts, as of `sample`.
            condition: What else is known of the rows.
            guidance: Guidance scale, one for each row, or a function that wraps the denoiser.
            steps: Number of sampling steps, all of them within the shorter way.
            seed: One seed, or one for each row. None draws a fresh one.
            adapter: An adapter, or one for each row, as of `sample`.

        Returns:
            [rows, *shape], in data space, on the CPU.

        Raises:
            UsageError: If x is not of the model's shape, or strength is out of range.
        """
        x = data_rows(self, x, any_size=True)
        said: Any = {"label": label, "caption": caption, "prompt": prompt, "plan": plan, "condition": condition}
        said |= {"negative": negative, "control": control, "control_scale": control_scale, "adapter": adapter}
        request = self._edit_request(len(x), said | {"guidance": guidance, "steps": steps, "seed": seed})
        return self.sample_request(self._started(request, x, strength))

    @checked("model.variations")
    def variations(
        self, x: DataRows, rows: int = 4, *, strength: float = 0.5, **settings: Unpack[EditSettings]
    ) -> Float[Tensor, "rows *shape"]:
        """Other versions of one picture, or of one row of other data: `edit` with a seed for each.

        Args:
            x: [1, *shape], in data space, or an image of PIL.
            rows: How many versions.
            strength: Above 0 (nothing changes) and at most 1 (all is made anew).
            settings: The other arguments of `edit`.

        Returns:
            [rows, *shape], in data space, on the CPU.

        Raises:
            UsageError: As for `edit`, or if x is several pictures.
        """
        check_rows(rows)
        x = data_rows(self, x, any_size=True)
        if len(x) != 1:
            raise UsageError(f"variations of {len(x)} pictures", "one picture", "model.variations(x[:1], rows=4)")
        request = self._edit_request(rows, settings)
        return self.sample_request(self._started(request, x.expand(rows, *x.shape[1:]), strength))

    @checked("model.inpaint")
    def inpaint(
        self,
        x: DataRows,
        mask: DataRows,
        *,
        strength: float = 1.0,
        resamples: int = painting.RESAMPLES,
        **settings: Unpack[EditSettings],
    ) -> Float[Tensor, "rows channels h w"]:
        """Pictures with what a mask covers made anew, given the rest, which comes back exactly.

        Args:
            x: [rows, channels, height, width], in data space: a tensor, an array of numpy, or images of PIL.
            mask: [rows, height, width], or [1, height, width] or [height, width] for all pictures: True or 1 where
                pixels are made anew, 0 where they stay, between them a mixture. Or images of PIL, white where new.
            strength: Below 1, what is covered is noised to t = strength and denoised again, as in `edit`.
            resamples: How often each step is taken again, by which new and known pixels come to agree.
            settings: The other arguments of `edit`; those of the condition (label, prompt and so on) say what the whole
                picture shows.

        Returns:
            [rows, channels, height, width], in data space, on the CPU.

        Raises:
            UsageError: If it is no model of images, or pictures and mask are of other sizes.
        """
        painting.check_pictures(self, "inpaint")
        x = data_rows(self, x, any_size=True)
        return painting.inpaint(self, x, mask_rows(mask, x), self._edit_request(len(x), settings), strength, resamples)

    @checked("model.outpaint")
    def outpaint(
        self,
        x: DataRows,
        *,
        left: int = 0,
        right: int = 0,
        top: int = 0,
        bottom: int = 0,
        resamples: int = painting.RESAMPLES,
        **settings: Unpack[EditSettings],
    ) -> Float[Tensor, "rows channels high wide"]:
        """Pictures continued beyond their edges, in one piece, by networks that take any size (`UNet`, `JointDiT`).

        Args:
            x: [rows, channels, height, width], in data space: a tensor, an array of numpy, or images of PIL.
            left: Pixels to add on the left.
            right: Pixels to add on the right.
            top: Pixels to add above.
            bottom: Pixels to add below.
            resamples: How often each step is taken again, by which new and known pixels come to agree.
            settings: The other arguments of `edit`; those of the condition (label, prompt and so on) say what the whole
                picture shows.

        Returns:
            [rows, channels, top + height + bottom, left + width + right], in data space, on the CPU.

        Raises:
            UsageError: If it is no model of images, its network takes one size alone, or nothing is to be added.
        """
        painting.check_pictures(self, "outpaint")
        x = data_rows(self, x, any_size=True)
        return painting.outpaint(self, x, (left, right, top, bottom), self._edit_request(len(x), settings), resamples)

    def _started(self, request: SampleRequest, x: Tensor, strength: float) -> SampleRequest:
        """A request that begins with data, or with noise alone at strength 1: nothing is then left of the data."""
        if strength != 1:
            return replace(request, start=Start(x=x, strength=strength))
        shape = tuple(self.codec.latent_shape(x.shape[1:]))
        return request if shape == tuple(self.denoiser.shape) else replace(request, shape=shape)

    def _edit_request(self, rows: int, settings: EditSettings) -> SampleRequest:
        conditions: Any = {name: settings.get(name) for name in CONDITIONS}
        rest: Any = {name: settings[name] for name in ("guidance", "steps", "adapter") if name in settings}
        rest["seed"] = given_seed(settings.get("seed", 0))
        known = self.condition_of(rows, **conditions, seed=rest["seed"])
        self._check_guidance(rest.get("guidance", 1.0), known)
        return SampleRequest(rows=rows, condition=known, **rest)
