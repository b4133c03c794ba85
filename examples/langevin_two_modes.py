"""From a wide bell back to two modes, by walking up the exact score at ever smaller noise: annealed Langevin dynamics.

No network: the score of a mixture of Gaussians is in closed form at every noise level. 600 points start from N(0, 9)
and walk 20 steps of sigma^2 / 2 at each of 25 levels, geometric from sigma = 3 to 0.05.

    python examples/langevin_two_modes.py [--out runs/langevin.png]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(points: int = 600, seed: int = 0, out: Path = Path("runs/langevin.png")) -> dict[str, float]:
    """Walk, measure, draw.

    Args:
        points: How many.
        seed: Of the noise.
        out: The picture to write.
    """
    modes = um.data.TwoModes(sd=0.3)
    process = um.process.Gaussian(um.schedule.VarianceExploding(sigma_min=0.05, sigma_max=3.0))
    exact = um.denoiser.Mixture.isotropic(modes.means, modes.sd, process)
    levels = um.grid.log_snr(25, sigma_min=0.05, sigma_max=3.0)
    frames = list(
        um.trajectory(exact, rows=points, sampler=um.sampler.Langevin(walks=20, size=0.5), grid=levels, seed=seed)
    )

    x = frames[-1].x
    right = x > 0
    found = {
        "left": x[~right].mean().item(),
        "right": x[right].mean().item(),
        "right_share": right.double().mean().item(),
    }
    print("         measured   exact")
    print(f"left     {found['left']:8.3f}  {-2:6.2f}")
    print(f"right    {found['right']:8.3f}  {2:6.2f}")
    print(f"share    {found['right_share']:8.3f}  {0.5:6.2f}   (of the right mode)")

    sigma = process.schedule.sigma
    shown = [frames[step] for step in (25, 20, 15, 10, 0)]
    um.picture.scatter([um.picture.Panel(f"sigma = {sigma(f.t[0]):.2f}", f.x) for f in shown], path=out)
    print(f"drawn in {out}")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
