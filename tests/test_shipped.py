"""Models that come with the package: found by name, sampled, shown, and never written to."""

import re
from pathlib import Path

import pytest
import torch

import unmelt as um
from unmelt import shipped
from unmelt.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of shipped models with one in it, as tools/ship.py writes it."""
    folder = tmp_path_factory.mktemp("shipped")
    sizes = {"modes": 3, "steps": 20, "width": 32, "depth": 2, "batch": 32}
    model = um.recipe.ring(**sizes).fit(folder.parent / "ring-run", quiet=True, device="cpu")
    model.save_pretrained(folder / "spots", license="apache-2.0", name="spots", dtype="bfloat16")
    model.save_pretrained(folder.parent / "exact", license="apache-2.0")
    return folder


@pytest.fixture(autouse=True)
def _shipped(place, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "PLACE", place)
    monkeypatch.chdir(tmp_path)


def test_a_model_is_found_by_its_name_and_belongs_to_nobody(place):
    assert shipped.names() == ("spots",)
    model = um.load("spots", "cpu")
    assert model.folder is None
    assert model.sample(5, seed=1).isfinite().all()
    assert torch.equal(um.from_pretrained("spots", device="cpu").sample(5, seed=1), model.sample(5, seed=1))


def test_a_run_folder_in_the_working_directory_comes_first_and_an_output_folder_does_not(place, tmp_path, capsys):
    for _ in range(2):  # the first call leaves its picture in a folder of the model's name
        assert main(["sample", "spots", "--rows", "2", "--device", "cpu"]) == 0
        assert (tmp_path / "spots" / "sample.png").exists()
    exact = um.load(place.parent / "exact", "cpu")
    exact.save(tmp_path / "spots")
    assert um.load("spots", "cpu").folder == Path("spots")


def test_a_name_that_is_nearly_right_is_understood(place):
    assert um.load("spots/", "cpu").folder is None
    for name in ("Spots", "spot"):
        with pytest.raises(um.UsageError, match=r"comes with unmelt: spots.*um\.load\('spots'\)"):
            um.load(name)


def test_weights_are_rounded_to_eight_bits_and_take_half_the_room(place):
    exact, rounded = um.load(place.parent / "exact", "cpu"), um.load("spots", "cpu")
    pairs = zip(exact.denoiser.named_parameters(), rounded.denoiser.parameters(), strict=True)
    for (name, one), other in pairs:
        wanted = one.bfloat16().float() if one.ndim > 1 else one
        assert torch.equal(wanted, other), name
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (place / "spots", place.parent / "exact")]
    assert sizes[0] < 0.65 * sizes[1]


def test_commands_take_the_name(tmp_path, capsys):
    assert main(["show", "spots"]) == 0
    assert "recipe" in capsys.readouterr().out
    assert main(["sample", "spots", "--rows", "4", "--out", str(tmp_path / "made.png"), "--device", "cpu"]) == 0
    assert (tmp_path / "made.png").exists()


def test_the_models_in_the_package_are_small_and_have_cards(monkeypatch):
    monkeypatch.undo()
    for name in shipped.names():
        folder = shipped.PLACE / name
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 12_000_000
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "license: " in card
        assert "license: unknown" not in card
        assert (folder / "eval.json").exists()
        assert um.load(name, "cpu").steps_done > 0


def test_models_that_chapters_of_the_lab_show_are_in_the_package(monkeypatch):
    monkeypatch.undo()
    chapters = Path(um.__file__).parent / "lab" / "chapters"
    named = [
        name
        for path in chapters.glob("ch*.py")
        for name in re.findall(r'shipped=f?"([^"]+)"', path.read_text(encoding="utf-8"))
    ]
    assert {"lab/code", "lab/code_ar", "lab/jump_teacher", "lab/jump_student", "digits"} <= set(named)
    for name in (*(each for each in named if "{" not in each), "lab/flow_random", "lab/flow_transport"):
        assert um.load(shipped.PLACE / name, "cpu").sample(1, steps=1) is not None
    sizes = [path.stat().st_size for path in (shipped.PLACE / "lab").rglob("*")]
    assert sum(sizes) < 4_000_000
