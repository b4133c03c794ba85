"""Every chapter as a file: well formed, listed, and right when it is run as a script."""

import dataclasses
import importlib.util
import itertools
import math
import os
import subprocess
import sys

import pytest
import torch

import unmelt as um
from unmelt import lab
from unmelt.errors import UsageError
from unmelt.lab import contents, opening

CHAPTERS = contents.chapters()


def test_marimo_check_is_clean():
    paths = [str(chapter.path) for chapter in CHAPTERS]
    found = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", *paths], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_contents_page_lists_every_chapter_file(tmp_path):
    assert [each.number for each in CHAPTERS] == list(range(1, len(CHAPTERS) + 1))
    for number, name in ((2, "two_things"), (10, "later"), (1, "first")):
        (tmp_path / f"ch{number}_{name}.py").write_text(
            f'"""Title {number}.\n\nA <story>\nof {number}.\n\nMore."""\n', encoding="utf-8"
        )
    (tmp_path / "notes.py").write_text("", encoding="utf-8")
    found = contents.chapters(tmp_path)
    assert [(each.number, each.name, each.title, each.story) for each in found] == [
        (1, "first", "Title 1", "A <story> of 1."),
        (2, "two-things", "Title 2", "A <story> of 2."),
        (10, "later", "Title 10", "A <story> of 10."),
    ]
    page = contents.page(tmp_path)
    assert "A &lt;story&gt; of 10." in page
    assert page.index("Title 2") < page.index("Title 10")


def test_a_chapter_links_to_its_neighbours():
    for before, after in itertools.pairwise(CHAPTERS):
        assert f'href="../{after.name}/" rel="next"' in opening(before.name)
        assert f'href="../{before.name}/" rel="prev"' in opening(after.name)
    with pytest.raises(UsageError, match="one of melting"):
        opening("freezing")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a chapter as a script with this many training steps; returns what its cells define."""

    def ran(name, steps=10):
        monkeypatch.setenv("UNMELT_CACHE", str(tmp_path))
        (path,) = (each.path for each in CHAPTERS if each.name == name)
        monkeypatch.setattr(sys, "argv", [str(path), "--", "--steps", str(steps)])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        _, found = module.app.run()
        return found

    return ran


def test_melting_measures_match_the_closed_forms(run):
    found = run("melting")
    alpha = math.cos(math.pi / 2 * 0.25)
    closed, measured = found["measured"]["distance between the modes, 4α = 4√ᾱ"]
    assert closed == pytest.approx(4 * alpha, rel=1e-9)
    assert measured == pytest.approx(closed, abs=4 * math.sqrt(4 / 2000))
    closed, measured = found["ring_measured"]["standard deviation within a cluster"]
    assert closed == pytest.approx(math.sqrt(1 - alpha**2 * (1 - 0.15**2)), rel=1e-6)
    assert measured == pytest.approx(closed, rel=4 / math.sqrt(4 * 2000))


def test_following_the_score_leads_a_point_to_the_data(run):
    found = run("score")
    assert found["nearest"].values.max() < 3 * 0.15
    for exact, believed in found["one_thing"].values():
        assert believed == pytest.approx(exact, abs=1e-9)
    assert found["shares"].min() > 0.1


def test_a_trained_network_samples_the_ring(run):
    found = run("learning", steps=200)
    assert found["ring_energy"] < 0.1  # unprocessed noise has about 1


@pytest.mark.slow  # it tunes samplers for half a minute
def test_solvers_have_their_orders(run):
    found = run("way-back")
    tried, errors = found["TRIED"], found["errors"]
    for name, order in (("Euler", 1), ("default", 2)):
        few, many = (errors[name][tried.index(n)] for n in (10, 40))
        assert few / many > 0.8 * 4**order
    for n, result in found["tuned"].items():
        assert result["tuned"] < result["default"]
        assert all(len(times) == n + 1 and times[-1] == 0 for times in result["times"].values())
    assert found["tuned"][5]["tuned"] < 0.2 * errors["DPM-Solver++(2M)"][tried.index(5)]
    assert found["reached"][0] == 1 < found["reached"][1]  # without fresh noise one start has one end


def test_guidance_scale_1_samples_the_class(run):
    found = run("guidance")
    assert found["kinds"] == pytest.approx(3, abs=0.05)
    radius = found["x"].norm(dim=1).mean().item()
    assert radius == pytest.approx(found["ring_radius"](found["means"], found["own"], 0.35), abs=0.05)
    assert found["made"].shape == (40, 1, 8, 8)


def test_every_schedule_has_the_same_flow(run):
    found = run("straight-paths")
    straight = [paths[1] for paths in found["walked"].values()]
    assert (straight[0][:, -1] - straight[1][:, -1]).abs().max() < 1e-3
    assert found["same"]["straightness S of cosine (0 is straight)"][1] == pytest.approx(
        found["same"]["straightness S of flow matching (0 is straight)"][0], rel=0.02
    )


def test_a_jump_satisfies_its_identity_and_words_of_one_pass_do_not_agree(run):
    found = run("few-steps")
    floor, stepped = found["one_jump"]["energy distance, 1 Euler step"]
    assert stepped > 1
    assert abs(found["one_jump"]["energy distance, one exact jump"][1] - floor) < 0.05
    for velocity, average in found["sides"].values():
        assert average == pytest.approx(velocity, abs=1e-4)
    for law, drawn in found["named"].values():
        assert drawn == pytest.approx(law, abs=4 * math.sqrt(0.25 * 0.75 / 4000))
    assert found["student"].grid.steps == 1
    assert set(found["jumped"]) == {
        f"energy distance, {who}" for who in ("the teacher, 1", "the student, 1", "the teacher, 50")
    }


@pytest.mark.slow
def test_a_student_jumps_to_the_ring(run):
    found = run("few-steps", steps=2000)
    jumped = {name.rpartition(", the ")[2]: made for name, (_, made) in found["jumped"].items()}
    assert jumped["student, 1"] < 0.06 < 1 < jumped["teacher, 1"]


@pytest.mark.slow
def test_text_is_unmasked_completely(run):
    found = run("words", steps=4)
    mask = found["masked"].denoiser.process.vocabulary
    assert mask in found["frames"][0]
    assert mask not in found["frames"][-1]
    assert len(found["frames"]) == 17
    assert found["page"]["bits"]["masked"]["bits_per_byte"] > 0


def test_a_trained_model_is_cached_and_training_resumes(monkeypatch, tmp_path):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path))

    def make(steps=50):
        return um.recipe.two_modes(steps=steps, width=8, depth=1)

    calls = []
    first = lab.learned("two", make, lambda *arguments: calls.append(arguments))
    assert [step for step, _, _ in calls] == [25, 50]
    again = lab.learned("two", make, lambda *arguments: calls.append(arguments))
    assert len(calls) == 2  # nothing was trained
    assert torch.equal(first.sample(8, seed=3), again.sample(8, seed=3))
    (folder,) = (tmp_path / "lab").iterdir()
    assert (folder / "model.safetensors").exists()

    lab.learned("two", lambda: make(60))
    assert len(list((tmp_path / "lab").iterdir())) == 2  # other settings are stored elsewhere

    # A damaged model is trained again.
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((folder / name).read_bytes()[:40])
        assert torch.equal(first.sample(8, seed=3), lab.learned("two", make).sample(8, seed=3))


def test_training_killed_halfway_resumes_from_its_checkpoint(monkeypatch, tmp_path):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path))

    class Killed(BaseException):
        pass

    def killed(step, of, loss):
        if step == 50:
            raise Killed

    def make():
        model = um.recipe.two_modes(steps=75, width=8, depth=1)
        model.training = dataclasses.replace(model.training, save_every=25)
        return model

    assert not lab.finished("two", make())
    with pytest.raises(Killed):
        lab.learned("two", make, killed)
    assert not lab.finished("two", make())
    steps = []
    model = lab.learned("two", make, lambda step, of, loss: steps.append(step))
    assert steps == [50, 75]  # from the checkpoint at 25
    assert lab.finished("two", make())
    assert torch.equal(model.sample(8, seed=3), make().fit(quiet=True).sample(8, seed=3))


def test_measurements_are_cached(monkeypatch, tmp_path):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path))
    asked = []
    make = lambda: asked.append(1) or {"a": (1, 2)}  # noqa: E731
    assert lab.kept("x", [1], make) == {"a": [1, 2]} == lab.kept("x", [1], make)
    assert len(asked) == 1
    lab.place("x", [1]).with_suffix(".json").write_text('{"a": [1', encoding="utf-8")
    assert lab.kept("x", [1], make) == {"a": [1, 2]}
    assert len(asked) == 2
    lab.kept("x", [2], make)
    assert len(asked) == 3
    monkeypatch.setenv("UNMELT_CACHE", "/proc/nowhere")
    with pytest.raises(UsageError, match="UNMELT_CACHE"):
        lab.kept("x", [1], make)


def test_two_labs_compute_a_cached_value_once(tmp_path):
    code = (
        "import pathlib, sys, time\n"
        "from unmelt import lab\n"
        "def make():\n"
        "    with open(sys.argv[1], 'a') as log: log.write('made')\n"
        "    time.sleep(3)\n"
        "    return 7\n"
        "assert lab.kept('x', [1], make) == 7\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "log")]
    both = [subprocess.Popen(words, env={**os.environ, "UNMELT_CACHE": str(tmp_path)}) for _ in range(2)]
    assert [each.wait(timeout=120) for each in both] == [0, 0]
    assert (tmp_path / "log").read_text(encoding="utf-8") == "made"


def test_drafts_are_proposed_accepted_and_cut_and_the_law_stays(run):
    found = run("drafts")
    tokens = [token for each in found["found"] for token in each.written]
    writer, prompt = found["writer"], found["writer"].tokenizer.encode(found["prompt"].value)
    plain = um.drafting.decode(found["verifier"], [prompt], len(tokens), temperature=0.0).tokens[0]
    assert tokens == plain
    assert len(found["found"]) < len(tokens)
    assert "".join(each.accepted + each.own for each in found["texts"]) == writer.tokenizer.decode(tokens)
    assert any(each.rejected for each in found["texts"])
    torch.testing.assert_close(found["law"]["right"], found["p"])
    assert (found["law"]["wrong"] - found["p"]).abs().sum() / 2 > 0.05
    assert (found["shares"] - found["p"]).abs().max() < 4 * math.sqrt(0.25 / 20_000)
    for size, value in found["tokens_a_pass"].items():
        assert value == pytest.approx(found["expected"][size], rel=0.35)
    assert 0 <= found["chosen"].block <= 12
