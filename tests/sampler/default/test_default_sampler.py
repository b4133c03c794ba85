"""What is in stock: better than Adams' method where it was never taught, and exact beliefs to learn it from."""

import pytest
import torch
from conformance.subjects import F64, column, full, tilted, unchecked

from unmelt import process, schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.guidance import CFG
from unmelt.sampler import Adams, Tuned, adams_sampler, default_sampler, grid, learned_sampler
from unmelt.sampler.default import learned
from unmelt.sampler.default.choice import made
from unmelt.sampler.default.learn import learn
from unmelt.sampler.default.training_problems import COMPONENTS, DIM, TrainingProblems
from unmelt.sampler.tune import ends


def rms(x):
    return x.square().mean().sqrt().item()


def noise(on, rows, dim=2):
    generator = torch.Generator().manual_seed(5)
    return on.sigma(column(1.0)) * torch.randn(rows, dim, dtype=F64, generator=generator)


def test_few_steps_are_learned_and_many_are_adams():
    assert {2, 3, 4, 5, 6, 7, 8, 10, 12, 20} <= learned().keys()
    for steps in (1, 4, 20, 50):
        sampler, on_grid = learned_sampler(steps)
        assert on_grid.steps == steps
        assert isinstance(sampler, Tuned if steps in learned() else Adams)
        assert default_sampler(steps) == (learned_sampler if steps >= 10 else adams_sampler)(steps)
    assert adams_sampler(20) == (Adams(5), grid.balanced(20))


@pytest.mark.parametrize(("steps", "share"), [(5, 0.8), (10, 1.0), (20, 1.0)])
def test_better_on_a_problem_it_was_not_taught(plain_schedule, steps, share):
    """Three flat modes in the plane, of another shape than any in the population."""
    angle = 2 * torch.pi * torch.arange(3, dtype=F64) / 3
    model = Mixture.isotropic(
        torch.stack([angle.cos(), 0.3 * angle.sin()], 1), 0.2, process.Gaussian(plain_schedule), column(0.6, 0.3, 0.1)
    )
    x = noise(plain_schedule, 400)
    with unchecked():
        wanted = ends(model, *adams_sampler(128), x)
        plain, own = (rms(ends(model, *way(steps), x) - wanted) for way in (adams_sampler, learned_sampler))
    assert own < share * plain


def test_no_worse_under_guidance():
    on = schedule.Cosine()
    model, known, x = CFG(tilted(on), scale=2.0), Condition(label=torch.arange(400) % 2), noise(on, 400)
    with unchecked():
        wanted = ends(model, *adams_sampler(128), x, known)
        plain, own = (rms(ends(model, *way(5), x, known) - wanted) for way in (adams_sampler, learned_sampler))
    assert own < plain


def test_the_population_believes_what_a_mixture_does():
    """Every problem, plain and guided, beside the library's own exact denoiser."""
    many = TrainingProblems(20, 3, seed=4)
    t, x = full(60, 0.6), 0.7 * many.noise(1)
    with unchecked():
        beliefs = many(x, t).mean.view(20, 3, DIM)
    for number in (0, 1, 2, 7, 19):
        kept = many.used[number].bool()
        basis = many.basis[number].view(DIM, COMPONENTS, DIM).transpose(0, 1)
        spread = many.spread[number].view(COMPONENTS, DIM)
        covariances = ((basis * spread[:, None]) @ basis.mT)[:, kept][..., kept]

        def mixture(log_weights, of=number, covariances=covariances, kept=kept):
            return Mixture(many.means[of][:, kept], covariances, many.process, log_weights.exp())

        rows = x.view(20, 3, DIM)[number][:, kept]
        belief = mixture(many.log_weights[number])(rows, t[:3]).mean
        if number < len(many.scale):
            toward = mixture(many.log_toward[number])(rows, t[:3]).mean
            belief = belief.lerp(toward, many.scale[number].item())
        torch.testing.assert_close(beliefs[number][:, kept], belief)
        assert (beliefs[number][:, ~kept] == 0).all()


def test_learning_betters_what_it_starts_from(monkeypatch, tmp_path):
    """The whole of it on a few problems, and what is written is what was learned, but for rounding."""
    from unmelt.sampler.default import learn as room

    for name, value in (
        ("MIXTURES", 20),
        ("ROWS", 8),
        ("PASSES", 1),
        ("ROUNDS", 4),
        ("LEARNED", tmp_path / "all.json"),
    ):
        monkeypatch.setattr(room, name, value)
    (tmp_path / "all.json").write_text("{}", encoding="utf-8")
    with unchecked():
        sampler, share = learn(3)
    assert share < 0.9
    room.store(sampler)
    found = made(room.json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))["3"])
    torch.testing.assert_close(column(*found.levels), column(*sampler.levels), rtol=0, atol=1e-6)
    assert found.steps == 3
