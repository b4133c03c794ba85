"""Everything public that must obey the rules, found and not listed.

A schedule, prediction, sampler, spacing, weight or law of times that is exported is tested from then on, with its
default settings; `MORE` adds further settings of those that have some. Nothing else in the tests names them one by one.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from jaxtyping import config
from torch import Tensor

import unmelt.objective
import unmelt.sampler
from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture, prediction
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler import (
    DDIM,
    DEIS,
    LMS,
    Adams,
    Adaptive,
    DPMpp,
    DPMppSingle,
    Jump,
    Langevin,
    Sampler,
    SASolver,
    State,
    Tuned,
    UniPC,
    grid,
)

F64 = torch.float64

MORE: dict[type, list[Any]] = {
    schedule.Exponential: [schedule.Exponential(rate=40.0)],
    schedule.LinearBeta: [schedule.LinearBeta(12.0, 1.0)],
    schedule.VarianceExploding: [schedule.VarianceExploding(0.05, 20.0)],
    schedule.Straight: [schedule.Straight(shift=3.0), schedule.Straight(shift=0.3)],
    prediction.Preconditioned: [prediction.Preconditioned(data_sd=1.7)],
    DDIM: [DDIM(eta=0.5), DDIM(eta=1.0)],
    Adams: [Adams(order=6)],
    DEIS: [DEIS(order=4)],
    DPMpp: [DPMpp(order=1), DPMpp(order=3), DPMpp(order=2, eta=1.0)],
    DPMppSingle: [DPMppSingle(eta=1.0)],
    LMS: [LMS(order=2)],
    SASolver: [SASolver(order=2, eta=0.5)],
    Tuned: [Tuned((1.0, 0.7, 0.4, 0.0), ((), (-0.4,), (-0.5, 0.1)), (0.1, 0.2, -0.1))],
    UniPC: [UniPC(order=1)],
    Langevin: [Langevin(walks=3, size=0.2)],
}


def public(package: ModuleType, base: type) -> list[type]:
    """The concrete classes of this kind that a package or module shows the world."""
    names = package.__all__
    found = {value for name in names if inspect.isclass(value := getattr(package, name)) and issubclass(value, base)}
    return sorted((kind for kind in found if not inspect.isabstract(kind)), key=lambda kind: kind.__name__)


def instances(package: ModuleType, base: type) -> list[Any]:
    return [one for kind in public(package, base) for one in [_plain(kind), *MORE.get(kind, [])]]


def _plain(kind: type) -> Any:
    required = [
        p for p in inspect.signature(kind).parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    ]
    given = {"of": unmelt.objective.Uniform(), "frames": 3}
    return kind(**{p.name: given[p.name] for p in required})


def name(one: Any) -> str:
    """A test's id."""
    return re.sub(r"\s+", "", repr(one))


SCHEDULES: list[schedule.Schedule] = instances(schedule, schedule.Schedule)
PLAIN = [on for at, on in enumerate(SCHEDULES) if type(on) not in map(type, SCHEDULES[:at])]
"""One schedule of each kind."""

PREDICTIONS: list[prediction.Prediction] = instances(prediction, prediction.Prediction)
SAMPLERS: list[Sampler] = [one for one in instances(unmelt.sampler, Sampler) if not isinstance(one, Jump)]
"""Those of denoisers. `Jump` needs a flow map, and has the same promises tested in sampler/test_jump.py."""
TIMES: list[unmelt.objective.Times] = instances(unmelt.objective, unmelt.objective.Times)
WEIGHTS: list[unmelt.objective.Weight] = instances(unmelt.objective, unmelt.objective.Weight)
SPACINGS: dict[str, Callable[[int], grid.Grid]] = {
    name: getattr(grid, name)
    for name in grid.__all__
    if inspect.isfunction(getattr(grid, name)) and name not in ("fixed", "relative_levels")
}


@contextmanager
def unchecked() -> Iterator[None]:
    """Without checks of shapes, which take most of the time of small steps; the same calls are checked elsewhere."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def full(rows: int, t: float | Tensor) -> Tensor:
    return torch.as_tensor(t, dtype=F64).expand(rows)


def ring(on: schedule.Schedule) -> Mixture:
    """Six well separated modes: the ring of the README."""
    return Mixture.ring(modes=6, radius=2.0, sd=0.15, process=Gaussian(on))


def tilted(on: schedule.Schedule) -> Mixture:
    """Three unequal, turned, overlapping Gaussians in the plane, of two classes: smooth enough for clean orders."""
    means = torch.tensor([[1.0, 0.5], [-1.2, 0.3], [0.2, -1.4]], dtype=F64)
    roots = torch.tensor([[[0.6, 0.0], [0.3, 0.4]], [[0.5, -0.2], [0.0, 0.7]], [[0.8, 0.1], [0.1, 0.3]]], dtype=F64)
    return Mixture(means, roots @ roots.mT, Gaussian(on), weights=column(0.5, 0.2, 0.3), labels=torch.tensor([0, 1, 1]))


@dataclass(frozen=True)
class Anisotropic:
    """One Gaussian with known axes, and the closed form of everything that happens to it."""

    mean: Tensor
    axes: Tensor
    spread: Tensor

    @classmethod
    def make(cls) -> "Anisotropic":
        axes, _ = torch.linalg.qr(torch.tensor([[1.0, 2.0, 0.5], [0.3, -1.0, 1.5], [2.0, 0.1, 0.4]], dtype=F64))
        return cls(column(0.7, -0.4, 1.1), axes, column(2.0, 0.3, 0.05))

    @property
    def covariance(self) -> Tensor:
        return self.axes * self.spread @ self.axes.mT

    def denoiser(self, on: schedule.Schedule) -> Mixture:
        return Mixture.gaussian(self.mean, self.covariance, Gaussian(on))

    def flow(self, x: Tensor, on: schedule.Schedule, t: Tensor, s: Tensor) -> Tensor:
        """The probability-flow ODE's solution: along each axis x - alpha mu is scaled as its own deviation is."""
        before = torch.sqrt(on.alpha(t) ** 2 * self.spread + on.sigma(t) ** 2)
        after = torch.sqrt(on.alpha(s) ** 2 * self.spread + on.sigma(s) ** 2)
        return on.alpha(s) * self.mean + (x - on.alpha(t) * self.mean) @ self.axes * (after / before) @ self.axes.mT


class Silent(RowSeeds):
    """Rows that draw zeros: what is left of a stochastic sampler when its noise is nought."""

    def normal(self, shape: Any, dtype: torch.dtype = torch.float32, device: Any = "cpu") -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)

    def advance(self) -> RowSeeds:
        return type(self)(self.seeds, self.draws + 1)

    def __getitem__(self, rows: Any) -> RowSeeds:
        return type(self)(self.seeds[rows], self.draws[rows])


class Probe(Silent):
    """Row i draws zeros, but for its draw number seeds[i] // 100, which is unit vector seeds[i] % 100."""

    def normal(self, shape: Any, dtype: torch.dtype = torch.float32, device: Any = "cpu") -> Tensor:
        out = torch.zeros(tuple(shape), dtype=dtype)
        now = (self.seeds // 100 == self.draws).nonzero()[:, 0]
        out[now, self.seeds[now] % 100] = 1
        return out.to(device)


class Fast(Silent):
    """One generator for the whole batch: for statistics over many rows, which `Rows` draws one by one."""

    def normal(self, shape: Any, dtype: torch.dtype = torch.float32, device: Any = "cpu") -> Tensor:
        seed = int(self.seeds[0]) * 100_003 + int(self.draws[0])
        return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=dtype).to(device)

    @classmethod
    def many(cls, rows: int, seed: int = 0) -> "Fast":
        return cls(torch.full((rows,), seed), torch.zeros(rows, dtype=torch.int64))


class Given:
    """A source of exactly this noise."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise

    def normal(self, shape: Any, dtype: torch.dtype = torch.float32, device: Any = "cpu") -> Tensor:
        assert tuple(shape) == tuple(self.noise.shape)
        return self.noise.to(dtype)

    def uniform(self, shape: Any, dtype: torch.dtype = torch.float32, device: Any = "cpu") -> Tensor:
        raise AssertionError("only normal numbers were expected")

    def batch_position(self, rows: int) -> tuple[int, int]:
        return 0, rows


def run(
    sampler: Sampler, model: Any, x: Tensor, times: Tensor, rng: RowSeeds | None = None, condition: Any = None
) -> State:
    """The state at the last of `times`, from x at the first."""
    rng = Silent(torch.zeros(len(x), dtype=torch.int64), torch.zeros(len(x), dtype=torch.int64)) if rng is None else rng
    start = sampler.init(model, x, full(len(x), times[0]), rng, condition)
    return [start, *unmelt.sampler.walk(model, sampler, start, [t.expand(len(start)) for t in times[1:]])][-1]


def deterministic(sampler: Sampler) -> bool:
    """Whether the noise it is given makes no difference. One that fails here fails by name in its conformance tests."""
    model = ring(schedule.Straight())
    x, times = torch.ones(2, 2, dtype=F64), column(0.8, 0.5, 0.2)
    try:
        quiet, noisy = run(sampler, model, x, times), run(sampler, model, x, times, RowSeeds.of(1, 2))
    except Exception:
        return False
    return torch.equal(quiet.x, noisy.x)


DETERMINISTIC = [one for one in SAMPLERS if deterministic(one)]
STEPPED = [one for one in DETERMINISTIC if not isinstance(one, Adaptive | Tuned)]
STEPPED += [*map(Adams, (2, 4, 5)), *map(DEIS, (1, 2)), LMS(3), UniPC(2)]
"""Those whose error is that of the steps they are told to take."""


def takes_finer_times(sampler: Sampler) -> bool:
    """Whether it accepts times [rows, frames]; one that does not says so when it begins."""
    x, t = torch.zeros(1, 2, 2, dtype=F64), torch.full((1, 2), 0.5, dtype=F64)
    try:
        sampler.init(ring(schedule.Straight()), x, t, RowSeeds.of(0, 1))
    except UsageError:
        return False
    return True


FINER = [one for one in SAMPLERS if takes_finer_times(one)]
STOCHASTIC = [one for one in SAMPLERS if one not in DETERMINISTIC]


def stated_order(sampler: Sampler) -> int:
    """The order of convergence it claims: its own `order`, or the one in its docstring."""
    claimed = re.search(r"Order (\d)", type(sampler).__doc__ or "")
    order = getattr(sampler, "order", None) or (claimed and int(claimed[1]))
    assert order, f"{type(sampler).__name__} must say its order: an `order` setting, or 'Order n' in its docstring"
    return order


def usable(on: schedule.Schedule) -> list[prediction.Prediction]:
    """The predictions that a network may have on this schedule from t = 1 on."""
    pure = on.alpha(column(1.0)).item() == 0
    return [one for one in PREDICTIONS if not (one.needs_signal and pure)]


class Frames:
    """An exact denoiser of frames that are independent draws from a mixture, each at its own time."""

    def __init__(self, of: Mixture, frames: int) -> None:
        self.of, self.process, self.shape = of, of.process, (frames, *of.shape)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Point:
        times = t if t.ndim > 1 else t[:, None].expand(-1, self.shape[0])
        return Point(self.of(x_t.flatten(0, 1), times.flatten()).mean.view_as(x_t))


class Through:
    """An exact denoiser that speaks through a prediction, as a perfectly trained network would."""

    def __init__(self, exact: Mixture, by: prediction.Prediction) -> None:
        self.exact, self.by, self.process, self.shape = exact, by, exact.process, exact.shape

    def __call__(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Any:
        said = self.by.output(self.exact(x_t, t, condition).mean, x_t, t, self.process)
        return Point(self.by.mean(said, x_t, t, self.process))


def levels(on: schedule.Schedule, count: int, widest: float = 10.0) -> Tensor:
    """Times at noise-to-signal ratios spread geometrically over e^-widest .. e^widest, as far as the schedule goes."""
    last = (-on.log_snr(column(1.0)) / 2).item()
    ratio = torch.linspace(-widest, min(widest, last), count, dtype=F64)
    return on.time(-2 * ratio).clamp_max(1)


def slope(errors: Tensor, steps: Tensor) -> float:
    """Order of convergence: minus the slope of log error against log steps, over the finest half."""
    half = len(steps) // 2
    x, y = steps[half:].double().log(), errors[half:].log()
    x, y = x - x.mean(), y - y.mean()
    return -((x * y).sum() / (x * x).sum()).item()
