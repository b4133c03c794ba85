"""A shared model comes back bit for bit, and nothing that a stranger may have published does harm."""

import hashlib
import json
import re
import shutil
import socket
import sys
from pathlib import Path

import fakehub
import pytest
import torch

import unmelt as um
from unmelt import card, hub
from unmelt.cli import main

pytest.importorskip("huggingface_hub")
from huggingface_hub import constants


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "ring"
    um.recipe.ring(width=8, depth=1, modes=2, steps=4, batch=8).fit(folder, device="cpu", quiet=True)
    return folder


@pytest.fixture
def model(home, tmp_path):
    return um.load(shutil.copytree(home, tmp_path / "ring"), device="cpu")


def reach(monkeypatch, address):
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(
        constants, "HF_HUB_DISABLE_XET", True
    )  # large files as plain LFS: Xet's store is not ours to play


@pytest.fixture
def fake_hub(monkeypatch):
    with fakehub.running() as running:
        reach(monkeypatch, running.address)
        yield running


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def same(a, b):
    x = a.sample(6, label=[0, 1] * 3, guidance=2.0, steps=5, seed=3)
    return torch.equal(x, b.sample(6, label=[0, 1] * 3, guidance=2.0, steps=5, seed=3))


def sealed(about):
    about.pop("digest")
    about["digest"] = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return json.dumps(about).encode()


def test_save_and_load_round_trip_without_network_access(model, tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("asked the network"))
    model.save_pretrained(tmp_path / "shared")
    again = um.Model.from_pretrained(tmp_path / "shared", device="cpu")
    assert same(model, again)
    assert again.classes == model.classes
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_push_and_load_round_trip_through_the_hub(model, fake_hub, cache):
    address = model.push_to_hub("me/ring", token=fakehub.TOKEN, commit_message="First", license="mit")
    assert address == f"{fake_hub.address}/me/ring"
    assert fake_hub.messages == ["First"]
    assert set(fake_hub.files("me/ring")) == {"config.json", "model.safetensors", "README.md"}
    assert any(verb == "PUT" for verb, _ in fake_hub.asked)  # the weights went where large files go
    again = um.Model.from_pretrained("me/ring", cache_dir=cache, device="cpu")
    assert same(model, again)
    assert sorted(fake_hub.read()) == ["config.json", "model.safetensors"]


def test_only_the_config_and_weights_are_downloaded(model, fake_hub, cache):
    model.push_to_hub("me/ring", token=fakehub.TOKEN)
    fake_hub.put("me/ring", pytorch_model__bin=b"pickle", pipeline__py=b"raise SystemExit", x__json=b"{}")
    um.Model.from_pretrained("me/ring", cache_dir=cache, device="cpu")
    assert {path.name for path in cache.rglob("*") if path.is_symlink()} == {"config.json", "model.safetensors"}
    assert not {"pytorch_model.bin", "pipeline.py", "x.json"} & set(fake_hub.read())


def test_a_private_model_needs_a_token(model, fake_hub, cache):
    model.push_to_hub("me/secret", token=fakehub.TOKEN, private=True)
    assert fake_hub.private == {"me/secret"}
    with pytest.raises(um.UsageError, match=r"no me/secret that you may see.*token"):
        um.Model.from_pretrained("me/secret", cache_dir=cache)
    assert same(model, um.Model.from_pretrained("me/secret", token=fakehub.TOKEN, cache_dir=cache, device="cpu"))


def test_a_revision_keeps_its_weights(model, fake_hub, cache):
    model.push_to_hub("me/ring", token=fakehub.TOKEN)
    first = fakehub.oid("me/ring", 1)
    other = um.recipe.ring(width=8, depth=1, modes=2, steps=1, batch=4, seed=1)
    other.push_to_hub("me/ring", token=fakehub.TOKEN)
    old = um.Model.from_pretrained("me/ring", revision=first, cache_dir=cache, device="cpu")
    new = um.Model.from_pretrained("me/ring", cache_dir=cache, device="cpu")
    assert same(model, old)
    assert same(other, new)
    with pytest.raises(um.UsageError, match="no such revision"):
        um.Model.from_pretrained("me/ring", revision="b" * 40, cache_dir=cache)


def test_a_misspelt_run_folder_is_not_looked_for_on_the_hub(model, tmp_path, monkeypatch):
    monkeypatch.setattr("unmelt.hub.fetch", lambda *args: pytest.fail("asked the Hub"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(um.UsageError, match="there is no run folder runs"):
        um.from_pretrained("runs/nope")
    model.save(tmp_path / "mine" / "ring")
    for load in (um.from_pretrained, um.Model.from_pretrained):
        with pytest.raises(um.UsageError) as caught:
            load("mine/rnig")
        assert caught.value.instead == f"um.load({str(Path('mine', 'ring'))!r})"


def test_without_a_network_the_answer_comes_at_once(monkeypatch, cache):
    def unknown(*args, **kwargs):
        raise socket.gaierror("no name server")

    monkeypatch.setattr("unmelt.hub.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("the client tries again"))
    with pytest.raises(um.UsageError, match="the Hub cannot be reached"):
        um.from_pretrained("me/other", cache_dir=cache)


def test_a_cached_model_loads_without_network_access(model, monkeypatch, cache):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client tries five times, ever later
    with fakehub.running() as fake_hub:
        reach(monkeypatch, fake_hub.address)
        model.push_to_hub("me/ring", token=fakehub.TOKEN)
        um.Model.from_pretrained("me/ring", cache_dir=cache, device="cpu")
    assert same(model, um.Model.from_pretrained("me/ring", cache_dir=cache, device="cpu"))
    with pytest.raises(um.UsageError, match="cannot be reached"):
        um.Model.from_pretrained("me/other", cache_dir=cache)
    with pytest.raises(um.UsageError, match="me/ring and the Hub"):
        model.push_to_hub("me/ring", token=fakehub.TOKEN)


def test_errors_of_the_hub_are_usage_errors(model, fake_hub, cache):
    with pytest.raises(um.UsageError, match="no me/nothing that you may see"):
        um.Model.from_pretrained("me/nothing", token=fakehub.TOKEN, cache_dir=cache)
    with pytest.raises(um.UsageError, match=r"the Hub refused me/ring \(401\)"):
        model.push_to_hub("me/ring")
    with pytest.raises(um.UsageError, match=r"the Hub refused me/ring \(401\)"):
        model.push_to_hub("me/ring", token="hf_reader")
    assert not fake_hub.commits
    fake_hub.put("me/gated", config__json=b"{}")
    fake_hub.gated.add("me/gated")
    with pytest.raises(um.UsageError, match="gated"):
        um.Model.from_pretrained("me/gated", cache_dir=cache)
    for name in ("ring", "a/b/c", "me/", "../none", "me/ring?"):
        with pytest.raises(um.UsageError, match="an owner and a name"):
            model.push_to_hub(name, token=fakehub.TOKEN)
        with pytest.raises(um.UsageError, match="no run folder"):
            um.Model.from_pretrained(name)


def test_foreign_repositories_are_refused(model, fake_hub, cache):
    fake_hub.put("me/empty", README__md=b"hello")
    fake_hub.put("me/other", config__json=b'{"model_type": "bert"}', model__safetensors=b"x" * 100)
    for name, message in (("me/empty", "not a model of unmelt"), ("me/other", "damaged")):
        with pytest.raises(um.UsageError, match=message):
            um.Model.from_pretrained(name, cache_dir=cache)
    fake_hub.put("me/large", config__json=b" " * (hub.MOST_CONFIG + 1))
    with pytest.raises(um.UsageError, match="bytes; at most"):
        um.Model.from_pretrained("me/large", cache_dir=cache)
    model.push_to_hub("me/half", token=fakehub.TOKEN)
    del fake_hub.files("me/half")["model.safetensors"]
    with pytest.raises(um.UsageError, match="not a model of unmelt"):
        um.Model.from_pretrained("me/half", cache_dir=cache)
    assert "model.safetensors" not in fake_hub.read()


def test_tampered_repositories_are_refused(model, fake_hub, cache):
    model.push_to_hub("me/ring", token=fakehub.TOKEN)
    whole = fake_hub.files("me/ring")
    weights, about = whole["model.safetensors"], json.loads(whole["config.json"])

    fake_hub.put("me/weights", config__json=whole["config.json"], model__safetensors=weights[:-1] + b"!")
    fake_hub.put("me/config", config__json=json.dumps({**about, "notes": "x"}).encode(), model__safetensors=weights)
    with pytest.raises(um.UsageError, match=r"is not the file that config\.json describes"):
        um.Model.from_pretrained("me/weights", cache_dir=cache)
    with pytest.raises(um.UsageError, match="was changed"):
        um.Model.from_pretrained("me/config", cache_dir=cache)

    seen = len(fake_hub.read())
    fake_hub.put("me/large", config__json=whole["config.json"], model__safetensors=weights + bytes(1 << 20))
    with pytest.raises(um.UsageError, match="at most the"):
        um.Model.from_pretrained("me/large", cache_dir=cache)
    about["model"]["grid"]["part"] = "subprocess.run"
    fake_hub.put("me/part", config__json=sealed(about), model__safetensors=weights)
    with pytest.raises(um.UsageError, match=r"subprocess\.run"):
        um.Model.from_pretrained("me/part", cache_dir=cache)
    assert fake_hub.read()[seen:].count("model.safetensors") == 1  # the oversized one was never fetched


def test_a_folder_loads_without_huggingface_hub(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    model.save_pretrained(tmp_path / "shared")
    assert same(model, um.Model.from_pretrained(tmp_path / "shared", device="cpu"))
    for call in (lambda: model.push_to_hub("me/ring"), lambda: um.Model.from_pretrained("me/ring")):
        with pytest.raises(um.UsageError, match=r"pip install 'unmelt\[hub\]'"):
            call()


def test_the_code_on_the_card_runs(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "shared")
    text = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert lines.count("\n") <= 10
    exec(lines, {})
    assert (tmp_path / "samples.png").stat().st_size > 1000
    command = re.search(r"    unmelt (train .*) --out RUN (.*)", text)
    assert main([*command[1].split(), "--out", str(tmp_path / "ring"), *command[2].split()]) == 0  # the very run


def test_the_card_states_what_is_known_and_what_is_not(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    text = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlicense: unknown\nlibrary_name: unmelt\n")
    for words in (
        "Unknown: whoever shared",
        "No score of these weights",
        "Nobody has recorded",
        "4 steps of 4",
        "mode 1",
    ):
        assert words in text
    assert main(["eval", str(model.folder), "--samples", "200"]) == 0
    scores = json.loads((model.folder / "eval.json").read_text(encoding="utf-8"))
    model.save_pretrained(tmp_path / "b", license="cc-by-4.0")
    text = (tmp_path / "b" / "README.md").read_text(encoding="utf-8")
    assert "\nlicense: cc-by-4.0\n" in text
    assert f"| energy | {scores['energy']:.4g} |" in text
    assert "No score" not in text
    assert (tmp_path / "b" / "eval.json").read_bytes() == (model.folder / "eval.json").read_bytes()


def test_scores_of_other_weights_are_not_shown(model, tmp_path):
    assert main(["eval", str(model.folder), "--samples", "200"]) == 0
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(1)
    model.save_pretrained(tmp_path / "shared")
    assert "No score of these weights" in (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "shared" / "eval.json").exists()
    (model.folder / "eval.json").write_text("{", encoding="utf-8")
    with pytest.raises(um.UsageError, match=r"eval\.json is damaged"):
        model.save_pretrained(tmp_path / "shared")


def test_a_licence_is_kept_by_later_saves(model, tmp_path):
    model.save_pretrained(tmp_path / "shared", license="mit")
    again = um.Model.from_pretrained(tmp_path / "shared", device="cpu")
    again.save_pretrained(tmp_path / "further")
    assert "\nlicense: mit\n" in (tmp_path / "further" / "README.md").read_text(encoding="utf-8")
    for wrong in ("", "MIT License", "mit\nevil: true", "'mit'"):
        with pytest.raises(um.UsageError, match="small letters"):
            model.save_pretrained(tmp_path / "no", license=wrong)
    assert not (tmp_path / "no").exists()


def test_an_edited_card_is_kept(model, tmp_path):
    model.save_pretrained(tmp_path / "shared")
    path = tmp_path / "shared" / "README.md"
    path.write_text(path.read_text(encoding="utf-8").replace(card.OURS, "My own words."), encoding="utf-8")
    mine = path.read_text(encoding="utf-8")
    model.save_pretrained(tmp_path / "shared")
    assert path.read_text(encoding="utf-8") == mine
    path.write_text(mine + card.OURS, encoding="utf-8")
    model.save_pretrained(tmp_path / "shared")
    assert "My own words." not in path.read_text(encoding="utf-8")


def test_the_newest_sample_picture_is_published(model, tmp_path, fake_hub):
    (model.folder / "samples").mkdir()
    for step in (1, 2):
        (model.folder / "samples" / f"{step:06d}.png").write_bytes(b"picture %d" % step)
    model.save_pretrained(tmp_path / "shared")
    assert (tmp_path / "shared" / "samples.png").read_bytes() == b"picture 2"
    assert "![Samples](samples.png)" in (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    model.push_to_hub("me/ring", token=fakehub.TOKEN)
    assert fake_hub.files("me/ring")["samples.png"] == b"picture 2"


def test_local_paths_are_not_published(model, tmp_path):
    model.origin = {"recipe": "images", "settings": {"folder": str(tmp_path / "faces"), "size": 8}}
    model.save_pretrained(tmp_path / "shared")
    for name in ("config.json", "README.md"):
        text = (tmp_path / "shared" / name).read_text(encoding="utf-8")
        assert "faces" in text
        assert str(tmp_path) not in text
    assert model.origin["settings"]["folder"] == str(tmp_path / "faces")
    with pytest.raises(um.UsageError, match="own folder"):
        model.save_pretrained(model.folder)


def test_push_on_the_command_line(model, fake_hub, capsys, monkeypatch):
    assert main(["push", str(model.folder), "me/ring"]) == 2
    output = capsys.readouterr()
    assert "unmelt: the Hub refused me/ring (401)" in output.err
    assert "Traceback" not in output.err
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", fakehub.TOKEN)
    assert main(["push", str(model.folder), "me/ring", "--private", "--license", "mit", "--message", "Hello"]) == 0
    assert fake_hub.address in capsys.readouterr().err
    assert fake_hub.messages == ["Hello"]
    assert fake_hub.private == {"me/ring"}
    assert b"license: mit" in fake_hub.files("me/ring")["README.md"]
    assert b'from_pretrained("me/ring")' in fake_hub.files("me/ring")["README.md"]
