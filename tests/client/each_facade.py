"""A program of somebody else that uses every facade. `mypy --strict` has nothing to say about it; it is not run."""

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import torch
from torch import Tensor

import unmelt as um


def pictures(folder: Path) -> Tensor:
    model = um.recipe.images(folder=folder, size=32, control="edges").fit(out="runs/faces")
    assert_type(model, um.Model)
    x = model.sample(4, label=[0, 0, 1, 1], guidance=2.0, steps=20, seed=0)
    for frame in model.trajectory(1, caption="a cat"):
        assert_type(frame, um.SampleFrame)
        print(frame.t, frame.x.shape)
    found = model.tune(steps=5, rows=64)
    print(found, model.evaluate(samples=100)["frechet"])
    changed = model.edit(x, strength=0.5, label=1)
    painted = model.inpaint(changed, torch.ones(32, 32), seed=1)
    bits: float = model.log_likelihood(painted, label=0).value.mean().item()
    model.add_adapter("style", um.adapter.LoRA(rank=4, alpha=8.0))
    model.picture(Path("faces.png"))
    fast = model.distill(um.distill.Consistency(), steps=1, out="runs/fast")
    request: um.SampleRequest = fast.request(2, label=0)
    return fast.sample(request) + bits


def texts(folder: str) -> list[str]:
    model = um.recipe.text(folder=folder, kind="masked").fit(out="runs/books")
    assert_type(model, um.TextModel)
    written = model.sample(2, prompt="The sea", suffix="the end.", steps=32, temperature=0.8)
    filled = model.infill("The ░ was calm", tokens=1)
    frames: Iterator[um.TextFrame] = model.trajectory(1, prompt="The")
    print(model.log_likelihood(written[0]).value.item(), [frame.text[0] for frame in frames])
    drafted = model.sample(1, sampler=um.drafting.SpeculativeSampler(um.drafting.NGram(), block=4))
    return [*written, *filled, *drafted]


def latents(folder: Path) -> Tensor:
    codec = um.recipe.autoencoder(folder=folder, size=64).fit(out="runs/codec")
    assert_type(codec, um.CodecModel)
    z = codec.encode(torch.rand(2, 3, 64, 64))
    codec.picture("codec.png")
    return codec.decode(z) - codec.reconstruct(torch.rand(2, 3, 64, 64))


def speech(folder: Path) -> list[Tensor]:
    vocoder = um.recipe.vocoder(folder=folder).fit(out="runs/vocoder")
    assert_type(vocoder, um.VocoderModel)
    sound = vocoder.decode(vocoder.encode(torch.zeros(1, 1, 8000)))
    model = um.recipe.speech(folder=folder, vocoder="runs/vocoder").fit(out="runs/speech")
    assert_type(model, um.SpeechModel)
    said = model.sample("the sea", voice="anna", guidance=2.0, speed=1.1)
    model.write(said, "said.wav")
    return [*said, sound[0]]


def drafts(verifier: Path, books: Path) -> list[str]:
    model = um.recipe.drafter(verifier=verifier, text=books).fit(out="runs/drafter")
    assert_type(model, um.DrafterModel)
    print(model.best_block(samples=2), model.evaluate(samples=2)["tokens_a_pass"])
    return model.sample(["The sea"], tokens=32, temperature=0.0)


def acts(demonstrations: Path) -> np.ndarray:
    model = um.recipe.policy(episodes=demonstrations, horizon=8).fit()
    policy = um.Policy(model, steps=4, hold=2, budget=0.02)
    policy.reset()
    return policy.act(np.zeros(4))


def plays(games: Path) -> Tensor:
    world = um.World(um.recipe.world(episodes=games).fit("runs/world"), steps=2)
    frame = world.reset()
    for action in (0, 1, 2):
        frame = world.step(action)
    return frame


class Shrunk:
    """A denoiser of their own."""

    def __init__(self, of: um.denoiser.Denoiser) -> None:
        self.of, self.process = of, of.process

    def __call__(
        self, x_t: Tensor, t: Tensor, condition: um.Condition | None = None
    ) -> um.posterior.Point | um.posterior.Categorical:
        belief = self.of(x_t, t, condition)
        return um.posterior.Point(0.9 * belief.mean) if isinstance(belief, um.posterior.Point) else belief


def parts() -> Tensor:
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    ring = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=0.15, process=process)
    guided = um.guidance.CFG(Shrunk(ring), scale=2.0)
    grid: um.Grid = um.grid.karras(10)
    return um.sample(guided, rows=10, label=1, sampler=um.sampler.DPMpp(order=2), grid=grid, seed=0)


def anything(name: str) -> str:
    model = um.load(name)
    try:
        return str(model.sample(2)) if isinstance(model, um.Model | um.TextModel) else type(model).__name__
    except um.UsageError as error:
        return error.needed
