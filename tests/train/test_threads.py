"""Little work is computed by one thread, unless somebody said how many; the rule knows sizes alone."""

import pytest
import torch

import unmelt as um
from unmelt.train import ObjectiveStep, Trainer, threads


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """A machine of two processors on which nobody has said anything."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "DEFAULT", 2)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(before)


def trainer(**settings):
    model = um.recipe.ring(steps=1, **settings)
    return Trainer(ObjectiveStep(model.denoiser, model.objective), model.source, model.codec, model.training)


def chosen(made):
    with threads.suitable_threads(made) as said:
        count = torch.get_num_threads()
    assert torch.get_num_threads() != 1 or count == 1
    return count, said


def test_a_small_step_takes_one_thread_and_a_large_one_all():
    count, said = chosen(trainer())
    assert count == 1
    assert "1 thread, enough for so small a step" in said
    assert torch.get_num_threads() == 2
    count, said = chosen(trainer(width=512, batch=4096))
    assert (count, said) == (2, " with 2 threads")


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_number_in_the_environment_is_kept(monkeypatch, name):
    monkeypatch.setenv(name, "2")
    assert chosen(trainer())[0] == 2


def test_a_number_that_the_program_set_is_kept():
    torch.set_num_threads(3)
    assert chosen(trainer()) == (3, " with 3 threads")


def test_work_counts_tokens_and_pixels_but_not_the_numbers_of_a_vector():
    assert threads.work_of(10, 4, (2,), tokens=False) == 40
    assert threads.work_of(10, 4, (3, 8, 8), tokens=False) == 40 * 64
    assert threads.work_of(10, 4, (16,), tokens=True) == 40 * 16


def test_lines_where_there_is_no_terminal_say_how_far_it_is_and_from_where(tmp_path, capsys):
    def fit(steps):
        um.recipe.ring(width=8, depth=1, modes=2, batch=4, steps=steps).fit(tmp_path, device="cpu")
        return capsys.readouterr().err.splitlines()

    first = fit(50)
    assert first[0].startswith("training ")
    assert "parameters, 4 rows a step, on cpu with 1 thread" in first[0]
    assert first[1].startswith("step 25 of 50  loss ")
    assert "  ETA 0:00:0" in first[1]
    assert first[-1].startswith("step 50 of 50  loss ")
    assert "ETA" not in first[-1]
    assert "resuming" not in "".join(first)
    assert fit(75)[1] == "resuming from step 50 of 75"


def test_slow_steps_are_told_of_before_their_losses_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unmelt.train.loop.PROGRESS_EVERY", 0.0)
    um.recipe.ring(width=8, depth=1, modes=2, batch=4, steps=30).fit(tmp_path, device="cpu")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("step 1 of 30  ")
    assert " rows/s  ETA 0:00:" in lines[1]
    assert "loss" not in lines[1]
    assert [line["step"] for line in um.train.read_metrics(tmp_path / "metrics.jsonl")] == [25, 30]
    assert lines[-1].startswith("step 30 of 30  loss ")
