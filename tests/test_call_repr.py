"""One-line representations of networks."""

import pytest
import torch
from torch import nn

import unmelt as um
from unmelt.adapter import Adapter, LoRA
from unmelt.call_repr import LONGEST, CallRepr

GAUSSIAN = um.process.Gaussian(um.schedule.Cosine())
PREDICTION = um.denoiser.prediction.FlowVelocity()


def parameters(module: nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()):,} parameters"


def parts() -> list[nn.Module]:
    mlp = um.backbone.MLP(shape=(2,), width=8, depth=1)
    tokens, causal, blocks = (
        um.backbone.Transformer(input_vocabulary=4, vocabulary=3, length=6, width=16, depth=1, heads=2, block=block)
        for block in (None, 1, 2)
    )
    mask = um.process.Mask(3)
    mixture = um.denoiser.GaussianMixtureDenoiser(GAUSSIAN, (2,))
    return [
        mlp,
        um.backbone.UNet(channels=1, width=8, multipliers=(1, 2), attention=(False, True)),
        um.backbone.DiT(channels=1, size=(8, 8), patch=4, width=16, depth=1, heads=2),
        um.backbone.FrameTransformer(frames=4, shape=(2,), width=16, depth=1, heads=2),
        tokens,
        um.denoiser.NetworkDenoiser(mlp, GAUSSIAN, PREDICTION, (2,)),
        um.denoiser.FlowMap(
            um.backbone.MLP(shape=(2,), width=8, depth=1, with_arrival=True), GAUSSIAN, PREDICTION, (2,)
        ),
        mixture,
        um.denoiser.ResidualDenoiser(mlp, mixture),
        um.denoiser.TokenDenoiser(tokens, mask, (6,)),
        um.denoiser.Autoregressive(causal, mask, (6,)),
        um.denoiser.Blockwise(blocks, mask, (6,)),
        Adapter(mlp, LoRA(rank=2)),
    ]


@pytest.mark.parametrize("part", parts(), ids=lambda part: type(part).__name__)
def test_every_network_is_shown_as_one_line_with_its_parameters(part):
    line = repr(part)
    assert "\n" not in line
    assert len(line) <= LONGEST
    assert line.startswith(f"{type(part).__name__}(")
    assert line.endswith(f"{parameters(part)})")


def test_every_network_that_run_folders_can_name_is_shown_as_a_call():
    named = [um.config.part(name) for name in um.config.part_names()]
    networks = [cls for cls in named if issubclass(cls, nn.Module) and cls.__module__.startswith("unmelt.")]
    assert len(networks) >= 12
    assert [cls.__name__ for cls in networks if not issubclass(cls, CallRepr)] == []


def test_the_call_makes_the_same_network_again():
    made = um.backbone.UNet(channels=1, width=8, multipliers=(1, 2), attention=(False, True))
    call = repr(made).split(";")[0] + ")"
    again = eval(call, {"UNet": um.backbone.UNet})
    assert um.config.describe(again) == um.config.describe(made)


class Nested(CallRepr, nn.Module):
    def __init__(self, inner, names=(), count=3, scale=1.0, missing=None):
        super().__init__()
        self.inner, self.names, self.count, self.scale = inner, names, count, scale


def test_defaults_are_left_out_and_an_argument_that_is_not_kept_is_an_ellipsis():
    assert repr(Nested(nn.Linear(2, 3))) == "Nested(inner=Linear(...), ...; 9 parameters)"
    assert repr(Nested(1, count=4)) == "Nested(inner=1, count=4, ...; 0 parameters)"


def test_a_long_line_loses_its_last_arguments_and_long_values():
    long = repr(Nested("a" * 30, names=tuple("abcdefg"), count=10**30, scale=1.0 / 3))
    assert long == f"Nested(inner='{'a' * 30}', names=('a', 'b', 'c', 'd', 'e', 'f', 'g'), ...; 0 parameters)"
    assert repr(Nested(torch.zeros(9, 9))).startswith("Nested(inner=Tensor(...)")
    assert repr(Nested("a" * 99)).startswith("Nested(inner=..., ")
