"""Keys of a file that have no place, more than one, or belong to another method are refused by name."""

import warnings

import pytest
import torch
from torch import nn

from unmelt.adapter.dialect import adapter_of, resolve_in
from unmelt.errors import UsageError


class Ambiguous(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q = nn.Linear(4, 4)
        self.to = nn.ModuleDict({"q": nn.Linear(4, 4)})
        self.out = nn.Linear(4, 4)


def test_an_ambiguous_name_and_names_without_a_place_are_refused_by_name():
    network, pair = Ambiguous(), {"A": torch.ones(1, 4), "B": torch.ones(4, 1)}

    def file(*stems):
        return {f"{s}.lora_{w}.weight": t for s in stems for w, t in (("down", pair["A"]), ("up", pair["B"]))}

    assert set(resolve_in(network, file("lora_unet_out")).changes) == {"out"}
    with pytest.raises(UsageError, match=r"'lora_unet_to_q', which may be to_q or to.q"):
        resolve_in(network, file("lora_unet_to_q"))
    with pytest.raises(UsageError, match=r"4 keys, 'lora_unet_no.lora_down.weight', .* and 1 more, that have no place"):
        resolve_in(network, file("lora_unet_out", "lora_unet_no", "lora_unet_nor"))
    with pytest.raises(UsageError, match="read as diffusers"):
        resolve_in(network, {"out.lora_A.weight": pair["A"], "out.lora_B.weight": pair["B"], "odd": pair["A"]})
    with pytest.raises(UsageError, match="as one of these writes it"):
        resolve_in(network, {"weight": pair["A"]})


def broken(**changed):
    tensors = {"out.lora_A.weight": torch.ones(2, 4), "out.lora_B.weight": torch.ones(4, 2)} | {
        f"out.{name}": value for name, value in changed.items()
    }
    return {key: value for key, value in tensors.items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (broken(**{"lora_B.weight": None}), "both factors of 'out'"),
        (broken(**{"lora_A.weight": torch.ones(2, 5)}), r"\[2, 5\]"),
        (broken(**{"lora_B.weight": torch.ones(4, 3)}), r"\[4, 3\]"),
        (broken(**{"lora_A.weight": torch.ones(2, 2, 2)}), r"\[2, 2, 2\]"),
        (broken(**{"lora_A.weight": torch.full((2, 4), float("nan"))}), "'out.lora_A.weight' that are not finite"),
        (broken(**{"lora_B.weight": torch.full((4, 2), float("inf"))}), "'out.lora_B.weight' that are not finite"),
        (broken(**{"lora_A.weight": torch.ones(2, 4, dtype=torch.int8)}), "not finite"),
        (broken(alpha=torch.tensor(0.0)), "alpha in 'out.alpha'"),
        (broken(alpha=torch.ones(2)), "alpha in 'out.alpha'"),
        (broken(dora_scale=torch.ones(1, 3)), r"'out.dora_scale' of shape \[1, 3\]"),
        (broken(lora_magnitude_vector=torch.ones(5)), "lora_magnitude_vector"),
        ({"lora_unet_out.hada_w1_a": torch.ones(1)}, "LoHa .*hada_w1_a"),
        ({"lora_unet_out.lokr_w1": torch.ones(1)}, "LoKr .*lokr_w1"),
        (broken(**{"lora_mid.weight": torch.ones(1)}), "Tucker"),
        (broken(diff=torch.ones(1)), "differences of whole tensors"),
        (broken(**{"lora_B.bias": torch.ones(4)}), "LoRA with biases"),
        (broken() | {"bundle_emb.x.clip_l": torch.ones(1)}, "bundled embeddings"),
        ({}, "holds no tensors"),
        (broken() | {"unet.out.lora_A.weight": torch.ones(2, 4), "unet.out.lora_B.weight": torch.ones(4, 2)}, "second"),
        (
            broken(dora_scale=torch.ones(4, 1))
            | {"to_q.lora_A.weight": torch.ones(2, 4), "to_q.lora_B.weight": torch.ones(4, 2)},
            "1 layers with one for each output, 1 layers with none",
        ),
    ],
)
def test_what_is_damaged_or_of_another_method_is_refused_by_name(tensors, said):
    network = Ambiguous()
    with pytest.raises(UsageError, match=said):
        adapter_of(network, resolve_in(network, tensors).changes)


def test_nothing_warns_about_these_files():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve_in(Ambiguous(), broken())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_numbers_of_few_bits_and_whole_alphas_are_read(dtype):
    A, B = torch.tensor([[1.0, -2.0, 0.5, 4.0]]), torch.tensor([[1.0], [2.0], [-0.5], [0.25]])
    tensors = {"out.lora_A.weight": A.to(dtype), "out.lora_B.weight": B.to(dtype), "out.alpha": torch.tensor(3)}
    network = Ambiguous()
    change = resolve_in(network, tensors).changes["out"]
    assert change.A.dtype == torch.float32
    assert change.alpha == 3.0
    expected = network.out.weight.detach() + 3.0 * B @ A
    adapter_of(network, {"out": change}).merge(network)
    torch.testing.assert_close(network.out.weight, expected)


def test_a_linear_layer_and_a_convolution_of_one_pixel_take_each_others_shapes():
    network = nn.ModuleDict({"line": nn.Linear(3, 2), "point": nn.Conv2d(3, 2, 1)})
    A, B = torch.randn(1, 3), torch.randn(2, 1)
    tensors = {
        "lora_unet_line.lora_down.weight": A[..., None, None],
        "lora_unet_line.lora_up.weight": B[..., None, None],
        "lora_unet_point.lora_down.weight": A,
        "lora_unet_point.lora_up.weight": B,
    }
    before = {name: layer.weight.detach().clone() for name, layer in network.items()}
    adapter_of(network, resolve_in(network, tensors).changes).merge(network)
    for name, layer in network.items():
        torch.testing.assert_close((layer.weight - before[name]).flatten(1), B @ A)
