"""Bounds and bridges in float32, as they are trained and sampled in, against float64 at a large vocabulary."""

import pytest
import torch

from unmelt.denoiser import TokenDenoiser
from unmelt.objective import NELBO
from unmelt.objective.nelbo import mask_rate, rate, uniform_rate
from unmelt.posterior import Categorical
from unmelt.process import Blend, Mask, Uniform
from unmelt.rng import Stream

VOCABULARY, ROWS, LENGTH = 50257, 2, 3
TIMES = [1e-6, 1e-4, 0.01, 0.5, 0.99, 1 - 1e-7]


def belief(process, x_t, t, scale=2.0):
    """What a network believes that has learned little: random logits, and the evidence of each token for itself."""
    logits = scale * torch.randn(ROWS, LENGTH, VOCABULARY, generator=torch.Generator().manual_seed(0))
    return TokenDenoiser(torch.nn.Identity(), process, (LENGTH,))._with_evidence(logits, x_t, t, ...).logits


def tokens():
    return torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))


def values_and_gradients(each, process, x_t, x0, logits, t):
    found = []
    for precision in (torch.float32, torch.float64):
        z = logits.to(precision).requires_grad_()
        value = each(process, x_t, x0, Categorical(z), t)
        found.append((value.detach().double(), torch.autograd.grad(value.sum(), z)[0].double()))
    return found


def off(found, expected):
    """Relative errors: the largest of the values, and that of the gradient as a whole."""
    return (found[0] / expected[0] - 1).abs().max(), (found[1] - expected[1]).norm() / expected[1].norm()


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("scale", [2.0, 6.0])
def test_the_bound_of_uniform_noise_is_right_in_float32_where_the_token_is_the_right_one(time, scale):
    process, x, t = Uniform(VOCABULARY), tokens(), torch.full((ROWS,), time, dtype=torch.float64)
    single, double = values_and_gradients(uniform_rate, process, x, x, belief(process, x, t, scale), t)
    value, gradient = off(single, double)
    assert value < 1e-5
    assert gradient < 1e-4 or scale > 2  # where x is believed impossible, the gradient is almost 0
    general, _ = values_and_gradients(rate, process, x, x, belief(process, x, t, scale), t)[1]
    torch.testing.assert_close(double[0], general, rtol=1e-9, atol=0)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("lead", [0.0, 10.0, 25.0])
def test_the_bound_of_uniform_noise_is_right_in_float32_where_the_token_is_another(time, lead):
    """`lead` is how sure the network is of the right one, in nats: little, or almost all that is possible."""
    process, x_t, t = Uniform(VOCABULARY), tokens(), torch.full((ROWS,), time, dtype=torch.float64)
    x0 = (x_t + 7) % VOCABULARY
    logits = belief(process, x_t, t)
    logits = logits.scatter_add(-1, x0[..., None], torch.full((ROWS, LENGTH, 1), lead))
    single, double = values_and_gradients(uniform_rate, process, x_t, x0, logits, t)
    value, gradient = off(single, double)
    assert value < 1e-5
    assert gradient < (1e-4 if lead < 25 else 0.05)  # of an almost perfect belief the gradient is almost 0
    if lead < 25:
        general, _ = values_and_gradients(rate, process, x_t, x0, logits, t)[1]
        torch.testing.assert_close(double[0], general, rtol=1e-6, atol=0)


@pytest.mark.parametrize("time", TIMES)
def test_the_bounds_of_masks_and_of_blends_are_right_in_float32(time):
    t, x0 = torch.full((ROWS,), time, dtype=torch.float64), tokens()
    masks, blend = Mask(VOCABULARY), Blend(VOCABULARY)
    masked = torch.full_like(x0, VOCABULARY)
    assert max(off(*values_and_gradients(mask_rate, masks, masked, x0, belief(masks, masked, t), t))) < 1e-5
    for x_t in (masked, x0, (x0 + 7) % VOCABULARY):
        assert max(off(*values_and_gradients(rate, blend, x_t, x0, belief(blend, x_t, t), t))) < 1e-4


def test_the_gradient_of_the_bound_is_that_of_its_values():
    process, t = Uniform(5), torch.tensor([0.3, 0.7], dtype=torch.float64)
    x_t, x0 = torch.tensor([[0, 1, 2, 4], [3, 3, 1, 0]]), torch.tensor([[0, 1, 3, 0], [3, 2, 1, 4]])
    logits = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: uniform_rate(process, x_t, x0, Categorical(z), t), logits)


def test_the_bound_of_a_certain_belief_is_finite():
    process, t = Uniform(5), torch.tensor([0.3], dtype=torch.float64)
    x = torch.tensor([[0, 1, 2]])
    certain = torch.nn.functional.one_hot(x, 5).float().log()
    assert uniform_rate(process, x, x, Categorical(certain), t).abs().max() < 1e-6
    assert uniform_rate(process, x, (x + 1) % 5, Categorical(certain), t).min() > 1


def test_training_on_uniform_noise_has_the_same_loss_in_both_precisions():
    process, x0 = Uniform(VOCABULARY), tokens()
    scores = torch.randn(LENGTH, VOCABULARY, generator=torch.Generator().manual_seed(4))

    def loss(precision):
        backbone = lambda x, t, condition=None: scores.to(precision).expand(len(x), -1, -1)  # noqa: E731
        denoiser = TokenDenoiser(torch.nn.Identity(), process, (LENGTH,))

        class Denoiser:
            shape = (LENGTH,)

            def __init__(self):
                self.process = process

            def __call__(self, x_t, t, condition=None):
                return denoiser._with_evidence(backbone(x_t, t), x_t, t, ...)

        return NELBO()(Denoiser(), x0, None, Stream(0)).double()

    torch.testing.assert_close(loss(torch.float32), loss(torch.float64), rtol=1e-5, atol=0)


class Quantiles:
    """A source of randomness whose draws are given."""

    def __init__(self, u):
        self.u = u

    def uniform(self, shape, dtype=None, device=None):
        return self.u.expand(shape)

    def normal(self, shape, dtype=None, device=None):
        raise NotImplementedError

    def batch_position(self, rows):
        return 0, rows


@pytest.mark.parametrize("process", [Uniform(VOCABULARY), Blend(VOCABULARY)], ids=["uniform", "blend"])
@pytest.mark.parametrize("time", [0.01, 0.5])
def test_tokens_that_are_almost_sure_change_at_the_rate_of_the_law_in_float32(process, time):
    """What is left to all other tokens is 1e-7 and less, which float32 cannot tell from 0 beside 1."""
    t = torch.full((ROWS,), time, dtype=torch.float64)
    x_t = tokens()
    logits = belief(process, x_t, t)
    law = process.law(x_t, Categorical(logits.double()), t, t / 2)
    changes = law.scatter(-1, x_t[..., None], 0.0).sum(-1)
    for share, moved in ((1 - 1e-5, True), (1 + 1e-5, False)):
        u = torch.stack([changes * share, torch.full_like(changes, 0.5)], -1)
        x_s = process.bridge(x_t, Categorical(logits), t, t / 2, Quantiles(u))
        assert ((x_s != x_t) == moved).all()
