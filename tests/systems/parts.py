"""Parts of systems to come, small: what somebody adds to unmelt in a file of their own."""

from dataclasses import dataclass

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
        denoiser=um.denoiser.NetworkDenoiser(backbone, process(), um.prediction.V(), (2, 2, 2)),
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
        denoiser=um.denoiser.NetworkDenoiser(backbone, process(), um.prediction.V(), (1, 32), data_sd=0.7),
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
        backbone = um.backbone.MLP(shape=(2,), width=16, depth=1, vector_width=3)
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(backbone, process(), um.prediction.V(), (2,)),
        codec=um.codec.Affine(),
        grid=um.grid.uniform(4),
        objective=um.objective.Regression(drop=0.1),
        training=training(steps=80, batch=16),
        source=Observed(),
        **changed,
    )


@config.register
@dataclass(frozen=True)
class Clips:
    """A modality of one's own: short videos [rows, frames, 1, height, width] in [0, 1], a row of frames each."""

    @property
    def name(self):
        return "clips"

    @property
    def suffixes(self):
        return (".png", ".npy")

    @property
    def hub_task(self):
        return ""

    def preview_rows(self, classes):
        return 4

    def samples_to_score(self, real):
        return real

    def draw(self, x, labels=None, classes=(), real_data=None):
        return um.picture.tiles(x.flatten(0, 1), x.shape[1])

    def strip(self, frames, times, labels=None, classes=()):
        return um.picture.strip([frame[:2, -1] for frame in frames], times, len(times))

    def write(self, x, path, labels=None, classes=(), real_data=None):
        self.draw(x).save(path)
        return [path]

    def score(self, made, real, held_out):
        return {
            "energy": um.metric.energy_distance(made.x, held_out.x),
            "energy_floor": um.metric.energy_distance(real.x, held_out.x),
        }

    def distance(self, real, held_out):
        floor = um.metric.energy_distance(real, held_out)
        return um.modality.Distance("energy distance", lambda x: um.metric.energy_distance(x, held_out), floor)


FRAMES = 3


def clips(rows=10, seed=0):
    """A bright column that moves to the right by one pixel a frame."""
    first = torch.randint(4, (rows, 1), generator=torch.Generator().manual_seed(seed))
    where = (first + torch.arange(FRAMES)) % 4
    return torch.nn.functional.one_hot(where, 4).float()[:, :, None, None].expand(rows, FRAMES, 1, 4, 4).contiguous()


def video_model(**changed):
    """Clips whose frames have noise levels of their own (diffusion forcing)."""
    with um.rng.seeded(1):
        backbone = um.backbone.FrameTransformer(frames=FRAMES, shape=(1, 4, 4), width=16, depth=1, heads=2)
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(backbone, process(), um.prediction.V(), (FRAMES, 1, 4, 4), data_sd=0.5),
        codec=um.codec.Affine.images(),
        modality=Clips(),
        grid=um.grid.uniform(4),
        sampler=um.sampler.DDIM(),
        objective=um.objective.Regression(times=um.objective.PerFrame(um.objective.Uniform(), FRAMES)),
        training=training(),
        source=um.data.Arrays(clips()),
        held_out=um.data.Arrays(clips(6, 1)),
        **changed,
    )


class DistributionMatching:
    """Two networks: a student that jumps, and a score of what it makes; the teacher only looks on (DMD).

    The student moves along the difference of the two beliefs about its noised samples; the other network learns by
    denoising what the student makes, twice for each of its updates.
    """

    def __init__(self, student, fake, teacher):
        self.student, self.fake, self.teacher = student, fake, teacher

    def networks(self):
        return {"denoiser": self.student, "fake": self.fake}

    def frozen(self):
        return (self.teacher,)

    def phases(self):
        learns = um.train.Phase(network="fake", loss=self._denoise)
        return (um.train.Phase(network="denoiser", loss=self._match, every=2, held_out=False), learns)

    def _made(self, batch, rng):
        noise = self.student.process.prior(batch.x0.shape, rng)
        one = torch.ones(len(noise), dtype=torch.float64)
        return self.student.jump(noise, one, torch.zeros_like(one), batch.condition).mean

    def _match(self, batch, rng):
        x0 = self._made(batch, rng)
        t = rng.uniform((len(x0),), torch.float64) * 0.9 + 0.05
        with torch.no_grad():
            x_t, _ = self.student.process.corrupt(x0, t, rng)
            towards = self.teacher(x_t, t, batch.condition).mean - self.fake(x_t, t, batch.condition).mean
        return 0.5 * (x0 - (x0 + towards).detach()).square().flatten(1).sum(1)

    def _denoise(self, batch, rng):
        with torch.no_grad():
            x0 = self._made(batch, rng)
        return um.objective.Regression()(self.fake, x0, batch.condition, rng)

    def after_update(self, network, step): ...


def student_model(**changed):
    """(a one-step student of points, its training step), of an exact teacher."""
    teacher = um.denoiser.Mixture.isotropic(torch.tensor([[1.0, 1.0], [-1.0, 0.5]]), 0.2, process())

    class Teacher(nn.Module):
        process, shape = teacher.process, (2,)

        def forward(self, x_t, t, condition=None):
            belief = teacher(x_t, t, condition)
            return type(belief)(belief.mean.to(x_t.dtype))

    def mlp(arrival):
        return um.backbone.MLP(shape=(2,), width=16, depth=1, with_arrival=arrival)

    with um.rng.seeded(1):
        student = um.denoiser.FlowMap(mlp(True), process(), um.prediction.V(), (2,))
        fake = um.denoiser.NetworkDenoiser(mlp(False), process(), um.prediction.V(), (2,))
    model = um.Model(
        denoiser=student,
        codec=um.codec.Affine(),
        sampler=um.sampler.Jump(),
        grid=um.grid.uniform(1),
        training=training(),
        source=um.data.Arrays(torch.randn(20, 2, generator=torch.Generator().manual_seed(0))),
        **changed,
    )
    return model, DistributionMatching(student, fake, Teacher())
