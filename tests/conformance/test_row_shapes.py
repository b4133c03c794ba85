"""A row is all of its numbers: images are sampled, guided, judged and learned from as vectors of the same numbers."""

import pytest
import torch
from conformance.subjects import F64, SAMPLERS, Tuned, column, name, public, unchecked

from unmelt import guidance, schedule
from unmelt.condition import Condition
from unmelt.denoiser import GaussianMixtureDenoiser, Mixture
from unmelt.guidance import Guidance, Rescale
from unmelt.inverse import DPS, MMPS, Matrix, PiGDM
from unmelt.likelihood import Hutchinson, bound, log_likelihood
from unmelt.metric import energy_distance, nearest_neighbour, sliced_wasserstein
from unmelt.objective import OptimalTransport, Regression
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds, Stream
from unmelt.sampler import Churn, PredictorCorrector, Restart, grid, sample

SHAPE, DIM, ROWS = (3, 2, 2), 12, 6
ON = schedule.Cosine()
GENERATOR = torch.Generator().manual_seed(0)
MEANS = torch.randn(2, DIM, dtype=F64, generator=GENERATOR) * torch.linspace(0.2, 3, DIM, dtype=F64)
ROOT = torch.randn(DIM, DIM, dtype=F64, generator=GENERATOR) / 4
X = torch.randn(ROWS, DIM, dtype=F64, generator=GENERATOR)
T, LABEL = column(0.05, 0.3, 0.5, 0.7, 0.9, 1.0), Condition(label=torch.tensor([0, 1, 0, 1, 1, 0]))


def mixture(shape):
    return Mixture(MEANS.view(2, *shape), (ROOT @ ROOT.T).expand(2, DIM, DIM), Gaussian(ON))


def both(make):
    """What is made of images, flattened, and of vectors."""
    with unchecked():
        return (make(shape, X.view(ROWS, *shape)).flatten(1) for shape in (SHAPE, (DIM,)))


def same(make):
    torch.testing.assert_close(*both(make), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("sampler", [*SAMPLERS, Churn(), Restart(), PredictorCorrector()], ids=name)
def test_samplers(sampler):
    if isinstance(sampler, Tuned):
        pytest.skip("it is made for times of its own")
    settings = {"rows": 3, "label": 1, "sampler": sampler, "grid": grid.balanced(4), "seed": 5, "dtype": F64}
    same(lambda shape, x: sample(mixture(shape), **settings))


def log_probability(x, t, condition):
    model = mixture(x.shape[1:])
    return model.log_density(x, t, condition) - model.log_density(x, t)


KINDS = public(guidance, Guidance)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_guidance(kind):
    def guided(shape):
        extra = {
            "Autoguidance": {"worse": Mixture.isotropic(MEANS.view(2, *shape), 1.0, Gaussian(ON))},
            "ClassifierGuidance": {"log_probability": log_probability},
            "CFGpp": {"grid": grid.karras(4)},
            "APG": {"eta": 0.3, "limit": 0.5},
        }.get(kind.__name__, {})
        return kind(mixture(shape), scale=3.0, **extra)

    same(lambda shape, x: guided(shape)(x, T, LABEL).mean)
    same(lambda shape, x: Rescale(guided(shape))(x, T, LABEL).mean)
    plain, strong = both(lambda shape, x: (guided(shape) if shape == SHAPE else mixture(shape))(x, T, LABEL).mean)
    assert (plain - strong)[:-1].abs().max() > 1e-3


@pytest.mark.parametrize("kind", [DPS, PiGDM, MMPS], ids=lambda kind: kind.__name__)
def test_measurements(kind):
    operator, y = Matrix(ROOT[:4]), torch.randn(ROWS, 4, dtype=F64, generator=torch.Generator().manual_seed(1))
    same(lambda shape, x: kind(mixture(shape), operator, y, 0.2)(x, T).mean)


def test_likelihoods():
    def found(shape, x):
        model, rng = mixture(shape), RowSeeds.of(3, ROWS)
        estimates = [bound(model, x, rng, LABEL, strata=3), log_likelihood(model, x, LABEL, tolerance=0.05)]
        estimates.append(log_likelihood(model, x, LABEL, divergence=Hutchinson(rng, 3), tolerance=0.05))
        return torch.stack([each for estimate in estimates for each in estimate], 1)

    same(found)


def test_losses_and_couplings():
    same(lambda shape, x: Regression()(mixture(shape), x, LABEL, Stream(0))[:, None])
    same(lambda shape, x: Regression(coupling=OptimalTransport())(mixture(shape), x, None, Stream(0))[:, None])


def test_mixtures_that_are_fitted():
    def fitted(shape, x):
        base = GaussianMixtureDenoiser(Gaussian(ON), shape, classes=2, components=2).double()
        return base.fit(torch.cat([x, x + 1, 2 * x]), LABEL.label.repeat(3))(x, T, LABEL).mean

    same(fitted)


def test_distances():
    def found(shape, x):
        other = x.flip(0) * 1.5 + 0.1
        return torch.tensor(
            [
                energy_distance(x, other),
                sliced_wasserstein(x, other, Stream(0)),
                *nearest_neighbour(x, other).distance.tolist(),
            ]
        )[:, None]

    same(found)
