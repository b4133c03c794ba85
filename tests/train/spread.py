"""What a process of tests/train/test_processes.py runs: `torchrun spread.py OUT KIND STEPS [SETTINGS]`.

Trains on arrays in float64 and writes, from the first process, one JSON list of the losses of every phase.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import two_networks
from torch.func import functional_call, jvp

import unmelt as um
from unmelt.config import register
from unmelt.model import fitting
from unmelt.train import Execution, ObjectiveStep, Training, distributed, lr_schedule


@register
@dataclass(frozen=True)
class Directional:
    """The squared change of the belief along the noise, by a Jacobian-vector product, and the regression beside it."""

    def __call__(self, denoiser, x0, condition, rng):
        t = 0.1 + 0.8 * rng.uniform((len(x0),), torch.float64)
        noise = rng.normal(x0.shape, x0.dtype)
        x_t = denoiser.process.mix(x0, noise, t)
        weights = dict(denoiser.named_parameters())

        def belief(x):
            return functional_call(denoiser, weights, (x, t, condition)).mean

        mean, change = jvp(belief, (x_t,), (noise,))
        return (mean - x0).square().flatten(1).mean(1) + 0.1 * change.square().flatten(1).mean(1)


def made(kind, steps, save_every):
    images = torch.rand(37, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    source = um.data.Arrays(images, [k % 3 for k in range(37)])
    if kind == "buckets":
        wide = torch.rand(23, 1, 2, 8, generator=torch.Generator().manual_seed(3))
        source = um.data.AspectRatioBuckets([source, um.data.Arrays(wide, [k % 3 for k in range(23)], ("0", "1", "2"))])
    with um.rng.seeded(1):
        body = um.backbone.DiT(channels=1, size=(4, 4), any_size=True, width=16, depth=2, heads=2, classes=3)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for each in body.parameters():  # a real output, from the first step on
            each.add_(0.05 * torch.randn(each.shape, generator=generator))
    process = um.process.Gaussian(um.schedule.Cosine())
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(body, process, um.prediction.V(), (1, 4, 4), data_sd=0.5).double(),
        codec=two_networks.Doubled(),
        modality=um.modality.Images(),
        sampler=um.sampler.DDIM(),
        grid=um.grid.uniform(3),
        objective=Directional() if kind == "jvp" else um.objective.Regression(drop=0.2),
        training=Training(
            steps=steps,
            batch=8,
            lr=3e-3,
            lr_schedule=lr_schedule.Cosine(warmup=3),
            ema=0.9,
            precision="float32",
            save_every=save_every,
            picture_every=0,
            snapshot_every=10,
        ),
        classes=("a", "b", "c"),
        source=source,
    )


def two(steps, save_every):
    """Several networks, without dropout: the rows of each process draw their own."""
    model, step = two_networks.made(steps, save_every, dtype=torch.float64, batch=8)
    for module in step.critic.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model, step


if __name__ == "__main__":
    if "PYTHONHASHSEED" not in os.environ:  # sets in one order in one process, in another in the other
        seed = os.environ.get("LOCAL_RANK", "0")
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": seed})
    out, kind, steps, stop, shard = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "shard"
    torch.set_num_threads(1)
    model, train_step = two(steps, stop) if kind == "two" else (made(kind, steps, stop), None)
    losses = []
    step = um.train.Trainer.step

    def watched(self):
        if self.done == stop < steps and losses:
            raise KeyboardInterrupt
        losses.append(step(self).nan_to_num().tolist())  # a phase that was not due has none
        return torch.tensor(losses[-1])

    um.train.Trainer.step = watched
    with suppress(KeyboardInterrupt):
        model.folder = Path(out)
        train_step = train_step or ObjectiveStep(model.denoiser, model.objective)
        fitting.fit(model, torch.device("cpu"), Execution(shard=shard), True, "none", train_step)
    if distributed.is_main():
        Path(out, "losses.json").write_text(json.dumps(losses), encoding="utf-8")
    os._exit(0)  # torch's threads now and then abort a process whose interpreter shuts down (see LOG.md)
