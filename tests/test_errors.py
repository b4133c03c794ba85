"""More memory than there is, is a mistake with a message; any other error stays what it is."""

import pytest
import torch

import unmelt as um
from unmelt.cli import main
from unmelt.errors import enough_memory, is_out_of_memory


def too_much(*args, **settings):
    return torch.empty(1 << 60)


def test_torch_and_numpy_out_of_memory_are_recognised():
    with pytest.raises(RuntimeError) as error:
        too_much()
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_only_out_of_memory_becomes_a_usage_error():
    with pytest.raises(um.UsageError, match=r"more memory than there is: 4,611,686,018\.4 GB"), enough_memory("less"):
        too_much()
    with pytest.raises(RuntimeError, match="something else"), enough_memory("less"):
        raise RuntimeError("something else")


def test_training_that_takes_too_much_memory_is_one_message(tmp_path, monkeypatch, capsys):
    command = ["train", "ring", "--width", "8", "--depth", "1", "--steps", "2", "--device", "cpu", "--log-to", "none"]
    for place in ("unmelt.recipe.points.MLP", "unmelt.train.Trainer.step"):
        with monkeypatch.context() as patch:
            patch.setattr(place, too_much)
            assert main([*command, "--out", str(tmp_path / "run")]) == 2
        err = capsys.readouterr().err
        assert "this takes more memory than there is" in err
        assert "Traceback" not in err
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
