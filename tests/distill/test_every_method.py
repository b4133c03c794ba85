"""Every exported method: it trains, resumes bit for bit, does not depend on how a batch is divided, saves and loads."""

import dataclasses

import pytest
import torch
from students import METHODS, OF_WHOLE_BATCHES, fitted, teacher_of

import unmelt as um
from unmelt.model.distilling import student_of
from unmelt.train import Execution

UNGUIDED = {"Adversarial", "Drifting"}
"""Methods that compare with data, which are not guided."""


def weights(model):
    return {name: value.clone() for name, value in model.denoiser.state_dict().items()}


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_a_run_that_broke_off_resumes_bit_for_bit_and_the_student_is_loaded_as_it_was(cls, tmp_path):
    whole = fitted(cls(), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="went away"):
        fitted(cls(), tmp_path / "broken", stop=7)
    resumed = fitted(cls(), tmp_path / "broken")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    before = weights(student_of(teacher_of(cls), cls(), 2, None, {})[0])
    assert any(not torch.equal(value, before[name]) for name, value in weights(whole).items())
    again = um.load(tmp_path / "whole", device="cpu")
    first, second = (model.sample(3, seed=1) for model in (whole, again))
    assert first == second if cls.KIND == "tokens" else torch.equal(first, second)


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_a_batch_in_parts_is_the_same_batch(cls):
    if cls.__name__ in OF_WHOLE_BATCHES:
        pytest.skip("its rows act on one another")
    one, two = fitted(cls()), fitted(cls(), execution=Execution(gradient_accumulation=2))
    for name, value in weights(one).items():
        torch.testing.assert_close(value, weights(two)[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "cls",
    [each for each in METHODS if each.KIND == "numbers" and each.__name__ not in UNGUIDED],
    ids=lambda cls: cls.__name__,
)
def test_guidance_is_learned_as_an_input(cls):
    student = fitted(cls(), guidance_range=(1.0, 3.0))
    embedding = student.denoiser.backbone.told.guidance[1].weight
    assert embedding.abs().max() > 0  # it began at 0
    plain, guided = (student.sample(4, label=1, guidance=scale) for scale in (1.0, 3.0))
    assert not torch.equal(plain, guided)
    assert guided.isfinite().all()


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_a_method_describes_itself(cls):
    assert um.config.build(um.config.describe(cls())) == cls()
    fields = {field.name for field in dataclasses.fields(cls)}
    assert {"training_steps", "lr"} <= fields
    assert cls.KIND in ("numbers", "tokens")
