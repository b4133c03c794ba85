"""The facade for data that are numbers: images, points, sound, latents, actions.

It has no mathematics of its own: each verb calls the modules that do the work.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, final

import torch
from jaxtyping import Float, Shaped
from PIL.Image import Image
from torch import Tensor

from unmelt.arguments import checked
from unmelt.arguments.values import shown
from unmelt.class_labels import Label
from unmelt.codec import Affine
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.likelihood import Estimate
from unmelt.modality import Modality, modality_of
from unmelt.model import evaluation, tuning
from unmelt.model.base import SamplingPlan
from unmelt.model.control_rows import ControlPictures, ControlScales
from unmelt.model.data_rows import DataRows, data_rows
from unmelt.model.latent_data import latent_data, with_control_pictures
from unmelt.model.picture_size import request_shape
from unmelt.model.picture_verbs import PictureVerbs
from unmelt.model.planned_captions import Plan, Words
from unmelt.model.request import (
    CONDITIONS,
    Guide,
    SampleRequest,
    SampleSettings,
    Size,
    check_rows,
    given_seed,
)
from unmelt.model.sample_frame import SampleFrame, sample_frame
from unmelt.model.stored import TrainingData
from unmelt.rng import Seed
from unmelt.sampler import Ancestral, Grid, Sampler, State, TuneResult, adams_sampler, default_sampler

IN_A_NOTEBOOK = 16
"""Samples that a notebook shows of a model."""


@final
class Model(PictureVerbs):
    """A diffusion model of data that are numbers. Recipes make one; `um.load` reads one from a run folder.

    Constructor arguments are those of `StoredModel`; `modality` is inferred from the shape of the data if not given.
    What it learns may be tokens, if its codec makes tokens of numbers (`codec.QuantizedAutoencoder`).
    """

    CHUNK, SETTINGS = 512, frozenset(SampleSettings.__annotations__)

    def default_modality(self) -> Modality:
        if not isinstance(self.codec, Affine):
            raise UsageError(
                f"a model with a {type(self.codec).__name__} and no modality",
                "what kind of data it decodes to",
                "Model(..., modality=um.modality.Images())",
            )
        return modality_of(self.denoiser.shape)

    def training_data(self, device: torch.device) -> TrainingData:
        assert self.source is not None
        data = latent_data(self.codec, self.source, self.held_out, device)
        return data if self.control is None else with_control_pictures(data, self.control)

    def save_preview(self, path: Path | None) -> Path | None:
        path = None if path is None else path.with_suffix(".png")
        self.picture(path)
        return path

    def _repr_png_(self) -> bytes:
        """A few samples, as a notebook shows them."""
        content = io.BytesIO()
        self.draw(self.sample(IN_A_NOTEBOOK)).save(content, "PNG")
        return content.getvalue()

    # Generating

    @checked("model.request")
    def request(self, rows: int = 16, **settings: Unpack[SampleSettings]) -> SampleRequest:
        """What `sample` and `trajectory` are asked for, as one value.

        Args:
            rows: How many samples.
            settings: The arguments of `sample`.

        Returns:
            The request.

        Raises:
            UsageError: As for `sample`.
        """
        check_rows(rows)
        given: Any = settings
        said: Any = {name: given.pop(name, None) for name in CONDITIONS}
        settings["seed"] = given_seed(settings.get("seed", 0))
        known = self.condition_of(rows, **said, seed=settings["seed"])
        self._check_guidance(settings.get("guidance", 1.0), known)
        shape = request_shape(self, given.pop("size", None))
        return SampleRequest(rows=rows, condition=known, shape=shape, **settings)  # type: ignore[misc]

    @checked("model.sample")
    def sample(
        self,
        rows: int | SampleRequest = 16,
        *,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        prompt: Words = None,
        plan: Plan = None,
        negative: Words = None,
        control: ControlPictures = None,
        control_scale: ControlScales | None = None,
        condition: Condition | None = None,
        guidance: Guide = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        size: Size = None,
        steps: int | None = None,
        seed: Seed = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
        adapter: str | Sequence[str | None] | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """New data. Under torchrun (`train.distributed.process_group`) every process makes a share, and all get all.

        Args:
            rows: How many samples; or a whole `SampleRequest`, in place of all arguments.
            label: A class by number or by name, or one for each row. None: the null condition.
            caption: What they show, in words, or one for each row; for models that were trained with captions.
            prompt: What is asked for, in words, or one for each row: the caption, to which a plan may be added.
            plan: True for plans of the prompts by the model's planner, which are shown; or a plan such as
                "1 apple left; 1 cat right", as a text or a `Scene`, or one for each row.
            negative: What they should not show, in words, or one for each row: guidance moves away from it.
            control: A picture such as edges that they are to follow: a file, an image of PIL, an array or a tensor in
                [0, 1], resized to their size; or one or None for each row; by name where there are several controls.
            control_scale: How much a control network counts, one number or one for each row; by name likewise. None: 1.
            condition: What else is known of the rows: any `Condition`, of one row for all or of each row.
            guidance: Scale of classifier-free guidance (1 is none), one for each row, or a function that wraps the
                denoiser.
            interval: (low, high), times in [0, 1] between which a scale acts.
            size: Height and width of pictures in pixels, or one number for a square, for networks that take any size.
            steps: Number of sampling steps. None: what was tuned last, or else the model's own grid.
            seed: One for all rows, or one for each. A seed gives the same row in any batch. None draws a fresh one.
            sampler: Replaces the model's sampler.
            grid: Replaces the model's grid of times; with `steps`, only its spacing.
            adapter: Name of an adapter, or a name or None for each row. None: the model's active adapter.

        Returns:
            [rows, *shape], in data space, on the CPU.

        Raises:
            UsageError: If a class is unknown, the model takes no captions or control, has no planner or makes no such
                size; or if numbers of rows differ.
        """
        if isinstance(rows, SampleRequest):
            return self.sample_request(rows)
        known: Any = {"label": label, "caption": caption, "prompt": prompt, "plan": plan, "condition": condition}
        known |= {"negative": negative, "control": control, "control_scale": control_scale, "guidance": guidance}
        known |= {"interval": interval, "size": size, "adapter": adapter}
        return self.sample_request(self.request(rows, **known, steps=steps, seed=seed, sampler=sampler, grid=grid))

    @checked("model.trajectory")
    def trajectory(self, rows: int | SampleRequest = 16, **settings: Unpack[SampleSettings]) -> Iterator[SampleFrame]:
        """Samples on their way, a `SampleFrame` for every time of the grid: pure noise first, data last.

        Args:
            rows: How many samples; or a whole `SampleRequest`, in place of all arguments.
            settings: The arguments of `sample`.

        Returns:
            An iterator of frames.

        Raises:
            UsageError: As for `sample`.
        """
        request = rows if isinstance(rows, SampleRequest) else self.request(rows, **settings)
        return (self.frame(state) for state in self.states(request))

    def plan(self, request: SampleRequest) -> SamplingPlan:
        replaced = request.sampler is not None or request.grid is not None or request.start is not None
        guidance = request.guidance if request.scales is None else math.nan  # no sampler was tuned for mixed scales
        plain = not replaced and (tuple(request.interval) == (0, 1) or bool(guidance == 1))
        sampler, grid = self.default_sampler(request.steps, guidance if plain else None)
        if request.grid is not None:
            grid = request.grid if request.steps is None else dataclasses.replace(request.grid, steps=request.steps)
        return SamplingPlan(self.denoiser, request.sampler or sampler, grid)

    @checked("model.default_sampler")
    def default_sampler(self, steps: int | None = None, guidance: Guide | None = 1.0) -> tuple[Sampler, Grid]:
        """The sampler that is used when none is given: one tuned for this, the model's own, or the library's default.

        Args:
            steps: Number of steps. None: the newest tuned sampler for this guidance, or else the model's own grid.
            guidance: Under which it samples. None: tuned and learned samplers do not count, as for anything but
                the plain way from noise to data.

        Returns:
            (sampler, grid).
        """
        for one in reversed(self.tuned):
            if one.guidance == guidance and steps in (None, one.steps):
                return one, one.grid
        grid = self.grid if steps is None else dataclasses.replace(self.grid, steps=steps)
        if self.sampler is not None:
            return self.sampler, grid
        if self.of_tokens:
            return Ancestral(), grid
        return adams_sampler(grid.steps) if guidance is None else default_sampler(grid.steps)

    def frame(self, state: State) -> SampleFrame:
        """A sampler's state in data space.

        Args:
            state: State of a sampler, in model space.

        Returns:
            The frame.
        """
        return sample_frame(self, state)

    def _check_numbers(self, verb: str) -> None:
        if self.of_tokens:
            instead = 'um.recipe.autoencoder(latents="numbers", ...)'
            raise UsageError(f"model.{verb} of a model of tokens", "a model of numbers", instead)

    @checked("model.tune")
    def tune(
        self,
        steps: int = 5,
        *,
        guidance: float = 1.0,
        condition: Condition | None = None,
        rows: int = 512,
        rounds: int = 12,
        seed: int = 0,
        quiet: bool = False,
    ) -> TuneResult:
        """Learn to sample in few steps: times and coefficients are fitted to the model's own accurate paths.

        From then on `sample` uses what was learned, with this many steps or with none given. The run folder keeps it.

        Args:
            steps: Network evaluations of a sample.
            guidance: Scale of classifier-free guidance under which it will be used.
            condition: What is known of each row, or of one for all. None: classes in turn, where the model has some.
            rows: Rows of noise to fit to; a quarter of them is held out to measure the error.
            rounds: Iterations of the fit.
            seed: Seed of the noise.
            quiet: Whether to show no progress.

        Returns:
            The sampler and its errors on noise it has not seen, with those of the default sampler.

        Raises:
            UsageError: If guidance is asked for and there is nothing to guide towards, or the run is being trained.
        """
        self._check_numbers("tune")
        return tuning.tune_model(self, steps, guidance, condition, rows, rounds, seed, quiet)

    def encode(self, x: DataRows) -> Shaped[Tensor, "rows *latent"]:
        with torch.no_grad():
            return self.codec.encode(data_rows(self, x, any_size=True).to(self.device))

    def decode(self, z: Shaped[Tensor, "rows *latent"]) -> Float[Tensor, "rows *shape"]:
        if not isinstance(z, Tensor):
            raise UsageError(
                f"model.decode was given {shown(z)}", "rows in model space, as a tensor", "model.decode(z)"
            )
        with torch.no_grad():
            return self.codec.decode(z)

    # Judging

    @checked("model.evaluate")
    def evaluate(
        self,
        *,
        samples: int | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        guidance: float = 1.0,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Compare samples with held-out data. The same figures of real training data are the floor.

        Args:
            samples: How many to make, with classes and captions as in the training data. None: as many as the kind of
                data needs.
            minutes: Where no number of samples is given, make as many as fit in this time, and at least 1,000. None:
                as long as it takes.
            steps: Number of sampling steps.
            guidance: Scale of classifier-free guidance.
            seed: Seed of the samples.

        Returns:
            Figures by name, and what was asked for.

        Raises:
            UsageError: If the model has no data to be judged by.
        """
        return evaluation.evaluate(self, samples, minutes, steps, guidance, seed)

    @checked("model.log_likelihood")
    @torch.no_grad()
    def log_likelihood(
        self,
        x: DataRows,
        *,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        condition: Condition | None = None,
        space: Literal["data", "latent"] = "data",
        probes: int = 8,
        seed: int = 0,
    ) -> Estimate:
        """log p(x) of each row in nats, by the probability-flow ODE (Song et al., 2021, section 4.3).

        The divergence is exact for rows of few numbers, and estimated by random directions for longer ones.

        Args:
            x: [rows, *shape], in data space.
            label: A class, or one for each row.
            caption: A caption, or one for each row.
            condition: What else is known of the rows.
            space: Where the density is: of the data, which needs a codec that loses nothing; or of their latents.
            probes: Random directions of each row.
            seed: Seed of the directions.

        Returns:
            Values [rows] and their standard errors [rows].

        Raises:
            UsageError: If x is not of the model's shape, or densities of data are asked for through a lossy codec.
        """
        self._check_numbers("log_likelihood")
        x = data_rows(self, x)
        known = self.condition_of(len(x), label, caption, condition)
        return evaluation.density(self, x, known, space, probes, seed)

    @checked("model.picture")
    def picture(self, path: str | Path | None = None, *, steps: int | None = None, seed: int = 0) -> Image:
        """Samples of every class, drawn as a person wants to see this kind of data.

        Args:
            path: Where the picture is written; None writes nothing.
            steps: Number of sampling steps.
            seed: Seed of the samples.

        Returns:
            The picture.
        """
        rows = self.modality.preview_rows(len(self.classes))
        label = torch.arange(rows) * len(self.classes) // rows if self.classes else None
        return self.draw(self.sample(rows, label=label, steps=steps, seed=seed), label, path)

    @checked("model.draw")
    def draw(self, x: Tensor, label: Sequence[int] | Tensor | None = None, path: str | Path | None = None) -> Image:
        """Draw these samples; points together with the data, where there are some at hand.

        Args:
            x: [rows, *shape], in data space.
            label: The class of each row.
            path: Where the picture is written; None writes nothing.

        Returns:
            The picture.
        """
        labels = None if label is None else torch.as_tensor(label)
        picture = self.modality.draw(x, labels, self.classes, self.source)
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        return picture
