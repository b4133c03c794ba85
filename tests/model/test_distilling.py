"""model.distill: a student is a model like any other, the teacher stays as it is, and mistakes are one sentence."""

import json
from dataclasses import dataclass

import pytest
import torch

import unmelt as um
from unmelt import UsageError
from unmelt.cli import main
from unmelt.distill.student import flow_map_of


def ring(**settings):
    return um.recipe.ring(**{"width": 8, "depth": 1, "modes": 3, "steps": 60, "batch": 32, **settings})


QUICK = {"training_steps": 12, "device": "cpu", "quiet": True}
METHOD = um.distill.MeanFlow()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "ring"
    ring().fit(folder, device="cpu", quiet=True)
    return folder


@pytest.fixture
def teacher(folder):
    return um.recipe.with_data(folder, device="cpu")


def test_a_student_is_a_model_of_its_own_and_the_teacher_stays_as_it_is(teacher, tmp_path):
    before = {name: value.clone() for name, value in teacher.denoiser.state_dict().items()}
    student = teacher.distill(METHOD, steps=2, out=tmp_path / "fast", **QUICK)
    assert all(torch.equal(value, teacher.denoiser.state_dict()[name]) for name, value in before.items())
    assert isinstance(student.denoiser, um.denoiser.FlowMap)
    assert student.steps_done == 12
    calls = []
    student.denoiser.backbone.register_forward_hook(lambda *_: calls.append(1))
    x = student.sample(5, label=1, seed=3)
    assert len(calls) == 2
    again = um.load(tmp_path / "fast", device="cpu")
    assert torch.equal(again.sample(5, label=1, seed=3), x)
    assert torch.equal(again.sample(2, label=1, seed=3), x[:2]) or torch.allclose(
        again.sample(2, label=1, seed=3), x[:2]
    )
    assert len(list(again.trajectory(2, steps=4))) == 5
    assert again.sample(3, steps=1).isfinite().all()
    scores = um.recipe.with_data(tmp_path / "fast", device="cpu").evaluate(samples=200)
    assert scores["steps"] == 2
    student.save_pretrained(tmp_path / "shared")
    assert torch.equal(um.load(tmp_path / "shared", device="cpu").sample(5, label=1, seed=3), x)


def test_the_same_call_in_the_same_folder_goes_on_and_another_method_or_teacher_is_another_run(teacher, tmp_path):
    out = tmp_path / "fast"
    student = teacher.distill(METHOD, steps=2, out=out, **QUICK)
    again = teacher.distill(METHOD, steps=2, out=out, **QUICK)
    for one, other in zip(student.denoiser.parameters(), again.denoiser.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(UsageError, match="holds another run"):
        teacher.distill(um.distill.MeanFlow(power=0.7), steps=2, out=out, **QUICK)
    with pytest.raises(UsageError, match="holds another run"):
        teacher.distill(METHOD, steps=4, out=out, **QUICK)
    other = ring(seed=1).fit(device="cpu", quiet=True)
    with pytest.raises(UsageError, match="holds another run"):
        other.distill(METHOD, steps=2, out=out, **QUICK)


def test_guidance_is_an_input_with_a_scale_for_each_row(teacher):
    student = teacher.distill(METHOD, steps=2, guidance_range=(1.0, 3.0), **QUICK)
    with torch.no_grad():
        student.denoiser.backbone.told.guidance[1].weight.normal_(std=0.5)  # as if much were learned
    plain, guided = (student.sample(4, label=1, guidance=scale) for scale in (1.0, 3.0))
    assert not torch.allclose(plain, guided)
    mixed = student.sample(4, label=1, guidance=[1.0, 3.0, 1.0, 3.0])
    torch.testing.assert_close(mixed[::2], plain[::2])
    torch.testing.assert_close(mixed[1::2], guided[1::2])
    with pytest.raises(UsageError, match=r"guidance=4.0.*from 1.0 to 3.0"):
        student.sample(4, label=1, guidance=4.0)
    with pytest.raises(UsageError, match="no interval"):
        student.sample(4, label=1, guidance=2.0, interval=(0.2, 0.8))


def test_a_student_begins_as_its_teacher(teacher):
    for guidance_range in (None, (1.0, 4.0)):
        student = flow_map_of(teacher.denoiser, guidance_range, is_denoiser=True)
        x, t = torch.randn(6, 2), torch.linspace(0.1, 1, 6, dtype=torch.float64)
        known = um.Condition(label=torch.arange(6) % 3, guidance_scale=torch.full((6,), 2.0))
        wanted = teacher.denoiser(x, t, known).mean
        torch.testing.assert_close(student.jump(x, t, t / 3, known).mean, wanted)
        torch.testing.assert_close(student(x, t, known).mean, wanted)
    fresh = flow_map_of(teacher.denoiser, None, is_denoiser=True, fresh=True)
    assert not torch.allclose(fresh.jump(x, t, t, known).mean, wanted)


def test_a_student_goes_on_from_an_earlier_one(teacher, folder, tmp_path):
    consistency, matching = um.distill.Consistency(), um.distill.DistributionMatching()
    early = teacher.distill(consistency, steps=2, out=tmp_path / "early", **(QUICK | {"lr": 0.03}))
    hardly = QUICK | {"training_steps": 1, "lr": 1e-12}
    later = teacher.distill(matching, steps=2, start=early, out=tmp_path / "later", **hardly)
    x = early.sample(6, label=1, seed=2)
    torch.testing.assert_close(later.sample(6, label=1, seed=2), x)
    assert not torch.allclose(teacher.distill(matching, steps=2, **hardly).sample(6, label=1, seed=2), x, atol=0.01)
    with pytest.raises(UsageError, match="holds another run"):
        teacher.distill(matching, steps=2, out=tmp_path / "later", **hardly)
    words = ["distill", str(folder), "--method", "distribution-matching", "--start", str(tmp_path / "early")]
    words += ["--out", str(tmp_path / "later"), "--training-steps", "1", "--lr", "1e-12", "--device", "cpu"]
    assert main([*words, "--log-to", "none"]) == 0  # the same run
    with pytest.raises(UsageError, match=r"a start whose weights are others.*guidance_range"):
        teacher.distill(matching, steps=2, start=early, guidance_range=(1.0, 3.0), **QUICK)
    with pytest.raises(UsageError, match="a start whose weights are others"):
        teacher.distill(matching, steps=2, start=teacher, **QUICK)


def test_mistakes_are_one_sentence(teacher, folder, tmp_path):
    student = teacher.distill(METHOD, steps=1, **QUICK)
    with pytest.raises(UsageError, match=r"learned no guidance.*guidance_range"):
        student.sample(4, label=1, guidance=2.0)
    with pytest.raises(UsageError, match="has learned nothing"):
        ring().distill(METHOD, steps=1, **QUICK)
    with pytest.raises(UsageError, match="with_data"):
        um.load(folder, device="cpu").distill(METHOD, steps=1, **QUICK)
    with pytest.raises(UsageError, match="own folder"):
        teacher.distill(METHOD, steps=1, out=folder, **QUICK)
    with pytest.raises(UsageError, match=r"um.distill.MeanFlow\(\)"):
        teacher.distill("meanflow", steps=1, **QUICK)
    with pytest.raises(UsageError, match="with 1"):
        teacher.distill(METHOD, steps=1, guidance_range=(2.0, 4.0), **QUICK)
    with pytest.raises(UsageError, match="steps=0"):
        teacher.distill(METHOD, steps=0, **QUICK)
    teacher.add_adapter("style", um.adapter.LoRA(rank=1))
    with pytest.raises(UsageError, match="merge_adapter"):
        teacher.distill(METHOD, steps=1, **QUICK)


def test_a_student_that_only_jumps_is_no_denoiser(teacher):
    student = teacher.distill(METHOD, steps=1, **QUICK)
    student.denoiser.is_denoiser = False
    with pytest.raises(UsageError, match=r"only jumps.*um.sampler.Jump\(\)"):
        student.sample(2, sampler=um.sampler.DPMpp())
    with pytest.raises(UsageError, match="only jumps"):
        student.log_likelihood(torch.zeros(2, 2))
    assert student.sample(2).isfinite().all()


def test_a_teacher_of_another_kind_is_refused(teacher):
    @dataclass
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

    with pytest.raises(UsageError, match="Own as the teacher"):
        flow_map_of(Own(), None, is_denoiser=True)
    frames = um.backbone.Transformer(input_vocabulary=4, vocabulary=3, length=2, width=8, depth=1, heads=1)
    process = um.process.Gaussian(um.schedule.Cosine())
    with pytest.raises(UsageError, match="no argument with_arrival"):
        flow_map_of(um.denoiser.NetworkDenoiser(frames, process, um.prediction.V(), (2,)), None, is_denoiser=True)


def test_the_command_line_trains_a_student_and_refuses_what_does_not_fit(folder, tmp_path, capsys):
    out = tmp_path / "fast"
    words = ["distill", str(folder), "--method", "mean_flow", "--steps", "1", "--out", str(out), "--device", "cpu"]
    assert main([*words, "--training-steps", "5", "--guidance-max", "3", "--log-to", "none"]) == 0
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["origin"]["distilled"]["sampling_steps"] == 1
    assert (
        main(["sample", str(out), "--rows", "3", "--label", "1", "--guidance", "2", "--out", str(tmp_path / "x.png")])
        == 0
    )
    capsys.readouterr()
    assert main(["distill", str(folder), "--method", "meanflw", "--out", str(tmp_path / "no")]) == 2
    assert "--method mean-flow" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
