import math

import pytest
import torch
from conformance.subjects import F64, tilted
from kinds import batch, classes

from unmelt import schedule
from unmelt.errors import UsageError
from unmelt.guidance import APG, CFG

COS, SCALE = schedule.Cosine(), 4.0


def parts(on, **settings):
    """The conditional belief, the plain difference, and what APG adds to the belief divided by scale - 1."""
    model, (x, t, condition) = classes(on), batch()
    belief, null = model(x, t, condition).mean, model(x, t, condition.null()).mean
    added = (APG(model, SCALE, **settings)(x, t, condition).mean - belief) / (SCALE - 1)
    return belief, belief - null, added


def dot(a, b):
    return (a * b).sum(1)


def test_eta_1_without_a_limit_equals_classifier_free_guidance(any_schedule):
    model, (x, t, condition) = classes(any_schedule), batch()
    plain = CFG(model, SCALE)(x, t, condition).mean
    torch.testing.assert_close(APG(model, SCALE, eta=1.0)(x, t, condition).mean, plain, rtol=1e-12, atol=1e-12)


def test_with_eta_0_only_the_orthogonal_part_is_added(any_schedule):
    belief, difference, added = parts(any_schedule)
    cosine = dot(added, belief) / (added.norm(dim=1) * belief.norm(dim=1)).clamp_min(1e-30)
    assert cosine[added.norm(dim=1) > 1e-6].abs().max() < 1e-9
    assert (added.norm(dim=1) <= difference.norm(dim=1) + 1e-12).all()
    # The part removed is parallel to the belief.
    removed = difference - added
    torch.testing.assert_close(
        dot(removed, belief).abs(), removed.norm(dim=1) * belief.norm(dim=1), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("eta", [-0.5, 0.3, 1.0])
def test_a_share_eta_of_the_parallel_part_is_added(any_schedule, eta):
    belief, difference, added = parts(any_schedule, eta=eta)
    torch.testing.assert_close(dot(added, belief), eta * dot(difference, belief), rtol=1e-9, atol=1e-12)


def test_the_difference_is_no_longer_than_the_limit(any_schedule):
    _, difference, added = parts(any_schedule, eta=1.0, limit=0.5)
    size = difference.norm(dim=1)
    torch.testing.assert_close(added.norm(dim=1), size.clamp_max(0.5), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(added * size[:, None], difference * added.norm(dim=1)[:, None], rtol=1e-9, atol=1e-12)
    assert (size > 0.5).any()
    assert (size < 0.5).any()


def test_a_belief_of_zero_gives_finite_results():
    x, t, condition = batch(5)
    inner = classes(COS)

    class Zero:
        process, shape = inner.process, (3,)

        def __call__(self, x_t, t, condition=None):
            belief = inner(x_t, t, condition)
            return belief if condition is None or condition.given else type(belief)(torch.zeros_like(x_t))

    assert torch.isfinite(APG(Zero(), SCALE, limit=1.0)(x, t, condition).mean).all()


@pytest.mark.parametrize("settings", [{"eta": math.nan}, {"limit": 0.0}, {"limit": math.nan}, {"limit": -1.0}])
def test_eta_that_is_not_finite_and_limits_that_are_not_positive_are_refused(settings):
    with pytest.raises(UsageError, match="APG"):
        APG(tilted(COS), 2.0, **settings)


def test_float32_rows_give_the_float64_belief_rounded():
    x, t, condition = batch(dtype=torch.float32)
    single = APG(classes(COS), SCALE, limit=0.5)(x, t, condition).mean
    double = APG(classes(COS), SCALE, limit=0.5)(x.to(F64), t, condition).mean
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-5)
