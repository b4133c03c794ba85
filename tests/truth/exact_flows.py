"""The exact flow map of a mixture, by integration of its ODE; and flow maps with something to learn added."""

import torch
from torch import Tensor, nn

from unmelt import schedule
from unmelt.denoiser import Mixture
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.process.gaussian import expand_like

STEPS = 12


def smooth_mixture(on) -> Mixture:
    """Three unequal, turned Gaussians of two classes, none of them narrow: few steps solve their ODE to 1e-10."""
    means = torch.tensor([[1.0, 0.5], [-1.2, 0.3], [0.2, -1.4]], dtype=torch.float64)
    roots = torch.tensor([[[0.8, 0.0], [0.3, 0.6]], [[0.7, -0.2], [0.0, 0.7]], [[0.8, 0.1], [0.1, 0.6]]])
    weights, labels = torch.tensor([0.5, 0.2, 0.3]), torch.tensor([0, 1, 1])
    return Mixture(means, (roots @ roots.mT).double(), Gaussian(on), weights=weights, labels=labels)


class MixtureFlowMap:
    """The flow of the probability-flow ODE of a mixture, by RK4 in straight coordinates and Richardson extrapolation.

    The average velocity is the mean of the velocities that RK4 meets, so that nothing cancels where a jump is short.
    Everything is a differentiable function of x_t, t and s.
    """

    def __init__(self, mixture, steps: int = STEPS) -> None:
        self.denoiser, self.process, self.shape, self.steps = mixture, mixture.process, mixture.shape, steps
        self.straight = Mixture.__new__(Mixture)
        self.straight.__dict__.update(mixture.__dict__ | {"process": Gaussian(schedule.Straight())})

    def __call__(self, x_t: Tensor, t: Tensor, condition=None) -> Point:
        return self.denoiser(x_t, t, condition)

    def velocity(self, w: Tensor, u: Tensor, condition=None) -> Tensor:
        """(w - E) / u, by the belief where there is much noise and by the score where there is little."""
        column = u[:, None]
        low = (-w - column * self.straight.score(w, u.clamp(1e-12, 0.5), condition)) / (1 - column.clamp_max(0.5))
        high = (w - self.straight(w, u.clamp_min(0.5), condition).mean) / column.clamp_min(0.5)
        return torch.where(column < 0.5, low, high)

    def jump(self, x_t: Tensor, t: Tensor, s: Tensor, condition=None) -> Point:
        """w_t - u_t V."""
        (w, u_t), (_, u_s) = (self.process.straight_coordinates(x_t, time) for time in (t, s))
        coarse, middle, fine = (self.average_velocity(w, u_t, u_s, n * self.steps, condition) for n in (1, 2, 4))
        first, second = (16 * middle - coarse) / 15, (16 * fine - middle) / 15  # errors of order 5
        return Point(w - u_t[:, None] * (32 * second - first) / 31)

    def average_velocity(self, w: Tensor, u_t: Tensor, u_s: Tensor, steps: int, condition) -> Tensor:
        """V, with an error of order 4 in the length of a step."""
        total, h = torch.zeros_like(w), ((u_s - u_t) / steps)[:, None]
        for step in range(steps):
            u = u_t + (u_s - u_t) * step / steps
            middle = u + h[:, 0] / 2
            k1 = self.velocity(w, u, condition)
            k2 = self.velocity(w + h / 2 * k1, middle, condition)
            k3 = self.velocity(w + h / 2 * k2, middle, condition)
            k4 = self.velocity(w + h * k3, u + h[:, 0], condition)
            mean = (k1 + 2 * k2 + 2 * k3 + k4) / 6
            w, total = w + h * mean, total + mean
        return total / steps


class Learnable(nn.Module):
    """A flow map plus A features(x_t, t, s), with A = 0 at first: what a loss would change about it is its gradient."""

    def __init__(self, exact, dim: int) -> None:
        super().__init__()
        self.exact, self.process, self.shape = exact, exact.process, exact.shape
        self.weight = nn.Parameter(torch.zeros(5 * dim + 3, dim, dtype=torch.float64))

    def features(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        w, u_t = self.process.straight_coordinates(x_t, t)
        _, u_s = self.process.straight_coordinates(x_t, s)
        u_t, u_s = expand_like(u_t, w), expand_like(u_s, w)
        parts = [w, torch.tanh(2 * w), w * u_t, w * u_s, torch.sin(3 * w) * (u_t - u_s)]
        return torch.cat([*parts, torch.ones_like(u_t), u_t, torch.cos(u_s)], 1)

    def jump(self, x_t: Tensor, t: Tensor, s: Tensor, condition=None) -> Point:
        return Point(self.exact.jump(x_t, t, s, condition).mean + self.features(x_t, t, s) @ self.weight)

    def forward(self, x_t: Tensor, t: Tensor, condition=None) -> Point:
        return self.jump(x_t, t, t, condition)
