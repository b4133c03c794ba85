"""What every backbone must do, whatever it is made of."""

import inspect
import json
from dataclasses import replace

import pytest
import torch
from networks import CONTEXT, NETWORKS, ROWS, SHAPES, WITHOUT_CONTEXT, awake, condition, inputs

from unmelt.backbone.embed import Conditioner
from unmelt.condition import Condition
from unmelt.errors import UsageError

every = pytest.mark.parametrize("name", NETWORKS)


@every
def test_every_way_of_giving_no_condition_gives_one_output(name):
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
def test_each_kind_of_condition_alone_changes_the_output(name, kind):
    if name in WITHOUT_CONTEXT and kind == "context":
        pytest.skip("it has no context")
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
def test_padding_does_not_change_the_output(name):
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
def test_an_empty_sequence_gives_the_output_of_no_condition(name):
    network, (x, level), full = awake(NETWORKS[name]()), inputs(name), condition(name)
    silent = Condition(sequence=full.sequence, sequence_mask=torch.zeros_like(full.sequence_mask))
    empty = Condition(sequence=full.sequence[:, :0])
    none = network(x, level)
    assert torch.equal(network(x, level, silent), none)
    assert torch.equal(network(x, level, empty), none)
    network(x, level, silent).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@every
def test_outputs_at_different_levels_differ(name):
    network, (x, _) = awake(NETWORKS[name]()), inputs(name, 1)
    levels = torch.linspace(-2.5, 2.5, 101)
    with torch.no_grad():
        out = network(x.expand(101, *x.shape[1:]), levels).flatten(1)
    apart = torch.cdist(out, out).fill_diagonal_(torch.inf)
    assert apart.min() > 1e-3 * out.std()


@every
def test_a_fresh_network_outputs_0_and_every_parameter_gets_a_gradient(name):
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
def test_bfloat16_is_near_float32_and_gradients_are_differences(name):
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
def test_conditions_that_the_network_was_not_made_for_are_refused(name):
    (x, level), full = inputs(name), condition(name)
    small = type(NETWORKS[name]())
    space = {"mlp": {"shape": (2, 3)}, "unet": {"channels": 1, "space": x.ndim - 2}}
    space["joint"] = {"channels": 1, "space": x.ndim - 2, "patch": 1, "width": 16}
    space["frames"] = {"frames": 3, "shape": (2,)}
    deaf = small(**space.get(name.split("-")[0], {"channels": 1, "size": SHAPES[name][1:], "patch": 1, "width": 16}))
    for kind, argument in {"label": "classes=", "vector": "vector_width=5", "sequence": "sequence_width=4"}.items():
        with pytest.raises(UsageError, match=argument):
            deaf(x, level, Condition(**{kind: getattr(full, kind)}))
    with pytest.raises(UsageError, match=r"a context.*Try: context_channels=2|made to know none"):
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


def with_arrival(name):
    """A network that is given an arrival level, and the same arguments without one."""
    network = NETWORKS[name]()
    arguments = {n: getattr(network, n) for n in inspect.signature(type(network)).parameters}
    torch.manual_seed(0)
    return awake(type(network)(**arguments | {"with_arrival": True})), awake(network)


@every
def test_outputs_at_different_arrival_levels_differ_and_none_is_the_level_itself(name):
    (network, _), (x, level), full = with_arrival(name), inputs(name), condition(name)
    with torch.no_grad():
        none, own, other = (network(x, level, full, arrival) for arrival in (None, level, level - 1))
    assert torch.equal(none, own)
    assert not torch.allclose(own, other, atol=1e-3)


@every
def test_an_arrival_level_is_refused_by_a_network_made_without_one(name):
    _, network = with_arrival(name)
    x, level = inputs(name)
    with pytest.raises(UsageError, match="with_arrival=True"):
        network(x, level, None, level)


@every
def test_without_an_arrival_level_no_parameter_is_added(name):
    jumps, plain = with_arrival(name)
    added = set(jumps.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) < set(jumps.state_dict())
    assert len(added) == 2
    assert all(".arrival." in each for each in added)


@every
def test_levels_are_embedded_in_float32_under_autocast_where_there_is_an_arrival(name):
    (network, _), (_, level) = with_arrival(name), inputs(name)
    conditioner = next(module for module in network.modules() if isinstance(module, Conditioner))
    with torch.no_grad():
        exact = conditioner._levels(level, level - 1)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(conditioner._levels(level, level - 1), exact)


@every
def test_forward_mode_derivatives_are_differences(name):
    """torch.func.jvp by x, level and arrival level, as MeanFlow's objective needs it."""
    network, _ = with_arrival(name)
    x, level = inputs(name)
    x, level = x.double(), level.double()
    wide = condition(name)._each(lambda v: v.double() if v.is_floating_point() else v)
    rng = torch.Generator().manual_seed(6)
    tangents = [torch.randn(v.shape, dtype=v.dtype, generator=rng) for v in (x, level, level)]
    double = network.double()

    def at(x, level, arrival):
        return double(x, level, wide, arrival)

    with torch.no_grad():
        _, slope = torch.func.jvp(at, (x, level, level - 1), tuple(tangents))
        h = 1e-6
        ahead, behind = (
            at(*(v + sign * h * d for v, d in zip((x, level, level - 1), tangents, strict=True))) for sign in (1, -1)
        )
    torch.testing.assert_close(slope, (ahead - behind) / (2 * h), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.startswith("frames")])
def test_levels_of_frames_are_refused_by_a_network_without_frames(name):
    x, level = inputs(name)
    with pytest.raises(UsageError, match="one level a row"):
        NETWORKS[name]()(x, level[:, None].expand(ROWS, 3))
