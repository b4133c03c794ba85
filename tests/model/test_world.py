"""Worlds: frames after frames and actions, against a model that knows a game's law."""

import pytest
import torch

import unmelt as um
from unmelt.posterior import Point
from unmelt.sampler import Euler

GAME, FRAMES = um.data.PaddleGame(), 4


class Knows(torch.nn.Module):
    """Believes in the frame that follows by the game's law, the first of those that may."""

    process, shape = um.process.Gaussian(um.schedule.Straight()), (FRAMES, 1, 32, 32)

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.zeros(1))
        self.backbone = um.backbone.FrameUNet(frames=FRAMES, channels=1, width=4, vector_width=3)
        self.times = []

    def forward(self, x_t, t, condition=None):
        self.times.append(t)
        pixels = x_t * 0.5 + 0.5
        state, _ = GAME.read(pixels[:, 1], pixels[:, 2])
        action = condition.vector[:, -1].argmax(1)
        following = GAME.frame(GAME.step(state, action, torch.zeros_like(action))).float() / 255
        return Point(torch.cat([x_t[:, :3], (following[:, None] - 0.5) * 2], 1))


def knowing():
    return um.Model(
        denoiser=Knows(), codec=um.codec.Affine.images(), modality=um.modality.Video(), grid=um.grid.uniform(4)
    )


def beginning(rows=3):
    episodes = GAME.play(rows, 12, seed=2)
    frames = torch.stack([one.frames for one in episodes]).float() / 255
    return frames, torch.stack([one.actions for one in episodes])


def test_a_world_that_knows_the_law_stays_in_the_game():
    frames, done = beginning()
    world = um.World(knowing(), rows=3, steps=2, context_time=0.0, sampler=Euler())
    now = world.reset(frames[:, :6], torch.cat([0 * done[:, :1], done[:, :5]], 1))
    assert torch.equal(now, frames[:, 5])
    before = frames[:, 4]
    for number in range(40):
        action = torch.tensor([number % 3, 0, 2])
        state, fine = GAME.read(before, now)
        before, now = now, world.step(action)
        assert fine.all()
        assert (GAME.may_follow(state, action, now) == 0).all()


def test_known_frames_stand_at_their_own_time():
    frames, _ = beginning()
    model = knowing()
    world = um.World(model, rows=3, steps=2, context_time=0.1, sampler=Euler())
    world.reset(frames)
    world.step(1)
    for t in model.denoiser.times:
        assert torch.equal(t[:, :3], torch.full_like(t[:, :3], 0.1))
    assert [t[0, 3].item() for t in model.denoiser.times] == [1.0, 0.5]


def test_seeds_and_rows():
    model = um.Model(
        denoiser=um.denoiser.NetworkDenoiser(
            um.backbone.FrameUNet(frames=3, channels=1, width=4, vector_width=2),
            um.process.Gaussian(um.schedule.Straight()),
            um.prediction.FlowVelocity(),
            (3, 1, 8, 8),
        ),
        codec=um.codec.Affine.images(),
        modality=um.modality.Video(),
        grid=um.grid.uniform(2),
    )
    worlds = [um.World(model, steps=1, seed=seed) for seed in (0, 0, 1)]
    first, again, other = ([world.reset(), world.step(1), world.step(0)] for world in worlds)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    assert first[2].shape == (1, 1, 8, 8)
    for action in (2, -1, [0, 1], 0.5):
        with pytest.raises(um.UsageError):
            worlds[0].step(action)
    with pytest.raises(um.UsageError, match="at least 2 frames"):
        worlds[0].reset(torch.zeros(1, 1, 1, 8, 8))
    with pytest.raises(um.UsageError, match="a model of windows of frames"):
        um.World(um.recipe.ring())


def test_videos_are_written_as_moving_pictures(tmp_path):
    from PIL import Image

    x, kind = torch.rand(2, 5, 1, 16, 16), um.modality.Video(fps=10)
    for suffix in (".gif", ".webp"):
        made = kind.write(x, tmp_path / f"two{suffix}")
        assert [path.name for path in made] == [f"two-0{suffix}", f"two-1{suffix}"]
        with Image.open(made[1]) as picture:
            assert picture.n_frames == 5
            picture.load()
            assert picture.info["duration"] == 100
            if suffix == ".webp":  # without loss
                picture.seek(3)
                shown = torch.tensor(picture.convert("RGB").getdata()).view(96, 96, 3)[::6, ::6, 0]
                assert torch.equal(shown, (x[1, 3, 0] * 255).round().long())
    kind.write(x, tmp_path / "sheet.png")
    scores = kind.score(*(um.metric.SampleSet(v) for v in (x[:, :1].expand_as(x), x, x)))
    assert scores["change"] == 0 < scores["change_real"]
