"""DoRA equals peft's, forward, merged and in its gradients; rows choose it, and several add up."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import unmelt as um
from unmelt.adapter import Adapter, LoRA
from unmelt.errors import UsageError

peft = pytest.importorskip("peft")

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
EXACT = {"atol": 1e-12, "rtol": 1e-12}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.point = nn.Conv2d(6, 4, 1, bias=False)
        self.line = nn.Linear(4, 5)
        self.out = nn.Linear(5, 3, bias=False)

    def forward(self, x):
        h = self.point(self.image(x).tanh()).tanh().mean((2, 3))
        return self.out(self.line(h).tanh())


@pytest.fixture
def network():
    with um.rng.seeded(0):
        return Net()


def moved(adapter, seed=1):
    with um.rng.seeded(seed), torch.no_grad():
        for factors in adapter.factors.values():
            factors.A.copy_(torch.randn_like(factors.A))
            factors.B.copy_(0.5 * torch.randn_like(factors.B))
            factors.magnitude.mul_(1 + 0.3 * torch.rand_like(factors.magnitude))
    return adapter


def x_of(dtype=torch.float32):
    with um.rng.seeded(5):
        return torch.randn(4, 3, 6, 6).to(dtype)


def of_peft(network, adapter, dropout=0.0):
    """peft's own model with the adapter's weights."""
    targets = list(adapter.targets)
    config = peft.LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=targets, lora_dropout=dropout)
    made = peft.get_peft_model(copy.deepcopy(network), config)
    for name, factors in adapter.layer_factors.items():
        layer = made.base_model.model.get_submodule(name)
        with torch.no_grad():
            A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            A.copy_(factors.A)
            B.copy_(factors.B.view(B.shape))
            magnitude = layer.lora_magnitude_vector["default"].weight
            torch.testing.assert_close(magnitude.flatten(), norms(network.get_submodule(name).weight))
            magnitude.copy_(factors.magnitude.view(magnitude.shape))
    return made


def norms(weight):
    return weight.flatten(1).norm(dim=1)


def gradients(function, parameters, x):
    return torch.autograd.grad(function(x).square().sum(), parameters)


def test_it_equals_peft_forward_merged_and_in_its_gradients(network):
    adapter = Adapter(network, LoRA(rank=2, alpha=3.0, decompose=True))
    for name, factors in adapter.layer_factors.items():
        torch.testing.assert_close(factors.magnitude, norms(network.get_submodule(name).weight))
    moved(adapter)
    reference, x = of_peft(network, adapter), x_of()
    expected = reference(x)
    assert (expected - network(x)).abs().max() > 0.1
    ours = [w for f in adapter.factors.values() for w in (f.A, f.B, f.magnitude)]
    theirs = [
        getattr(reference.base_model.model.get_submodule(name), kind)["default"].weight
        for name in adapter.targets
        for kind in ("lora_A", "lora_B", "lora_magnitude_vector")
    ]
    with adapter.attach(network):
        torch.testing.assert_close(network(x), expected, **CLOSE)
        found = gradients(network, ours, x)
    for one, other in zip(found, gradients(reference, theirs, x), strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(one, other.view(one.shape), **CLOSE)
    adapter.merge(network)
    torch.testing.assert_close(network(x), expected, **CLOSE)
    merged = reference.merge_and_unload()
    for (name, one), (other_name, other) in zip(network.named_parameters(), merged.named_parameters(), strict=True):
        assert name == other_name
        torch.testing.assert_close(one, other, **CLOSE)


def test_dropout_is_that_of_peft(network):
    adapter = moved(Adapter(network, LoRA(rank=2, alpha=3.0, decompose=True, targets=("line",), dropout=0.5)))
    reference, x = of_peft(network, adapter, dropout=0.5).train(), x_of()
    with um.rng.seeded(3):
        expected = reference(x)
    with adapter.attach(network.train()), um.rng.seeded(3):
        torch.testing.assert_close(network(x), expected, **CLOSE)


@pytest.mark.parametrize("magnitudes", ["output", "input"])
def test_a_fresh_one_changes_nothing_and_scale_one_has_the_norms_that_were_learned(network, magnitudes):
    network, x = network.double(), x_of(torch.float64)
    adapter, before = Adapter(network, LoRA(rank=2, decompose=True, magnitudes=magnitudes)), network(x)
    with adapter.attach(network):
        torch.testing.assert_close(network(x), before, **EXACT)
    moved(adapter).merge(network)
    for name, factors in adapter.layer_factors.items():
        weight = network.get_submodule(name).weight
        found = norms(weight if magnitudes == "output" else weight.transpose(0, 1))
        torch.testing.assert_close(found, factors.magnitude, **EXACT)


def explicit(network, *parts):
    """The network with W + sum s (W' - W), W' written out."""
    weights = dict(network.named_parameters())
    for name in parts[0][0].targets:
        W = weights[f"{name}.weight"]
        total = W
        for adapter, scale in parts:
            factors, axes = adapter.layer_factors[name], {"output": 0, "input": 1}
            V = W + adapter.config.factor * torch.einsum("or,r...->o...", factors.B, factors.A)
            if adapter.config.decompose:
                axis = axes[adapter.config.magnitudes]
                shape = [-1 if a == axis else 1 for a in range(W.ndim)]
                direction = F.normalize(V.transpose(0, axis).flatten(1)).view(V.transpose(0, axis).shape)
                V = factors.magnitude.view(shape) * direction.transpose(0, axis)
            total = total + scale * (V - W)
        weights[f"{name}.weight"] = total
    return lambda x: functional_call(network, weights, (x,))


@pytest.mark.parametrize("magnitudes", ["output", "input"])
def test_rows_choose_it_beside_a_plain_one_and_changes_add_up(network, magnitudes):
    network, x = network.double(), x_of(torch.float64)
    first = moved(Adapter(network, LoRA(rank=2, alpha=3.0, decompose=True, magnitudes=magnitudes)))
    second = moved(Adapter(network, LoRA(rank=1, decompose=True)), 2)
    third = Adapter(network, LoRA(rank=1))
    with um.rng.seeded(8), torch.no_grad():
        for weight in third.parameters():
            weight.copy_(0.3 * torch.randn_like(weight))
    scales = [torch.tensor(each) for each in ([1.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.7, 1.0], [0.0, 0.0, -1.0, 1.0])]
    plain = network(x)
    with first.attach(network, scales[0]), second.attach(network, scales[1]), third.attach(network, scales[2]):
        together = network(x)
    for row in range(4):
        parts = [(a, s[row].double()) for a, s in zip((first, second, third), scales, strict=True)]
        torch.testing.assert_close(together[row], explicit(network, *parts)(x[row : row + 1])[0], **EXACT)
    assert torch.equal(together[1], plain[1])


def test_half_of_it_is_merged_as_it_is_attached(network):
    network, x = network.double(), x_of(torch.float64)
    adapter = moved(Adapter(network, LoRA(rank=2, alpha=3.0, decompose=True, scale=0.5)))
    expected = explicit(network, (adapter, 0.35))(x)
    with adapter.attach(network, 0.7):
        torch.testing.assert_close(network(x), expected, **EXACT)
    adapter.merge(network, 0.7)
    torch.testing.assert_close(network(x), expected, **EXACT)
    with pytest.raises(UsageError, match="norms of the weights that it was merged into"):
        adapter.unmerge(network)


def test_grouped_and_padded_convolutions_equal_their_merged_weights():
    with um.rng.seeded(0):
        layer = nn.Conv1d(6, 9, 3, padding="same", groups=3, padding_mode="circular").double()
        x = torch.randn(2, 6, 8).double()
    for magnitudes in ("output", "input"):
        adapter = moved(Adapter(layer, LoRA(rank=2, decompose=True, magnitudes=magnitudes)))
        with adapter.attach(layer):
            attached = layer(x)
        merged = copy.deepcopy(layer)
        adapter.merge(merged)
        torch.testing.assert_close(attached, merged(x), **EXACT)


def test_outputs_of_zero_weight_stay_finite():
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    adapter = Adapter(layer, LoRA(rank=1, decompose=True))
    with adapter.attach(layer):
        output = layer(torch.ones(1, 3))
        output.sum().backward()
    torch.testing.assert_close(output, layer.bias[None])
    assert all(weight.grad.isfinite().all() for weight in adapter.parameters())


def test_ranks_and_alphas_of_layers_that_differ(network):
    config = LoRA(rank=2, alpha=4.0, rank_pattern=(("^line", 1), ("image", 3)), alpha_pattern=(("line", 7.0),))
    adapter = Adapter(network, config)
    found = {name: (len(each.A), each.factor) for name, each in adapter.layer_factors.items()}
    assert found == {"image": (3, 4 / 3), "point": (2, 2.0), "line": (1, 7.0), "out": (2, 2.0)}
    again = um.config.build(um.config.describe(config))
    assert again == config


def test_a_pattern_may_be_a_whole_name():
    network = nn.ModuleDict({"out": nn.Linear(2, 2), "block": nn.ModuleDict({"out": nn.Linear(2, 2)})})
    assert list(LoRA(targets=("out",)).layers(network)) == ["out", "block.out"]
    assert list(LoRA(targets=("^out",)).layers(network)) == ["out"]
    with pytest.raises(UsageError, match="such as 'out'"):
        LoRA(targets=("^ut",)).layers(network)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank_pattern": (("a", 0),)}, "rank 0 for 'a'"),
        ({"alpha_pattern": (("a", 0.0),)}, "alpha 0.0 for 'a'"),
        ({"scale": float("nan")}, "scale=nan"),
        ({"magnitudes": "both"}, "both"),
    ],
)
def test_wrong_settings_of_layers_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        LoRA(**wrong)
