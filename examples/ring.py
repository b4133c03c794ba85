"""Six clusters on a ring dissolve, and come back: an exact process reversed exactly, then one class guided out of it.

python examples/ring.py [--out runs/ring.png]
"""

import sys
from pathlib import Path

import torch

import unmelt as um
from unmelt.cli.script import run_script


def main(points: int = 2000, steps: int = 20, seed: int = 0, out: Path = Path("runs/ring.png")) -> dict[str, float]:
    """Melt, come back, measure, draw.

    Args:
        points: How many.
        steps: Of the sampler on the way back.
        seed: Of points and noise.
        out: The picture to write.
    """
    process = um.process.Gaussian(um.schedule.Cosine())
    ring = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=0.15, process=process)
    rng = um.rng.Stream(seed)
    x0 = ring.sample(points, rng)

    melted = []
    for time in (0.0, 0.3, 0.6, 1.0):
        x_t, _ = process.corrupt(x0, torch.full((points,), time, dtype=torch.float64), rng)
        melted.append(um.picture.Panel(f"melting, t = {time}", x_t))

    sampler, grid = um.sampler.DPMpp(order=2), um.grid.karras(steps)
    frames = list(um.trajectory(ring, rows=points, sampler=sampler, grid=grid, seed=seed))
    times = torch.stack([frame.t[0] for frame in frames])
    back = []
    for time in (0.6, 0.3, 0.0):
        frame = frames[int((times - time).abs().argmin())]
        back.append(um.picture.Panel(f"coming back, t = {frame.t[0]:.2f}", frame.x))
    guided = um.sample(um.guidance.CFG(ring, scale=2.0), rows=points, label=1, sampler=sampler, grid=grid, seed=seed)
    back.append(um.picture.Panel("class 1, guidance 2", guided))
    um.picture.scatter(melted, path=out)
    um.picture.scatter([um.picture.Panel("data", x0), *back], path=out.with_stem(out.stem + "_back"))

    found = {
        "energy": um.metric.energy_distance(frames[-1].x, x0),
        "radius": frames[-1].x.norm(dim=1).mean().item(),
        "guided_angle": torch.atan2(guided[:, 1].mean(), guided[:, 0].mean()).rad2deg().item(),
    }
    print(f"energy distance of {points} samples to {points} of the data: {found['energy']:.5f}")
    print(f"mean radius {found['radius']:.3f}; class 1 stands at {found['guided_angle']:.1f} degrees (60 in truth)")
    print(f"drawn in {out} and {out.with_stem(out.stem + '_back')}")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
