"""What every backbone must do, whatever it is made of."""

import inspect
import json
from dataclasses import replace

import pytest
import torch
from networks import CONTEXT, NETWORKS, ROWS, SHAPES, awake, condition, inputs

from unmelt.condition import Condition
from unmelt.errors import UsageError

every = pytest.mark.parametrize("name", NETWORKS)


@every
def test_null_is_one_thing_however_it_came_about(name):
    network, (x, level), full = awake(NETWORKS[name]()), inputs(name), condition(name)
    with torch.no_grad():
        none = network(x, level, None)
        assert torch.equal(none, network(x, level, Condition()))
        assert torch.equal(none, network(x, level, full.null()))
        assert torch.equal(none, network(x, level, full.drop(torch.ones(ROWS, dtype=torch.bool))))
        assert not torch.allclose(none, network(x, level, full), atol=1e-3)


@every
def test_dropping_a_row_changes_that_row_alone(name):
    network, (x, level), full = awake(NETWORKS[name]()), inputs(name), condition(name)
    rows = torch.arange(ROWS) == 2
    with torch.no_grad():
        none, before, after = network(x, level), network(x, level, full), network(x, level, full.drop(rows))
    assert torch.equal(after[rows], none[rows])
    assert torch.equal(after[~rows], before[~rows])
    assert not torch.allclose(after[rows], before[rows], atol=1e-3)


@every
@pytest.mark.parametrize("kind", ["label", "vector", "sequence", "context"])
def test_each_kind_alone_is_heard(name, kind):
    if name == "mlp" and kind == "context":
        pytest.skip("an MLP has no context")
    network, (x, level) = awake(NETWORKS[name]()), inputs(name)
    one = Condition(**{kind: getattr(condition(name), kind)})
    other = one[torch.arange(1, ROWS + 1) % ROWS]
    with torch.no_grad():
        heard, unheard, differently = network(x, level, one), network(x, level), network(x, level, other)
    assert not torch.allclose(heard, unheard, atol=1e-3)
    assert not torch.allclose(heard, differently, atol=1e-3)


@every
def test_rows_are_alone_in_the_batch(name):
    network, (x, level), full = awake(NETWORKS[name]()), inputs(name), condition(name)
    with torch.no_grad():
        together = network(x, level, full)
        for i in range(ROWS):
            row = slice(i, i + 1)
            torch.testing.assert_close(network(x[row], level[row], full[row]), together[row], atol=1e-5, rtol=1e-5)


@every
def test_padding_is_never_read(name):
    network, (x, level), full = awake(NETWORKS[name]()), inputs(name), condition(name)
    short = replace(full, sequence=full.sequence[:, :4], sequence_mask=None)
    padding = 100 * torch.randn(ROWS, 3, full.sequence.shape[2], generator=torch.Generator().manual_seed(3))
    long = replace(
        full,
        sequence=torch.cat([short.sequence, padding], 1),
        sequence_mask=(torch.arange(7) < 4).expand(ROWS, -1),
    )
    with torch.no_grad():
        torch.testing.assert_close(network(x, level, long), network(x, level, short), atol=1e-5, rtol=1e-5)


@every
def test_a_sequence_with_nothing_in_it_is_null(name):
    network, (x, level), full = awake(NETWORKS[name]()), inputs(name), condition(name)
    silent = Condition(sequence=full.sequence, sequence_mask=torch.zeros_like(full.sequence_mask))
    empty = Condition(sequence=full.sequence[:, :0])
    none = network(x, level)
    assert torch.equal(network(x, level, silent), none)
    assert torch.equal(network(x, level, empty), none)
    network(x, level, silent).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@every
def test_levels_are_told_apart(name):
    network, (x, _) = awake(NETWORKS[name]()), inputs(name, 1)
    levels = torch.linspace(-2.5, 2.5, 101)
    with torch.no_grad():
        out = network(x.expand(101, *x.shape[1:]), levels).flatten(1)
    apart = torch.cdist(out, out).fill_diagonal_(torch.inf)
    assert apart.min() > 1e-3 * out.std()


@every
def test_a_fresh_network_is_silent_and_learns_with_every_parameter(name):
    torch.manual_seed(0)
    network, (x, level), full = NETWORKS[name](), inputs(name), condition(name)
    half = full.drop(torch.arange(ROWS) < 2)
    assert torch.equal(network(x, level, half), torch.zeros_like(x))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(8):  # zeros wake one after another: output, then gates, then what they gate, then what steers it
        optimizer.zero_grad()
        (network(x, level, half) - x.flip(0)).square().mean().backward()
        optimizer.step()
    asleep = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert asleep == []


@every
def test_low_precision_and_derivatives(name):
    network, (x, level), full = awake(NETWORKS[name]()), inputs(name), condition(name)
    with torch.no_grad():
        exact = network(x, level, full)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x, level, full)
            none, null = network(x, level), network(x, level, full.null())
    assert (rough - exact).square().mean().sqrt() < 0.1 * exact.std()
    assert torch.equal(none, null)
    double = network.double()
    wide = full._each(lambda v: v.double() if v.is_floating_point() else v)
    x, level = x.double().requires_grad_(), level.double()
    (slope,) = torch.autograd.grad(double(x, level, wide).square().sum(), x)
    step = 1e-6 * torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        rise = double(x + step, level, wide).square().sum() - double(x - step, level, wide).square().sum()
    torch.testing.assert_close(rise, 2 * (slope * step).sum(), rtol=1e-4, atol=1e-12)


@every
def test_arguments_rebuild_the_network_through_json(name):
    network = awake(NETWORKS[name]())
    names = inspect.signature(type(network)).parameters
    again = type(network)(**json.loads(json.dumps({n: getattr(network, n) for n in names})))
    again.load_state_dict(network.state_dict())
    x, level = inputs(name)
    assert torch.equal(again.eval()(x, level, condition(name)), network(x, level, condition(name)))
    assert all(getattr(again, n) == getattr(network, n) for n in names)


@every
def test_what_cannot_be_heard_is_refused(name):
    (x, level), full = inputs(name), condition(name)
    small = type(NETWORKS[name]())
    space = {"mlp": {"shape": (2, 3)}, "unet": {"channels": 1, "space": x.ndim - 2}}
    deaf = small(**space.get(name.split("-")[0], {"channels": 1, "size": SHAPES[name][1:], "patch": 1, "width": 16}))
    for kind, argument in {"label": "classes=", "vector": "features=5", "sequence": "sequence_width=4"}.items():
        with pytest.raises(UsageError, match=argument):
            deaf(x, level, Condition(**{kind: getattr(full, kind)}))
    with pytest.raises(UsageError, match=r"a context.*Try: context=2|an MLP"):
        deaf(x, level, Condition(context=torch.zeros(ROWS, CONTEXT, *x.shape[2:])))
    network = NETWORKS[name]()
    with pytest.raises(UsageError, match=r"vector of 9 numbers.*made for 5"):
        network(x, level, Condition(vector=torch.zeros(ROWS, 9)))
    with pytest.raises(UsageError, match=f"has 4 rows and x has {ROWS}"):
        network(x, level, full[:4])
    with pytest.raises(IndexError):
        network(x, level, Condition(label=torch.full((ROWS,), 3)))
    with pytest.raises(UsageError, match=r"this .* was made for"):
        network(torch.cat([x, x], 1), level)
