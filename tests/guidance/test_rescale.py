import pytest
import torch
from conformance.subjects import F64
from kinds import Counted, batch, classes

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.guidance import APG, CFG, Rescale
from unmelt.process import Gaussian

COS = schedule.Cosine()


def deviation(x):
    return (x - x.mean(1, keepdim=True)).square().mean(1).sqrt()


def test_share_1_restores_the_standard_deviation_and_share_0_changes_nothing(any_schedule):
    model, (x, t, condition) = classes(any_schedule), batch()
    plain, guided = model(x, t, condition).mean, CFG(model, 4.0)(x, t, condition).mean
    restored = Rescale(CFG(model, 4.0), share=1.0)(x, t, condition).mean
    torch.testing.assert_close(deviation(restored), deviation(plain), rtol=1e-9, atol=1e-10)
    assert torch.equal(Rescale(CFG(model, 4.0), share=0.0)(x, t, condition).mean, guided)
    wanted = 0.7 * guided * (deviation(plain) / deviation(guided))[:, None] + 0.3 * guided
    torch.testing.assert_close(Rescale(CFG(model, 4.0))(x, t, condition).mean, wanted, rtol=1e-10, atol=1e-11)


def test_rescale_makes_no_further_network_calls():
    (x, t, condition), base = batch(), Counted(classes(COS))
    Rescale(APG(base, 4.0))(x, t, condition)
    assert base.calls == 2


def test_rows_of_one_number_are_left_as_they_are():
    means = torch.tensor([[1.0], [-1.0]], dtype=F64)
    model, x = CFG(Mixture.isotropic(means, 0.3, Gaussian(COS)), 3.0), torch.randn(5, 1, dtype=F64)
    t, condition = torch.linspace(0, 1, 5, dtype=F64), Condition(label=torch.zeros(5, dtype=torch.int64))
    assert torch.equal(Rescale(model)(x, t, condition).mean, model(x, t, condition).mean)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_outside_0_to_1_are_refused(share):
    with pytest.raises(UsageError, match="share"):
        Rescale(CFG(classes(COS), 2.0), share)


def test_the_deviation_of_an_image_is_that_of_all_its_numbers():
    """Over channels and places together: channels of different contrast keep their ratio."""
    shape, generator = (3, 4, 4), torch.Generator().manual_seed(0)
    means = torch.randn(2, *shape, dtype=F64, generator=generator) * torch.tensor([0.2, 1.0, 5.0]).view(3, 1, 1)
    guided = CFG(Mixture.isotropic(means, 0.3, Gaussian(COS)), 4.0)
    x, t = torch.randn(5, *shape, dtype=F64, generator=generator), torch.linspace(0.1, 0.9, 5, dtype=F64)
    condition = Condition(label=torch.tensor([0, 1, 0, 1, 0]))
    plain, strong = (belief.mean for belief in guided.beliefs(x, t, condition))
    ratio = (deviation(plain.flatten(1)) / deviation(strong.flatten(1))).view(5, 1, 1, 1)
    found = Rescale(guided, share=0.6)(x, t, condition).mean
    torch.testing.assert_close(found, strong * (0.4 + 0.6 * ratio), rtol=1e-10, atol=1e-11)
