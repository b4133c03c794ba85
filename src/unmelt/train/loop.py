"""The training loop: the same run whether it was interrupted or not, and however many processes compute it.

Step n uses batch n of the source and draws its noise from fold(seed, n); phase k > 0 of the step draws from
fold(fold(seed, n), -k). A step depends on nothing but its number and the weights, so a resumed run equals the
uninterrupted run, bit for bit. A batch may be divided among processes, and each process's rows into parts: part k holds
the rows it would hold in the whole batch, draws the numbers they would draw, and the gradient is the mean over parts.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from unmelt.codec import Codec
from unmelt.data import Prefetcher, Source, for_batches_of
from unmelt.errors import UsageError
from unmelt.rng import GLOBAL_GENERATOR, Part, Random, Stream, fold
from unmelt.train import distributed
from unmelt.train.checkpoint import Checkpoint, NetworkState
from unmelt.train.ema import EMA
from unmelt.train.event import Event
from unmelt.train.execution import Execution, blocks
from unmelt.train.free_memory import FreeMemory
from unmelt.train.interrupt import Interrupt
from unmelt.train.learner import Learner, without_gradients
from unmelt.train.post_hoc_ema import PowerFunctionEMA
from unmelt.train.step import Batch, TrainStep, check_step
from unmelt.train.training import Training

LOG_EVERY = 25
"""Steps between log events. Only then does the loop wait for the device."""

PROGRESS_EVERY = 5.0
"""Seconds after which a run reports how far it is, where it has nothing else to report."""

HELD_OUT_BATCHES = 4
"""Batches of held-out data that are evaluated, the same ones with the same noise every time."""

ASK_EVERY = 5
"""Steps between asking the other processes whether one of them was told to stop."""


@final
class Trainer:
    """A run in progress. `step` takes one training step, `run` takes all that are left.

    Args:
        train_step: The networks and the losses they learn by; `ObjectiveStep(denoiser, objective)` for one denoiser.
        source: Where batches come from, in data space.
        codec: From data space to model space, None where they are the same. If it is a module, it is moved to the
            device and kept in evaluation mode, and never receives a gradient.
        training: Steps, batch, learning rate, precision and seed.
        device: Where to compute.
        execution: How it is computed; None is the default `Execution`.
        held_out: Data that is not learned from. Its loss is reported with the previews. None is no such data.

    Raises:
        UsageError: If the batch cannot be divided evenly, or the training step's phases do not fit its networks.
    """

    def __init__(
        self,
        train_step: TrainStep,
        source: Source,
        codec: Codec | None,
        training: Training,
        device: torch.device | str = "cpu",
        execution: Execution | None = None,
        held_out: Source | None = None,
    ) -> None:
        source = for_batches_of(source, training.batch)
        self.train_step, self.codec, self.training = train_step, codec, training
        self.held_out = None if held_out is None else for_batches_of(held_out, training.batch)
        self.source: Source | Prefetcher = source
        self.shape = tuple(source.shape)
        self.device, self.execution = torch.device(device), execution or Execution()
        self.parts = self.execution.gradient_accumulation * distributed.world_size()
        if training.batch % self.parts:
            raise UsageError(
                f"batch={training.batch} in {self.parts} parts (gradient_accumulation times processes)",
                "a batch that can be divided evenly",
                f"batch={self.parts * max(1, training.batch // self.parts)}",
            )
        self.networks, phases = dict(train_step.networks()), train_step.phases()
        check_step(self.networks, phases)
        self.network = next(iter(self.networks.values()))
        self._place([self.networks[phase.network] for phase in phases])
        if self.device.type != "cpu":  # where another processor works, this one can prepare the next batches
            self.source = Prefetcher(source, self.device, self._after)
        self.done = 0
        self.learners = [Learner(phase, self.networks[phase.network], training, self.device) for phase in phases]
        self._constants = [self._all_but(learner) for learner in self.learners]
        self._no_loss = torch.full((), float("nan"), device=self.device)
        self.ema = EMA(self.network.parameters(), training.ema)
        self.post_hoc_ema = PowerFunctionEMA(dict(self.network.named_parameters())) if training.snapshot_every else None
        optimizers = {learner.phase.network: learner.optimizers for learner in self.learners}
        saved = {name: NetworkState(network, optimizers.get(name, [])) for name, network in self.networks.items()}
        self.checkpoint = Checkpoint(saved, self.ema, self.post_hoc_ema)

    @property
    def parameters(self) -> int:
        """Number of parameters that learn, of all networks."""
        return sum(each.numel() for learner in self.learners for each in learner.parameters)

    @property
    def size(self) -> int:
        """Number of parameters that are computed with, those that do not learn included."""
        return sum({id(each): each.numel() for module in self._modules for each in module.parameters()}.values())

    def _place(self, learning: Sequence[nn.Module]) -> None:
        """Move every module to the device, into its mode, and among the processes."""
        constant = [*self.train_step.frozen(), *([self.codec] if isinstance(self.codec, nn.Module) else [])]
        self._modules = [*self.networks.values(), *constant]
        for module in self._modules:
            module.to(self.device).eval()
        for module in learning:
            module.train()
        self._computed = _outermost([*self.networks.values(), *self.train_step.frozen()])
        if self.execution.shard and distributed.world_size() > 1:
            for module in self._computed:
                distributed.shard(module, blocks(module))

    def _all_but(self, learner: Learner) -> list[nn.Parameter]:
        """Every parameter that the learner's loss may read but does not train."""
        own = {id(each) for each in learner.parameters}
        others = {id(each): each for module in self._modules for each in module.parameters() if id(each) not in own}
        return list(others.values())

    def _precision(self) -> AbstractContextManager[Any]:
        chosen = self.training.precision
        if chosen == "bfloat16" or (chosen == "auto" and has_bfloat16(self.device)):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _after(self, number: int) -> int:
        """Number of the batch that this process needs after that one: its next part, or its first of the next step."""
        own = self.execution.gradient_accumulation
        part = (number - distributed.rank() * own) % self.parts
        return number + 1 if part < own - 1 else number + 1 + self.parts - own

    def _seed(self, step: int, phase: int) -> int:
        seed = fold(self.training.seed, step)
        return seed if phase == 0 else fold(seed, -phase)

    def _seed_global(self, seed: int) -> None:
        """Seed the device's global generator, which dropout draws from."""
        if self.device.type == "cpu":  # torch.manual_seed looks for every other kind of device, as slow as an update
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _rng(self, step: int, part: int, phase: int) -> Random:
        stream = Stream(self._seed(step, phase), self.device)
        return stream if self.parts == 1 else Part(stream, part, self.parts)

    def _encode(self, x: Tensor) -> Tensor:
        if self.codec is None:
            return x
        with torch.no_grad():
            return self.codec.encode(x)

    def _batch(self, source: Source | Prefetcher, number: int, step: int) -> Batch:
        x, condition = source.batch(number, self.training.batch // self.parts)
        x0 = self._encode(x.to(self.device, non_blocking=True))
        return Batch(x0, None if condition is None else condition.to(self.device), step)

    def _loss(self, batch: Batch, rng: Random, phase: int) -> Tensor:
        with self._precision():
            return self.learners[phase].phase.loss(batch, rng).mean()

    def loss(self, step: int, part: int = 0, phase: int = 0) -> Tensor:
        """Compute the mean loss of one part of one step's batch.

        Args:
            step: Number of the training step.
            part: Which part of the batch, from 0 to processes times gradient accumulation.
            phase: Which phase's loss.

        Returns:
            The loss, a scalar on the device, with its graph.
        """
        return self._loss(self._batch(self.source, step * self.parts + part, step), self._rng(step, part, phase), phase)

    @torch.no_grad()
    def held_out_loss(self) -> float | None:
        """Evaluate the first phase's loss on held-out data, with the weights as they are.

        Returns:
            The mean over the same few batches with the same noise every time; None without held-out data, or if the
            phase says that its loss does not measure how good the network is.
        """
        if self.held_out is None or not self.learners[0].phase.held_out:
            return None
        streams = [Stream(fold(self.training.seed, -1 - number), self.device) for number in range(HELD_OUT_BATCHES)]
        batches = (self._batch(self.held_out, number, self.done) for number in range(HELD_OUT_BATCHES))
        losses = [self._loss(batch, stream, 0) for batch, stream in zip(batches, streams, strict=True)]
        return torch.stack(losses).mean().item()

    def step(self) -> Tensor:
        """Take one training step: every phase that is due, each with its optimizer step.

        An optimizer step whose gradient is not finite is left out, and counted in its learner's `skipped`.

        Returns:
            The loss of each phase over the whole batch, [phases], still on the device; NaN where it was not due.
        """
        losses: list[Tensor] = []
        batches: dict[int, Batch] = {}
        for number, learner in enumerate(self.learners):
            if not learner.runs(self.done):
                losses.append(self._no_loss)
                continue
            constants = self._constants[number]
            with without_gradients(constants) if constants else nullcontext():
                losses.append(self._gradient(number, batches))
            for module in self._computed if self.execution.shard else ():
                distributed.reshard(module)
            learner.update(self.done, losses[-1])
            with torch.no_grad():
                self.train_step.after_update(learner.phase.network, self.done)
        self.ema.update()
        if self.post_hoc_ema is not None:
            self.post_hoc_ema.update()
        self.done += 1
        return losses[0][None] if len(losses) == 1 else torch.stack(losses)

    def _gradient(self, phase: int, batches: dict[int, Batch]) -> Tensor:
        """This process's share of a phase's gradient, left in the parameters, and of its loss, which is returned.

        The phases of a step share its batch: `batches` holds the parts that an earlier phase has encoded.
        """
        count, losses = self.execution.gradient_accumulation, []
        first, seed = distributed.rank() * count, self._seed(self.done, phase)
        for part in range(first, first + count):
            with GLOBAL_GENERATOR:
                self._seed_global(seed if part == 0 else fold(seed, part))
                rng = self._rng(self.done, part, phase)
                batch = batches.get(part) or self._batch(self.source, self.done * self.parts + part, self.done)
                if len(self.learners) > 1:
                    batches[part] = batch
                loss = self._loss(batch, rng, phase)
                if count > 1:
                    loss = loss / count
                loss.backward()
            losses.append(loss.detach().float())
        return sum(losses[1:], losses[0])

    def run(self, checkpoints: Path | None = None) -> Generator[Event, None, None]:
        """Take all steps that are left, and yield what happens on the way.

        While a preview or save event is handled the model's network holds its averaged weights; when the run is over,
        however it ended, it holds them for good. A save event comes every `save_every` steps, at the end, and on Ctrl-C
        or SIGTERM, which are then raised as KeyboardInterrupt and SystemExit(0). Close the iterator if you leave early.

        Args:
            checkpoints: Folder that a checkpoint is written to just before every save event; None writes none.

        Yields:
            Log events every `LOG_EVERY` steps, with the previews and at the end; progress events every `PROGRESS_EVERY`
            seconds without one; preview events every `picture_every` steps; snapshot events every `snapshot_every`
            steps and at the end; save events as above.

        Raises:
            UsageError: If no gradient of a network was finite for a whole while, or a checkpoint cannot be written.
        """
        training, losses, reported, freed = self.training, [], time.perf_counter(), FreeMemory()
        try:
            with torch.random.fork_rng(devices=[]), Interrupt() as interrupt, self.execution.prepared(*self._computed):
                while self.done < training.steps:
                    losses.append(self.step())
                    freed.release()
                    asked, last = self._asked(interrupt), self.done == training.steps
                    every, held_out = training.picture_every, None
                    preview = bool(every) and self.done % every == 0 and not asked
                    if preview:
                        with self.averaged():
                            held_out = self.held_out_loss()
                    if last or self.done % LOG_EVERY == 0 or held_out is not None:
                        yield from self._log(losses, held_out)
                        reported = time.perf_counter()
                    elif time.perf_counter() - reported > PROGRESS_EVERY:
                        yield Event(step=self.done, kind="progress")
                        reported = time.perf_counter()
                    if preview:
                        with self.averaged():
                            yield Event(step=self.done, kind="preview")
                    if self.post_hoc_ema is not None and (last or self.done % training.snapshot_every == 0):
                        yield Event(step=self.done, kind="snapshot")
                    if asked or (self.done % training.save_every == 0 and not last):
                        yield from self._save(checkpoints)
                    if asked:
                        raise interrupt.outcome()
                yield from self._save(checkpoints)
        finally:
            self.ema.swap()
            self.network.eval()

    def _asked(self, interrupt: Interrupt) -> bool:
        """Whether to stop now: every process at the same step."""
        if distributed.world_size() == 1:
            return interrupt.asked is not None
        return self.done % ASK_EVERY == 0 and distributed.any_process(interrupt.asked is not None)

    def _save(self, checkpoints: Path | None) -> Iterator[Event]:
        if checkpoints is not None:
            self.checkpoint.save(checkpoints, self.done)
        with self.averaged():
            yield Event(step=self.done, kind="save")

    def _log(self, losses: list[Tensor], held_out: float | None) -> Iterator[Event]:
        """A log event, if the first phase has a finite loss to report; stop if a network has not learned for a while.

        The losses are cleared once they are reported.
        """
        counts = torch.stack([learner.skipped for learner in self.learners]).int().tolist()
        for learner, (_, in_a_row) in zip(self.learners, counts, strict=True):
            if in_a_row >= min(LOG_EVERY, -(-self.training.steps // learner.phase.every)):
                several = f" of {learner.phase.network!r}" if len(self.learners) > 1 else ""
                raise UsageError(
                    f"training diverged: no gradient{several} was finite in the last {in_a_row} steps, "
                    f"up to step {self.done}",
                    "numbers that stay finite; what was last saved is untouched",
                    f"lr={self.training.lr / 4:g}",
                )
        columns = torch.stack(losses).T
        means = [finite.mean().item() if len(finite := each[each.isfinite()]) else None for each in columns]
        if means[0] is None:
            return
        numbers = {"loss": means[0], "lr": self.training.lr_at(self.done - 1), "skipped": sum(n for n, _ in counts)}
        numbers |= {} if held_out is None else {"held_out": held_out}
        for learner, mean in zip(self.learners[1:], means[1:], strict=True):
            numbers |= {} if mean is None else {f"loss/{learner.phase.network}": mean}
        for learner in self.learners:
            learner.skipped[0] = 0
        losses.clear()
        yield Event(step=self.done, kind="log", numbers=numbers)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model's network has its averaged weights and is in evaluation mode."""
        modes = [(module, module.training) for module in self.network.modules()]
        self.ema.swap()
        self.network.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            distributed.reshard(self.network)
            self.ema.swap()


def _outermost(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Those that do not consist of parameters of another one, which computes with them: adapters are in a denoiser."""
    owned = [{id(each) for each in module.parameters()} for module in modules]
    return [
        module
        for number, module in enumerate(modules)
        if not any(owned[number] < other or (owned[number] == other and k < number) for k, other in enumerate(owned))
    ]


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; emulated, it is many times slower than float32.

    Args:
        device: Where products are computed.

    Returns:
        True for recent CUDA devices, and for processors with AVX-512 BF16 or AMX.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
