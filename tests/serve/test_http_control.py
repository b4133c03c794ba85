"""Control pictures over HTTP, by the official client: what the model samples with them, and its own refusals."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from running import served

import unmelt as um
from unmelt.backbone import UNet
from unmelt.serve import Engine, EngineLimits, ServerSettings

openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")
pytest.importorskip("multipart")

SIDE = 8


def controlled():
    """A model that was made with edges as its context, whose weights are random and all count."""
    with um.rng.seeded(0):
        backbone = UNet(channels=3, width=8, multipliers=(1,), blocks=1, attention=(False,), context_channels=1)
        with torch.no_grad():
            for weight in backbone.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    process = um.process.Gaussian(um.schedule.Straight())
    denoiser = um.denoiser.NetworkDenoiser(backbone, process, um.prediction.V(), (3, SIDE, SIDE))
    codec, grid = um.codec.Affine.images(), um.grid.uniform(4)
    return um.Model(denoiser=denoiser, codec=codec, grid=grid, sampler=um.sampler.Euler(), control=um.control.Edges())


@pytest.fixture(scope="module")
def piped(tmp_path_factory):
    """A tiny Stable Diffusion with two control networks beside it."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    import diffusers
    from interop.pipelines import control_net, stable_diffusion

    folder = tmp_path_factory.mktemp("sd")
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False)
    pipeline = stable_diffusion(scheduler, (True, False))
    pipeline.save_pretrained(folder)
    model = um.load_diffusers(folder, device="cpu")
    for seed, name in enumerate(("edges", "depth")):
        control_net(pipeline.unet, seed).save_pretrained(folder / name)
        model.add_control(name, folder / name)
    return model


@pytest.fixture(scope="module")
def models(piped):
    return {"own": controlled(), "piped": piped, "free": um.load("digits", "cpu")}


@pytest.fixture(scope="module")
def client(models):
    with served(models, ServerSettings()) as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def drawn(seed, size=(SIDE, SIDE)):
    """A picture of grey levels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, np.uint8))


def encoded(image, kind="PNG"):
    content = io.BytesIO()
    image.save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


def pixels(answer):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.b64_json)))).astype(int)


def is_sample(answer, x):
    return np.abs(pixels(answer) - (x.permute(1, 2, 0) * 255).round().int().numpy()).max() <= 1


def test_a_picture_follows_its_control_as_sample_does(client, models):
    extra = {"seed": 4, "steps": 3}
    for image in (drawn(0), drawn(1, (12, 20))):  # a picture of another size is resized
        asked = client.images.generate(model="own", prompt="", n=2, extra_body={"control": encoded(image), **extra})
        wanted = models["own"].sample(2, control=image, **extra)
        assert all(is_sample(each, x) for each, x in zip(asked.data, wanted, strict=True))
    free = client.images.generate(model="own", prompt="", extra_body=extra)
    assert not is_sample(free.data[0], wanted[0])
    address = f"data:image/png;base64,{encoded(image)}"
    again = client.images.generate(model="own", prompt="", n=2, extra_body={"control": address, **extra})
    assert [each.b64_json for each in again.data] == [each.b64_json for each in asked.data]


def test_several_controls_are_given_by_name_and_scale(client, models):
    edges, depth, extra = drawn(2, (16, 16)), drawn(3, (16, 16)), {"seed": 1, "steps": 2, "guidance": 3.0}
    given = {"control": {"edges": encoded(edges), "depth": encoded(depth)}, "control_scale": {"depth": 0.25}}
    asked = client.images.generate(model="piped", prompt="a cat", extra_body={**extra, **given})
    known = {"prompt": "a cat", "control": {"edges": edges, "depth": depth}}
    wanted = models["piped"].sample(1, **known, control_scale={"depth": 0.25}, **extra)
    assert is_sample(asked.data[0], wanted[0])
    assert not is_sample(asked.data[0], models["piped"].sample(1, **known, **extra)[0])


@pytest.mark.parametrize("masked", [False, True])
def test_an_edit_follows_its_control(client, models, masked):
    image, mask, control = drawn(5).convert("RGB"), np.zeros((SIDE, SIDE), np.uint8), drawn(6)
    mask[:, 4:] = 255
    contents = [io.BytesIO(base64.b64decode(encoded(each))) for each in (image, Image.fromarray(mask))]
    files = dict(zip(("image", "mask") if masked else ("image",), contents, strict=False))
    extra = {"seed": 2, "steps": 3}
    made = client.images.edit(model="own", prompt="", **files, extra_body={"control": encoded(control), **extra})
    x, own = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255, models["own"]
    for given, same in ((control, True), (None, False)):
        if masked:
            wanted = own.inpaint(x, torch.from_numpy(mask / 255).float(), control=given, **extra)
        else:
            wanted = own.edit(x, strength=0.6, control=given, **extra)
        assert is_sample(made.data[0], wanted[0]) == same


def test_an_edit_takes_objects_as_the_client_and_as_json_send_them(client):
    image, edges = drawn(5, (16, 16)).convert("RGB"), encoded(drawn(2, (16, 16)))
    content = base64.b64decode(encoded(image))
    extra = {"seed": 1, "steps": 2, "control": {"edges": edges}, "control_scale": {"edges": 0.5}}
    texts = {**extra, "control": f'{{"edges": "{edges}"}}', "control_scale": '{"edges": 0.5}'}
    made = [
        client.images.edit(model="piped", prompt="a cat", image=content, extra_body=each).data[0].b64_json
        for each in (extra, texts, {**extra, "control_scale": {"edges": 0.0}})
    ]
    assert made[0] == made[1] != made[2]


def test_a_control_picture_may_be_longer_than_other_fields_of_a_form(client):
    large = drawn(0, (1100, 1100))
    assert len(encoded(large)) > 2**20
    content = base64.b64decode(encoded(drawn(5).convert("RGB")))
    made = client.images.edit(model="own", prompt="", image=content, extra_body={"control": encoded(large), "steps": 2})
    assert len(made.data) == 1


CUT = encoded(drawn(0, (40, 40)))[:400]

REFUSED = [
    ("free", {"control": encoded(drawn(0))}, "control", "follows no control pictures"),
    ("own", {"control": "not base64!"}, "control", "not in base64"),
    ("own", {"control": base64.b64encode(b"no picture").decode()}, "control", "not an image"),
    ("own", {"control": CUT}, "control", "cannot be read"),
    ("own", {"control": encoded(drawn(0, (1, 5000)))}, "control", "a side of 5000 pixels"),
    ("own", {"control": {"edge": encoded(drawn(0))}}, "control", "there are: edges"),
    ("own", {"control": {"edges": "?"}}, "control.edges", "not in base64"),
    ("own", {"control_scale": 0.5}, "control", "without a control"),
    ("own", {"control": encoded(drawn(0)), "control_scale": 0.5}, None, "that the network was trained with"),
    ("own", {"control": encoded(drawn(0)), "control_scale": {"depth": 1}}, "control_scale", "there are: edges"),
    ("piped", {"control": encoded(drawn(0))}, None, "each by its name"),
]


@pytest.mark.parametrize("edits", [False, True])
@pytest.mark.parametrize(("model", "extra", "param", "said"), REFUSED, ids=[each[3] for each in REFUSED])
def test_what_cannot_be_followed_is_refused_in_openais_form(client, model, extra, param, said, edits):
    files = {"image": base64.b64decode(encoded(drawn(5).convert("RGB")))} if edits else {}
    call = client.images.edit if edits else client.images.generate
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        call(model=model, prompt="a cat", **files, extra_body=extra)
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")


@pytest.mark.parametrize("extra", [{"control": 5}, {"control_scale": "wide"}, {"control": {"edges": [1]}}])
@pytest.mark.parametrize("edits", [False, True])
def test_values_of_a_wrong_kind_are_refused_in_openais_form(client, extra, edits):
    files = {"image": base64.b64decode(encoded(drawn(5).convert("RGB")))} if edits else {}
    call = client.images.edit if edits else client.images.generate
    with pytest.raises(openai.BadRequestError, match=r"control"):
        call(model="own", prompt="", **files, extra_body={"control": encoded(drawn(0)), **extra})


def test_controls_are_listed(client):
    known = {each.id: each.model_extra["controls"] for each in client.models.list()}
    assert known == {"own": ["edges"], "piped": ["edges", "depth"], "free": []}


def test_rows_with_other_control_pictures_and_scales_share_network_calls(models):
    own, piped = models["own"], models["piped"]
    settings = [{"control": drawn(seed), "steps": 3, "seed": seed} for seed in range(2)]
    scaled = [
        {"prompt": "a cat", "control": {"edges": drawn(seed, (16, 16))}, "control_scale": scale, "guidance": 2.0}
        for seed, scale in enumerate(({"edges": 0.5}, {"edges": 2.0}))
    ]
    scaled = [{**each, "steps": 3, "seed": seed} for seed, each in enumerate(scaled)]
    for model, asked in ((own, settings), (piped, scaled)):
        engine, requests = Engine(EngineLimits(batch=4, rows=8)), [model.request(1, **each) for each in asked]
        jobs = [engine.submit(model, request) for request in requests]
        engine.run()
        assert engine.steps_done == 3  # and not 6
        for job, request in zip(jobs, requests, strict=True):
            torch.testing.assert_close(job.result(0.0), model.sample_request(request), rtol=1e-4, atol=1e-4)
