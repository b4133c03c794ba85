"""What our training step costs: beside a bare loop written by hand, and beside diffusers' own parts.

The U-Net of the digits recipe, its batch, float32, AdamW, gradient clipping, averaged weights, all images in memory.
Blocks of steps in turns; every ratio is to the bare loop's block of the same round.

    bare PyTorch           the same network and loss (EDM, classes dropped one time in ten) in the fewest lines: fused
                           AdamW, clipping, a foreach average, batches by index. Nothing in it can be resumed or saved.
    unmelt                 `train.Trainer.step`, as `fit` calls it
    diffusers, best        DDPMScheduler.add_noise, the loss on the noise, Accelerator.backward and clip_grad_norm_,
                           get_scheduler, EMAModel(foreach=True), fused AdamW, batches by index
    diffusers, as written  the same steps as its unconditional training example has them: a DataLoader through
                           Accelerator.prepare, AdamW and EMAModel as they come, Accelerator.accumulate
"""

import math
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import peers
import subject
import timing
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import unmelt as um

BLOCK, TARGET = 4, 1.05
Step = Callable[[], Any]
"""One optimizer step."""


def unmelt() -> Step:
    model = subject.digits()
    assert model.source is not None
    assert model.objective is not None
    assert model.training is not None
    return um.train.Trainer(model.denoiser, model.source, model.codec, model.objective, model.training).step


def _data() -> tuple[Tensor, Tensor]:
    """All training digits in [-1, 1], and their classes."""
    source = subject.digits().source
    assert isinstance(source, um.data.Arrays)
    x, labels = source.all()
    assert labels is not None
    return 2 * x - 1, labels


def _network() -> tuple[nn.Module, um.train.Training]:
    model = subject.digits()
    assert model.training is not None
    return model.denoiser.backbone.train(), model.training


def _batches(x: Tensor, labels: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Epochs without end, each in a new order, the last short batch dropped."""
    while True:
        order = torch.randperm(len(x))
        for first in range(0, len(x) - rows + 1, rows):
            items = order[first : first + rows]
            yield x[items], labels[items]


def bare() -> Step:
    network, training = _network()
    parameters: list[Tensor] = list(network.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, training.lr, training.betas, weight_decay=0.0, fused=True)
    batches, numbers, sd, rows = _batches(*_data(), training.batch), count(), 0.75, training.batch

    def step() -> Tensor:
        number = next(numbers)
        optimizer.param_groups[0]["lr"] = training.lr_at(number)
        x0, label = next(batches)
        sigma = torch.exp(1.2 * torch.randn(rows) - 0.8)
        wide = sigma.view(-1, 1, 1, 1)
        x = torch.addcmul(x0, wide, torch.randn_like(x0))
        known = um.Condition(label=label, given=torch.rand(rows) >= 0.1)
        total = wide.square() + sd**2
        output = network(x * total.rsqrt(), sigma.log() / 4, known)
        belief = x * (sd**2 / total) + output * (wide * sd * total.rsqrt())
        loss = ((belief - x0).square() * (total / (wide * sd).square())).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, training.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - min(training.ema, (number + 1) / (number + 11)))
        return loss.detach()

    return step


def diffusers(as_written: bool) -> Step:
    library, helpers, accelerate = peers.diffusers_training()
    network, training = _network()
    accelerator = accelerate.Accelerator(cpu=True)
    scheduler = library.DDPMScheduler(num_train_timesteps=1000)
    fused = {} if as_written else {"fused": True}
    optimizer = torch.optim.AdamW(network.parameters(), training.lr, training.betas, weight_decay=0.0, **fused)
    rate = library.optimization.get_scheduler(
        "cosine", optimizer, num_warmup_steps=training.warmup, num_training_steps=training.steps
    )
    ema = helpers.EMAModel(network.parameters(), decay=training.ema, use_ema_warmup=True, foreach=not as_written)
    network, optimizer, rate = accelerator.prepare(network, optimizer, rate)

    def loaded() -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(TensorDataset(*_data()), batch_size=training.batch, shuffle=True, drop_last=True)
        loader = accelerator.prepare(loader)
        while True:
            yield from loader

    batches = loaded() if as_written else _batches(*_data(), training.batch)

    def step() -> Tensor:
        clean, label = next(batches)
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (len(clean),))
        noisy = scheduler.add_noise(clean, noise, timesteps)
        known = um.Condition(label=label, given=torch.rand(len(clean)) >= 0.1)
        with accelerator.accumulate(network):
            output = network(noisy, timesteps.float() / 1000, known)
            loss = F.mse_loss(output.float(), noise.float())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(network.parameters(), training.clip)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            ema.step(network.parameters())
        return loss.detach()

    return step


def block(step: Step, final: list[float]) -> Callable[[], float]:
    """Seconds for each of some steps; the loss of the last is kept."""

    def timed() -> float:
        start = time.perf_counter()
        for _ in range(BLOCK):
            loss = step()
        seconds = (time.perf_counter() - start) / BLOCK
        final.append(loss.item())
        return seconds

    return timed


def main() -> None:
    options = timing.arguments(__doc__, rounds=40)
    start = time.perf_counter()
    report = timing.Report(
        "training",
        "A training step of the digits recipe, beside a bare PyTorch loop",
        [
            ("library", "library", ""),
            ("ratio", "times bare", ".3f"),
            ("range", "half of rounds", ""),
            ("milliseconds", "ms a step", ".1f"),
            ("rows_per_second", "images/s", ",.0f"),
            ("loss", "last losses", ".3f"),
        ],
    )
    makers: dict[str, Callable[[], Step]] = {
        "bare PyTorch": bare,
        "unmelt": unmelt,
        "diffusers, best": lambda: diffusers(as_written=False),
        "diffusers, as written": lambda: diffusers(as_written=True),
    }
    losses: dict[str, list[float]] = {}
    contestants: dict[str, Callable[[], float]] = {}
    torch.manual_seed(0)
    for name, make in makers.items():
        try:
            contestants[name] = block(make(), losses.setdefault(name, []))
        except peers.MissingError as missing:
            if str(missing) not in report.notes:
                report.notes.append(str(missing))
    times = timing.interleave(contestants, options.rounds)
    batch = _network()[1].batch
    for name, seconds in times.items():
        shares = timing.ratios(seconds, times["bare PyTorch"])
        low, high = timing.spread(shares)
        report.rows.append(
            {
                "library": name,
                "ratio": timing.median(shares),
                "quartiles": [low, high],
                "range": f"{low:.3f} to {high:.3f}",
                "milliseconds": timing.median(seconds) * 1e3,
                "rows_per_second": batch / timing.median(seconds),
                "loss": math.fsum(losses[name][-5:]) / 5,
            }
        )
    ratio = {row["library"]: row["ratio"] for row in report.rows}
    report.found = {
        "ratio to bare": ratio["unmelt"],
        "at most 1.05": ratio["unmelt"] <= TARGET,
        "below every peer": all(ratio["unmelt"] < r for name, r in ratio.items() if name.startswith("diffusers")),
    }
    report.notes += [
        f"unmelt takes {ratio['unmelt']:.3f} times the bare loop (target at most {TARGET})",
        "bare PyTorch and unmelt minimise the same loss; diffusers the error in the noise, on another scale",
        f"blocks of {BLOCK} steps of {batch} images in turns",
    ]
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
