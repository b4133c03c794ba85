"""A small network, trained on the ring for seconds, approaches the exact posterior."""

import torch
from conformance.subjects import F64, full, ring, unchecked
from torch import nn

from unmelt import schedule
from unmelt.denoiser import NetworkDenoiser
from unmelt.denoiser.prediction import Preconditioned
from unmelt.objective import EDMWeight, LogNormalSigma, Regression, Stratified
from unmelt.rng import Stream, seeded
from unmelt.sampler import Heun, grid, sample


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(12, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)
        )

    def forward(self, x, level, condition=None):
        waves = level[:, None] * torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
        return self.net(torch.cat([x, waves.sin(), waves.cos()], 1))


def disagreement(network, exact):
    """E |belief - exact|^2 over E |exact|^2, over noise levels where there is something to know."""
    x0 = exact.sample(2000, Stream(99))
    t = Stratified(LogNormalSigma(-0.5, 1.0)).draw(2000, exact.process.schedule, Stream(98))
    x_t, _ = exact.process.corrupt(x0, t, Stream(97))
    truth = exact(x_t, t).mean
    return ((network(x_t, t).mean - truth).square().mean() / truth.square().mean()).item()


def test_training_approaches_the_exact_posterior():
    exact = ring(schedule.VarianceExploding())
    with seeded(5):
        small = Small()
    network = NetworkDenoiser(small, exact.process, Preconditioned(1.4), shape=(2,), data_sd=1.4)
    objective = Regression(weight=EDMWeight(1.4), times=Stratified(LogNormalSigma(-0.5, 1.2)))
    optimizer, rng, steps = torch.optim.Adam(network.parameters(), lr=3e-3), Stream(0), 1200
    before = disagreement(network, exact)
    with unchecked():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * (1 - step / steps)
            optimizer.zero_grad()
            objective(network, exact.sample(512, rng), None, rng).mean().backward()
            optimizer.step()
    after = disagreement(network, exact)
    assert before > 0.03
    assert after < 0.006
    with torch.no_grad():
        x, t = (
            torch.tensor([[1.0, 1.0], [-1.5, 0.2]]),
            full(2, exact.process.schedule.time(torch.tensor(1.0, dtype=F64))),
        )
        assert (network(x, t).mean - exact(x, t).mean).abs().max() < 0.25
    made = sample(network, rows=300, sampler=Heun(), grid=grid.karras(16), seed=0)
    distance = (made[:, None].double() - exact.means).norm(dim=-1).min(1).values
    assert (distance < 4 * 0.15).double().mean() > 0.9
