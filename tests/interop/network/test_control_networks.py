"""ControlNets and T2I-adapters beside a pipeline: the pictures of diffusers' own control pipelines, and every verb."""

import pytest
import torch
from interop.pipelines import (
    called,
    control_net,
    difference,
    noise,
    stable_diffusion,
    stable_diffusion_xl,
    t2i_adapter,
    walked,
)

import unmelt as um
from unmelt.errors import UsageError

diffusers = pytest.importorskip("diffusers")

STEPS = 2
PROMPTS = {"prompt": ["a cat", "dogs"], "negative_prompt": ["bad", "grey"]}
SCHEDULER = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULER |= {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}

LACKS = {"StableDiffusionXLAdapterPipeline": ("add_watermarker",)}


def scheduler():
    return diffusers.DDIMScheduler(**SCHEDULER)


def pictures(rows=2, size=(16, 16), channels=3, seed=9):
    return torch.rand(rows, channels, *size, generator=torch.Generator().manual_seed(seed))


class Beside:
    """A pipeline with a ControlNet for edges, one for depth and a T2I-adapter; and the same as our model."""

    def __init__(self, folder, pipeline):
        self.pipeline, self.folder = pipeline, folder
        pipeline.save_pretrained(folder / "pipeline")
        self.edges, self.depth = (control_net(pipeline.unet, seed) for seed in (11, 12))
        self.adapter = t2i_adapter(13)
        self.model = um.load_diffusers(folder / "pipeline", device="cpu")
        self.times = um.interop.pipeline_times(folder / "pipeline", STEPS)
        for name in ("edges", "depth", "adapter"):
            getattr(self, name).save_pretrained(folder / name)
            self.model.add_control(name, folder / name)

    def made(self, x, control, scale, guidance):
        model = self.model
        known = model.condition_of(
            2,
            prompt=PROMPTS["prompt"],
            negative=PROMPTS["negative_prompt"],
            control=control,
            control_scale=scale,
        )
        return walked(model, x, self.times, um.sampler.DDIM(), model.of_size(known, x.shape[1:]), guidance)

    def wanted(self, kind, x, guidance, **settings):
        pipeline = getattr(diffusers, kind)
        with_parts = {name: each for name, each in self.pipeline.components.items() if each is not None}
        network = {name: settings.pop(name) for name in ("controlnet", "adapter") if name in settings}
        made = pipeline(**with_parts, **network, **{k: v for k, v in self.rest.items() if k not in LACKS.get(kind, ())})
        size = {"height": 2 * x.shape[2], "width": 2 * x.shape[3]}
        return called(
            made, **PROMPTS, latents=x, num_inference_steps=STEPS, guidance_scale=guidance, **size, **settings
        )


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    found = Beside(tmp_path_factory.mktemp("sd"), stable_diffusion(scheduler(), (True, False)))
    found.rest = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return found


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    found = Beside(tmp_path_factory.mktemp("xl"), stable_diffusion_xl(scheduler(), attends=(True, False)))
    found.rest = {"add_watermarker": False}
    return found


CASES = ((1.0, 1.0, (16, 16)), (5.0, 0.4, (16, 24)))


@pytest.mark.parametrize(("guidance", "scale", "size"), CASES)
@pytest.mark.parametrize("kind", ["beside", "xl"])
def test_a_control_net_makes_the_pictures_of_diffusers(kind, guidance, scale, size, request):
    found, x = request.getfixturevalue(kind), noise((4, size[0] // 2, size[1] // 2))
    picture = pictures(size=size)
    settings = {"image": picture, "controlnet": found.edges, "controlnet_conditioning_scale": scale}
    wanted = found.wanted(f"StableDiffusion{'XL' * (kind == 'xl')}ControlNetPipeline", x, guidance, **settings)
    made = found.made(x, {"edges": picture}, {"edges": scale}, guidance)
    assert difference(made, wanted) <= 1e-5
    assert difference(made, found.made(x, None, None, guidance)) > 1e-3


@pytest.mark.parametrize(("guidance", "scale", "size"), CASES)
def test_two_control_nets_add_up(beside, guidance, scale, size):
    x, one, other = noise((4, size[0] // 2, size[1] // 2)), pictures(size=size), pictures(size=size, seed=10)
    networks = diffusers.MultiControlNetModel([beside.edges, beside.depth])
    settings = {"image": [one, other], "controlnet": networks, "controlnet_conditioning_scale": [scale, 0.7]}
    wanted = beside.wanted("StableDiffusionControlNetPipeline", x, guidance, **settings)
    made = beside.made(x, {"edges": one, "depth": other}, {"edges": scale, "depth": 0.7}, guidance)
    assert difference(made, wanted) <= 1e-5


@pytest.mark.parametrize(("guidance", "scale", "size"), CASES)
@pytest.mark.parametrize("kind", ["beside", "xl"])
def test_a_t2i_adapter_makes_the_pictures_of_diffusers(kind, guidance, scale, size, request):
    found, x = request.getfixturevalue(kind), noise((4, size[0] // 2, size[1] // 2))
    picture = pictures(size=size)
    settings = {"image": picture, "adapter": found.adapter, "adapter_conditioning_scale": scale}
    wanted = found.wanted(f"StableDiffusion{'XL' * (kind == 'xl')}AdapterPipeline", x, guidance, **settings)
    made = found.made(x, {"adapter": picture}, {"adapter": scale}, guidance)
    assert difference(made, wanted) <= 1e-5
    assert difference(made, found.made(x, None, None, guidance)) > 1e-3


def test_an_empty_negative_prompt_has_the_control_too(beside):
    x, picture = noise((4, 8, 8)), pictures()
    made = diffusers.StableDiffusionControlNetPipeline(
        **{name: each for name, each in beside.pipeline.components.items() if each is not None},
        controlnet=beside.edges,
        **beside.rest,
    )
    settings = {"prompt": PROMPTS["prompt"], "latents": x, "num_inference_steps": STEPS, "guidance_scale": 4.0}
    wanted = called(made, **settings, image=picture)
    known = beside.model.condition_of(2, prompt=PROMPTS["prompt"], control={"edges": picture})
    assert difference(walked(beside.model, x, beside.times, um.sampler.DDIM(), known, 4.0), wanted) <= 1e-5


def test_rows_differ_and_a_row_without_control_is_as_before(beside):
    model, picture = beside.model, pictures(1)[0]
    settings = {"prompt": ["a cat", "dogs", "a fox"], "guidance": 3.0, "steps": 2, "seed": [1, 2, 3]}
    plain = model.sample(3, **settings)
    rows = model.sample(
        3, **settings, control={"edges": [picture, None, picture]}, control_scale={"edges": [1, 1, 0.5]}
    )
    assert torch.allclose(rows[1], plain[1], atol=1e-6)
    assert not torch.allclose(rows[0], plain[0], atol=1e-3)
    halved = model.sample(3, **settings, control={"edges": picture}, control_scale={"edges": 0.5})
    assert torch.allclose(rows[2], halved[2], atol=1e-5)
    nothing = model.sample(3, **settings, control={"edges": picture}, control_scale={"edges": 0.0})
    none_of_it = model.sample(3, **settings, control={"edges": [None] * 3})
    assert torch.equal(nothing, plain)
    assert torch.equal(none_of_it, plain)


def test_control_travels_with_rows_through_split_and_join(beside):
    model = beside.model
    both = {"edges": pictures(1)[0], "adapter": pictures(1, seed=10)[0]}
    asked = [
        {"prompt": "a cat", "negative": "bad", "control": both, "seed": 1},
        {"prompt": "dogs", "seed": 2},
        {"prompt": "a fox", "negative": "", "control": {"depth": both["edges"]}, "seed": 3},
    ]
    requests = [model.request(1, **each, guidance=4.0, steps=2) for each in asked]
    alone = [list(model.states(each))[-1].x for each in requests]
    prepared = [model.prepare(each) for each in requests]
    denoiser, sampler, _, times = prepared[0]
    state = um.State.join([each.state for each in prepared])
    times = [time.expand(3) for time in times]
    state = sampler.step(denoiser, state, times[0])
    state = um.State.join([state[2:], state[:2]])  # in another order
    state = sampler.step(denoiser, state, times[1])
    assert (state.x - torch.cat([alone[2], alone[0], alone[1]])).abs().max() < 1e-4 * state.x.abs().max()


def test_pictures_are_resized_and_come_in_many_forms(beside, tmp_path):
    from PIL import Image

    model, settings = beside.model, {"prompt": "a cat", "steps": 2, "guidance": 2.0}
    picture = (pictures(1)[0] * 255).byte()
    array = picture.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "edges.png")
    wanted = model.sample(1, **settings, control={"edges": picture.float() / 255})
    forms = [picture, picture[None], array, Image.fromarray(array), [Image.fromarray(array)], tmp_path / "edges.png"]
    for form in [*forms, str(tmp_path / "edges.png")]:
        assert torch.allclose(model.sample(1, **settings, control={"edges": form}), wanted, atol=1e-5)
    large = Image.fromarray(array).resize((64, 48), Image.Resampling.NEAREST)
    assert model.sample(1, **settings, control={"edges": large}, size=(8, 24)).shape == (1, 3, 8, 24)


def test_every_verb_takes_control_guidance_and_an_adapter_and_each_has_its_effect(beside):
    model = beside.model
    with um.rng.seeded(0):
        factors = model.add_adapter("style", um.adapter.LoRA(rank=2, alpha=2.0))
        for weight in factors.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    try:
        control = {"edges": pictures(1)[0]}
        settings = {"prompt": "a cat", "guidance": 4.0, "control": control, "adapter": "style", "steps": 2, "seed": 1}
        off = {"guidance": 1.0, "control": None, "adapter": None}
        x, mask = pictures(1, seed=4), torch.zeros(16, 16)
        mask[:, :8] = 1
        verbs = {
            "inpaint": lambda **given: model.inpaint(x, mask, **given),
            "edit": lambda **given: model.edit(x, strength=0.6, **given),
            "outpaint": lambda **given: model.outpaint(x, right=8, **given),
        }
        for name, verb in verbs.items():
            made = verb(**settings)
            assert made.isfinite().all(), name
            for argument, value in off.items():
                changed = verb(**{**settings, argument: value})
                assert (changed - made).abs().max() > 1e-3, (name, argument)
        assert torch.equal(verbs["inpaint"](**settings)[..., 8:], x[..., 8:])
        plain = model.sample(1, **settings)
        assert torch.equal(model.edit(x, strength=1.0, **settings), plain)
        assert torch.equal(model.variations(x, 1, strength=1.0, **settings), plain)
        wide = model.edit(pictures(1, size=(8, 24)), strength=1.0, **settings)
        assert torch.equal(wide, model.sample(1, **settings, size=(8, 24)))
    finally:
        model.remove_adapter("style")


def test_an_adapter_touches_no_control_network_and_a_saved_model_has_both(beside, tmp_path):
    model = beside.model
    settings = {"prompt": "a cat", "steps": 2, "control": {"edges": pictures(1)[0], "adapter": pictures(1)[0]}}
    x = model.sample(1, **settings)
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", device="cpu")
    assert again.control_names == ("edges", "depth", "adapter")
    assert torch.equal(again.sample(1, **settings), x)
    names = [name for name, _ in again.denoiser.backbone.named_parameters()]
    assert not any("control" in name for name in names)
    again.remove_control("edges")
    again.remove_control("depth")
    assert torch.equal(
        again.sample(1, prompt="a cat", steps=2, control=pictures(1)[0], control_scale=0.3),
        model.sample(1, prompt="a cat", steps=2, control={"adapter": pictures(1)[0]}, control_scale={"adapter": 0.3}),
    )
    with pytest.raises(UsageError, match="a control called 'edges'; one of"):
        again.sample(1, control={"edges": pictures(1)[0]})


REFUSED = {
    "a control that there is not": (
        {"control": {"edge": torch.zeros(3, 8, 8)}},
        r"called 'edge'; one of the model's controls: 'edges', 'depth', 'adapter'\. Try: control=\{'edges'",
    ),
    "which control": ({"control": torch.zeros(3, 8, 8)}, r"with the controls edges, depth, adapter; each by its name"),
    "a shape": ({"control": {"edges": torch.zeros(5, 8, 8)}}, r"shape \(5, 8, 8\); \[height, width\] or"),
    "bytes as numbers": ({"control": {"edges": torch.full((3, 8, 8), 255.0)}}, r"from 255 to 255.*picture / 255"),
    "how many": ({"control": {"edges": torch.zeros(3, 3, 8, 8)}}, r"3 control pictures for 2 rows"),
    "no picture": ({"control": {"edges": 3}}, r"a control picture of shape \(\)"),
    "no file": ({"control": {"edges": "nowhere.png"}}, r"nowhere.png, which cannot be read"),
    "a scale alone": ({"control_scale": {"edges": 0.5}}, r"a control_scale without a control"),
    "scales": (
        {"control": {"edges": torch.zeros(3, 8, 8)}, "control_scale": {"edges": [1.0, 2.0, 3.0]}},
        r"control_scale=\[1.0, 2.0, 3.0\]; a number, or one for each row",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes_in_control_are_one_sentence(name, beside):
    given, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        beside.model.sample(2, prompt="a cat", steps=2, **given)


def test_control_networks_of_another_kind_are_refused(beside, tmp_path):
    model, unet = beside.model, beside.pipeline.unet
    others = {
        r"cross_attention_dim=24 for a network with cross_attention_dim=16": control_net(
            unet, 1, cross_attention_dim=24
        ),
        r"block_out_channels=\(16, 16\) for": control_net(unet, 1, block_out_channels=(16, 16)),
        r"channels=\(8, 24\) for a network with block_out_channels=\(8, 16\)": t2i_adapter(1, (8, 24)),
        r"does not fit this model's": t2i_adapter(1, adapter_type="full_adapter_xl"),
        r"global_pool_conditions=True; False": control_net(unet, 1, global_pool_conditions=True),
        r"holds a UNet2DConditionModel; a ControlNetModel or a T2IAdapter": unet,
    }
    for number, (message, network) in enumerate(others.items()):
        network.save_pretrained(tmp_path / str(number))
        with pytest.raises(UsageError, match=message):
            model.add_control("other", tmp_path / str(number))
    beside.edges.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    with pytest.raises(UsageError, match=r"safetensors; a pickle \(.bin\) is never opened"):
        model.add_control("other", tmp_path / "pickled")
    with pytest.raises(UsageError, match=r"there is no .*nowhere"):
        model.add_control("other", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="a second control called 'edges'"):
        model.add_control("edges", beside.edges)
    assert model.control_names == ("edges", "depth", "adapter")


def test_models_that_know_no_control_say_so(beside):
    model = um.recipe.ring()
    with pytest.raises(UsageError, match=r"control=... for a model that knows no control"):
        model.sample(1, control=torch.zeros(1, 8, 8))
    with pytest.raises(UsageError, match=r"a control network for a .*; a model of Stable Diffusion 1, 2 or XL"):
        model.add_control("edges", beside.folder / "edges")
