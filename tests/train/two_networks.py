"""A training step of four modules, tiny: a generator and a critic that learn, a target that follows, a frozen teacher.

The losses draw their own noise, have dropout and call one another's networks, as adversarial distillation does.
"""

import copy
import os
from dataclasses import dataclass

import torch
from killing import Slow
from torch import nn

import unmelt as um
from unmelt.config import register
from unmelt.model import fitting
from unmelt.train import AdamW, Muon, Phase, Training, lr_schedule, update_target

STEPS, EVERY = 60, 4


class Critic(nn.Module):
    """Logits of real against generated images, [rows]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.SiLU(), nn.Dropout(0.2), nn.Linear(12, 1))

    def forward(self, x):
        return self.layers(x).squeeze(1)


class TwoNetworkStep:
    """The critic learns in every step, the denoiser in every `every`-th; the target follows the denoiser."""

    def __init__(self, denoiser, teacher, every=2):
        with um.rng.seeded(3):
            self.critic = Critic().to(next(denoiser.parameters()).dtype)
        self.denoiser, self.teacher, self.every = denoiser, teacher, every
        self.target = copy.deepcopy(denoiser)
        self.updates = []

    def networks(self):
        return {"denoiser": self.denoiser, "critic": self.critic, "target": self.target}

    def frozen(self):
        return [self.teacher]

    def phases(self):
        return [
            Phase(network="denoiser", loss=self.generator_loss, every=self.every, optimizer=Muon()),
            Phase(network="critic", loss=self.critic_loss, lr_factor=2.0, optimizer=AdamW(betas=(0.0, 0.9))),
        ]

    def after_update(self, network, step):
        self.updates.append((network, step))
        if network == "denoiser":
            update_target(self.target, self.denoiser, 0.8)

    def beliefs(self, batch, rng, *denoisers):
        t = 0.1 + 0.8 * rng.uniform((len(batch.x0),), torch.float64, batch.x0.device)
        x_t = self.denoiser.process.mix(batch.x0, rng.normal(batch.x0.shape, batch.x0.dtype, batch.x0.device), t)
        return [each(x_t, t, batch.condition).mean for each in denoisers]

    def generator_loss(self, batch, rng):
        made, wanted = self.beliefs(batch, rng, self.denoiser, self.teacher)
        with torch.no_grad():
            (steady,) = self.beliefs(batch, rng, self.target)
        error = (made - wanted).square() + 0.1 * (made - steady).square()
        return error.flatten(1).mean(1) - 0.1 * self.critic(made)

    def critic_loss(self, batch, rng):
        (made,) = self.beliefs(batch, rng, self.denoiser)
        return nn.functional.softplus(-self.critic(batch.x0)) + nn.functional.softplus(self.critic(made))


@register
@dataclass(frozen=True)
class Doubled:
    """A codec in float64, so that equal means equal to rounding."""

    def encode(self, x, rng=None):
        return (2 * x - 1).double()

    def decode(self, z):
        return (z + 1) / 2

    def latent_shape(self, shape):
        return tuple(shape)


def denoiser(seed, dtype=torch.float32, dropout=0.2):
    with um.rng.seeded(seed):
        body = um.backbone.DiT(channels=1, size=(4, 4), width=16, depth=2, heads=2, classes=3)
        with torch.no_grad():
            for each in body.parameters():  # a real output, from the first step on
                each.add_(0.05 * torch.randn(each.shape))
    process = um.process.Gaussian(um.schedule.Cosine())
    return um.denoiser.NetworkDenoiser(body, process, um.prediction.V(), (1, 4, 4), data_sd=0.5).to(dtype)


def made(steps=STEPS, save_every=EVERY, seconds=0.0, dtype=torch.float32, codec=None, batch=6):
    """A model and the training step that it is to learn by."""
    images = torch.rand(37, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = um.Model(
        denoiser=denoiser(1, dtype),
        codec=codec or (Doubled() if dtype == torch.float64 else um.codec.Affine.images()),
        modality=um.modality.Images(),
        sampler=um.sampler.DDIM(),
        grid=um.grid.uniform(3),
        objective=um.objective.Regression(),
        training=Training(
            steps=steps,
            batch=batch,
            lr=3e-3,
            lr_schedule=lr_schedule.Cosine(warmup=3),
            ema=0.9,
            precision="float32",
            save_every=save_every,
            picture_every=0,
            snapshot_every=10,
        ),
        classes=("a", "b", "c"),
        source=Slow(um.data.Arrays(images, [k % 3 for k in range(37)]), seconds),
    )
    return model, TwoNetworkStep(model.denoiser, denoiser(2, dtype))


def fitted(folder, execution=None, **settings):
    """Train in a folder, or go on there."""
    model, step = made(**settings)
    model.folder = folder
    fitting.fit(model, torch.device("cpu"), execution, True, "none", step)
    return model, step


def live(out):
    """Train to the end, or for as long as one lives."""
    torch.set_num_threads(1)
    os.setpgrp()
    fitted(out, seconds=0.015)
