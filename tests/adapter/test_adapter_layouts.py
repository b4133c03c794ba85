"""What is written in diffusers' layout, a network, a pipeline and readers without settings load as it was."""

import copy

import pytest
import torch
from adapter.files import CLOSE, flux, flux_output, random_changes, unet, unet_output
from safetensors.torch import load_file

from unmelt.adapter.dialect import adapter_of, layers_of, resolve_in
from unmelt.model.adapter_files import write_adapter

peft = pytest.importorskip("peft")
diffusers = pytest.importorskip("diffusers")


def test_diffusers_loads_what_is_saved_for_it(tmp_path):
    network = unet()
    for dora in (None, "output"):
        some = list(layers_of(network))[::7]
        changes = random_changes(network, some, rank=lambda n: 1 + n % 3, alpha=lambda n: 1.0 + n % 4, dora=dora)
        adapter, made = adapter_of(network, changes), copy.deepcopy(network)
        with adapter.attach(made):
            expected = unet_output(made)
        folder = tmp_path / str(dora)
        write_adapter(adapter, network, folder, "diffusers")
        by_network = copy.deepcopy(network)
        by_network.load_lora_adapter(folder, prefix="unet", weight_name="pytorch_lora_weights.safetensors")
        torch.testing.assert_close(unet_output(by_network), expected, **CLOSE)
        kind, by_pipeline = diffusers.StableDiffusionXLPipeline, copy.deepcopy(network)
        tensors, alphas, metadata = kind.lora_state_dict(folder, return_lora_metadata=True)
        kind.load_lora_into_unet(tensors, alphas, by_pipeline, metadata=metadata)
        torch.testing.assert_close(unet_output(by_pipeline), expected, **CLOSE)
        bare = load_file(folder / "pytorch_lora_weights.safetensors")  # as readers see it that know no header
        torch.testing.assert_close(unet_output(merged_of(network, bare)), expected, **CLOSE)


def merged_of(network, tensors):
    made = copy.deepcopy(network)
    adapter_of(network, resolve_in(network, tensors).changes).merge(made)
    return made


def test_peft_does_not_take_a_whole_name_for_the_end_of_others(tmp_path):
    network = flux()
    changes = random_changes(network, ["proj_out", "single_transformer_blocks.1.proj_out"], rank=lambda n: 1 + n)
    adapter, made = adapter_of(network, changes), copy.deepcopy(network)
    with adapter.attach(made):
        expected = flux_output(made)
    write_adapter(adapter, network, tmp_path, "peft")
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(network), tmp_path)
    torch.testing.assert_close(flux_output(loaded), expected, **CLOSE)
    assert sum("lora_A" in name for name, _ in loaded.named_parameters()) == 2
