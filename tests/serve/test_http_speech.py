"""The official OpenAI client asks a running server to speak: it gets what the model says, and its own exceptions."""

import base64
import io
import json
import threading
import time
import urllib.error
import urllib.request
import wave

import pytest
import torch
from running import served
from speaker import RATE, speaker

import unmelt as um
from unmelt.data.resample import resample
from unmelt.data.wav import parse_wav, wav_samples
from unmelt.model.sentences import PAUSE
from unmelt.serve import Engine, EngineLimits, ServerSettings

openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")

TEXT = "the sea was calm. nobody spoke; nobody came! all was well"
SPOKEN = ["the sea was calm.", "nobody spoke;", "nobody came!", "all was well"]


@pytest.fixture(scope="module")
def models():
    return {"speech": speaker(), "digits": um.load("digits", "cpu"), "one": speaker(())}


@pytest.fixture(scope="module")
def address(models):
    with served(models, ServerSettings(prompt=400)) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)


def spoken(model, texts=SPOKEN, **settings):
    """What the server should send: sentences with pauses between them."""
    pause = torch.zeros(1, int(PAUSE * RATE))
    sounds = model.sample(texts, guidance=settings.pop("guidance", 2.0), **settings)
    return [part for sound in sounds for part in (sound, pause)][:-1]


def test_a_text_is_said_as_the_model_says_it(client, models):
    asked = {"model": "speech", "input": TEXT, "voice": "bert", "speed": 1.5, "response_format": "wav"}
    answer = client.audio.speech.create(**asked, extra_body={"seed": 3, "steps": 2})
    assert answer.response.headers["content-type"] == "audio/wav"
    found = parse_wav(answer.content)  # which refuses a header of another length
    wanted = torch.cat(spoken(models["speech"], voice="bert", speed=1.5, seed=3, steps=2), 1)
    assert (found.sample_rate, found.samples.shape) == (RATE, wanted.shape)
    assert (found.samples - wanted).abs().max() < 2e-3  # Griffin-Lim magnifies rounding
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getnframes()) == (1, 2, wanted.shape[1])
    for changed in ({"voice": "anna"}, {"speed": 1.0}, {"extra_body": {"seed": 4, "steps": 2}}):
        other = client.audio.speech.create(**{**asked, "extra_body": {"seed": 3, "steps": 2}, **changed})
        assert other.content != answer.content, changed
    same = client.audio.speech.create(**{**asked, "voice": {"id": "bert"}}, extra_body={"seed": 3, "steps": 2})
    assert (parse_wav(same.content).samples - found.samples).abs().max() < 2e-3


def test_pcm_is_what_openais_clients_play(client, models):
    asked = {"model": "speech", "input": TEXT, "voice": "anna", "response_format": "pcm"}
    answer = client.audio.speech.create(**asked, extra_body={"seed": 3})
    parts = spoken(models["speech"], voice="anna", seed=3)
    pieces = [torch.cat(parts[begin : begin + 2], 1) for begin in range(0, len(parts), 2)]
    wanted = b"".join(wav_samples(resample(piece, RATE, 24_000)) for piece in pieces)
    assert len(answer.content) == len(wanted)
    found, wanted = (torch.frombuffer(bytearray(each), dtype=torch.int16).int() for each in (answer.content, wanted))
    assert (found - wanted).abs().max() < 100


def test_sentences_are_sent_as_they_are_said(models, monkeypatch):
    """The second sentence is not said before the client was sent the first."""
    gate, says = threading.Event(), models["speech"].decode_state
    waits = []

    def slow(state):
        waits.append(gate.wait(10) if waits else None)
        return says(state)

    monkeypatch.setattr(type(models["speech"]), "decode_state", lambda self, state: slow(state))
    with served({"speech": models["speech"]}, ServerSettings()) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        asked = {"model": "speech", "input": TEXT, "voice": "anna", "extra_body": {"seed": 3}}
        first = len(wav_samples(spoken(models["speech"], ["the sea was calm."], voice="anna", seed=[1])[0]))
        with client.audio.speech.with_streaming_response.create(**asked) as answer:
            length, pieces = int(answer.headers["content-length"]), answer.iter_bytes()
            got = b""
            while len(got) < 44 + first + 2 * int(PAUSE * RATE):
                got += next(pieces)
            assert len(got) == 44 + first + 2 * int(PAUSE * RATE) < length
            gate.set()
            got += b"".join(pieces)
        assert len(got) == length
        assert parse_wav(got).samples.shape[1] == (length - 44) // 2
    assert waits == [None, *[True] * (len(waits) - 1)]


def test_a_stream_of_events_holds_the_same_file(client, address):
    asked = {"model": "speech", "input": TEXT, "voice": "anna", "extra_body": {"seed": 3}}
    whole = client.audio.speech.create(**asked).content
    with client.audio.speech.with_streaming_response.create(**asked, stream_format="sse") as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    *deltas, done = map(json.loads, lines)
    assert [each["type"] for each in deltas] == ["speech.audio.delta"] * 4
    joined = b"".join(base64.b64decode(each["audio"]) for each in deltas)
    assert len(joined) == len(whole)
    assert (parse_wav(joined).samples - parse_wav(whole).samples).abs().max() < 2e-3
    assert done["type"] == "speech.audio.done"
    read = sum(len(models_read) for models_read in map(speaker().encoder.read, SPOKEN))
    assert done["usage"]["input_tokens"] == read
    assert done["usage"]["total_tokens"] == read + done["usage"]["output_tokens"]


def test_mistakes_are_the_clients_own_exceptions(client):
    asked = {"model": "speech", "input": "all was well", "voice": "anna"}
    for wrong, said in (
        ({"voice": "carl"}, "no voice 'carl'; there are 'anna', 'bert', 'default'"),
        ({"model": "one"}, "no voice 'anna'; there are 'default'"),
        ({"input": ""}, "nothing is said"),
        ({"input": " ... ?!"}, "nothing is said"),
        ({"input": "all was well. chapter 12"}, "'1', '2'"),
        ({"input": "\u4f60\u597d"}, "'\u4f60', '\u597d'"),
        ({"input": "well " * 90}, "450 characters; at most 400"),
        ({"response_format": "mp3"}, "'wav' or 'pcm'"),
        ({"speed": 9.0}, "speed"),
        ({"stream_format": "video"}, "'audio' or 'sse'"),
        ({"instructions": "whisper"}, "take no instructions"),
        ({"extra_body": {"steps": 1000}}, "at most 250"),
        ({"extra_body": {"steps": 0}}, "steps"),
        ({"extra_body": {"guidance": 1e30}}, "guidance"),
    ):
        with pytest.raises(openai.BadRequestError, match=said) as refused:
            client.audio.speech.create(**{**asked, **wrong})
        assert set(refused.value.body) == {"message", "type", "param", "code"}
        assert "Traceback" not in refused.value.message
    for model in ("nothing", "digits"):
        with pytest.raises(openai.NotFoundError, match="there are: speech, one"):
            client.audio.speech.create(**{**asked, "model": model})
    with pytest.raises(openai.NotFoundError, match="there are: digits"):
        client.images.generate(model="speech", prompt="a sea")
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="speech", prompt="a sea")


def test_models_say_whether_they_speak(client):
    described = {each.id: each.model_dump() for each in client.models.list()}
    assert [described[name]["speaks"] for name in ("speech", "digits", "one")] == [True, False, True]
    assert described["speech"]["classes"] == ["anna", "bert"]
    assert described["speech"]["modality"] == "sound"
    unnamed = {"input": "all was well", "voice": "default"}
    assert client.audio.speech.create(model="one", **unnamed).content[:4] == b"RIFF"
    assert client.audio.speech.create(model="speech", **unnamed).content[:4] == b"RIFF"


def test_malformed_bodies_are_refused(address):
    for body in (
        b"", b"{", b"[]", b"null", b'{"input": 3}', b'{"input": "la", "voice": 7}', b'{"input": "la", "voice": {}}',
        b'{"input": "la", "speed": NaN}', b'{"input": "la", "speed": 1e400}', b'{"input": "\\ud800"}',
        b'{"input": "la", "seed": 99999999999999999999999999}', b'{"input": "la \\u0000 la", "voice": "anna"}',
        b'{"input": "la", "voice": "\\ud800"}',
    ):  # fmt: skip
        asked = urllib.request.Request(f"{address}/v1/audio/speech", body, {"Content-Type": "application/json"})
        try:
            status, answer = urllib.request.urlopen(asked).status, {"error": None}
        except urllib.error.HTTPError as refused:
            status, answer = refused.code, json.loads(refused.read())
        assert "error" in answer
        assert status < 500, body


def test_sentences_of_several_requests_share_network_calls(models):
    """Eight clients at once, and sentences of other lengths in each: every one gets its own words."""
    sizes = []
    model = models["speech"]
    handle = model.denoiser.register_forward_hook(lambda module, given, out: sizes.append(len(given[0])))
    texts = ["all was well", "all was calm", "the sea was well", "nobody came at all. all was well"]
    found = {}
    with served({"speech": model}, ServerSettings()) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)

        def ask(number):
            asked = {"model": "speech", "input": texts[number % 4], "voice": ("anna", "bert")[number % 2]}
            extra = {"seed": number, "guidance": 1.0 + number % 3, "steps": 8 + number}
            found[number] = client.audio.speech.create(**asked, extra_body=extra).content

        askers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    handle.remove()
    assert max(sizes) > 4  # guidance makes two rows of one
    for number, content in found.items():
        said = {"voice": ("anna", "bert")[number % 2], "seed": number, "guidance": 1.0 + number % 3}
        alone = torch.cat(spoken(model, parts_of(texts[number % 4]), steps=8 + number, **said), 1)
        assert (parse_wav(content).samples - alone).abs().max() < 5e-3, number


def parts_of(text):
    return [each for each in text.replace(". ", ".|").split("|") if each]


def test_an_engines_rows_are_those_of_the_model_whatever_shares_their_batches(models):
    model = models["speech"]
    asked = model.speech_request(["all was well", "the sea was calm"], voice="anna", guidance=2.0, seed=1)
    other = model.speech_request("nobody came", voice="bert", seed=2).padded(asked.request.shape[0])
    engine = Engine()
    jobs = [engine.submit(model, each.request) for each in (asked, other)]
    engine.run()
    for each, job in zip((asked, other), jobs, strict=True):
        rows = job.result(0.0)
        for row, sound, samples in zip(rows, model.say(each), model.samples_of(each), strict=True):
            assert sound.shape == (1, samples)
            assert (row[:, :samples] - sound).abs().max() < 2e-3
            assert not row[:, samples:].any()
    assert engine.steps_done == 3  # one batch, whose rows have guidance scales of their own
    (alone,) = model.say(other)
    torch.testing.assert_close(model.sample_request(other.request)[0, :, : alone.shape[1]], alone, atol=2e-3, rtol=0)


def test_a_client_that_goes_away_is_not_spoken_to_any_more(models, caplog):
    with served({"speech": models["speech"]}, ServerSettings(prompt=4000)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        asked = {"model": "speech", "input": "all was well. " * 200, "voice": "anna", "extra_body": {"steps": 60}}
        with client.audio.speech.with_streaming_response.create(**asked) as answer:
            next(answer.iter_bytes())
        end, jobs, before = time.monotonic() + 20, None, -1
        while jobs != before:  # no sentence is begun any more
            assert time.monotonic() < end
            before = jobs
            time.sleep(0.3)
            text = urllib.request.urlopen(f"{address}/metrics").read().decode()
            figures = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
            jobs = int(figures["unmelt_jobs_total"])
        assert jobs < 100
        assert figures["unmelt_rows_in_flight"] == "0"
    assert not caplog.records


def test_sentences_wait_for_room_once_the_first_is_said(models):
    """A queue with room for one: the answer is whole all the same."""
    limits = EngineLimits(batch=1, rows=1, queue=1)
    with served({"speech": models["speech"]}, ServerSettings(engine=limits)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        asked = {"model": "speech", "input": "la. la. la. la. la. la. la.", "voice": "anna"}
        assert len(client.audio.speech.create(**asked).content) > 44


def test_an_unguided_student_is_asked_for_no_guidance(models):
    from unmelt.serve.speech import Speech, _request

    class Jumps:
        guidance_range = None

        def jump(self):
            raise NotImplementedError

    teacher, student = speaker(), speaker()
    body = Speech(input="all was well")
    assert _request(teacher, body).request.guidance == 2.0
    student.denoiser.jump = Jumps.jump
    assert _request(student, body).request.guidance == 1.0


@pytest.mark.parametrize("frames", [1, 16, 17, 60, 61, 100, 1000])
def test_few_lengths_hold_all(frames):
    from unmelt.serve.speech import padded_frames

    padded = padded_frames(frames)
    assert frames <= padded <= max(16, 1.25 * frames)
    assert len({padded_frames(each) for each in range(1, 1025)}) == 25
