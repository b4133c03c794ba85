"""Attention against a softmax written by hand."""

import math

import pytest
import torch

from unmelt.backbone import attention
from unmelt.backbone.attention import AttendedSequence, CrossAttention, SelfAttention
from unmelt.errors import UsageError


def by_hand(query, key, value, heads, real=None):
    """One row, one head, one query at a time."""
    out = torch.zeros_like(query)
    size = query.shape[-1] // heads
    for row in range(len(query)):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            kept = slice(None) if real is None else real[row]
            keys, values = key[row, kept, part], value[row, kept, part]
            for i, q in enumerate(query[row, :, part]):
                weight = torch.exp(keys @ q / math.sqrt(size))
                out[row, i, part] = (weight / weight.sum()) @ values
    return out


def test_self_attention_is_a_softmax():
    torch.manual_seed(0)
    layer, x = SelfAttention(12, heads=3).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    query, key, value = layer.project(x).split(12, dim=-1)
    torch.testing.assert_close(layer(x), layer.out(by_hand(query, key, value, 3)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_written_out_it_is_the_same(monkeypatch, masked):
    """In bfloat16 on a processor; the fused kernel is not asked, and is asked past the longest."""
    query, key, value = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) % 3 != 1 if masked else None
    mask = None if mask is None else mask.expand(2, 1, 1, 9)
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    fused, kernel = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", lambda *a: fused.append(1) or kernel(*a))
    found = attention.read(query.bfloat16(), key.bfloat16(), value.bfloat16(), mask)
    assert not fused
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0.03)
    monkeypatch.setattr(attention, "LONGEST", 8)
    attention.read(query.bfloat16(), key.bfloat16(), value.bfloat16(), mask)
    attention.read(query, key, value, mask)
    assert len(fused) == 2


def test_cross_attention_is_a_softmax_over_real_tokens():
    torch.manual_seed(0)
    layer = CrossAttention(8, 6, heads=2).double()
    torch.nn.init.normal_(layer.out.weight)
    torch.nn.init.normal_(layer.null)
    x, source = torch.randn(3, 4, 8, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    real = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]).bool()
    out = layer(x, AttendedSequence.of(source, real))
    key, value = layer.project(source).split(8, dim=-1)
    expected = layer.out(by_hand(layer.query(x)[:2], key[:2], value[:2], 2, real))
    torch.testing.assert_close(out[:2], expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(out[2], layer.null.expand(4, -1))


def test_with_qk_norm_scaling_the_input_changes_nothing():
    torch.manual_seed(0)
    layer, plain = SelfAttention(8, 2, qk_norm=True), SelfAttention(8, 2)
    plain.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(2, 5, 8)
    before, plainly = layer(x), plain(x)
    with torch.no_grad():
        for each in (layer, plain):
            each.project.weight[:16] *= 7
            each.project.bias[:16] *= 7
    torch.testing.assert_close(layer(x), before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain(x), plainly, atol=1e-3)


@pytest.mark.parametrize(("heads", "fits"), [(5, 4), (0, 1), (16, 12)])
def test_heads_that_do_not_fit(heads, fits):
    with pytest.raises(UsageError, match=f"Try: heads={fits}$"):
        SelfAttention(12, heads)
