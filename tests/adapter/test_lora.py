"""Which layers a LoRA changes, and what is said where there are none."""

import pytest
import torch
from torch import nn

import unmelt as um
from unmelt.adapter import Adapter, LoRA
from unmelt.errors import UsageError


def dit():
    return um.backbone.DiT(channels=2, size=(8, 8), patch=2, width=16, depth=3, heads=2)


def test_patterns_are_whole_names_or_their_last_parts():
    network = dit()
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    projections = [name for name in linear if name.endswith(".project")]
    assert len(projections) == 3
    assert list(LoRA(targets=("project",)).layers(network)) == projections
    assert list(LoRA(targets=("*.project",)).layers(network)) == projections
    assert list(LoRA(targets=("blocks.1.*",)).layers(network)) == [n for n in linear if n.startswith("blocks.1.")]
    assert list(LoRA(targets=(projections[2], projections[0])).layers(network)) == projections[::2]
    with pytest.raises(UsageError):
        LoRA(targets=("roject",)).layers(network)


def test_a_target_that_matches_nothing_names_near_ones():
    with pytest.raises(UsageError, match=r"the target 'projct'.*this DiT.*'project'"):
        Adapter(dit(), LoRA(targets=("project", "projct")))
    with pytest.raises(UsageError, match=r"\*\.attention\.qkv.*such as '"):
        Adapter(dit(), LoRA(targets=("*.attention.qkv",)))
    with pytest.raises(UsageError, match="none it has"):
        Adapter(nn.Sequential(nn.SiLU()), LoRA())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Embedding(5, 8), nn.Linear(8, 5, bias=False)
        self.out.weight = self.into.weight
        self.attention = nn.MultiheadAttention(8, 2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.shared = self.plain = nn.Linear(8, 8)


def test_layers_that_cannot_be_changed_on_their_own_are_left_out():
    assert len(LoRA().layers(Tied())) == 1
    with pytest.raises(UsageError, match="'out'"):
        LoRA(targets=("out",)).layers(Tied())


def test_a_layer_that_is_the_whole_network_is_one():
    layer = nn.Linear(3, 2).double()
    adapter = Adapter(layer, LoRA(rank=1, alpha=2.0))
    assert adapter.targets == ("",)
    nn.init.ones_(next(iter(adapter.factors.values())).B)
    x = torch.randn(4, 3).double()
    change = 2.0 * (x @ next(iter(adapter.factors.values())).A.T)
    with adapter.attach(layer):
        attached = layer(x)
    torch.testing.assert_close(attached, layer(x) + change)


def test_factors_begin_as_no_change_with_inputs_of_unit_size_kept():
    with um.rng.seeded(0):
        adapter = Adapter(nn.Sequential(nn.Linear(400, 7), nn.Conv2d(30, 5, 3)), LoRA(rank=50))
    for factors, inner in zip(adapter.factors.values(), (400, 270), strict=True):
        assert not factors.B.any()
        assert factors.A.std().item() == pytest.approx(inner**-0.5, rel=0.05)
        assert not factors.product().any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": 0}, "rank=0"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": float("inf")}, "alpha=inf"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"targets": ()}, "targets"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        LoRA(**wrong)
