"""One density, three ways back: the ODE, and SDEs with a little and with much fresh noise, at ever more steps.

The score is exact, so that what is left is the error of the steps, seen in how wide the ring's clusters become: the ODE
leaves them too wide, much fresh noise too narrow, and with more steps all of them come to 1.

    python examples/sde.py [--out runs/sde.png]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(points: int = 4000, longest: int = 128, out: Path = Path("runs/sde.png")) -> dict[str, list[float]]:
    """Sample, measure, draw.

    Args:
        points: How many in each sample.
        longest: Largest number of steps; the others are its halves, down to 8.
        out: The picture to write.
    """
    process, sd = um.process.Gaussian(um.schedule.VarianceExploding(0.02, 20.0)), 0.15
    ring = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=sd, process=process)
    truth = (ring.sample(100_000, um.rng.Stream(1)).norm(dim=1) - 2).square().mean().sqrt()
    samplers = {
        "ODE (Heun)": um.sampler.Heun(),
        "SDE, some noise (Churn)": um.sampler.Churn(um.sampler.Heun(), amount=0.2),
        "SDE (Ancestral)": um.sampler.Ancestral(),
    }
    counts = [longest >> k for k in reversed(range((longest // 8).bit_length()))]
    found: dict[str, list[float]] = {}
    for name, sampler in samplers.items():
        made = [um.sample(ring, rows=points, sampler=sampler, grid=um.grid.karras(n), seed=0) for n in counts]
        found[name] = [((x.norm(dim=1) - 2).square().mean().sqrt() / truth).item() for x in made]
        print(f"{name:25}", *(f"{steps} steps: {width:.3f} " for steps, width in zip(counts, found[name], strict=True)))
    lines = {name: (counts, widths) for name, widths in found.items()}
    um.picture.curve(lines, out, "from noise to a ring", "width of the clusters, of the true one", "steps")
    print(f"drawn in {out}")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
