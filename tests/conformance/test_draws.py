"""No number is drawn twice: what a sampler reuses is no longer independent, and its law is not the one that is told."""

import pytest
import torch
from conformance.subjects import SAMPLERS, name, tilted, unchecked
from conformance.test_token_samplers import CASES, denoiser
from conformance.test_token_samplers import L as LENGTH
from sampler.flows import ExactFlowMap

from unmelt import schedule
from unmelt.likelihood import Hutchinson, bound, log_likelihood
from unmelt.rng import RowSeeds
from unmelt.sampler import (
    Ancestral,
    Churn,
    Euler,
    Jump,
    Langevin,
    PredictorCorrector,
    Restart,
    Tuned,
    edit,
    grid,
    trajectory,
)

WRAPPED = [
    Restart(Ancestral(), times=2),
    Churn(Ancestral(), amount=0.3),
    PredictorCorrector(Euler(), corrector_steps=2),
    PredictorCorrector(Churn(Restart(Langevin(walks=2)))),
]
EVERY = [one for one in [*SAMPLERS, *WRAPPED] if not isinstance(one, Tuned)]


@pytest.fixture
def drawn(monkeypatch):
    """Every draw that is made, as (seed of a row, number of its draw)."""
    found, draw = [], RowSeeds._draw

    def noted(self, *settings):
        found.extend(zip(self.seeds.tolist(), self.draws.tolist(), strict=True))
        return draw(self, *settings)

    monkeypatch.setattr(RowSeeds, "_draw", noted)
    return found


def check(drawn, rows):
    assert len(drawn) >= rows
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("sampler", EVERY, ids=name)
def test_samplers_of_numbers_draw_no_number_twice(drawn, sampler):
    on = schedule.Cosine()
    with unchecked():
        states = list(trajectory(tilted(on), rows=3, sampler=sampler, grid=grid.balanced(4), seed=2))
        check(drawn, 3)
        assert states[0].rng.draws.tolist() == [1] * 3  # the prior's
        drawn.clear()
        states = list(edit(tilted(on), torch.zeros(3, 2), strength=0.6, sampler=sampler, grid=grid.balanced(4)))
    check(drawn, 3)
    assert states[0].rng.draws.tolist() == [1] * 3


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_jumps_draw_no_number_twice(drawn, eta):
    with unchecked():
        list(trajectory(ExactFlowMap(schedule.Cosine()), rows=3, sampler=Jump(eta), grid=grid.balanced(4)))
    check(drawn, 3)


@pytest.mark.parametrize(
    ("process", "sampler"), CASES, ids=[f"{type(process).__name__}-{sampler}" for process, sampler in CASES]
)
def test_samplers_of_tokens_draw_no_number_twice(drawn, process, sampler):
    model = denoiser(process, sampler)
    with unchecked():
        list(trajectory(model, rows=3, sampler=sampler, grid=grid.uniform(4), seed=2))
        check(drawn, 3)
        drawn.clear()
        list(
            edit(model, torch.zeros(3, LENGTH, dtype=torch.int64), strength=0.6, sampler=sampler, grid=grid.uniform(4))
        )
    check(drawn, 3)


def test_likelihoods_draw_no_number_twice(drawn):
    model, x0 = tilted(schedule.Cosine()), torch.zeros(3, 2, dtype=torch.float64)
    bound(model, x0, RowSeeds.of(0, 3), strata=4)
    check(drawn, 3)
    drawn.clear()
    log_likelihood(model, x0, divergence=Hutchinson(RowSeeds.of(0, 3), 2))
    check(drawn, 3)
