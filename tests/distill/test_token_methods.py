"""Distillation of text models: a student is a text model like any other."""

import pytest
import torch

import unmelt as um
from unmelt import UsageError
from unmelt.backbone import Transformer
from unmelt.codec import Symbols
from unmelt.denoiser import Autoregressive, Blockwise, TokenDenoiser
from unmelt.process import Mask, Uniform
from unmelt.rng import seeded
from unmelt.sampler import Ancestral, grid
from unmelt.train import Training

LETTERS = Symbols("abcd.")
V, LENGTH = LETTERS.vocabulary, 8
QUICK = {"training_steps": 12, "device": "cpu", "quiet": True, "save_every": 5}
METHODS = [um.distill.SDTT(rounds=2), um.distill.AutoregressiveHead(), um.distill.AutoregressiveHead(from_scratch=True)]


def transformer(process, length=LENGTH, block=None, **more):
    with seeded(1):
        made = Transformer(
            input_vocabulary=process.symbols,
            vocabulary=V,
            length=length,
            width=16,
            depth=2,
            heads=2,
            block=block,
            **more,
        )
        torch.nn.init.normal_(made.out.weight, std=0.5)
    return made


def teacher(process=None):
    process = process or Mask(V)
    draws = torch.Generator().manual_seed(0)
    rows = torch.randint(V, (1, 40, LENGTH // 2), generator=draws).repeat(2, 1, 1).permute(1, 2, 0).flatten(1)
    return um.TextModel(
        denoiser=TokenDenoiser(transformer(process), process, (LENGTH,)),
        codec=LETTERS,
        sampler=Ancestral(),
        grid=grid.uniform(8),
        objective=um.objective.NELBO() if isinstance(process, Uniform) else um.objective.AnyOrder(),
        training=Training(steps=4, batch=4, picture_every=0, save_every=5, precision="float32"),
        source=um.data.Arrays(rows),
    )


every_method = pytest.mark.parametrize("method", METHODS, ids=str)


@every_method
def test_a_student_is_a_text_model_of_its_own(method, tmp_path):
    model = teacher()
    before = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    student = model.distill(method, steps=2, out=tmp_path / "fast", **QUICK)
    assert all(torch.equal(value, model.denoiser.state_dict()[name]) for name, value in before.items())
    assert student.steps_done == 12
    fresh = method.student(model.denoiser, None).state_dict()
    assert any(not torch.equal(value, fresh[name]) for name, value in student.denoiser.state_dict().items())
    calls = []
    student.denoiser.backbone.register_forward_hook(lambda *_: calls.append(1))
    texts = student.sample(6, seed=3)
    assert len(calls) == 2
    again = um.load(tmp_path / "fast", device="cpu")
    assert again.sample(6, seed=3) == texts
    assert again.sample(2, seed=3) == texts[:2]
    assert all(text.startswith("ab") and text.endswith("d") for text in again.sample(5, prompt="ab", suffix="d"))
    assert [text[0] + text[3:] for text in again.infill(["a??cdabc", "b??aaaaa"], marker="??", tokens=2)]
    assert len(list(again.trajectory(2, steps=4))) == 5
    assert again.log_likelihood("abcdabcd").value.isfinite().all()


@every_method
def test_mistakes_are_one_sentence(method):
    name, model = type(method).__name__, teacher()
    with pytest.raises(UsageError, match=r"guidance_range.*classes"):
        model.distill(method, steps=2, guidance_range=(1.0, 2.0), **QUICK)
    with pytest.raises(UsageError, match=f"{name} with guidance_range"):
        method.student(model.denoiser, (1.0, 2.0))
    for kind in (Autoregressive, Blockwise):
        with pytest.raises(UsageError, match=f"{name} of a {kind.__name__}"):
            method.student(kind(transformer(Mask(V), block=1), Mask(V), (LENGTH,)), None)
    with pytest.raises(UsageError, match=r"MeanFlow, a method for numbers.*SDTT\(\)"):
        model.distill(um.distill.MeanFlow(), steps=2, **QUICK)
    with pytest.raises(UsageError, match=f"{name}, a method for tokens.*MeanFlow"):
        um.recipe.ring(width=8, depth=1, modes=3, steps=2).distill(method, steps=2, **QUICK)


def test_rounds_are_a_whole_number():
    for rounds in (0, True, 13):
        with pytest.raises(UsageError, match="rounds"):
            um.distill.SDTT(rounds=rounds)


def test_uniform_diffusion_is_distilled_through_time():
    student = teacher(Uniform(V)).distill(um.distill.SDTT(rounds=1), steps=2, **QUICK)
    assert len(student.sample(3)) == 3


def images(process, rows):
    """A denoiser of 2 x 3 images of tokens, and the images: both rows are the same."""
    coordinates = [(row, column) for row in range(2) for column in range(3)]
    denoiser = TokenDenoiser(transformer(process, 6, coordinates=coordinates), process, (2, 3))
    half = torch.randint(V, (rows, 1, 3), generator=torch.Generator().manual_seed(2))
    return denoiser, half.expand(rows, 2, 3)


@every_method
def test_images_of_tokens_are_distilled_in_plain_torch(method):
    denoiser, x0 = images(Mask(V), 64)
    student = method.student(denoiser, None)
    setup = um.distill.Setup(
        teacher=denoiser, student=student, grid=grid.uniform(2), training=Training(steps=30, batch=64)
    )
    step = method.train_step(setup)
    optimizer, losses = torch.optim.Adam(student.parameters(), lr=3e-3), []
    for number in range(30):
        batch = um.train.step.Batch(x0, None, number % 15)  # the first round, so that losses can be compared
        loss = step.phases()[0].loss(batch, um.rng.Stream(number)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])
    x = um.sample(student, rows=5, sampler=method.sampler(), grid=grid.uniform(2), seed=1)
    assert x.shape == (5, 2, 3)
    assert (x < V).all()
    assert torch.equal(um.sample(student, rows=2, sampler=method.sampler(), grid=grid.uniform(2), seed=1), x[:2])
