"""Straight paths: noise paired with data by chance, and by optimal transport. Then one step goes far.

python examples/flow_matching.py [--out runs/flow.png]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(training: int = 1500, points: int = 1000, out: Path = Path("runs/flow.png")) -> dict[str, float]:
    """Learn both velocities, sample each in one step and in many, measure, draw.

    Args:
        training: Training steps of each.
        points: Samples of each.
        out: The picture to write.
    """
    board, process = um.data.Checkerboard(), um.process.Gaussian(um.schedule.Straight())
    truth, _ = board.sample(points, um.rng.Stream(1))
    pairings = {"by chance": um.objective.Independent(), "optimal transport": um.objective.OptimalTransport()}
    found, panels = {}, []
    for name, coupling in pairings.items():
        with um.rng.seeded(0):
            network = um.backbone.MLP(shape=(2,), width=64, depth=3)
        model = um.Model(
            denoiser=um.denoiser.NetworkDenoiser(network, process, um.prediction.FlowVelocity(), (2,)),
            codec=um.codec.Affine(scale=1.5),
            sampler=um.sampler.Euler(),
            grid=um.grid.uniform(50),
            objective=um.objective.Regression(
                coupling=coupling, weight=um.objective.FlatWeight(um.prediction.FlowVelocity())
            ),
            training=um.train.Training(steps=training, batch=256, lr=2e-3, ema=0.99),
            source=board,
        ).fit(quiet=True, device="cpu")
        for steps in (1, 50):
            x = model.sample(points, sampler=um.sampler.Euler(), grid=um.grid.uniform(steps), seed=0)
            found[f"{name}, {steps}"] = um.metric.energy_distance(x, truth)
            panels.append(um.picture.Panel(f"{name}, {steps} steps", x))
            print(f"paired {name:17} {steps:2} steps: energy distance {found[f'{name}, {steps}']:.4f}")
    um.picture.scatter(panels, path=out)
    print(f"drawn in {out}")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
