"""The training loop: plain, fast, and the same whether it was interrupted or not, and whatever it was spread over.

Step n sees batch n of the source and draws its noise from fold(seed, n). What a step does depends on nothing but its
number and the weights, so a resumed run is the uninterrupted run, bit for bit. A batch may be divided among processes,
and each one's share worked through in parts: part k holds the rows that it would hold in the whole batch, draws the
numbers that they would draw, and the gradient is the mean over parts.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from unmelt.codec import Codec
from unmelt.data import Prefetcher, Source
from unmelt.errors import UsageError
from unmelt.objective import Objective
from unmelt.rng import Part, Random, Stream, fold
from unmelt.train import processes
from unmelt.train.checkpoint import Checkpoint
from unmelt.train.ema import EMA
from unmelt.train.execution import Execution, blocks
from unmelt.train.interrupt import Interrupt
from unmelt.train.metrics_log import MetricsLog
from unmelt.train.post_hoc_ema import PowerFunctionEMA
from unmelt.train.training import Training

LOG_EVERY = 25
"""Steps between looks at the losses: only then does the loop wait for the device."""

HELD_OUT = 4
"""Batches of data kept aside that are looked at, the same ones with the same noise every time."""

ASK_EVERY = 5
"""Steps between asking the other processes whether one of them was told to stop."""


class Trainer:
    """A network on its way; `step` takes one step, `run` all that are left.

    denoiser    an nn.Module that is a denoiser
    source      where batches come from, in data space
    codec       from data space to model space; None where they are one
    engine      how it is computed
    held_out    what is not learned from, and looked at with the pictures
    """

    def __init__(
        self,
        denoiser: nn.Module,
        source: Source,
        codec: Codec | None,
        objective: Objective,
        training: Training,
        device: torch.device | str = "cpu",
        execution: Execution | None = None,
        held_out: Source | None = None,
    ) -> None:
        self.denoiser, self.held_out = denoiser.to(device).train(), held_out
        self.codec, self.objective, self.training = codec, objective, training
        self.source: Source | Prefetcher = source
        self.device, self.execution = torch.device(device), execution or Execution()
        self.parts = self.execution.gradient_accumulation * processes.count()
        if training.batch % self.parts:
            raise UsageError(
                f"batch={training.batch} in {self.parts} parts (accumulate times processes)",
                "a batch that can be divided evenly",
                f"batch={self.parts * max(1, training.batch // self.parts)}",
            )
        if self.execution.shard and processes.count() > 1:
            processes.shard(denoiser, blocks(denoiser))
        if self.device.type != "cpu":  # where another processor works, this one can look ahead
            self.source = Prefetcher(source, self.device, self._after)
        self.done = 0
        self.parameters = list(denoiser.parameters())
        self.ema = EMA(self.parameters, training.ema)
        self.optimizers = training.optimizer.of(denoiser, training.lr)
        self.power = PowerFunctionEMA(dict(denoiser.named_parameters())) if training.snapshot_every else None
        self.checkpoint = Checkpoint(denoiser, self.ema, self.optimizers, self.power)
        self.skipped = torch.zeros(2, device=self.device)  # since the last report, and in a row

    def _precision(self) -> AbstractContextManager[Any]:
        wanted = self.training.precision
        if wanted == "bfloat16" or (wanted == "auto" and has_bfloat16(self.device)):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _after(self, number: int) -> int:
        """The batch that this process needs after that one: its next part, or its first of the next step."""
        gradient_accumulation = self.execution.gradient_accumulation
        part = (number - processes.rank() * gradient_accumulation) % self.parts
        return number + 1 if part < gradient_accumulation - 1 else number + 1 + self.parts - gradient_accumulation

    def loss(self, step: int, part: int = 0) -> Tensor:
        """The mean loss of this part of batch number `step`."""
        stream = Stream(fold(self.training.seed, step), self.device)
        rng = stream if self.parts == 1 else Part(stream, part, self.parts)
        return self._loss(self.source, step * self.parts + part, rng)

    def _loss(self, source: Source | Prefetcher, number: int, rng: Random) -> Tensor:
        x, condition = source.batch(number, self.training.batch // self.parts)
        x = x.to(self.device, non_blocking=True)
        x0 = x if self.codec is None else self.codec.encode(x)
        condition = None if condition is None else condition.to(self.device)
        with self._precision():
            return self.objective(self.denoiser, x0, condition, rng).mean()

    @torch.no_grad()
    def held_out_loss(self) -> float | None:
        """Of the weights as they are, on the same few batches every time; None where nothing is held out."""
        if self.held_out is None:
            return None
        streams = [Stream(fold(self.training.seed, -1 - number), self.device) for number in range(HELD_OUT)]
        losses = [self._loss(self.held_out, number, stream) for number, stream in enumerate(streams)]
        return torch.stack(losses).mean().item()

    def step(self) -> Tensor:
        """One optimizer step; returns the loss over the whole batch, still on the device.

        A step whose gradient is not finite is left out, and counted in `skipped`.
        """
        training, execution = self.training, self.execution
        lr, seed = training.lr_at(self.done), fold(training.seed, self.done)
        first, total = processes.rank() * execution.gradient_accumulation, torch.zeros((), device=self.device)
        for part in range(first, first + execution.gradient_accumulation):
            self._seed(seed if part == 0 else fold(seed, part))
            loss = self.loss(self.done, part) / execution.gradient_accumulation
            loss.backward()
            total += loss.detach()
        gradients = [grad for each in self.parameters if (grad := each.grad) is not None]
        processes.average([total, *gradients])
        norm = processes.whole(get_total_norm(gradients))
        torch._foreach_mul_(gradients, (training.clip / (norm + 1e-6)).clamp_max(1))
        self._move(lr, ~norm.isfinite())
        self.ema.update()
        if self.power is not None:
            self.power.update()
        self.done += 1
        return total

    def _seed(self, seed: int) -> None:
        """For dropout, which draws from the device's global generator."""
        if self.device.type == "cpu":  # alone: to look for every other kind of device takes as long as an average
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _move(self, lr: float, lost: Tensor) -> None:
        """The optimizers' step, which they leave out on the device itself where the gradient is lost."""
        self.skipped = torch.stack([self.skipped[0] + lost, (self.skipped[1] + 1) * lost])
        for optimizer in self.optimizers:
            optimizer.found_inf = lost.float()  # type: ignore[attr-defined]
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def run(
        self,
        record: MetricsLog,
        save: Callable[[], None],
        on_preview: Callable[[int], None],
        on_ema_snapshot: Callable[[PowerFunctionEMA], None] = lambda power: None,
    ) -> None:
        """Go on to the last step; afterwards, however it ended, the denoiser holds the averaged weights.

        record   is told the losses
        save     is called every `save_every` steps, at the end, and on Ctrl-C or SIGTERM, which then go on as
                 KeyboardInterrupt and SystemExit(0)
        look     is called every `picture_every` steps, the averaged weights being in place, which are then also tried
                 on what is held out
        snap     is called every `snapshot_every` steps and at the end, if averages are kept for that
        """
        training, losses = self.training, []
        try:
            with (
                torch.random.fork_rng(devices=[]),
                Interrupt() as interrupt,
                record,
                self.execution.prepared(self.denoiser),
            ):
                while self.done < training.steps:
                    losses.append(self.step())
                    asked, last = self._asked(interrupt), self.done == training.steps
                    keep = asked or (self.done % training.save_every == 0 and not last)
                    every, held_out = training.picture_every, None
                    looking = bool(every) and self.done % every == 0 and not asked
                    if looking:
                        with self.averaged():
                            held_out = self.held_out_loss()
                    if last or self.done % LOG_EVERY == 0 or held_out is not None:
                        self._report(record, torch.stack(losses), held_out)
                        losses.clear()
                    if looking:
                        with self.averaged():
                            on_preview(self.done)
                    if self.power is not None and (last or self.done % training.snapshot_every == 0):
                        on_ema_snapshot(self.power)
                    if keep:
                        save()
                    if asked:
                        raise interrupt.outcome()
                save()
        finally:
            self.ema.swap()
            self.denoiser.eval()

    def _asked(self, interrupt: Interrupt) -> bool:
        """Whether to stop now: every process at the same step."""
        if processes.count() == 1:
            return interrupt.asked is not None
        return self.done % ASK_EVERY == 0 and processes.any_of(interrupt.asked is not None)

    def _report(self, record: MetricsLog, losses: Tensor, held_out: float | None) -> None:
        """Tell the record; stop if nothing has been learned for a while."""
        (skipped, in_a_row), finite = self.skipped.int().tolist(), losses[losses.isfinite()]
        self.skipped[0] = 0
        if in_a_row >= min(LOG_EVERY, self.training.steps):
            raise UsageError(
                f"training diverged: no gradient was finite in the last {in_a_row} steps, up to step {self.done}",
                "numbers that stay finite; what was last saved is untouched",
                f"lr={self.training.lr / 4:g}",
            )
        if len(finite):
            record.add(self.done, finite.mean().item(), self.training.lr_at(self.done - 1), skipped, held_out)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the denoiser has its averaged weights and is in evaluation mode."""
        self.ema.swap()
        self.denoiser.eval()
        try:
            yield
        finally:
            self.ema.swap()
            self.denoiser.train()


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; imitated, it is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
