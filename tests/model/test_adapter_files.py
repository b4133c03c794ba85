"""A model's adapters in files of other libraries: saved, loaded, scaled, combined, chosen by rows and merged."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import unmelt as um
from unmelt.adapter import LoRA
from unmelt.adapter.dialect import layers_of
from unmelt.interop import Betas, DiffusersUNet
from unmelt.model.adapter_files import read_adapter, write_adapter

peft = pytest.importorskip("peft")
pytest.importorskip("diffusers")

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (4, 8),
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
BODIES = {
    "unmelt": lambda: um.backbone.UNet(channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(False, True)),
    "diffusers": lambda: DiffusersUNet(Betas(), TINY),
}


def randomised(module, seed, size=0.2):
    with um.rng.seeded(seed), torch.no_grad():
        for weight in module.parameters():
            weight.add_(size * torch.randn_like(weight))
    return module


def model_of(kind):
    with um.rng.seeded(0):
        body = randomised(BODIES[kind](), 1, 0.05)
    process = um.process.Gaussian(um.schedule.Straight(3.0))
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(body, process, um.prediction.FlowVelocity(), (1, 8, 8)),
        codec=um.codec.Affine.images(),
        sampler=um.sampler.Euler(),
        grid=um.grid.uniform(2),
    )


@pytest.fixture(params=BODIES)
def model(request):
    made = model_of(request.param)
    made.kind = request.param
    return made


def names(model):
    """Some layers of the network of the library, as its own names."""
    body = model.denoiser.backbone
    inner = body.network if model.kind == "diffusers" else body
    return inner, list(layers_of(inner))[::4]


def add(model, decompose=False):
    _, chosen = names(model)
    prefix = "network." if model.kind == "diffusers" else ""
    config = LoRA(
        rank=2,
        alpha=3.0,
        targets=tuple(f"^{prefix}{name}" for name in chosen),
        decompose=decompose,
        rank_pattern=((f"^{prefix}{chosen[0]}", 3),),
        alpha_pattern=((f"^{prefix}{chosen[1]}", 5.0),),
    )
    randomised(model.add_adapter("style", config, seed=3), 4)
    return config


def fresh(model):
    made = model_of(model.kind)
    made.kind = model.kind
    return made


def kohya_file(model, path, seed=5, **more):
    """A file as kohya's scripts write it for the network."""
    inner, chosen = names(model)
    tensors = {}
    with um.rng.seeded(seed):
        for number, name in enumerate(chosen):
            weight, rank = inner.get_submodule(name).weight, 1 + number % 2
            stem = f"lora_unet_{name.replace('.', '_')}"
            tensors[f"{stem}.lora_down.weight"] = 0.5 * torch.randn(rank, *weight.shape[1:])
            tensors[f"{stem}.lora_up.weight"] = 0.5 * torch.randn(len(weight), rank, *[1] * (weight.ndim - 2))
            tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    save_file(tensors | more, path)
    return tensors


def explicit(model, tensors, scale=1.0):
    """The model with W + s (alpha / rank) B A."""
    made = fresh(model)
    inner, chosen = names(made)
    with torch.no_grad():
        for name in chosen:
            stem = f"lora_unet_{name.replace('.', '_')}"
            down, up = tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"]
            weight = inner.get_submodule(name).weight
            weight += scale * (2.0 / len(down)) * (up.flatten(1) @ down.flatten(1)).view(weight.shape)
    return made


@pytest.mark.parametrize("decompose", [False, True])
def test_every_layout_is_loaded_again(model, tmp_path, decompose):
    config = add(model, decompose)
    expected = model.sample(2, seed=0, adapter="style")
    assert (expected - model.sample(2, seed=0)).abs().max() > 0.01
    for layout in ("unmelt", "peft", "diffusers"):
        model.save_adapter("style", tmp_path / layout, layout=layout)
        other = fresh(model)
        other.load_adapter(tmp_path / layout, "again")
        torch.testing.assert_close(other.sample(2, seed=0, adapter="again"), expected, **CLOSE)
    assert other.adapters["again"].config.decompose == decompose
    assert set(other.adapters["again"].targets) == {pattern[1:] for pattern in config.targets}


@pytest.mark.parametrize("decompose", [False, True])
def test_peft_loads_what_is_saved_for_it(model, tmp_path, decompose):
    add(model, decompose)
    model.save_adapter("style", tmp_path, layout="peft")
    with um.rng.seeded(6):
        x, level = torch.randn(2, 1, 8, 8), torch.tensor([0.1, 0.4])
    body = fresh(model).denoiser.backbone
    with torch.no_grad(), model.adapters["style"].attach(body):
        expected = body(x, level)
    plain = fresh(model).denoiser.backbone
    inner = plain.network if model.kind == "diffusers" else plain
    loaded = peft.PeftModel.from_pretrained(inner, tmp_path)
    if model.kind == "diffusers":
        plain.network = loaded.base_model.model
    else:
        plain = loaded.base_model.model
    with torch.no_grad():
        torch.testing.assert_close(plain(x, level), expected, **CLOSE)
    assert (expected - body(x, level)).abs().max() > 0.01
    assert loaded.peft_config["default"].use_dora == decompose


def test_a_file_of_another_tool_is_scaled_combined_chosen_by_rows_and_merged(model, tmp_path):
    one, two = kohya_file(model, tmp_path / "one.safetensors"), kohya_file(model, tmp_path / "two 2.safetensors", 6)
    model.load_adapter(tmp_path / "one.safetensors")
    model.load_adapter(tmp_path / "two 2.safetensors")
    model.load_adapter(tmp_path / "one.safetensors", "half", scale=0.5)
    assert list(model.adapters) == ["one", "two_2", "half"]
    model.combine_adapters("both", {"one": 0.7, "two_2": -0.4, "half": 0.2})
    both = explicit(model, one, 0.8)
    inner, chosen = names(both)
    added, before = explicit(model, two, -0.4), fresh(model)
    with torch.no_grad():
        for name in chosen:
            difference = names(added)[0].get_submodule(name).weight - names(before)[0].get_submodule(name).weight
            inner.get_submodule(name).weight += difference
    expected = {
        None: before,
        "one": explicit(model, one),
        "two_2": explicit(model, two),
        "half": explicit(model, one, 0.5),
        "both": both,
    }
    rows = ["both", None, "one", "half", "two_2"]
    together = model.sample(5, seed=2, adapter=rows)
    for row, name in enumerate(rows):
        alone = expected[name].sample(1, seed=[um.rng.fold(2, row)])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", device="cpu")
    assert torch.equal(again.sample(5, seed=2, adapter=rows), together)
    model.merge_adapter("one", scale=0.5)
    merged = model.sample(2, seed=0)
    torch.testing.assert_close(merged, expected["half"].sample(2, seed=0), rtol=1e-4, atol=1e-5)


def test_an_adapter_that_decomposes_is_chosen_by_rows_saved_and_merged(model, tmp_path):
    add(model, decompose=True)
    together = model.sample(2, seed=0, adapter=["style", None])
    plain = fresh(model).sample(1, seed=[um.rng.fold(0, 1)])
    torch.testing.assert_close(together[1:], plain, rtol=1e-4, atol=1e-5)
    assert (together[:1] - fresh(model).sample(1, seed=[um.rng.fold(0, 0)])).abs().max() > 0.01
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", device="cpu")
    assert torch.equal(again.sample(2, seed=0, adapter=["style", None]), together)
    with pytest.raises(um.UsageError, match="'style', which decomposes"):
        again.combine_adapters("both", {"style": 0.5})
    again.save_adapter("style", tmp_path / "own")
    again.merge_adapter("style")
    alone = [um.rng.fold(0, 0)]
    torch.testing.assert_close(again.sample(1, seed=alone), together[:1], rtol=1e-4, atol=1e-5)
    half = fresh(model)
    half.load_adapter(tmp_path / "own", scale=0.5)
    with pytest.raises(um.UsageError, match=r"decomposes, at scale 0\.5"):
        half.save_adapter("style", tmp_path / "peft", layout="peft")
    assert not (tmp_path / "peft").exists()


def test_an_adapter_of_the_whole_backbone_is_found_too(tmp_path):
    model = model_of("diffusers")
    model.kind = "diffusers"
    tensors = {f"base_model.model.network.conv_in.lora_{w}.weight": t for w, t in factors(model).items()}
    save_file(tensors, tmp_path / "a.safetensors")
    assert model.load_adapter(tmp_path / "a.safetensors").targets == ("network.conv_in",)


def factors(model):
    weight = model.denoiser.backbone.network.conv_in.weight
    return {"A": torch.ones(1, *weight.shape[1:]), "B": torch.ones(len(weight), 1, 1, 1)}


def test_nothing_is_half_loaded(model, tmp_path):
    kohya_file(model, tmp_path / "a.safetensors", **{"lora_unet_nowhere.alpha": torch.tensor(1.0)})
    expected = model.sample(1, seed=0)
    with pytest.raises(um.UsageError, match=r"1 key, 'lora_unet_nowhere\.alpha', that has no place"):
        model.load_adapter(tmp_path / "a.safetensors")
    assert not model.adapters
    assert torch.equal(model.sample(1, seed=0), expected)
    assert not any(module._forward_hooks for module in model.denoiser.modules())


@pytest.mark.parametrize("ending", [".pt", ".bin", ".ckpt", ".pth"])
def test_pickles_are_never_opened(model, tmp_path, ending):
    path = tmp_path / f"adapter_model{ending}"
    path.write_bytes(b"anything")
    for given in (path, tmp_path):
        with pytest.raises(
            um.UsageError, match=r"a pickle, which can run code when it is opened; a \.safetensors file"
        ):
            model.load_adapter(given)


def test_other_files_are_refused(model, tmp_path, monkeypatch):
    (tmp_path / "note.txt").write_text("x", encoding="utf-8")
    (tmp_path / "b.safetensors").write_bytes(b"x" * 40)
    for given, said in (
        ("none.safetensors", "there is no"),
        ("note.txt", "a .safetensors file"),
        ("b.safetensors", "cannot be read"),
    ):
        with pytest.raises(um.UsageError, match=said):
            model.load_adapter(tmp_path / given)
    kohya_file(model, tmp_path / "a.safetensors")
    with pytest.raises(um.UsageError, match="with 2 files of weights"):
        model.load_adapter(tmp_path)
    monkeypatch.setattr("unmelt.model.adapter_files.SPARE_BYTES", -(10**9))
    with pytest.raises(um.UsageError, match="bytes; at most"):
        model.load_adapter(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "LOHA"}, "of a LOHA"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_alpha": "x"}, "alphas that are not numbers"),
        ({"alpha_pattern": {"a.*b+": 1.0}}, r"the expression 'a\.\*b\+'"),
        ({"alpha_pattern": [1]}, "alphas that are not numbers"),
        ({"modules_to_save": ["x"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"use_qalora": True}, "use_qalora"),
        ({"corda_config": {"x": 1}}, "corda_config"),
        (None, "cannot be read"),
        ([], "holds no adapter"),
    ],
)
def test_settings_of_peft_that_mean_something_else_are_refused(tmp_path, change, said):
    model = model_of("unmelt")
    model.kind = "unmelt"
    add(model)
    model.save_adapter("style", tmp_path, layout="peft")
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    content = "{" if change is None else json.dumps(config | change if isinstance(change, dict) else change)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(um.UsageError, match=said):
        model.load_adapter(tmp_path, "other")


def test_what_another_library_does_not_have_is_not_saved_for_it(tmp_path):
    network = nn.Sequential(nn.Conv1d(4, 4, 1, groups=2))
    with pytest.raises(um.UsageError, match="a convolution with groups"):
        write_adapter(um.adapter.Adapter(network, LoRA()), network, tmp_path / "x", "peft")
    network = nn.Sequential(nn.Linear(4, 4))
    adapter = um.adapter.Adapter(network, LoRA(decompose=True, magnitudes="input"))
    with pytest.raises(um.UsageError, match="magnitudes of inputs"):
        write_adapter(adapter, network, tmp_path / "x", "diffusers")
    assert not (tmp_path / "x").exists()


def test_a_bare_network_reads_what_was_written_for_it(tmp_path):
    network = nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"0": nn.Linear(4, 4)}))
    adapter = randomised(um.adapter.Adapter(network, LoRA(rank=1, targets=("^0",), scale=0.5)), 1)
    write_adapter(adapter, network, tmp_path, "peft")
    again = read_adapter(tmp_path, network)
    assert again.targets == ("0",)
    x = torch.randn(2, 4)
    with adapter.attach(network):
        expected = network[0](x)
    with again.attach(network):
        torch.testing.assert_close(network[0](x), expected)
    loaded = peft.PeftModel.from_pretrained(network, tmp_path)
    assert [name for name, _ in loaded.named_parameters() if "lora_A" in name] == [
        "base_model.model.0.lora_A.default.weight"
    ]


def test_an_own_adapter_with_numbers_that_are_not_finite_is_refused(tmp_path):
    model = model_of("unmelt")
    model.kind = "unmelt"
    add(model)
    with torch.no_grad():
        next(iter(model.adapters["style"].parameters())).fill_(float("nan"))
    model.save_adapter("style", tmp_path)
    with pytest.raises(um.UsageError, match="not finite"):
        model.load_adapter(tmp_path, "other")
    assert list(model.adapters) == ["style"]
