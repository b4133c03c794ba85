"""The official OpenAI client against a running server: it gets what the model samples, and its own exceptions."""

import base64
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image
from running import served

import unmelt as um
from unmelt.serve import EngineLimits, ServerSettings
from unmelt.shipped import PLACE

openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")
pytest.importorskip("multipart")

KEY = "a key"


@pytest.fixture(scope="module")
def models():
    return {
        "digits": um.load("digits", "cpu"),
        "code": um.load(PLACE / "lab" / "code", "cpu"),
        "ring": um.load("ring", "cpu"),
    }


@pytest.fixture(scope="module")
def address(models):
    with served(models, ServerSettings(api_key=KEY, steps=300)) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)


def pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))).astype(int)


def as_bytes(x):
    return (x[0] * 255).round().int().numpy()


def png(array):
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG")
    return content.getvalue()


def metrics(address):
    asked = urllib.request.Request(f"{address}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    lines = urllib.request.urlopen(asked).read().decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if not line.startswith("#")}


def wait_until_no_row_remains(address):
    end = time.monotonic() + 20
    while metrics(address)["unmelt_rows_in_flight"] > 0:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_models_are_listed(client):
    assert [each.id for each in client.models.list()] == ["digits", "code", "ring"]
    assert client.models.retrieve("code").owned_by == "unmelt"


def test_pictures_are_those_that_the_model_samples(client, models):
    extra = {"seed": 4, "steps": 6, "guidance": 2.0}
    made = client.images.generate(model="digits", prompt="3", n=2, extra_body=extra)
    wanted = models["digits"].sample(2, label="3", **extra)
    for each, x in zip(made.data, wanted, strict=True):
        assert np.abs(pixels(each.b64_json) - as_bytes(x)).max() <= 1
    (only,) = client.images.generate(model="digits", prompt="3", response_format="url", extra_body={"seed": 1}).data
    assert only.url.startswith("data:image/png;base64,")


def test_a_stream_has_partial_pictures_and_the_same_end(client):
    extra = {"seed": 4, "steps": 60}
    events = list(client.images.generate(model="digits", prompt="5", stream=True, partial_images=2, extra_body=extra))
    assert [each.type for each in events] == [
        *(["image_generation.partial_image"] * (len(events) - 1)),
        "image_generation.completed",
    ]
    assert [each.partial_image_index for each in events[:-1]] == list(range(len(events) - 1))
    assert len(events) >= 2
    whole = client.images.generate(model="digits", prompt="5", extra_body=extra).data[0]
    end = pixels(whole.b64_json)
    assert np.abs(pixels(events[-1].b64_json) - end).max() <= 1
    assert np.abs(pixels(events[0].b64_json) - end).max() > 1


def test_an_edit_changes_what_is_transparent_in_the_mask(client):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    alpha = np.full((8, 8, 4), 255, np.uint8)
    alpha[2:6, 2:7, 3] = 0
    image, mask, wide = (
        (f"{name}.png", png(each))
        for name, each in (("x", picture), ("mask", alpha), ("wide", np.zeros((8, 16), np.uint8)))
    )
    asked = {"model": "digits", "prompt": "3"}
    made = client.images.edit(**asked, image=image, mask=mask, n=2, extra_body={"seed": 1})
    new = alpha[:, :, 3] == 0
    for each in made.data:
        found = pixels(each.b64_json)
        assert (found[~new] == picture[~new]).all()
        assert (found[new] != picture[new]).any()
    changed = client.images.edit(**asked, image=image, extra_body={"strength": 0.3})
    assert pixels(changed.data[0].b64_json).shape == (8, 8)
    same = client.images.edit(**asked, image=[image], mask=mask, n=2, extra_body={"seed": 1})
    assert [each.b64_json for each in same.data] == [each.b64_json for each in made.data]
    with pytest.raises(openai.BadRequestError, match="2 images; one"):
        client.images.edit(**asked, image=[image, image])
    with pytest.raises(openai.BadRequestError, match="a mask of 8 x 8 and a picture of 16 x 8 pixels"):
        client.images.edit(**asked, image=wide, mask=mask)


@pytest.mark.parametrize("masked", [None, "some", "nothing"])
def test_an_edit_is_streamed_on_its_way(client, masked):
    picture = np.random.default_rng(2).integers(0, 256, (8, 8), np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255 * (masked == "some")
    files = {"image": ("x.png", png(picture))} | ({} if masked is None else {"mask": ("m.png", png(mask))})
    asked = {"model": "digits", "prompt": "3", **files, "extra_body": {"seed": 1, "steps": 20}}
    events = list(client.images.edit(**asked, stream=True, partial_images=2))
    assert [each.type for each in events[-1:]] == ["image_edit.completed"]
    assert {each.type for each in events[:-1]} == ({"image_edit.partial_image"} if masked != "nothing" else set())
    end, whole = pixels(events[-1].b64_json), pixels(client.images.edit(**asked).data[0].b64_json)
    assert np.abs(end.astype(int) - whole).max() <= 1
    if masked is not None:
        assert (end[4:] == picture[4:]).all()
    assert (end == picture).all() == (masked == "nothing")


def test_a_mask_is_cropped_with_its_picture(client):
    """Of a wide picture the central square is kept; what is white in the mask there, and no other, is new."""
    picture = np.random.default_rng(1).integers(0, 256, (8, 24), np.uint8)
    mask = np.zeros((8, 24), np.uint8)
    mask[:, 8:12] = 255  # the left half of the central square
    mask[:, :4] = 255  # outside of it
    made = client.images.edit(model="digits", image=("x.png", png(picture)), mask=("m.png", png(mask)), prompt="3")
    found = pixels(made.data[0].b64_json)
    assert (found[:, 4:] == picture[:, 12:16]).all()
    assert (found[:, :4] != picture[:, 8:12]).any()


def test_completions_and_their_streams_are_what_the_model_writes(client, models):
    asked = {"model": "code", "prompt": "def ", "suffix": "return x\n", "max_tokens": 20, "seed": 3}
    made = client.completions.create(**asked)
    taken = [len(models["code"].tokenizer.encode(asked[part])) for part in ("prompt", "suffix")]
    (whole,) = models["code"].sample(1, prompt="def ", suffix="return x\n", length=sum(taken) + 20, seed=3)
    assert f"def {made.choices[0].text}return x\n" == whole
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (sum(taken), 20)
    pieces = list(client.completions.create(**asked, stream=True))
    assert "".join(each.choices[0].text for each in pieces) == made.choices[0].text
    assert pieces[-1].choices[0].finish_reason == made.choices[0].finish_reason
    several = client.completions.create(
        model="code", prompt=["import ", "class "], n=2, max_tokens=8, seed=1, temperature=0.7
    )
    assert [each.index for each in several.choices] == [0, 1, 2, 3]
    stopped = client.completions.create(**{**asked, "suffix": None}, stop=[made.choices[0].text[0], "\n"], echo=True)
    assert stopped.choices[0].text.startswith("def ")
    assert "\n" not in stopped.choices[0].text


def test_mistakes_are_the_clients_own_exceptions(client, address):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{address}/v1", api_key="another", max_retries=0).models.list()
    for model in ("nothing", "code"):
        with pytest.raises(openai.NotFoundError, match="digits"):
            client.images.generate(model=model, prompt="3")
    for wrong, said in (
        ({"size": "1024x1024"}, "makes one size"),
        ({"size": "large"}, "WIDTHxHEIGHT"),
        ({"n": 11}, "n=11; at most 10"),
        ({"n": 10**6}, "n=1000000; at most 10"),
        ({"prompt": "eleven"}, "eleven"),
        ({"prompt": "3" * 5000}, "5000 characters"),
        ({"extra_body": {"steps": 1000}}, "at most 300"),
        ({"extra_body": {"guidance": float("1e30")}}, "guidance"),
        ({"stream": True, "n": 2}, "n must be 1"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            client.images.generate(**{"model": "digits", "prompt": "3", **wrong})
    with pytest.raises(openai.BadRequestError, match="makes points"):
        client.images.generate(model="ring", prompt="0")
    with pytest.raises(openai.BadRequestError, match="cannot be read"):
        client.images.edit(model="digits", image=("x.png", b"no image"), prompt="3")
    with pytest.raises(openai.BadRequestError, match="tokens"):
        client.completions.create(model="code", prompt="x = 1\n" * 100)


def post(address, path, body, **headers):
    asked = urllib.request.Request(
        address + path, body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **headers}
    )
    try:
        return urllib.request.urlopen(asked).status
    except urllib.error.HTTPError as refused:
        answer, status = json.loads(refused.read()), refused.code
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    return status


def test_malformed_bodies_are_refused_in_openais_form(address):
    bodies = [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"prompt": 3}', b'{"prompt": "3", "n": "many"}',
        b'{"prompt": "3", "n": -1}', b'{"prompt": "3", "seed": 1e400}', b'{"prompt": "3", "label": "\\u0000"}',
        b'{"prompt": "3", "guidance": NaN}', b'{"prompt": "\\ud800"}', b'{"prompt": ["3"], "stream": "yes please"}',
        b'{"prompt": "3", "seed": 99999999999999999999999999}', b'{"prompt": "3", "plan": true}',
    ]  # fmt: skip
    for path in ("/v1/images/generations", "/v1/images/edits", "/v1/completions"):
        for body in bodies:
            assert post(address, path, body) < 500, (path, body)
    assert post(address, "/v1/nothing", b"{}") == 404
    assert post(address, "/v1/completions", b"{}", Host="evil.example") == 403
    assert post(address, "/v1/completions", b"{}", Origin="http://evil.example") == 403
    assert metrics(address)["unmelt_rows_in_flight"] == 0


@pytest.mark.parametrize("extra", [{"n": 10}, {"stream": True, "partial_images": 2}])
def test_a_client_that_goes_away_frees_its_rows(address, extra, caplog):
    body = json.dumps({"model": "digits", "prompt": "3", "steps": 300, **extra}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    before = metrics(address)["unmelt_jobs_total"]
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as open_connection:
        open_connection.sendall(head.encode() + body)
        end = time.monotonic() + 20
        while metrics(address)["unmelt_rows_in_flight"] == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
    wait_until_no_row_remains(address)
    after = metrics(address)
    assert after["unmelt_jobs_total"] == before + 1
    assert after["unmelt_row_steps_total"] < 10 * 300 + 5000
    assert not caplog.records  # it is no fault of the server


def test_an_overloaded_server_says_when_to_come_back(models):
    limits = EngineLimits(batch=2, rows=2, queue=2)
    with served({"digits": models["digits"]}, ServerSettings(engine=limits)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        found, waits = [], []

        def asks(number):
            try:
                if number % 2:
                    client.images.generate(model="digits", prompt="3", n=2, extra_body={"steps": 100})
                else:
                    list(client.images.generate(model="digits", prompt="3", stream=True, extra_body={"steps": 100}))
                found.append(200)
            except openai.RateLimitError as error:
                found.append(429)
                waits.append(error.response.headers["retry-after"])

        askers = [threading.Thread(target=asks, args=(number,)) for number in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    assert len(found) == 8
    assert 2 <= found.count(200) < 8
    assert waits == ["1"] * found.count(429)


def test_what_is_too_large_or_takes_too_long_is_refused(models):
    limits = ServerSettings(body=2000, seconds=1.0, steps=10_000)
    with served({"digits": models["digits"]}, limits) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.APIStatusError, match="2,000 bytes") as large:
            client.images.generate(prompt="3" * 4000)
        assert (large.value.status_code, large.value.code) == (413, "too_large")
        with pytest.raises(openai.InternalServerError, match="took too long") as long:
            client.images.generate(prompt="3", extra_body={"steps": 10_000})
        assert long.value.status_code == 504
        with pytest.raises(openai.APIError, match="took too long"):
            list(client.images.generate(prompt="3", stream=True, extra_body={"steps": 10_000}))
        wait_until_no_row_remains(address)


def test_a_stream_has_no_more_partial_pictures_than_steps(client, models):
    asked = {"model": "digits", "prompt": "5", "stream": True, "partial_images": 50}
    events = list(client.images.generate(**asked, extra_body={"seed": 4, "steps": 3, "partial": "noisy"}))
    assert len(events) <= 3  # after the first and the second step, then the end; fewer for a slow client
    frames = list(models["digits"].trajectory(1, label="5", seed=4, steps=3))
    noisy = [as_bytes(frame.x[0].clamp(0, 1)) for frame in frames[1:]]
    *partial, last = [pixels(event.b64_json) for event in events]
    assert np.abs(last - noisy[-1]).max() <= 1
    steps = [[np.abs(each - wanted).max() <= 1 for wanted in noisy].index(True) for each in partial]
    assert steps == sorted(set(steps))  # a client that is slow misses some
    assert len(noisy) - 1 not in steps


def test_a_captioned_model_is_asked_by_its_prompt():
    model = um.recipe.scenes(size=24, captions=9, width=8)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    with served({"scenes": model}, ServerSettings()) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        extra = {"seed": 1, "steps": 2, "plan": True}
        (made,) = client.images.generate(prompt="two red stars", size="32x24", extra_body=extra).data
        away = {"seed": 1, "steps": 2, "guidance": 4.0, "negative": "a blue cat"}
        (moved,) = client.images.generate(prompt="two red stars", extra_body=away).data
    x = model.sample(1, prompt="two red stars", plan="2 red star", size=(24, 32), seed=1, steps=2)
    assert np.abs(pixels(made.b64_json).transpose(2, 0, 1) - (x[0] * 255).round().int().numpy()).max() <= 1
    x = model.sample(1, prompt="two red stars", **away)
    assert np.abs(pixels(moved.b64_json).transpose(2, 0, 1) - (x[0] * 255).round().int().numpy()).max() <= 1
