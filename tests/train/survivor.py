"""A run for tests/train/test_survival.py to kill: small, with everything that could break a resumed one."""

import os

import torch
from killing import Slow

import unmelt as um
from unmelt.train import Muon, Training, lr_schedule

STEPS, EVERY = 120, 7


def survivor():
    images = torch.rand(37, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with um.rng.seeded(1):
        body = um.backbone.UNet(
            channels=1, width=8, multipliers=(1,), blocks=1, attention=(False,), classes=3, dropout=0.3
        )
    process = um.process.Gaussian(um.schedule.Cosine())
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(body, process, um.prediction.V(), (1, 4, 4), data_sd=0.5),
        codec=um.codec.Affine.images(),
        sampler=um.sampler.DDIM(),
        grid=um.grid.uniform(3),
        objective=um.objective.Regression(drop=0.2),
        training=Training(
            steps=STEPS,
            batch=5,
            lr_schedule=lr_schedule.Cosine(warmup=7),
            optimizer=Muon(),
            ema=0.9,
            precision="float32",
            save_every=EVERY,
            picture_every=0,
        ),
        classes=("a", "b", "c"),
        source=Slow(um.data.Arrays(images, [k % 3 for k in range(37)]), 0.004),
    )


def live(out):
    """Train to the end, or for as long as one lives."""
    torch.set_num_threads(1)
    os.setpgrp()
    survivor().fit(out, device="cpu", quiet=True)
