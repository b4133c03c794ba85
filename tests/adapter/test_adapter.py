"""Adapters: attached, merged and explicit W + s B A are one function; what is detached was never there."""

import copy

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import config as checks
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

import unmelt as um
from unmelt.adapter import Adapter, LoRA
from unmelt.condition import Condition
from unmelt.errors import UsageError

ROWS = 4
EXACT = {"atol": 1e-12, "rtol": 1e-12}


class Layers(nn.Module):
    """Every kind of layer that can be adapted, with every way of walking over x."""

    def __init__(self):
        super().__init__()
        self.lift = nn.Conv1d(2, 6, 3, stride=2, padding=1)
        self.grouped = nn.Conv1d(6, 9, 3, padding="same", groups=3, padding_mode="circular")
        self.image = nn.Conv2d(3, 4, 3, dilation=2, padding=2, padding_mode="reflect")
        self.point = nn.Conv2d(4, 4, 1, bias=False)
        self.depthwise = nn.Conv3d(4, 8, (1, 3, 1), groups=4)
        self.line = nn.Linear(8, 5)
        self.unused = nn.ConvTranspose1d(5, 5, 2)

    def forward(self, x):
        h = self.grouped(self.lift(x).tanh()).tanh()
        h = self.point(self.image(h.unflatten(2, (4, 4)).unflatten(1, (3, 3)).mean(2)).tanh()).tanh()
        return self.line(self.depthwise(h[..., None]).flatten(2).mT)


def unet():
    return um.backbone.UNet(
        channels=2, width=8, multipliers=(1, 2), blocks=1, attention=(False, True), classes=3, sequence_width=5
    )


NETWORKS = {
    "layers": Layers,
    "mlp": lambda: um.backbone.MLP(shape=(6,), width=16, depth=2, classes=3),
    "unet": unet,
    "dit": lambda: um.backbone.DiT(channels=2, size=(8, 8), patch=2, width=16, depth=2, heads=2, classes=3),
    "transformer": lambda: um.backbone.Transformer(
        input_vocabulary=5, vocabulary=4, length=6, width=16, depth=2, heads=2
    ),
}


def randomised(module, seed, size=0.3):
    """Weights without zeros, so that everything has an effect."""
    with um.rng.seeded(seed), torch.no_grad():
        for weight in module.parameters():
            weight.copy_(size * torch.randn_like(weight))
    return module


def inputs(name, seed=0):
    with um.rng.seeded(seed):
        level, label = torch.randn(ROWS).double(), torch.arange(ROWS) % 3
        sequence = torch.randn(ROWS, 7, 5).double()
        if name == "layers":
            return (torch.randn(ROWS, 2, 32).double(),)
        if name == "transformer":
            return torch.randint(0, 5, (ROWS, 6)), level
        x = torch.randn(ROWS, 6) if name == "mlp" else torch.randn(ROWS, 2, 8, 8)
        return x.double(), level, Condition(label=label, sequence=sequence if name == "unet" else None)


def rows_of(args, row):
    return tuple(each[row : row + 1] for each in args)


@pytest.fixture(params=NETWORKS)
def case(request):
    network = randomised(NETWORKS[request.param]().double().eval(), 1)
    adapter = randomised(Adapter(network, LoRA(rank=2, alpha=3.0)), 2)
    return network, adapter, inputs(request.param)


def explicit(network, *parts):
    """The network with weights W + s (alpha / rank) B A, of adapters and their scales."""
    weights = dict(network.named_parameters())
    for adapter, scale in parts:
        for name, factors in zip(adapter.targets, adapter.factors.values(), strict=True):
            product = torch.einsum("or,r...->o...", factors.B, factors.A)
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + scale * adapter.config.factor * product
    return lambda *args: functional_call(network, weights, args)


def test_attached_merged_and_explicit_are_equal(case):
    network, adapter, args = case
    before = network(*args)
    expected = explicit(network, (adapter, 0.7))(*args)
    assert (expected - before).abs().max() > 1e-3
    with adapter.attach(network, scale=0.7):
        torch.testing.assert_close(network(*args), expected, **EXACT)
    merged = copy.deepcopy(network)
    adapter.merge(merged, scale=0.7)
    torch.testing.assert_close(merged(*args), expected, **EXACT)
    adapter.unmerge(merged, scale=0.7)
    torch.testing.assert_close(merged(*args), before, **EXACT)


def test_a_fresh_adapter_changes_nothing_and_detaching_restores_bit_for_bit(case):
    network, adapter, args = case
    before, names = network(*args), list(network.state_dict())
    modules = [type(module) for module in network.modules()]
    with Adapter(network, LoRA(rank=3)).attach(network):
        assert torch.equal(network(*args), before)
    attachment = adapter.attach(network)
    assert list(network.state_dict()) == names
    assert [type(module) for module in network.modules()] == modules
    assert not torch.equal(network(*args), before)
    attachment.detach()
    attachment.detach()
    assert torch.equal(network(*args), before)
    assert not any(module._forward_hooks for module in network.modules())


def test_every_layer_is_a_target_but_those_that_cannot_be(case):
    network, adapter, _ = case
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    assert adapter.targets == tuple(name for name, module in network.named_modules() if isinstance(module, kinds))
    assert len(list(adapter.parameters())) == 2 * len(adapter.targets)
    assert "unused" not in adapter.targets


def test_gradients_are_those_of_the_explicit_weights(case):
    network, adapter, args = case
    adapter.requires_grad_(True)

    def gradients(function):
        weights = list(adapter.parameters())
        return torch.autograd.grad(function(*args).square().sum(), weights, allow_unused=True)

    expected = gradients(explicit(network, (adapter, 0.7)))
    with adapter.attach(network, 0.7):
        found = gradients(network)
    assert any(each is not None and each.abs().max() > 1e-6 for each in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_two_adapters_add(case):
    network, adapter, args = case
    other = randomised(Adapter(network, LoRA(rank=1, alpha=0.5)), 3)
    expected = explicit(network, (adapter, 0.7), (other, -1.5))(*args)
    with adapter.attach(network, 0.7), other.attach(network, -1.5):
        torch.testing.assert_close(network(*args), expected, **EXACT)
    with other.attach(network, -1.5) as attachment:
        adapter.merge(network, 0.7)
        torch.testing.assert_close(network(*args), expected, **EXACT)
        attachment.scale = 0.0
        torch.testing.assert_close(network(*args), explicit(network)(*args), **EXACT)


def test_rows_with_their_own_scales_equal_each_row_alone(case):
    network, adapter, args = case
    other = randomised(Adapter(network, LoRA(rank=1)), 3)
    first, second = torch.tensor([1.0, 0.0, 0.0, -0.5]), torch.tensor([0.0, 2.0, 0.0, 1.0])
    plain = network(*args)
    with adapter.attach(network, first), other.attach(network, second):
        together = network(*args)
    for row in range(ROWS):
        alone = explicit(network, (adapter, first[row].double()), (other, second[row].double()))(*rows_of(args, row))
        torch.testing.assert_close(together[row], alone[0], **EXACT)
    assert torch.equal(together[2], plain[2])  # both scales are 0 there


def test_gradients_flow_to_scales(case):
    network, adapter, args = case
    scale = torch.full((ROWS,), 0.7, dtype=torch.float64, requires_grad=True)
    with adapter.attach(network, scale):
        gradient = torch.autograd.grad(network(*args).sum(), scale)[0]
    step = 1e-6
    high, low = (explicit(network, (adapter, 0.7 + sign * step))(*args) for sign in (1, -1))
    torch.testing.assert_close(gradient, ((high - low) / (2 * step)).flatten(1).sum(1), atol=1e-5, rtol=1e-5)


def test_only_the_adapter_learns():
    network, args = randomised(unet(), 1), [each.float() if torch.is_tensor(each) else each for each in inputs("unet")]
    args[2] = Condition(label=args[2].label, sequence=args[2].sequence.float())
    frozen = copy.deepcopy(network.state_dict())
    with um.rng.seeded(0):
        adapter = Adapter(network, LoRA(rank=2))
    target = explicit(network, (randomised(Adapter(network, LoRA(rank=1)), 5, 0.2), 1.0))(*args).detach()
    optimizer, losses = torch.optim.Adam(adapter.parameters(), lr=0.02), []
    with adapter.attach(network):
        for _ in range(80):
            loss = F.mse_loss(network(*args), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    for name, value in network.state_dict().items():
        assert torch.equal(value, frozen[name])


def test_weights_and_configuration_are_saved_apart(tmp_path, case):
    network, adapter, args = case
    with adapter.attach(network, 0.7):
        expected = network(*args)
    um.train.atomic_files.write_tensors(tmp_path / "adapter.safetensors", adapter.state_dict())
    description = um.config.describe(adapter.config)
    assert description["part"] == "adapter.LoRA"
    again = Adapter(network, um.config.build(description))
    again.load_state_dict(um.train.atomic_files.read_tensors(tmp_path / "adapter.safetensors")[0])
    with again.attach(network, 0.7):
        assert torch.equal(network(*args), expected)


def test_dropout_acts_in_training_alone_and_keeps_the_mean():
    network = randomised(nn.Sequential(nn.Linear(400, 3)).double(), 1)
    adapter = randomised(Adapter(network, LoRA(rank=2, dropout=0.5)), 2)
    x = torch.ones(1, 400).double()
    expected, plain = explicit(network, (adapter, 1.0))(x), network(x)
    with adapter.attach(network), um.rng.seeded(0):
        mean = network.train()(x.expand(20_000, 400)).mean(0, keepdim=True)
        torch.testing.assert_close(network.eval()(x), expected, **EXACT)
    torch.testing.assert_close(mean - plain, expected - plain, atol=0.2, rtol=0)
    assert (expected - plain).abs().max() > 1


def test_activation_checkpointing_gives_the_same_gradients():
    network = randomised(NETWORKS["dit"]().double(), 1)
    adapter, args = randomised(Adapter(network, LoRA(rank=2)), 2), inputs("dit")

    def gradients():
        return torch.autograd.grad(network(*args).square().sum(), list(adapter.parameters()))

    with adapter.attach(network):
        expected = gradients()
        with um.train.Execution(activation_checkpointing=True).prepared(network):
            found = gradients()
        whole = checkpoint(network, *args, use_reentrant=False).square().sum()
        other = torch.autograd.grad(whole, list(adapter.parameters()))
    for one, two, three in zip(expected, found, other, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_compiled_blocks_follow_adapters_and_their_scales(monkeypatch):
    monkeypatch.setattr(checks, "jaxtyping_disable", True)  # as people run it: checks of shapes are not to be compiled
    network = randomised(NETWORKS["dit"]().double().eval(), 1)
    adapter, args = randomised(Adapter(network, LoRA(rank=2)), 2), inputs("dit")
    scales = (1.0, 0.25, torch.tensor([1.0, 0.0, 0.5, 2.0]), 0.0)
    with torch.no_grad():
        plain = network(*args)
        expected = []
        for scale in scales:
            with adapter.attach(network, scale):
                expected.append(network(*args))
        for block in network.blocks:
            block.compile(backend="eager")
        torch.testing.assert_close(network(*args), plain, **EXACT)
        with adapter.attach(network) as attachment:
            for scale, output in zip(scales, expected, strict=True):
                attachment.scale = scale
                torch.testing.assert_close(network(*args), output, **EXACT)
        torch.testing.assert_close(network(*args), plain, **EXACT)


def test_autocast_computes_the_change_in_its_type():
    network = randomised(nn.Sequential(nn.Linear(64, 64)), 1)
    adapter, x = randomised(Adapter(network, LoRA(rank=4)), 2), torch.randn(5, 64)
    expected = explicit(network, (adapter, 0.5))(x)
    with adapter.attach(network, 0.5), torch.autocast("cpu", torch.bfloat16):
        found = network(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.02 * expected.std().item() * 4, rtol=0.02)


def test_bfloat16_weights_get_float32_factors():
    network = randomised(nn.Sequential(nn.Linear(64, 64)), 1).bfloat16()
    adapter = randomised(Adapter(network, LoRA(rank=4)), 2)
    assert {weight.dtype for weight in adapter.parameters()} == {torch.float32}
    fine = explicit(copy.deepcopy(network).float(), (adapter, 1.0))
    x = torch.randn(5, 64).bfloat16()
    with adapter.attach(network):
        attached = network(x)
    adapter.merge(network)
    assert attached.dtype == network[0].weight.dtype == torch.bfloat16
    for found in (attached, network(x)):
        torch.testing.assert_close(found.float(), fine(x.float()), atol=0.2, rtol=0.02)


def test_mistakes_are_refused(case):
    network, adapter, args = case
    with adapter.attach(network) as attachment:
        with pytest.raises(UsageError, match="it would count twice"):
            adapter.attach(network)
        with pytest.raises(UsageError, match="it would count twice"):
            adapter.merge(network)
        attachment.scale = torch.ones(3)
        with pytest.raises(UsageError, match="a scale for 3 rows in a call with"):
            network(*args)
        with pytest.raises(UsageError, match=r"a scale of shape \[2, 2\]"):
            attachment.scale = torch.ones(2, 2)
    with pytest.raises(UsageError, match="has no layer"):
        adapter.attach(nn.Sequential(nn.Linear(3, 3)))


@pytest.mark.parametrize("causal", [False, True])
def test_rows_decoded_with_a_cache_have_their_own_adapters(causal):
    """The head is called at the positions of each row's block alone, and still knows whose they are."""
    kind = um.denoiser.Autoregressive if causal else um.denoiser.Blockwise
    block = 1 if causal else 3
    codec, sampler = um.codec.Symbols("abcde"), um.sampler.tokens.Unmask(cache=True)
    size = codec.vocabulary
    backbone = um.backbone.Transformer(
        input_vocabulary=size + 1, vocabulary=size, length=8, width=16, depth=1, heads=2, block=block
    )
    torch.nn.init.normal_(backbone.out.weight)
    denoiser = kind(backbone, um.process.Mask(size), (8,))
    model = um.TextModel(denoiser=denoiser, codec=codec, grid=um.grid.uniform(8), sampler=sampler)
    for seed, name in enumerate(("one", "two")):
        for factor in model.add_adapter(name, LoRA(rank=2), seed=seed).parameters():
            torch.nn.init.normal_(factor, generator=torch.Generator().manual_seed(seed))
    seeds, names = list(range(6)), ["one", None, "two"] * 2
    together = model.sample(6, seed=seeds, adapter=names)
    alone = [model.sample(1, seed=[seed], adapter=name)[0] for seed, name in zip(seeds, names, strict=True)]
    assert together == alone
    assert together != model.sample(6, seed=seeds)
