"""Features inside networks: which they are, in which order and shape, and a discriminator's heads on them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import unmelt as um
from unmelt.backbone import MLP, DiT, FrameTransformer, UNet
from unmelt.backbone.dit import from_patches
from unmelt.backbone.modulation import adaptive_norm
from unmelt.denoiser.features import feature_widths, with_features
from unmelt.distill.discriminator import Heads
from unmelt.posterior import Point

PROCESS = um.process.Gaussian(um.schedule.Straight())
NETWORKS = {
    "UNet": (lambda: UNet(channels=2, width=8, multipliers=(1, 2), blocks=1, attention=(False, True)), (2, 6, 5)),
    "DiT": (lambda: DiT(channels=2, size=(4, 6), width=12, depth=3, heads=2, classes=3), (2, 4, 6)),
    "MLP": (lambda: MLP(shape=(2, 3), width=10, depth=2), (2, 3)),
    "FrameTransformer": (lambda: FrameTransformer(frames=5, shape=(3,), width=12, depth=2, heads=2), (5, 3)),
}
PLACES = {"UNet": [30, 9, 9, 9, 30], "DiT": [6, 6, 6], "MLP": [1, 1], "FrameTransformer": [5, 5]}
WIDTHS = {"UNet": [8, 16, 16, 16, 8], "DiT": [12, 12, 12], "MLP": [10, 10], "FrameTransformer": [12, 12]}


def denoiser(name):
    make, shape = NETWORKS[name]
    with um.rng.seeded(0):
        network = make()
        with torch.no_grad():
            for each in network.parameters():
                each.add_(0.2 * torch.randn(each.shape))
    return um.denoiser.NetworkDenoiser(network.double(), PROCESS, um.prediction.V(), shape)


def inputs(name, rows=4):
    x = torch.randn(rows, *NETWORKS[name][1], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, torch.linspace(0.2, 0.9, rows, dtype=torch.float64), None


@pytest.mark.parametrize("name", NETWORKS)
def test_one_call_gives_the_belief_and_every_blocks_features(name):
    made, given, calls = denoiser(name), inputs(name), []
    made.backbone.register_forward_hook(lambda *_: calls.append(1))
    mean, features = with_features(made, *given)
    assert len(calls) == 1
    assert torch.equal(mean, made(*given).mean)
    assert [tuple(each.shape) for each in features] == [
        (4, places, width) for places, width in zip(PLACES[name], WIDTHS[name], strict=True)
    ]
    assert feature_widths(made) == WIDTHS[name]
    assert not any(module._forward_hooks for module in made.backbone.modules() if module is not made.backbone)
    alone = with_features(made, given[0][1:2], given[1][1:2], None).features  # rows do not mix
    for one, of_all in zip(alone, features, strict=True):
        torch.testing.assert_close(one, of_all[1:2], rtol=1e-9, atol=1e-9)


def test_the_last_blocks_features_are_what_the_output_is_made_of():
    """The rest of the network, written out: for a U-Net features are channels, for a transformer places of a grid."""
    made, (x, t, _) = denoiser("UNet"), inputs("UNet")
    network, output = made.backbone, []
    network.register_forward_hook(lambda *found: output.append(found[2]))
    last = with_features(made, x, t, None).features[-1].transpose(1, 2).view(4, 8, 6, 5)
    torch.testing.assert_close(network.out(F.silu(network.norm(last))), output[0])
    made, (x, t, _) = denoiser("DiT"), inputs("DiT")
    network, output, modulation = made.backbone, [], []
    network.register_forward_hook(lambda *found: output.append(found[2]))
    network.modulation.register_forward_hook(lambda *found: modulation.append(found[2]))
    last = with_features(made, x, t, None).features[-1]
    scale, shift = modulation[0].view(4, -1, 1, 12)[:, -2:].unbind(1)
    wanted = from_patches(network.out(adaptive_norm(last, scale, shift)), (4, 6), (2, 2))
    torch.testing.assert_close(wanted, output[0])


def test_gradients_reach_the_data_through_the_features():
    made, (x, t, _) = denoiser("DiT"), inputs("DiT")
    heads = Heads(feature_widths(made)).double()
    x.requires_grad_()
    (grad,) = torch.autograd.grad(heads(with_features(made, x, t, None).features).sum(), x)
    step = torch.randn_like(x) * 1e-6
    with torch.no_grad():
        ends = [heads(with_features(made, x + side * step, t, None).features).sum() for side in (1, -1)]
    torch.testing.assert_close((grad * step).sum() * 2, ends[0] - ends[1], rtol=1e-5, atol=0)


def test_a_logit_is_the_mean_over_blocks_and_places():
    heads = Heads([3, 5], hidden=4).double()
    draws = torch.Generator().manual_seed(0)
    one, two = (
        torch.randn(2, places, width, dtype=torch.float64, generator=draws) for places, width in ((7, 3), (2, 5))
    )

    def head(number, h):
        h = (h - h.mean()) / (h.var(unbiased=False) + 1e-5) ** 0.5
        return heads.out[number](F.silu(heads.into[number](h)))[0]

    def logit(row):
        means = [torch.stack([head(number, h) for h in each[row]]).mean() for number, each in enumerate((one, two))]
        return (means[0] + means[1]) / 2

    torch.testing.assert_close(heads([one, two]), torch.stack([logit(0), logit(1)]))


def test_a_network_that_does_not_say_where_its_features_are_is_refused():
    class Own(nn.Module):
        process, shape = PROCESS, (2,)

        def forward(self, x_t, t, condition=None):
            return Point(x_t)

    with pytest.raises(um.UsageError, match=r"features of a Own.*feature_modules.*feature_axis"):
        with_features(Own(), torch.zeros(1, 2), torch.zeros(1, dtype=torch.float64), None)
