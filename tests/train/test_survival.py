"""A run that is killed, told to end, out of disk or damaged loses at most one interval, and ends as it would have."""

import os
import signal
import subprocess

import pytest
import torch
from killing import struck, to_the_end
from safetensors.torch import load_file
from survivor import EVERY, STEPS, live, survivor

import unmelt as um
from unmelt.cli import main
from unmelt.train.checkpoint import chain


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    to_the_end(live, folder)
    return folder


def same(one, other):
    a, b = (load_file(path) for path in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def ends_alike(one, other):
    """Averaged weights, and everything else that a run holds."""
    return same(one / "model.safetensors", other / "model.safetensors") and same(
        *(chain(folder / "checkpoints")[0] for folder in (one, other))
    )


@pytest.mark.parametrize("lives", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_the_uninterrupted_one(tmp_path, whole, number, lives):
    """At random moments, in the middle of a write as well; bit for bit. SIGTERM is answered with a save and 0."""
    longest = 0.25 if number == signal.SIGKILL else 0.8 / lives  # of about a second
    codes = struck(live, tmp_path, lives, longest, number, seed=lives)
    to_the_end(live, tmp_path)
    assert codes.count(-number if number == signal.SIGKILL else 0) >= 0.8 * lives  # the others were early or late
    assert ends_alike(tmp_path, whole)


def test_sigterm_saves_the_current_step_and_exits_with_zero(tmp_path):
    def warn():
        os.kill(os.getpid(), signal.SIGTERM)

    made = survivor()
    batch = made.source.batch

    def heard(step, rows):
        if step == 10:
            warn()
        return batch(step, rows)

    made.source.batch = heard
    with pytest.raises(SystemExit) as ended:
        made.fit(tmp_path, device="cpu", quiet=True)
    assert ended.value.code == 0
    assert um.load(tmp_path).steps_done == 11
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, whole, capsys):
    """Cut short, or changed in one byte: at most one interval is lost, and it is said."""
    assert [int(path.stem) for path in chain(whole / "checkpoints")] == [STEPS, STEPS // EVERY * EVERY]
    for number, damage in enumerate((lambda b: b[: len(b) // 2], lambda b: b[:-50] + bytes([b[-50] ^ 1]) + b[-49:])):
        folder = tmp_path / str(number)
        subprocess.run(["cp", "-r", whole, folder], check=True)
        newest, older = chain(folder / "checkpoints")
        newest.write_bytes(damage(newest.read_bytes()))
        made = survivor()
        made.fit(folder, device="cpu")
        assert f"going on from step {int(older.stem)}" in " ".join(capsys.readouterr().err.split())
        assert ends_alike(folder, whole)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of three megabytes."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("needs to mount a tmpfs, which only root may")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_leaves_the_last_checkpoint_whole(small_disk, whole):
    """The message says so, the last good checkpoint is whole, and with room again the run ends as it would have."""
    run, ballast = small_disk / "run", small_disk / "ballast"
    made = survivor()
    batch = made.source.batch

    def filled(step, rows):
        if step == 60:
            ballast.write_bytes(b"0" * 4096 * (free(small_disk) // 4096))
        return batch(step, rows)

    made.source.batch = filled
    with pytest.raises(um.UsageError, match=r"cannot be written .*No space left"):
        made.fit(run, device="cpu", quiet=True)
    assert [int(path.stem) for path in chain(run / "checkpoints")] == [56, 49]
    assert um.load(run).steps_done == 56
    ballast.unlink()
    made = survivor()
    made.fit(run, device="cpu", quiet=True)
    assert ends_alike(run, whole)


def free(folder):
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def test_the_command_line_exits_with_zero_on_sigterm(tmp_path, monkeypatch, capsys):
    step = um.train.Trainer.step

    def heard(self):
        if self.done == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(um.train.Trainer, "step", heard)
    command = ["train", "ring", "--out", str(tmp_path / "ring"), "--width", "8", "--depth", "1", "--steps", "9"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--batch", "8", "--device", "cpu", "--log-to", "none"])
    assert ended.value.code == 0
    assert "goes on from here" in capsys.readouterr().err
    assert um.load(tmp_path / "ring").steps_done == 4
