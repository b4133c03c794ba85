"""Mending what was written in one step: how near the truth, at the same number of evaluations; exactly, by enumeration.

    python bench/corrector.py --save

Three tokens in four places under a random law, its exact posterior as the denoiser, linear schedule. The law of
what comes out is summed over all states at every step, so that nothing in the table is a draw: every row says how far
it is in total variation from the truth. A mended step costs one evaluation more for each time that it is mended; the
step to t = 0 cannot be.
"""

import itertools
import time

import timing
import torch
from torch import Tensor

from unmelt.denoiser import Table
from unmelt.process import Blend, Mask, Uniform

V, L = 3, 4
LAWS = range(5)
EVALUATIONS = (3, 5, 9, 17, 33)
SHORT = 0.05
"""Where the last step begins, if not on an even grid: it cannot be mended, and so should be short."""

WAYS = {
    "ancestral, even steps": (0, 0.0, None),
    "ancestral, the last step short": (0, 0.0, SHORT),
    "mended once, 1/4": (1, 0.25, SHORT),
    "mended once, 1/2": (1, 0.5, SHORT),
    "mended 3 times, 1/2": (3, 0.5, SHORT),
}
"""Times that a step is mended, how far it melts for that as a share of it, and where the last one begins."""
COLUMNS = [("library", "process", ""), ("way", "way", ""), *((str(n), f"{n} evaluations", ".4f") for n in EVALUATIONS)]


class Walk:
    """The law of x at a time, moved by steps and by melting."""

    def __init__(self, table: Table) -> None:
        self.table, self.process = table, table.process
        self.every = torch.cartesian_prod(*[torch.arange(self.process.symbols)] * L)
        self.now = torch.stack([self.process.limit[self.every[:, k]] for k in range(L)]).prod(0)

    def step(self, t: float, s: float) -> None:
        """Through the bridge, each place by the belief as if independent."""
        there = self.now > 0
        part = self.every[there]
        one, other = (torch.full((len(part),), each, dtype=torch.float64) for each in (t, s))
        self._moved(there, self.process.law(part, self.table(part, one), one, other))

    def renoise(self, s: float, u: float) -> None:
        """Forward again, by the process itself."""
        alpha_s, alpha_u = (self.process.schedule.alpha(torch.tensor([each], dtype=torch.float64)) for each in (s, u))
        kept, there = (alpha_u / alpha_s).item(), self.now > 0
        here = torch.nn.functional.one_hot(self.every[there], self.process.symbols).double()
        self._moved(there, kept * here + (1 - kept) * self.process.limit)

    def _moved(self, there: Tensor, each: Tensor) -> None:
        chance = torch.ones(int(there.sum()), len(self.every), dtype=torch.float64)
        for k in range(L):
            chance *= each[:, k, self.every[:, k]]
        self.now = self.now[there] @ chance

    @property
    def far(self) -> float:
        """Total variation from the truth."""
        found = torch.zeros([self.process.symbols] * L, dtype=torch.float64)
        found[tuple(self.every.unbind(1))] = self.now
        true = torch.zeros_like(found)
        true[tuple(slice(V) for _ in range(L))] = self.table.law
        return (found - true).abs().sum().item() / 2


def distance(table: Table, evaluations: int, times: int, size: float, last: float | None) -> float | None:
    """None where so many evaluations do not divide into steps."""
    steps, rest = divmod(evaluations - 1, 1 + times)
    if rest or not steps:
        return None
    walk, knots = Walk(table), torch.linspace(1, 0, steps + 2).tolist()
    if last is not None:
        knots = [*torch.linspace(1, last, steps + 1).tolist(), 0.0]
    for t, s in itertools.pairwise(knots):
        walk.step(t, s)
        for _ in range(times if s > 0 else 0):
            u = s + size * (t - s)
            walk.renoise(s, u)
            walk.step(u, s)
    return walk.far


def main() -> None:
    options, start = timing.arguments(__doc__, 1), time.perf_counter()
    report = timing.Report(
        "corrector", "Mending for tokens: total variation from the truth, mean of five laws", COLUMNS
    )
    for process in (Uniform(V), Mask(V), Blend(V, masks=0.6)):
        for way, how in WAYS.items():
            row: dict[str, object] = {"library": type(process).__name__, "way": way}
            for n in EVALUATIONS:
                laws = [torch.rand([V] * L, dtype=torch.float64, generator=seeded(k)) ** 4 for k in LAWS]
                found = [distance(Table(law, process), n, *how) for law in laws]
                known = [each for each in found if each is not None]
                row[str(n)] = sum(known) / len(known) if known else None
            report.rows.append(row)
    timing.publish(report, options, time.perf_counter() - start)


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


if __name__ == "__main__":
    main()
