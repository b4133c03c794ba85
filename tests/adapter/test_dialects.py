"""Files of six tools change a network as those tools, or diffusers' own conversion of them, change it."""

import copy
import re

import pytest
import torch
from adapter.files import CLOSE, flux, flux_output, in_peft, kohya_keys, merged, put, random_changes, unet, unet_output
from safetensors.torch import load_file, save_file

from unmelt.adapter.dialect import adapter_of, detect, layers_of, resolve, resolve_in
from unmelt.adapter.dialect.flux import bfl
from unmelt.adapter.dialect.sgm import sgm
from unmelt.errors import UsageError
from unmelt.model import read_adapter

pytest.importorskip("peft")
diffusers = pytest.importorskip("diffusers")
conversion = pytest.importorskip("diffusers.loaders.lora_conversion_utils")

SOME = (
    "conv_in",
    "time_embedding.linear_2",
    "add_embedding.linear_1",
    "down_blocks.0.resnets.1.conv1",
    "down_blocks.0.downsamplers.0.conv",
    "down_blocks.1.resnets.0.conv_shortcut",
    "down_blocks.1.attentions.1.proj_in",
    "down_blocks.2.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_out.0",
    "mid_block.resnets.1.time_emb_proj",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "up_blocks.0.attentions.2.transformer_blocks.0.attn2.to_k",
    "up_blocks.1.upsamplers.0.conv",
    "up_blocks.2.resnets.2.conv2",
    "conv_out",
)


def varied(network, names, **more):
    return random_changes(network, names, rank=lambda n: 1 + n % 3, alpha=lambda n: 1.0 + n % 4, **more)


def gives(network, output, changes, expected):
    """The network with the changes attached, and merged, gives what is expected."""
    made, adapter = copy.deepcopy(network), adapter_of(network, changes)
    assert (output(network) - expected).abs().max() > 1e-2
    with adapter.attach(made):
        torch.testing.assert_close(output(made), expected, **CLOSE)
    adapter.merge(made)
    torch.testing.assert_close(output(made), expected, **CLOSE)


def by_diffusers(network, tensors, prefix="unet", alphas=None):
    made = copy.deepcopy(network)
    made.load_lora_adapter({k: v.clone() for k, v in tensors.items()}, prefix=prefix, network_alphas=alphas)
    return made


def named(network, names):
    """Other names of the network's layers, by the layers' own."""
    return {place.layers[0]: name for name, place in names(layers_of(network)).items() if len(place.layers) == 1}


@pytest.mark.parametrize("names", [None, sgm], ids=["own", "sgm"])
def test_kohya_is_read_as_diffusers_reads_it(names):
    network = unet()
    some = [
        name for name in SOME if names or "add_embedding" not in name
    ]  # which diffusers reads in original names only
    changes = random_changes(network, some, rank=lambda n: 1 + n % 3)  # it loses alphas of attention that differ
    tensors = kohya_keys(changes, names=names and named(network, names))
    theirs = {key: value.clone() for key, value in tensors.items()}
    theirs = conversion._maybe_map_sgm_blocks_to_diffusers(theirs, network.config)
    theirs, alphas = conversion._convert_non_diffusers_lora_to_diffusers(theirs)
    expected = unet_output(by_diffusers(network, theirs, alphas=alphas))
    found = resolve_in(network, tensors)
    assert found.dialect.name == "kohya"
    assert not found.elsewhere
    gives(network, unet_output, found.changes, expected)
    torch.testing.assert_close(expected, unet_output(merged(network, changes)), **CLOSE)


@pytest.mark.parametrize("dora", [None, "output"])
def test_kohya_with_alphas_that_differ_changes_layers_as_their_weights(dora):
    network = unet()
    changes = varied(network, list(layers_of(network))[::3], dora=dora)
    for names in (None, named(network, sgm)):
        found = resolve_in(network, kohya_keys(changes, names=names))
        gives(network, unet_output, found.changes, unet_output(merged(network, changes)))


def test_every_layer_of_a_unet_has_the_original_name_that_diffusers_converts_back():
    network = unet()
    for name, place in sgm(layers_of(network)).items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        keys = {f"{stem}.lora_down.weight": torch.ones(1, 1), f"{stem}.lora_up.weight": torch.ones(1, 1)}
        theirs = conversion._maybe_map_sgm_blocks_to_diffusers(keys, network.config)
        theirs, _ = conversion._convert_non_diffusers_lora_to_diffusers(theirs)
        converted = next(iter(theirs)).removeprefix("unet.").replace(".processor", "")
        converted = converted.replace("_lora.down.weight", "").replace(".lora.down.weight", "")
        own = place.layers[0]
        assert converted in (own, own.removesuffix(".0"))
    assert len(sgm(layers_of(network))) == len(layers_of(network))


def test_original_names_of_sdxl():
    found = {name: place.layers[0] for name, place in sgm(layers_of(unet())).items()}
    for name, layer in {
        "input_blocks.0.0": "conv_in",
        "input_blocks.1.0.in_layers.2": "down_blocks.0.resnets.0.conv1",
        "input_blocks.2.0.emb_layers.1": "down_blocks.0.resnets.1.time_emb_proj",
        "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks.4.0.skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q": (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
        ),
        "input_blocks.8.1.proj_out": "down_blocks.2.attentions.1.proj_out",
        "middle_block.1.transformer_blocks.0.ff.net.2": "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
        "middle_block.2.out_layers.3": "mid_block.resnets.1.conv2",
        "output_blocks.2.2.conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks.5.1.proj_in": "up_blocks.1.attentions.2.proj_in",
        "output_blocks.8.0.out_layers.3": "up_blocks.2.resnets.2.conv2",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb.0.0": "add_embedding.linear_1",
        "out.2": "conv_out",
    }.items():
        assert found[name] == layer


def test_an_upsampler_after_resnets_alone_has_the_second_place():
    layers = {f"up_blocks.0.resnets.{k}.conv1": (4, 4, 3, 3) for k in range(3)}
    assert "output_blocks.2.1.conv" in sgm(layers | {"up_blocks.0.upsamplers.0.conv": (4, 4, 3, 3)})


@pytest.mark.parametrize("rslora", [False, True])
def test_a_folder_of_peft(tmp_path, rslora):
    network = unet()
    changes = varied(network, SOME)
    reference = in_peft(network, changes, rslora=rslora)
    reference.save_pretrained(tmp_path)
    expected = unet_output(reference)
    adapter, made = read_adapter(tmp_path, network), copy.deepcopy(network)
    with adapter.attach(made):
        torch.testing.assert_close(unet_output(made), expected, **CLOSE)
    assert set(adapter.targets) == set(SOME)
    assert detect(load_file(tmp_path / "adapter_model.safetensors")).name == "peft"


def test_a_whole_name_in_peft_is_not_the_end_of_others(tmp_path):
    network = flux()
    changes = random_changes(
        network, ["single_transformer_blocks.0.proj_out", "proj_out"], rank=lambda n: 1 + n, alpha=lambda n: 2.0 + 5 * n
    )
    reference = in_peft(network, changes)
    reference.save_pretrained(tmp_path)
    adapter, made = read_adapter(tmp_path, network), copy.deepcopy(network)
    assert set(adapter.targets) == set(changes)
    with adapter.attach(made):
        torch.testing.assert_close(flux_output(made), flux_output(reference), **CLOSE)


def test_a_folder_of_peft_with_magnitudes(tmp_path):
    network = unet()
    changes = varied(network, SOME, dora="output")
    reference = in_peft(network, changes, dora=True)
    reference.save_pretrained(tmp_path)
    adapter, made = read_adapter(tmp_path, network), copy.deepcopy(network)
    assert adapter.config.decompose
    with adapter.attach(made):
        torch.testing.assert_close(unet_output(made), unet_output(reference), **CLOSE)


def in_diffusers(network, changes):
    """The network with the changes as an adapter of its own."""
    import peft

    made = copy.deepcopy(network)
    ranks = {f"^{name}": len(change.A) for name, change in changes.items()}
    alphas = {f"^{name}": change.alpha for name, change in changes.items()}
    made.add_adapter(
        peft.LoraConfig(r=1, target_modules=list(changes), rank_pattern=ranks, alpha_pattern=alphas), "style"
    )
    put(made, changes, "style")
    return made


@pytest.mark.parametrize("how", ["network", "pipeline"])
def test_a_file_of_diffusers(tmp_path, how):
    import peft
    from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers

    network = unet()
    changes = varied(network, SOME)
    reference = in_diffusers(network, changes)
    if how == "network":
        reference.save_lora_adapter(tmp_path, "style")
    else:
        layers = convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(reference, adapter_name="style"))
        metadata = reference.peft_config["style"].to_dict()
        metadata = {name: sorted(v) if isinstance(v, set) else v for name, v in metadata.items()}
        kind = diffusers.StableDiffusionXLPipeline
        kind.save_lora_weights(tmp_path, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata)
    adapter, made = read_adapter(tmp_path, network), copy.deepcopy(network)
    with adapter.attach(made):
        torch.testing.assert_close(unet_output(made), unet_output(reference), **CLOSE)
    assert detect(load_file(tmp_path / "pytorch_lora_weights.safetensors")).name == "diffusers"


def test_a_file_of_diffusers_with_attention_processors():
    network = unet()
    names = [name for name in layers_of(network) if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0"))]
    changes = random_changes(network, names, alpha=2.0)  # alpha = rank: these files have none
    tensors = {}
    for name, change in changes.items():
        stem, _, last = name.removesuffix(".0").rpartition(".")
        tensors[f"unet.{stem}.processor.{last}_lora.down.weight"] = change.A
        tensors[f"unet.{stem}.processor.{last}_lora.up.weight"] = change.B
    found = resolve_in(network, tensors)
    assert found.dialect.name == "diffusers"
    gives(network, unet_output, found.changes, unet_output(by_diffusers(network, tensors)))


def wide():
    """The shapes of Flux's own layers, in which diffusers' conversion is written; weights are not needed."""
    with torch.device("meta"):
        return layers_of(diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True))


def original_file(layers, prefix, sign, down, up, alpha):
    """A file with all original names of Flux and their fused layers, rank 1 or 2."""
    tensors = {}
    places = {name: place for name, place in bfl(layers).items() if not re.search(r"(qkv|linear1)\.\d$", name)}
    assert sorted(each for place in places.values() for each in place.layers) == sorted(layers)
    for number, (name, place) in enumerate(places.items()):
        rank = 1 + number % 2
        stem = prefix + name.replace(".", sign)
        draw = torch.Generator().manual_seed(number)
        tensors[f"{stem}.{down}.weight"] = torch.randn(rank, layers[place.layers[0]][1], generator=draw)
        outer = sum(layers[each][0] for each in place.layers)
        tensors[f"{stem}.{up}.weight"] = torch.randn(outer, rank, generator=draw)
        if alpha and "final_layer" not in name:  # whose alpha diffusers drops
            tensors[f"{stem}.alpha"] = torch.tensor(0.5 + number)
    return tensors


def same_changes(changes, theirs):
    """Ours are those of a converted file, in which alpha is the rank."""
    theirs = {key.removeprefix("transformer."): value for key, value in theirs.items()}
    assert {f"{name}.lora_A.weight" for name in changes} == {key for key in theirs if "lora_A" in key}
    for name, change in changes.items():
        A, B = theirs[f"{name}.lora_A.weight"], theirs[f"{name}.lora_B.weight"]
        rows = slice(None, None, max(1, len(B) // 64))  # all rows of A, and some of the outputs
        expected = B[rows] @ A
        torch.testing.assert_close(change.alpha / change.rank * change.B[rows] @ change.A, expected, **CLOSE)
        torch.testing.assert_close(
            change.B.sum(0) * change.alpha / change.rank @ change.A, B.sum(0) @ A, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize(("prefix", "sign"), [("lora_unet_", "_"), ("diffusion_model.", ".")])
def test_original_flux_is_read_as_diffusers_reads_it(prefix, sign):
    layers = wide()
    tensors = original_file(layers, prefix, sign, "lora_down", "lora_up", alpha=True)
    theirs = conversion._convert_kohya_flux_lora_to_diffusers({k: v.clone() for k, v in tensors.items()})
    found = resolve(tensors, layers)
    assert found.dialect.name == "flux"
    same_changes(found.changes, theirs)


def test_original_flux_with_dots_alone_changes_the_network_as_its_fused_weights():
    network = flux()
    layers = layers_of(network)
    tensors = original_file(layers, "", ".", "lora_A", "lora_B", alpha=False)
    fused = {}
    for name, place in bfl(layers).items():
        if f"{name}.lora_B.weight" in tensors:
            product = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
            product = conversion.swap_scale_shift(product) if place.swapped else product
            sizes = [layers[each][0] for each in place.layers]
            fused |= dict(zip(place.layers, product.split(sizes), strict=True))
    made = copy.deepcopy(network)
    with torch.no_grad():
        for name, product in fused.items():
            made.get_submodule(name).weight += product
    found = resolve_in(network, tensors)
    assert found.dialect.name == "flux"
    adapter = adapter_of(network, found.changes)
    expected = flux_output(made)
    assert (expected - flux_output(network)).abs().max() > 0.1
    adapter.merge(network)
    torch.testing.assert_close(flux_output(network), expected, rtol=1e-4, atol=1e-4)


def test_block_sparse_queries_keys_and_values_are_read_as_diffusers_reads_them():
    layers = {name: shape for name, shape in wide().items() if ".attn.to_" in name or "single" in name}
    up = torch.zeros(3 * 3072, 6)
    for part in range(3):
        up[part * 3072 : (part + 1) * 3072, 2 * part : 2 * part + 2] = torch.randn(3072, 2)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{stem}.lora_down.weight": torch.randn(6, 3072), f"{stem}.lora_up.weight": up}
    theirs = conversion._convert_kohya_flux_lora_to_diffusers(dict(tensors))
    assert theirs["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"].shape[0] == 2
    same_changes(resolve(tensors, layers).changes, theirs)


@pytest.mark.parametrize("prefix", ["transformer.", "diffusion_model."])
def test_ai_toolkit_has_the_networks_own_names_after_a_prefix(prefix):
    network = flux()
    changes = random_changes(network, layers_of(network), rank=2, alpha=2.0)  # which it writes without alphas
    tensors = {}
    for name, change in changes.items():
        tensors |= {f"{prefix}{name}.lora_A.weight": change.A, f"{prefix}{name}.lora_B.weight": change.B}
    found = resolve_in(network, tensors)
    assert found.dialect.name == ("ai-toolkit" if prefix == "diffusion_model." else "diffusers")
    theirs = {key.replace(prefix, "transformer."): value for key, value in tensors.items()}
    gives(network, flux_output, found.changes, flux_output(by_diffusers(network, theirs, "transformer")))


def test_one_trainer_is_read_as_diffusers_reads_it():
    network = flux()
    names = [name for name in layers_of(network) if ".attn." in name or "embedder" in name]
    changes = varied(network, names)
    tensors = kohya_keys(changes, "lora_transformer_")
    theirs = conversion._convert_kohya_flux_lora_to_diffusers({k: v.clone() for k, v in tensors.items()})
    found = resolve_in(network, tensors)
    assert found.dialect.name == "OneTrainer"
    same_changes(found.changes, theirs)
    gives(network, flux_output, found.changes, flux_output(by_diffusers(network, theirs, "transformer")))


@pytest.mark.parametrize("names", [None, sgm], ids=["own", "sgm"])
def test_one_trainer_has_magnitudes_of_inputs(names):
    network = unet()
    changes = varied(network, SOME, dora="input")
    tensors = kohya_keys(changes, names=names and named(network, names))
    found = resolve_in(network, tensors)
    assert found.dialect.name == "OneTrainer"
    gives(network, unet_output, found.changes, unet_output(merged(network, changes)))
    tensors = kohya_keys(varied(network, SOME, dora="output"))
    gives(network, unet_output, resolve_in(network, tensors).changes, unet_output(in_peft_dora(network)))


def in_peft_dora(network):
    return in_peft(network, varied(network, SOME, dora="output"), dora=True)


def test_the_common_format_has_numbers_for_the_parts_of_a_fused_layer():
    network = flux()
    names = named(
        network, lambda layers: {n: p for n, p in bfl(layers).items() if n != "final_layer.adaLN_modulation.1"}
    )
    names["x_embedder"] = "img_in.proj"
    changes = varied(network, names)
    tensors = {}
    for name, change in changes.items():
        stem = f"transformer.{names[name]}"
        tensors |= {f"{stem}.lora_down.weight": change.A, f"{stem}.lora_up.weight": change.B}
        tensors[f"{stem}.alpha"] = torch.tensor(change.alpha)
    found = resolve_in(network, tensors)
    assert found.dialect.name == "OneTrainer"
    assert "single_blocks.1.linear1.3" in names.values()
    gives(network, flux_output, found.changes, flux_output(merged(network, changes)))


def test_a_text_encoder_has_its_part_of_the_file(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 9,
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**sizes, bos_token_id=0, eos_token_id=1)).eval()
    network, own = unet(), list(layers_of(encoder))
    words = random_changes(encoder, own, rank=1)
    denoiser = random_changes(network, SOME[:3])
    prefixed = {name: f"text_model.{name.removeprefix('text_model.')}" for name in own}
    save_file(kohya_keys(denoiser) | kohya_keys(words, "lora_te1_", prefixed), tmp_path / "style.safetensors")
    with pytest.raises(UsageError, match=r"36 keys for te1 such as 'lora_te1_text_model.*ignore_text_encoders=True"):
        read_adapter(tmp_path / "style.safetensors", network)
    adapter = read_adapter(tmp_path / "style.safetensors", network, ignore_text_encoders=True)
    assert adapter.targets == tuple(sorted(SOME[:3], key=list(layers_of(network)).index))
    ids = torch.tensor([[0, 4, 5, 1]])
    expected = merged(encoder, words)(ids).last_hidden_state
    read_adapter(tmp_path / "style.safetensors", encoder, part="te1").merge(encoder)
    torch.testing.assert_close(encoder(ids).last_hidden_state, expected, **CLOSE)
