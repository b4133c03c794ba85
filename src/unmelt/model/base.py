"""What all models share, whatever their data: training, and sampling a `SampleRequest`.

The facades differ in their arguments (a label, a prompt) and in what they return (images, text). Both turn the
arguments into a `SampleRequest`.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, final

import torch
from torch import Tensor

from unmelt.arguments import checked
from unmelt.class_labels import Label, labels_of
from unmelt.condition import Condition
from unmelt.device import device_named
from unmelt.distill import Distillation
from unmelt.encoder.encoder import caption_condition
from unmelt.errors import UsageError
from unmelt.inverse import Infill
from unmelt.model import distilling, fitting
from unmelt.model.control_rows import ControlPictures, ControlScales
from unmelt.model.controllable import ControllableModel
from unmelt.model.map_chunks import map_chunks
from unmelt.model.planned_captions import Plan, Words, caption_fields, planned_captions
from unmelt.model.request import SampleRequest
from unmelt.model.row_chunks import RowChunks
from unmelt.rng import Seed, seed_of_rows
from unmelt.sampler import Grid, Jump, Sampler, State
from unmelt.sampler.edit import prepare_edit
from unmelt.sampler.loop import Prepared, frames, prepare
from unmelt.train import AdapterStep, Execution, Logger, ObjectiveStep, TrainStep, distributed
from unmelt.train.logger import logger_names

M = TypeVar("M", bound="BaseModel")

MOST_LOGITS = 1 << 27
"""Logits that are computed at a time, of all rows together."""


class SamplingPlan(NamedTuple):
    """What samples a request.

    Args:
        denoiser: The denoiser, not yet guided.
        sampler: The sampler.
        grid: The times that the sampler visits.
    """

    denoiser: Any
    sampler: Sampler
    grid: Grid


class BaseModel(ControllableModel):
    """A model that is trained and sampled; its arguments are those of `StoredModel`."""

    CHUNK: ClassVar[int]
    """Rows that are made at a time where memory allows."""

    SETTINGS: ClassVar[frozenset[str]]
    """Arguments of `request` other than the number of rows."""

    @final
    @property
    def rows_at_once(self) -> int:
        """Rows that are made at a time: `CHUNK`, or fewer where a large vocabulary would take too much memory."""
        logits = math.prod(self.denoiser.shape) * getattr(self.denoiser.process, "vocabulary", 0)
        return max(1, min(self.CHUNK, MOST_LOGITS // logits)) if logits else self.CHUNK

    @abstractmethod
    def plan(self, request: SampleRequest) -> SamplingPlan:
        """Choose denoiser, sampler and grid for a request.

        Args:
            request: The request, whose sampler, grid and steps are used where they are given.

        Returns:
            Denoiser (not yet guided), sampler and grid.
        """

    @final
    @checked("model.fit")
    def fit(
        self: M,
        out: str | Path | None = None,
        device: str | torch.device = "auto",
        quiet: bool = False,
        execution: Execution | None = None,
        log_to: str | Sequence[Logger] = "none",
        train_step: TrainStep | None = None,
        adapter: str | None = None,
        allow_other_data: bool = False,
    ) -> M:
        """Train to the last step, or resume the interrupted run in `out`.

        Started by torchrun or `accelerate launch`, every process works on its share of each batch.

        Args:
            out: The run folder. None keeps nothing.
            device: Where to compute; "auto" is a GPU where there is one.
            quiet: Whether to print nothing.
            execution: How it is computed: compiled, in parts, sharded.
            log_to: Loggers of the run: "tensorboard", "wandb", "trackio", several with commas, "auto", or
                `Logger` objects.
            train_step: What one training step does, for methods with several networks. None: minimise the objective.
            adapter: Name of an adapter to train in place of the model's weights. It is then the one that samples use
                which ask for none. None: the one that `training` names, if any.
            allow_other_data: Whether the run in `out` may go on with other data than it was started with. They are
                recorded in their place.

        Returns:
            The model itself, fitted.

        Raises:
            UsageError: If the model has no data to learn from, `out` holds another run or one of other data, or
                `log_to` names no logger.
        """
        objective = self.objective
        if self.source is None or self.training is None or (objective is None and train_step is None):
            raise UsageError("a model without data to learn from", "one made by a recipe", "um.recipe.digits().fit()")
        if isinstance(log_to, str):
            logger_names(log_to)
        self.folder = None if out is None else Path(out)
        adapter = adapter or self.training.adapter or None
        if adapter is not None:
            attachment = self._attachments[self._check_adapter(adapter)]
            self.active_adapter = adapter
            if objective is not None and train_step is None:
                train_step = AdapterStep(self.denoiser, self.adapters[adapter], attachment, objective)
        self.tuned = ()  # they were learned for weights that are no longer there
        if train_step is None:
            assert objective is not None
            train_step = ObjectiveStep(self.denoiser, objective)
        fitting.fit(self, device_named(device), execution, quiet, log_to, train_step, allow_other_data)
        return self

    @final
    @checked("model.distill")
    def distill(
        self: M,
        method: Distillation,
        *,
        steps: int = 2,
        out: str | Path | None = None,
        guidance_range: tuple[float, float] | None = None,
        start: M | None = None,
        training_steps: int | None = None,
        batch: int | None = None,
        lr: float | None = None,
        seed: int | None = None,
        save_every: int | None = None,
        device: str | torch.device = "auto",
        quiet: bool = False,
        execution: Execution | None = None,
        log_to: str | Sequence[Logger] = "none",
        allow_other_data: bool = False,
    ) -> M:
        """Train a student that samples in a few steps, or resume the interrupted run in `out`.

        This model is the teacher, and stays as it is. The student is a model like any other.

        Args:
            method: How the student learns, one of `um.distill`.
            steps: Steps of the student's sampler, which are network calls.
            out: The student's run folder. None keeps nothing.
            guidance_range: (low, high), guidance scales that the student learns as an input, 1 among them. None: the
                student is unguided.
            start: An earlier student of this model, with whose weights the new one begins. None: this model's.
            training_steps: Training steps. None: the method's own number, as for the next three.
            batch: Rows per training step.
            lr: Peak learning rate.
            seed: Seed of the order of the data and of the noise.
            save_every: Training steps between checkpoints.
            device: Where to compute; "auto" is a GPU where there is one.
            quiet: Whether to print nothing.
            execution: How it is computed: in parts, sharded.
            log_to: Loggers of the run, as in `fit`.
            allow_other_data: Whether the run in `out` may go on with other data than it was started with.

        Returns:
            The student, fitted.

        Raises:
            UsageError: If there are no data, the method or `start` does not fit, or `out` holds another run.
        """
        changes = {"steps": training_steps, "batch": batch, "lr": lr, "seed": seed, "save_every": save_every}
        out = None if out is None else Path(out)
        student: M = distilling.distill(
            self, method, steps, out, guidance_range, changes, start, device, quiet, execution, log_to, allow_other_data
        )
        return student

    # Generating

    @property
    def unused_arguments(self) -> tuple[str, ...]:
        """Arguments that this model can do nothing with: messages propose none of them."""
        words = ("caption", "prompt", "plan", "negative") * (self.encoder is None)
        return words + ("label",) * (not self.classes) + ("control", "control_scale") * (not self.control_names)

    def _check_guidance(self, guidance: Any, known: Condition | None) -> None:
        """Refuse a guidance scale where there is nothing to guide towards."""
        if (known is not None and known.is_droppable) or not isinstance(guidance, int | float) or guidance == 1:
            return
        if self.classes or self.encoder is not None:
            condition = f"label={self.classes[0]!r}" if self.classes else 'prompt="a cat"'
            raise UsageError(
                f"guidance={guidance} without a label or a caption",
                "something to guide towards",
                f"model.sample(16, {condition}, guidance={guidance})",
            )
        raise UsageError(
            f"guidance={guidance} for a model that learned neither classes nor captions",
            "no scale, or a function that wraps the denoiser",
            "guidance=1.0",
        )

    @final
    @checked("model.condition_of")
    def condition_of(
        self,
        rows: int,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        condition: Condition | None = None,
        *,
        prompt: Words = None,
        plan: Plan = None,
        negative: Words = None,
        control: ControlPictures = None,
        control_scale: ControlScales | None = None,
        seed: Seed = 0,
    ) -> Condition | None:
        """What is known of rows, from what people say.

        Args:
            rows: How many rows.
            label: A class by number or by name, or one for each row.
            caption: What all rows show, in words, or one for each.
            condition: What else is known: any `Condition`, of one row for all or of each row.
            prompt: What is asked for, in words: the caption, to which a plan may be added.
            plan: True for plans by the model's planner; or a plan, or one for each row.
            negative: What guidance moves away from, in words, or one for each row; "" for nothing.
            control: A control picture for all rows, or one or None for each; by name where there are several controls.
            control_scale: How much of a control network's residuals is added; 1 if None.
            seed: Seed of all rows or of each, by which planners lay scenes out.

        Returns:
            The condition of each row; None where nothing is known.

        Raises:
            UsageError: If the model has no such class, takes no captions or has no planner or no such control, or
                numbers of rows differ.
        """
        labels = labels_of(rows, label, self.classes)
        known = Condition() if condition is None else condition
        if len(known) == 1:
            known = known[torch.zeros(rows, dtype=torch.int64)]
        fields: dict[str, Any] = {} if labels is None else {"label": labels}
        if caption is not None and prompt is not None:
            raise UsageError(f"prompt={prompt!r} and caption={caption!r}", "one of them", f"prompt={prompt!r}")
        given: dict[str, Any] = {"caption": caption, "prompt": prompt, "plan": None if plan is False else plan}
        given["negative"] = negative
        if argument := next((f"{name}={value!r}" for name, value in given.items() if value is not None), None):
            if self.encoder is None or getattr(self.denoiser.backbone, "sequence_width", 0) != self.encoder.width:
                train = 'um.recipe.images(folder="faces", caption="auto").fit(out="runs/faces")'
                raise UsageError(
                    f"{argument} for a model that learned no captions",
                    "a class, or a model that was trained with captions" if self.classes else "one that was",
                    f"model.sample({rows}, label={self.classes[0]!r})" if self.classes else train,
                )
            name, seeds = "caption" if prompt is None else "prompt", seed_of_rows(seed, rows)
            if any(given[each] is not None for each in ("caption", "prompt", "plan")):
                captions = planned_captions(seeds, given[name], plan, self.planner, name)
                fields |= caption_fields(caption_condition(self.encoder, captions), known)
            if negative is not None:
                captions = planned_captions(seeds, negative, None, None, "negative")
                away = caption_condition(self.encoder, captions)
                real = {"sequence": torch.tensor([bool(each.strip()) for each in captions])}
                fields["negative"] = dataclasses.replace(away, given={**away.given, **real})
        if self.classes and known.label is not None and len(known.label):
            labels_of(len(known), known.label, self.classes)
        if twice := [name for name in fields if name != "given" and getattr(known, name) is not None]:
            raise UsageError(f"a {twice[0]} and a condition with a {twice[0]}", "one of them", "condition=condition")
        known = self.with_control(dataclasses.replace(known, **fields), rows, control, control_scale)
        return known if len(known) else None

    @final
    def states(self, request: SampleRequest) -> Iterator[State]:
        """Sample a request step by step.

        Args:
            request: What is asked for.

        Returns:
            The sampler's state at every time of the grid: pure noise (or noised data) first, clean data last.
        """
        return frames(*self.prepare(request))

    @final
    def prepare(self, request: SampleRequest) -> Prepared:
        """Make the rows of a request ready for their first step.

        Args:
            request: What is asked for.

        Returns:
            The guided denoiser, the sampler, the rows, and the times to visit.
        """
        chosen = self.plan(request)
        if isinstance(chosen.sampler, Jump):
            request = request.for_flow_map(chosen.denoiser)
        denoiser = self.with_adapters(chosen.denoiser)
        if callable(request.guidance) and not (hasattr(denoiser, "decode_step") or hasattr(denoiser, "jump")):
            denoiser = RowChunks(denoiser, self.rows_at_once)
        denoiser, condition = request.steer(denoiser), request.row_condition
        numbers = self.adapter_indices(request.rows, request.adapter or self.active_adapter)
        if numbers is not None:
            condition = dataclasses.replace(condition or Condition(), adapter=numbers)
        condition = None if condition is None else condition.to(self.device)
        if condition is not None and condition.known_tokens is not None and not chosen.sampler.keeps_known_tokens:
            denoiser = Infill(denoiser)
        common: dict[str, Any] = {"sampler": chosen.sampler, "grid": chosen.grid, "seed": request.seeds}
        common["condition"] = condition
        if request.start is not None:
            x0 = self.encode(request.start.x)
            common["condition"] = self.of_size(condition, tuple(x0.shape[1:]))
            common["grid"] = chosen.grid.for_shape(x0.shape[1:])
            return prepare_edit(denoiser, x0, strength=request.start.strength, **common)
        known = None if condition is None else condition.known_tokens
        own = getattr(denoiser, "shape", self.denoiser.shape) if known is None else tuple(known.shape[1:])
        shape = own if request.shape is None else request.shape
        common |= {"condition": self.of_size(condition, tuple(shape)), "grid": chosen.grid.for_shape(shape)}
        return prepare(denoiser, rows=request.rows, shape=shape, device=self.device, **common)

    @final
    @checked("model.sample_request")
    def sample_request(self, request: SampleRequest) -> Tensor:
        """Sample a request and return its rows as one tensor; `sample` makes a request from arguments and does this.

        Several processes make a share each, and all get all.

        Args:
            request: What is asked for.

        Returns:
            [rows, *shape], in data space for data of numbers, tokens for text; on the CPU.
        """
        # A guidance function may hold a value for each row.
        most = request.rows if callable(request.guidance) else self.rows_at_once

        def make(rows: slice) -> Tensor:
            last, at_once = deque(self.states(request[rows]), maxlen=1).pop(), self.rows_at_once
            return torch.cat([self.decode_state(last[at : at + at_once]).cpu() for at in range(0, len(last), at_once)])

        return map_chunks(request.rows, most, make, independent=not distributed.is_sharded(self.denoiser))

    def decode_state(self, state: State) -> Tensor:
        """Rows that have taken all steps, as `sample_request` returns them.

        Args:
            state: The rows at t = 0.

        Returns:
            [rows, *shape]. Rows of different lengths are followed by zeros.
        """
        return self.decode(state.x)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """From data space to what the denoiser sees, on the model's device.

        Args:
            x: [rows, *shape], data.

        Returns:
            [rows, *latent_shape].

        Raises:
            UsageError: If the shape is not one that the model takes.
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """From what the denoiser sees to what `sample_request` returns.

        Args:
            z: [rows, *latent_shape].

        Returns:
            [rows, *shape].
        """
