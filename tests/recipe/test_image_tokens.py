"""Images painted by masked diffusion on tokens, with the verbs of a model of numbers; what it cannot do, it says."""

import pytest
import torch
from rectangles import SMALL, cache, draw_rectangles  # noqa: F401  the cache is used by every test

import unmelt as um
from unmelt.sampler.tokens import Confidence, Unmask


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images/ in two classes, a tokenizer of images in codec/ and a model of its tokens in run/."""
    place = tmp_path_factory.mktemp("tokens")
    for kind, name in enumerate(("even", "odd")):
        (place / "images" / name).mkdir(parents=True)
        draw_rectangles(place / "images" / name, seed=kind)
    tokens = um.recipe.autoencoder(
        folder=place / "images", steps=60, lr=3e-3, ema=0.9, latents="tokens", levels=(4, 4), **SMALL
    )
    tokens.fit(place / "codec", "cpu", quiet=True)
    made(place).fit(place / "run", "cpu", quiet=True)
    return place


def made(place, **settings):
    small = {"size": 16, "width": 16, "depth": 1, "heads": 2, "batch": 16, "ema": 0.9, "lr": 1e-2, "picture_every": 0}
    return um.recipe.latents(**{"folder": place / "images", "codec": place / "codec", "steps": 60, **small, **settings})


def test_it_learns_the_tokens_of_its_images(place):
    fitted, fresh = um.recipe.with_data(place / "run", "cpu"), made(place)
    rows = fitted.encode(um.metric.collect_samples(fitted.held_out).x)
    assert rows.shape[1:] == (4, 4)
    assert rows.dtype == torch.int64
    known = fitted.condition_of(len(rows), um.metric.collect_samples(fitted.held_out).labels)

    def nats(model):
        with torch.no_grad():
            losses = [um.objective.AnyOrder()(model.denoiser, rows, known, um.rng.Stream(seed)) for seed in range(20)]
        return torch.stack(losses).mean().item()

    assert nats(fitted) < nats(fresh) - 0.2
    made_of = fitted.sample(64, label=1, seed=0, steps=16)
    real = um.metric.collect_samples(fitted.source).x
    assert (made_of.mean((0, 2, 3)) - real.mean((0, 2, 3))).abs().max() < 0.1


def test_every_verb_works_or_says_why_not(place):
    model = um.load(place / "run", "cpu")
    x = model.sample(3, label="odd", guidance=2.0, steps=4, seed=0)
    assert x.shape == (3, 3, 16, 16)
    assert torch.equal(model.sample(2, label="odd", guidance=2.0, steps=4, seed=0), x[:2])
    other = model.sample(3, steps=4, seed=0, sampler=Unmask(Confidence()))
    assert other.shape == x.shape
    assert model.edit(x, strength=0.5, steps=4, seed=0).shape == x.shape
    frames = list(model.trajectory(2, steps=3, seed=0))
    blank = model.decode(torch.full((1, 4, 4), model.codec.blank))
    assert torch.allclose(frames[0].x, blank.expand(2, -1, -1, -1), atol=1e-6)
    assert torch.equal(frames[-1].x, model.sample(2, steps=3, seed=0))
    judged = um.recipe.with_data(place / "run", "cpu").evaluate(samples=20, steps=4)
    assert judged["frechet"] > 0
    for verb in (lambda: model.tune(4), lambda: model.log_likelihood(x)):
        with pytest.raises(um.UsageError, match="of a model of tokens; a model of numbers"):
            verb()
    teacher = um.recipe.with_data(place / "run", "cpu")
    with pytest.raises(um.UsageError, match="a method for numbers, and a teacher of tokens"):
        teacher.distill(um.distill.MeanFlow(), steps=1, quiet=True)
    student = teacher.distill(um.distill.SDTT(), steps=2, training_steps=2, quiet=True, device="cpu")
    assert student.sample(1, seed=0).shape == (1, 3, 16, 16)


def test_captions_say_what_tokens_show(place, tmp_path):
    for name in ("even", "odd"):
        for path in (place / "images" / name).glob("*.png"):
            path.with_suffix(".txt").write_text(f"an {name} picture", encoding="utf-8")
    model = made(place, caption="auto", label="")
    assert model.classes == ()
    model.fit(tmp_path / "run", "cpu", quiet=True)
    model = um.load(tmp_path / "run", "cpu")
    even, odd = (
        model.sample(4, prompt=f"an {name} picture", steps=4, guidance=2.0, seed=0) for name in ("even", "odd")
    )
    assert not torch.equal(even, odd)
    assert torch.equal(even, model.sample(4, caption="an even picture", steps=4, guidance=2.0, seed=0))
