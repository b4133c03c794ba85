import pytest
import torch
from conformance.subjects import F64, levels
from kinds import Counted, batch, classes

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.guidance import CFG, Classifier
from unmelt.rng import Stream
from unmelt.sampler import DPMpp, grid, sample

COS = schedule.Cosine()


def rows(on, count=40):
    """Noisy data at every noise level."""
    t = levels(on, count, widest=5.0)
    x, _ = classes(on).process.corrupt(batch(count)[0], t, Stream(1))
    return x, t, Condition(label=torch.arange(count) % 2)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 8.0])
def test_an_exact_classifier_gives_classifier_free_guidance(any_schedule, scale):
    """At the same scale, by Bayes' rule."""
    (x, t, condition), base = rows(any_schedule), Counted(classes(any_schedule))
    free = CFG(base, scale)(x, t, condition).mean
    torch.testing.assert_close(
        Classifier(base, base.log_probability, scale)(x, t, condition).mean, free, rtol=1e-8, atol=1e-8
    )


def test_scale_2_around_an_unconditional_denoiser_is_bayes_rule(any_schedule):
    (x, t, condition), base = rows(any_schedule), Counted(classes(any_schedule))

    class Unconditional:
        process, shape = base.process, base.shape

        def __call__(self, x_t, t, condition=None):
            return base(x_t, t)

    conditional = base(x, t, condition).mean
    bayes = Classifier(Unconditional(), base.log_probability, 2.0)(x, t, condition).mean
    torch.testing.assert_close(bayes, conditional, rtol=1e-8, atol=1e-8)


def test_samples_equal_those_of_classifier_free_guidance(any_schedule):
    """Except for the first step where it starts from pure noise: there the classifier's gradient is 0."""
    base = Counted(classes(any_schedule))
    settings = {"rows": 4, "label": 1, "sampler": DPMpp(2), "grid": grid.karras(30), "seed": 0, "dtype": F64}
    free = sample(CFG(base, 2.0), **settings)
    by_classifier = sample(Classifier(base, base.log_probability, 2.0), **settings)
    pure = any_schedule.alpha(torch.ones(1, dtype=F64)).item() == 0
    torch.testing.assert_close(by_classifier, free, rtol=0, atol=0.05 if pure else 1e-6)


def test_the_jacobian_is_that_of_classifier_free_guidance():
    """It contains the second derivative of log p; without gradients no graph is kept."""
    base = Counted(classes(COS))
    x, t, condition = rows(COS, 5)
    weights = torch.randn(5, 3, dtype=F64)

    def pulled_back(guided):
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad((guided(leaf, t, condition).mean * weights).sum(), leaf)[0]

    torch.testing.assert_close(
        pulled_back(Classifier(base, base.log_probability, 3.0)), pulled_back(CFG(base, 3.0)), rtol=1e-7, atol=1e-7
    )
    with torch.no_grad():
        assert not Classifier(base, base.log_probability, 3.0)(x, t, condition).mean.requires_grad


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda x, t, condition: x.sum(), r"gave \[\] for 4 rows"),
        (lambda x, t, condition: x, r"gave \[4, 3\] for 4 rows"),
        (lambda x, t, condition: x.sum(1, keepdim=True), r"gave \[4, 1\] for 4 rows"),
        (lambda x, t, condition: x.sum(1).detach(), "no gradient"),
    ],
)
def test_classifiers_without_one_differentiable_number_per_row_are_refused(wrong, says):
    x, t, condition = batch(4)
    with pytest.raises(UsageError, match=says):
        Classifier(classes(COS), wrong, 2.0)(x, t, condition)
