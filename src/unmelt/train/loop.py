"""The training loop: plain, fast, and the same whether it was interrupted or not.

Step n sees batch n of the source and draws its noise from fold(seed, n). What a step does depends on nothing but its
number and the weights, so a resumed run is the uninterrupted run, bit for bit.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from unmelt.codec import Codec
from unmelt.data import Source
from unmelt.errors import UsageError
from unmelt.objective import Objective
from unmelt.rng import Stream, fold
from unmelt.train.checkpoint import Checkpoint
from unmelt.train.ema import EMA
from unmelt.train.interrupt import Interrupt
from unmelt.train.record import Record
from unmelt.train.training import Training

LOG_EVERY = 25


class Trainer:
    """A network on its way; `step` takes one step, `run` all that are left.

    denoiser    an nn.Module that is a denoiser
    source      where batches come from, in data space
    codec       from data space to model space
    """

    def __init__(
        self,
        denoiser: nn.Module,
        source: Source,
        codec: Codec,
        objective: Objective,
        training: Training,
        device: torch.device | str = "cpu",
    ) -> None:
        self.denoiser = denoiser.to(device).train()
        self.source, self.codec, self.objective, self.training = source, codec, objective, training
        self.device = torch.device(device)
        self.done = 0
        self.parameters = list(denoiser.parameters())
        self.ema = EMA(self.parameters, training.ema)
        self.optimizer = torch.optim.AdamW(
            self.parameters, training.lr, training.betas, weight_decay=training.weight_decay, fused=True
        )
        self.checkpoint = Checkpoint(denoiser, self.ema, self.optimizer)

    def _precision(self) -> AbstractContextManager[Any]:
        wanted = self.training.precision
        if wanted == "bfloat16" or (wanted == "auto" and has_bfloat16(self.device)):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def loss(self, step: int) -> Tensor:
        """The mean loss of batch number `step`."""
        x, condition = self.source.batch(step, self.training.batch)
        x0 = self.codec.encode(x.to(self.device, non_blocking=True))
        condition = None if condition is None else condition.to(self.device)
        rng = Stream(fold(self.training.seed, step), self.device)
        with self._precision():
            return self.objective(self.denoiser, x0, condition, rng).mean()

    def step(self) -> Tensor:
        """One optimizer step; returns the loss, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.lr_at(self.done)
        torch.manual_seed(fold(self.training.seed, self.done))  # for dropout, which draws from the global generator
        loss = self.loss(self.done)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.training.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        self.done += 1
        return loss.detach()

    def run(self, record: Record, save: Callable[[], None], look: Callable[[int], None]) -> None:
        """Go on to the last step; afterwards, however it ended, the denoiser holds the averaged weights.

        record   is told the losses
        save     is called every `save_every` steps, at the end, and on Ctrl-C, which then goes on as KeyboardInterrupt
        look     is called every `picture_every` steps, the averaged weights being in place
        """
        training, losses = self.training, []
        try:
            with torch.random.fork_rng(devices=[]), Interrupt() as interrupt, record:
                while self.done < training.steps:
                    losses.append(self.step())
                    asked, last = interrupt.asked, self.done == training.steps
                    log = last or self.done % LOG_EVERY == 0
                    keep = asked or (self.done % training.save_every == 0 and not last)
                    if log or keep:
                        self._check_finite()
                    if log:
                        record.add(self.done, torch.stack(losses).mean().item(), training.lr_at(self.done - 1))
                        losses.clear()
                    if training.picture_every and self.done % training.picture_every == 0 and not asked:
                        with self.averaged():
                            look(self.done)
                    if keep:
                        save()
                    if asked:
                        raise KeyboardInterrupt
                save()
        finally:
            self.ema.swap()
            self.denoiser.eval()

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

    def _check_finite(self) -> None:
        """Refuse to go on, and above all to save, once a weight is not a number: it never becomes one again."""
        if not torch.stack([weight.detach().isfinite().all() for weight in self.parameters]).all():
            raise UsageError(
                f"training diverged: a weight is no longer finite at step {self.done}",
                "numbers that stay finite; what was last saved is untouched",
                f"lr={self.training.lr / 4:g}",
            )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; imitated, it is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
