"""Parts of systems to come, small: what somebody adds to unmelt in a file of their own."""

import torch
from torch import nn

import unmelt as um
from unmelt import config
from unmelt.train import Training


@config.register
class Autoencoder(nn.Module):
    """A codec with weights: [1, 4, 4] images to [2, 2, 2] latents, and back."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.down = nn.Conv2d(1, channels, 2, stride=2)
        self.up = nn.ConvTranspose2d(channels, 1, 2, stride=2)

    def encode(self, x, rng=None):
        return self.down(x)

    def decode(self, z):
        return self.up(z)

    def latent_shape(self, shape):
        _, high, wide = shape
        return (self.channels, high // 2, wide // 2)


def training(**changed):
    settings = {"steps": 12, "batch": 4, "lr": 1e-2, "save_every": 3, "picture_every": 0, "precision": "float32"}
    return Training(**{**settings, **changed})


def process():
    return um.process.Gaussian(um.schedule.Cosine())


def images(rows=12, seed=0):
    return torch.rand(rows, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def latent_model(**changed):
    """A denoiser of latents, with its autoencoder."""
    with um.rng.seeded(2):
        codec = Autoencoder()
    with um.rng.seeded(1):
        backbone = um.backbone.UNet(channels=2, width=8, multipliers=(1,), blocks=1, attention=(False,), classes=3)
    return um.Model(
        denoiser=um.denoiser.Network(backbone, process(), um.prediction.V(), (2, 2, 2)),
        codec=codec,
        modality=um.modality.Images(),
        grid=um.grid.uniform(4),
        sampler=um.sampler.DDIM(),
        objective=um.objective.Regression(drop=0.2),
        training=training(),
        classes=("a", "b", "c"),
        source=um.data.Arrays(images(), [k % 3 for k in range(12)]),
        held_out=um.data.Arrays(images(6, 1), [k % 3 for k in range(6)]),
        **changed,
    )


def sound_model(**changed):
    """Waveforms of one channel and 32 samples, by a U-Net of one dimension."""
    waves = torch.sin(torch.arange(32) * torch.linspace(0.2, 1.0, 16)[:, None])[:, None]
    with um.rng.seeded(1):
        backbone = um.backbone.UNet(channels=1, space=1, width=8, multipliers=(1, 2), blocks=1, attention=(False, True))
    return um.Model(
        denoiser=um.denoiser.Network(backbone, process(), um.prediction.V(), (1, 32), data_sd=0.7),
        codec=um.codec.Affine(clamp=(-1.0, 1.0)),
        modality=um.modality.Sound(8000),
        grid=um.grid.uniform(4),
        objective=um.objective.Regression(),
        training=training(),
        source=um.data.Arrays(waves),
        held_out=um.data.Arrays(waves[:4]),
        **changed,
    )


class Observed:
    """Actions of two numbers, and the observation of three numbers that each follows from."""

    shape, classes = (2,), ()

    def batch(self, step, rows):
        seen = torch.randn(rows, 3, generator=torch.Generator().manual_seed(step))
        return seen[:, :2] + 0.1, um.Condition(vector=seen)


def policy_model(**changed):
    """A policy: actions given an observation, which is a vector."""
    with um.rng.seeded(1):
        backbone = um.backbone.MLP(shape=(2,), width=16, depth=1, features=3)
    return um.Model(
        denoiser=um.denoiser.Network(backbone, process(), um.prediction.V(), (2,)),
        codec=um.codec.Affine(),
        grid=um.grid.uniform(4),
        objective=um.objective.Regression(drop=0.1),
        training=training(steps=80, batch=16),
        source=Observed(),
        **changed,
    )
