import math

import pytest
import torch
from conformance.subjects import F64, column
from kinds import Counted, batch, classes

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.guidance import CFG, Composition
from unmelt.process import Gaussian

COS = schedule.Cosine()


def label(number):
    return Condition(label=torch.tensor([number]))


class TwoFacts:
    """Four Gaussians at (+-1, +-0.7). Labels 0 and 1 give the side on the first axis, 2 and 3 that on the second."""

    def __init__(self, on):
        self.means = torch.tensor([[-1.0, -0.7], [-1.0, 0.7], [1.0, -0.7], [1.0, 0.7]], dtype=F64)
        covariance = torch.diag(column(0.3, 0.5))
        self.process, self.shape, self.covariance = Gaussian(on), (2,), covariance
        each = covariance.expand(4, 2, 2)
        self.first = Mixture(self.means, each, self.process, labels=torch.tensor([0, 0, 1, 1]))
        self.second = Mixture(self.means, each, self.process, labels=torch.tensor([2, 3, 2, 3]))

    def __call__(self, x_t, t, condition=None):
        which = self.first if condition is None or condition.label[0] < 2 else self.second
        return which(x_t, t, condition)


def test_two_independent_conditions_give_their_exact_conjunction(any_schedule):
    """Both sides determine one Gaussian, and scale 1 is Bayes' rule."""
    model, x, t = TwoFacts(any_schedule), batch()[0][:, :2], batch()[1]
    composed = Composition(model, [label(1), label(2)], [1.0, 1.0])(x, t).mean
    alone = Mixture.gaussian(model.means[2], model.covariance, model.process)(x, t).mean
    torch.testing.assert_close(composed, alone, rtol=1e-9, atol=1e-10)
    own = Composition(model, [label(2)], [1.0])(x, t, Condition(label=torch.ones(40, dtype=torch.int64))).mean
    torch.testing.assert_close(own, alone, rtol=1e-9, atol=1e-10)


def test_a_negative_scale_moves_to_the_other_side(any_schedule):
    """Halfway between two equally likely sides, "left" at -1 has the effect of "right" at 1."""
    model, t = TwoFacts(any_schedule), torch.linspace(0.1, 0.9, 20, dtype=F64)
    x = torch.zeros(20, 2, dtype=F64)  # halfway, where both differences are equal and opposite
    avoided, sought = (Composition(model, [label(a)], [b])(x, t).mean for a, b in ((0, -1.0), (1, 1.0)))
    torch.testing.assert_close(avoided, sought, rtol=1e-10, atol=1e-11)


def test_scores_of_the_conditions_add_up(any_schedule):
    model, (x, t, condition) = classes(any_schedule), batch()
    x, t, condition = x[1:-1], t[1:-1], condition[1:-1]
    scales, repeat = (1.5, -0.4), torch.zeros(38, dtype=torch.int64)
    null = model.score(x, t)
    score = model.score(x, t, condition)
    for number, scale in enumerate(scales):
        score = score + scale * (model.score(x, t, label(number)[repeat]) - null)
    alpha, sigma = (part[:, None] for part in model.process.level(t))
    belief = Composition(model, [label(0), label(1)], scales)(x, t, condition).mean
    torch.testing.assert_close(alpha * belief, x + sigma**2 * score, rtol=1e-9, atol=1e-10)


def test_one_condition_equals_classifier_free_guidance(any_schedule):
    (x, t, _), base = batch(), Counted(classes(any_schedule))
    condition = Condition(label=torch.ones(40, dtype=torch.int64))
    composed = Composition(base, [label(1)], [3.0])(x, t).mean
    torch.testing.assert_close(composed, CFG(base, 3.0)(x, t, condition).mean, rtol=1e-11, atol=1e-11)
    base.calls = 0
    assert torch.equal(Composition(base, [label(1)], [1.0])(x, t).mean, base.inner(x, t, condition).mean)
    assert base.calls == 1


@pytest.mark.parametrize(
    ("conditions", "scales", "says"),
    [
        ([], [], "0 conditions"),
        ([label(0)], [1.0, 2.0], "1 conditions with 2 scales"),
        ([label(0)], [math.nan], "guidance scale"),
        ([Condition(label=torch.tensor([0, 1]))], [1.0], "2 rows"),
    ],
)
def test_conditions_without_one_finite_scale_each_are_refused(conditions, scales, says):
    with pytest.raises(UsageError, match=says):
        Composition(classes(COS), conditions, scales)
