"""A checkpoint belongs to one run and one step: whatever else lies in the folder is refused or passed over."""

import json
import shutil
import threading
import time

import pytest
import torch
from jaxtyping import config
from safetensors.torch import load_file

import unmelt as um
from unmelt import run_folder
from unmelt.train.atomic_files import is_whole, read_tensors
from unmelt.train.checkpoint import chain
from unmelt.train.folder_lock import LOCK, folder_lock


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)


class KilledError(Exception):
    """In place of a SIGKILL."""


def ring(steps=12, save_every=4, **more):
    model = um.recipe.ring(width=8, depth=1, modes=2, batch=4, steps=steps, **more)
    model.training = um.train.Training(**{**vars(model.training), "save_every": save_every})
    return model


def fitted(out, killed_at=None, **settings):
    """Train to the end, or until a step that is not taken any more."""
    model, step = ring(**settings), um.train.Trainer.step

    def watched(self):
        if self.done == killed_at:
            raise KilledError
        return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(um.train.Trainer, "step", watched)
        try:
            model.fit(out, device="cpu", quiet=True)
        except KilledError:
            assert killed_at is not None
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    fitted(folder)
    return folder


def ends_as(folder, whole):
    one, other = (load_file(each / "model.safetensors") for each in (folder, whole))
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("field", ["step", "updates", "run"])
def test_a_flipped_bit_in_a_header_is_damage(tmp_path, whole, field, capsys):
    fitted(tmp_path, killed_at=9)
    path = chain(tmp_path / "checkpoints")[0]
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    key = f'"{field}":"'.encode()
    content[8 + bytes(content[8 : 8 + length]).index(key) + len(key)] ^= 8
    path.write_bytes(content)
    assert not is_whole(*read_tensors(path))
    ring().fit(tmp_path, device="cpu")
    assert "going on from step 4, the checkpoint before it" in " ".join(capsys.readouterr().err.split())
    assert ends_as(tmp_path, whole)


def test_checkpoints_of_a_run_with_another_seed_are_refused(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        fitted(tmp_path / name, killed_at=9, seed=seed)
    shutil.rmtree(tmp_path / "a/checkpoints")
    shutil.copytree(tmp_path / "b/checkpoints", tmp_path / "a/checkpoints")
    with pytest.raises(um.UsageError, match=r"000000008.safetensors is a checkpoint of another run"):
        fitted(tmp_path / "a")


def test_a_checkpoint_under_the_name_of_another_step_is_passed_over(tmp_path, whole, capsys):
    fitted(tmp_path, killed_at=9)
    newest, older = chain(tmp_path / "checkpoints")
    shutil.copy(older, newest)
    ring().fit(tmp_path, device="cpu")
    said = " ".join(capsys.readouterr().err.split())
    assert "is the checkpoint of step 4 under another name; going on from step 4" in said
    assert ends_as(tmp_path, whole)


def test_checkpoints_of_an_earlier_run_in_the_folder_are_never_used(tmp_path, whole, capsys):
    """The earlier run's config.json is gone; the new one is killed before and after its own first checkpoint."""
    fitted(tmp_path, seed=1)
    (tmp_path / "config.json").unlink()
    earlier = {path.name: path.read_bytes() for path in chain(tmp_path / "checkpoints")}
    fitted(tmp_path, killed_at=2)
    assert um.load(tmp_path).steps_done == 0
    fitted(tmp_path, killed_at=6, save_every=5)
    assert [path.name for path in chain(tmp_path / "checkpoints")][-1] == "000000005.safetensors"
    assert all((tmp_path / "checkpoints" / name).read_bytes() == content for name, content in earlier.items())
    ring().fit(tmp_path, device="cpu")
    assert "another run; going on from step 5" in " ".join(capsys.readouterr().err.split())
    assert ends_as(tmp_path, whole)


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, whole):
    fitted(tmp_path, killed_at=0)
    before = json.loads((tmp_path / "config.json").read_bytes())
    assert (before["steps_done"], len(before["run"])) == (0, 16)
    fitted(tmp_path)
    assert json.loads((tmp_path / "config.json").read_bytes())["run"] == before["run"]
    assert ends_as(tmp_path, whole)


def test_a_checkpoint_that_is_missing_after_the_first_save_is_an_error(tmp_path):
    fitted(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(um.UsageError, match="no checkpoint in"):
        fitted(tmp_path)


def test_snapshots_of_another_run_are_left_out_of_averages(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        model = ring(steps=40, seed=seed)
        model.training = um.train.Training(**{**vars(model.training), "snapshot_every": 10})
        model.fit(tmp_path / name, device="cpu", quiet=True)
    expected = um.load(tmp_path / "a").averaged(0.1)
    shutil.copy(tmp_path / "b/averages/000000020.safetensors", tmp_path / "a/averages")
    found = um.load(tmp_path / "a").averaged(0.1)
    assert "another run" not in found.notes
    assert found.steps_done == expected.steps_done == 40
    shutil.copy(tmp_path / "b/averages/000000040.safetensors", tmp_path / "a/averages/000000040.safetensors")
    assert um.load(tmp_path / "a").averaged(0.1).steps_done == 30


# One writer


def test_a_second_run_in_the_folder_is_refused_while_the_first_goes_on(tmp_path, whole):
    refused = []

    def also():
        with pytest.raises(um.UsageError, match="in use by another process") as mistake:
            ring().fit(tmp_path, device="cpu", quiet=True)
        refused.append(mistake.value)

    step = um.train.Trainer.step

    def watched(self):
        if self.done == 6:
            other = threading.Thread(target=also)
            other.start()
            other.join()
        return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(um.train.Trainer, "step", watched)
        ring().fit(tmp_path, device="cpu", quiet=True)
    assert len(refused) == 1
    assert ends_as(tmp_path, whole)
    with folder_lock(tmp_path):  # released, and a thread may nest it
        ring().fit(tmp_path, device="cpu", quiet=True)


def test_a_file_system_without_locks_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    def acquire(self):
        raise NotImplementedError("no locks here")

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    with folder_lock(tmp_path):
        pass
    assert "cannot be locked (no locks here)" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / LOCK).exists()


# Reading meanwhile


def clone(tensors):
    return {name: value.clone() for name, value in tensors.items()}


def test_a_run_can_be_read_at_every_moment_of_a_save(tmp_path, monkeypatch):
    """Between any two changes of the folder, what is read is the earlier or the later state."""
    model = fitted(tmp_path)
    states = {model.steps_done: clone(model.weights()["denoiser"])}
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(1.0)
    model.steps_done = 13
    states[13] = clone(model.weights()["denoiser"])
    seen = []

    def look():
        about, weights = run_folder.read_run(tmp_path)
        expected = states[about["steps_done"]]
        assert all(torch.equal(value, expected[name]) for name, value in weights["denoiser"].items())
        seen.append(about["steps_done"])

    replace = run_folder.os.replace

    def watched(source, target):
        look()
        replace(source, target)
        look()

    monkeypatch.setattr(run_folder.os, "replace", watched)
    model.save(tmp_path)
    assert seen[0] == 12
    assert seen[-1] == 13
    assert sorted(seen) == seen
    assert not list(tmp_path.glob(".model*"))


def test_reading_in_a_thread_while_another_saves_never_fails(tmp_path):
    model = fitted(tmp_path)
    over, read = threading.Event(), []

    def saves():
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            model.steps_done += 1
            with torch.no_grad():
                next(model.denoiser.parameters()).add_(1.0)
            model.save(tmp_path)
        over.set()

    writer = threading.Thread(target=saves)
    writer.start()
    while not over.is_set():
        read.append(run_folder.read_run(tmp_path).about["steps_done"])
    writer.join()
    assert read == sorted(read)
    assert len(set(read)) > 2


def test_a_file_that_is_gone_before_torch_maps_it_is_a_usage_error(tmp_path, monkeypatch):
    """safetensors has read the header by then, and torch opens the file again."""
    fitted(tmp_path)

    def gone(*args, **settings):
        raise RuntimeError("unable to open file in read-only mode: No such file or directory (2)")

    monkeypatch.setattr("unmelt.train.atomic_files.safe_open", gone)
    with pytest.raises(um.UsageError, match="cannot be read"):
        read_tensors(tmp_path / "model.safetensors")
