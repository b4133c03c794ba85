"""Damaged run folders are refused with a message, and nothing in them is ever executed."""

import hashlib
import json
import pickle
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import unmelt as um
from unmelt import run_folder
from unmelt.cli import main


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "ring"
    um.recipe.ring(width=8, depth=1, modes=2, steps=2, batch=4).fit(folder, device="cpu", quiet=True)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "ring")


def sealed(folder, change):
    """config.json changed by one who knows how it is sealed."""
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(about)
    about["weights"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    del about["digest"]
    about["digest"] = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")


def nested(deep):
    """Lists within lists."""
    value = 0
    for _ in range(deep):
        value = [value]
    return value


def refused(folder, capsys, *said):
    """The same sentence from `load` and from every command."""
    with pytest.raises(um.UsageError) as mistake:
        um.load(folder, device="cpu")
    for words in said:
        assert words in str(mistake.value)
    for command in (["sample"], ["eval"]):
        assert main([*command, str(folder)]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith("unmelt: ")
        assert mistake.value.given in err
        assert "Traceback" not in err
    assert not (folder / "sample.png").exists()


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("kept", [0, 1, 7, 100, -1], ids="{} bytes kept".format)
def test_a_truncated_file_is_refused(folder, capsys, name, kept):
    path = folder / name
    path.write_bytes(path.read_bytes()[:kept])
    if (name, kept) == ("config.json", -1):  # only the newline is gone
        um.load(folder)
    else:
        refused(folder, capsys, name)


@pytest.mark.parametrize("content", ["null", "[]", "5", '"text"', "{}", "{'a': 1}", '{"format": ', "[" * 100_000])
def test_a_config_that_is_not_a_description_is_refused(folder, capsys, content):
    (folder / "config.json").write_text(content, encoding="utf-8")
    refused(folder, capsys, "config.json", "damaged")


def test_a_config_that_is_not_text_is_refused(folder, capsys):
    (folder / "config.json").write_bytes(b"\xff\xfe\x00\x81")
    refused(folder, capsys, "config.json", "damaged")


@pytest.mark.parametrize("change", [("classes", ["a", "b"]), ("steps_done", 3), ("notes", " "), ("parameters", 1)])
def test_an_edited_value_is_refused(folder, capsys, change):
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert about[change[0]] != change[1]
    about[change[0]] = change[1]
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    refused(folder, capsys, "config.json was changed")
    with pytest.raises(um.UsageError, match="was changed"):
        um.recipe.ring(width=8, depth=1, modes=2, steps=2, batch=4).fit(folder, device="cpu", quiet=True)


def test_an_edited_nested_number_is_refused(folder, capsys):
    text = (folder / "config.json").read_text(encoding="utf-8")
    assert text.count('"sigma_min": 0.002') == 1
    (folder / "config.json").write_text(text.replace('"sigma_min": 0.002', '"sigma_min": 0.003', 1), encoding="utf-8")
    refused(folder, capsys, "config.json was changed")


@pytest.mark.parametrize("where", [-1, -200, 9, 300])
def test_a_changed_byte_of_the_weights_is_refused(folder, capsys, where):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    refused(folder, capsys, "model.safetensors")


def test_an_unknown_format_is_refused(folder, capsys):
    sealed(folder, lambda about: about.update(format=9))
    refused(folder, capsys, "format 9", "format 1 or 2")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_refused(folder, capsys, name):
    (folder / name).unlink()
    refused(folder, capsys, f"has no {name}")
    (folder / name).mkdir()
    refused(folder, capsys, f"has no {name}")


def test_a_path_that_is_not_a_run_folder_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    refused(tmp_path / "file", capsys, "file is a file")
    refused(tmp_path / "nothing", capsys, "there is no run folder", "digits")
    refused(tmp_path, capsys, "has no config.json", "digits")


def test_the_weights_of_another_network_are_refused(folder, tmp_path, capsys):
    other = tmp_path / "other"
    um.recipe.ring(width=12, depth=1, modes=2, steps=1, batch=4).fit(other, device="cpu", quiet=True)
    shutil.copy(other / "model.safetensors", folder)
    refused(folder, capsys, "is not the file that config.json describes")
    sealed(folder, lambda about: None)
    refused(folder, capsys, "do not fit its description")


def test_missing_and_extra_weights_are_refused(folder, capsys):
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    for changed in ({n: w for n, w in weights.items() if n != name}, {**weights, "more": torch.zeros(1)}):
        save_file(changed, folder / "model.safetensors")
        sealed(folder, lambda about: None)
        refused(folder, capsys, "do not fit its description")


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoints/000000002.safetensors", "config.json"])
def test_a_pickle_is_never_loaded(folder, tmp_path, capsys, name):
    trace = tmp_path / "trace"
    for content in (pickle.dumps(Trap(trace)), pickle.dumps(Trap(trace), protocol=0)):
        (folder / name).write_bytes(content)
        if name == "checkpoints/000000002.safetensors":
            with pytest.raises(um.UsageError, match="checkpoint"):
                um.recipe.ring(width=8, depth=1, modes=2, steps=3, batch=4).fit(folder, device="cpu", quiet=True)
        else:
            refused(folder, capsys, name)
    torch.save(Trap(trace), folder / name)
    if name != "checkpoints/000000002.safetensors":
        refused(folder, capsys, name)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Trap(trace)))
    assert trace.exists()  # the trap does work


def test_a_header_larger_than_the_file_is_refused(folder, capsys):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    refused(folder, capsys, "model.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about["model"]["objective"].update(part="sampler.Magic"), "'sampler.Magic'"),
        (lambda about: about["model"]["objective"].update(part="subprocess.run"), "'subprocess.run'"),
        (lambda about: about["model"]["denoiser"].pop("backbone"), "denoiser.NetworkDenoiser described with"),
        (lambda about: about["model"]["codec"].update(scale=-1.0), "scale=-1.0"),
        (lambda about: about["model"]["grid"].update(steps=10**9), "1000000000 steps"),
        (lambda about: about["model"].pop("codec"), "does not describe a model"),
        (lambda about: about.pop("model"), "does not describe a model"),
        (lambda about: about.pop("classes"), "does not describe a model"),
        (lambda about: about.update(model=None), "does not describe a model"),
        (lambda about: about["model"].update(denoiser=about["model"]["codec"]), "does not describe a model"),
        (lambda about: about["model"].update(denoiser=5), "does not describe a model"),
        (lambda about: about["model"].update(denoiser=nested(900)), "does not describe a model"),
        (lambda about: about["model"].update(codec=2.5), "does not describe a model"),
        (lambda about: about["model"].update(grid=about["model"]["codec"]), "does not describe a model"),
        (lambda about: about["model"].update(sampler=about["model"]["grid"]), "does not describe a model"),
        (lambda about: about["model"].update(objective="x"), "does not describe a model"),
        (lambda about: about["model"].update(modality=[]), "does not describe a model"),
        (lambda about: about["model"].update(training={"steps": "x"}), "does not describe a model"),
        (lambda about: about["model"].update(codec={"part": "os.system", "command": "x"}), "'os.system'"),
        (lambda about: about.update(classes=2.5), "classes is 2.5"),
        (lambda about: about.update(classes=[1]), "classes is [1]"),
        (lambda about: about.update(steps_done=float("nan")), "steps_done is nan"),
        (lambda about: about.update(steps_done=True), "steps_done is True"),
        (lambda about: about.update(parameters=-1), "parameters is -1"),
        (lambda about: about.update(notes=None), "notes is None"),
        (lambda about: about.update(facade=[]), "facade is []"),
        (lambda about: about.update(origin={"recipe": []}), "origin is"),
        (lambda about: about.update(origin={"settings": 3}), "origin is"),
        (lambda about: about.update(tuned=[5]), "does not describe a model"),
        (lambda about: about.update(tuned="x"), "tuned is 'x'"),
        (lambda about: about.update(adapters={"a": 5}), "adapters is"),
        (lambda about: about.update(adapters={"a": about["model"]["grid"]}), "does not describe a model"),
        (lambda about: about.update(active_adapter="a"), "active adapter"),
        (lambda about: about.update(modules={"denoiser": 5}), "modules is"),
        (lambda about: about.update(data={"training": 5}), "data is"),
        (lambda about: about.update(run=7), "run is 7"),
    ],
)
def test_a_wrong_description_with_a_valid_digest_is_refused(folder, capsys, monkeypatch, change, said):
    from jaxtyping import config

    monkeypatch.setattr(config, "jaxtyping_disable", True)
    sealed(folder, change)
    refused(folder, capsys, said)


def test_missing_values_of_a_description_are_refused(folder):
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in ("facade", "origin", "notes", "classes", "steps_done", "parameters", "model"):
        sealed(folder, lambda changed, name=name: (changed.update(about), changed.pop(name)))
        if name == "facade":  # as in format 1
            assert um.load(folder, device="cpu").steps_done == 2
        else:
            with pytest.raises(um.UsageError, match=f"it has no {name}"):
                um.load(folder, device="cpu")


def test_show_refuses_damaged_metrics(folder, capsys):
    (folder / "metrics.jsonl").write_text("nonsense\n{}\n", encoding="utf-8")
    assert main(["show", str(folder)]) == 2
    assert "metrics.jsonl, line 1" in capsys.readouterr().err
    (folder / "metrics.jsonl").unlink()
    assert main(["show", str(folder)]) == 0
    capsys.readouterr()
    (folder / "model.safetensors").write_bytes(b"")
    assert main(["show", str(folder)]) == 2


def test_checking_that_a_folder_is_writable_creates_nothing(tmp_path):
    run_folder.writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    run_folder.prepare(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert not list((tmp_path / "a" / "b").iterdir())


def test_a_relative_folder_is_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_folder.writable(run_folder.Path("here"))
    run_folder.prepare(run_folder.Path("here"))
    assert (tmp_path / "here").is_dir()


def test_a_run_without_a_recipe_resumes_with_its_own_objective_only(tmp_path):
    def model(objective):
        made = um.recipe.two_modes(steps=2, batch=4)
        made.origin, made.objective = {}, objective
        return made

    model(um.objective.Regression(drop=0.1)).fit(tmp_path / "run", quiet=True)
    with pytest.raises(um.UsageError, match=r"objective\.drop is 0\.1 there, 0\.2 here"):
        model(um.objective.Regression(drop=0.2)).fit(tmp_path / "run", quiet=True)
