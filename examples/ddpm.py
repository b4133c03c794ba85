"""DDPM: a small network learns the noise in points of two moons, and ancestral steps take the noise out again.

The process is that of Ho et al., 2020, in continuous time; the loss is the squared error of the predicted noise.

    python examples/ddpm.py [--out runs/ddpm.png]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(training: int = 2000, steps: int = 200, points: int = 1000, out: Path = Path("runs/ddpm.png")) -> float:
    """Train, sample, measure, draw.

    Args:
        training: Training steps.
        steps: Ancestral steps.
        points: How many to sample.
        out: The picture to write.
    """
    moons, process = um.data.Moons(), um.process.Gaussian(um.schedule.LinearBeta())
    with um.rng.seeded(0):
        network = um.backbone.MLP(shape=(2,), width=64, depth=3, classes=2)
    model = um.Model(
        denoiser=um.denoiser.NetworkDenoiser(network, process, um.prediction.Noise(), (2,)),
        codec=um.codec.Affine(scale=1.5),
        sampler=um.sampler.Ancestral(),
        grid=um.grid.uniform(steps),
        objective=um.objective.Regression(drop=0.2),  # of the noise, at times that are all as likely
        training=um.train.Training(steps=training, batch=256, lr=2e-3, ema=0.99),
        classes=moons.classes,
        source=moons,
    ).fit(quiet=True, device="cpu")

    x0, labels = moons.sample(points, um.rng.Stream(1))
    x = model.sample(points, label=labels.tolist(), seed=0)
    distance = um.metric.energy_distance(x, x0)
    print(f"energy distance of {points} samples to the data after {training} training steps: {distance:.4f}")
    um.picture.scatter(
        [um.picture.Panel("data", x0, labels), um.picture.Panel("DDPM", x, labels)], classes=moons.classes, path=out
    )
    print(f"drawn in {out}")
    return distance


if __name__ == "__main__":
    sys.exit(run_script(main))
