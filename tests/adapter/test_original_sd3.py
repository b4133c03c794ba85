"""Original names of Stable Diffusion 3 mean what diffusers' conversion of whole checkpoints says."""

import pytest
import torch

import unmelt as um
from unmelt.adapter.dialect import layers_of, resolve_in
from unmelt.adapter.dialect.sd3 import sd3

diffusers = pytest.importorskip("diffusers")
conversion = pytest.importorskip("diffusers.loaders.single_file_utils")


@pytest.mark.parametrize(("prefix", "sign"), [("lora_unet_", "_"), ("diffusion_model.", "."), ("transformer.", ".")])
def test_changes_are_those_of_the_converted_checkpoint(prefix, sign):
    with um.rng.seeded(0):
        network = diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=6,
            caption_projection_dim=16,
            pooled_projection_dim=5,
            out_channels=4,
            pos_embed_max_size=8,
            dual_attention_layers=(0,),
        )
    layers = layers_of(network)
    places = {
        name: place for name, place in sd3(layers).items() if name[-2:] not in (".0", ".1", ".2") or "qkv" not in name
    }
    assert sorted(each for place in places.values() for each in place.layers) == sorted(layers)
    tensors, checkpoint = {}, {"pos_embed": torch.zeros(1)}
    with um.rng.seeded(1):
        for number, (name, place) in enumerate(places.items()):
            outer, shape, rank = (
                sum(layers[each][0] for each in place.layers),
                layers[place.layers[0]][1:],
                1 + number % 2,
            )
            down, up = torch.randn(rank, *shape), torch.randn(outer, rank, *[1] * (len(shape) - 1))
            stem = prefix + name.replace(".", sign)
            tensors |= {
                f"{stem}.lora_down.weight": down,
                f"{stem}.lora_up.weight": up,
                f"{stem}.alpha": torch.tensor(2.0),
            }
            checkpoint[f"{name}.weight"] = 2.0 / rank * (up.flatten(1) @ down.flatten(1)).view(outer, *shape)
            checkpoint[f"{name}.bias"] = torch.zeros(outer)
    expected = conversion.convert_sd3_transformer_checkpoint_to_diffusers(checkpoint)
    found = resolve_in(network, tensors)
    assert found.changes.keys() == layers.keys()
    for name, change in found.changes.items():
        product = change.alpha / change.rank * (change.B @ change.A.flatten(1)).view(layers[name])
        torch.testing.assert_close(product, expected[f"{name}.weight"], rtol=1e-5, atol=1e-5)
