"""Films: trained, saved, sampled, continued beyond the length they were trained on, and written."""

import torch

import unmelt as um


def test_films_are_learned_and_continued(tmp_path):
    um.data.save_episodes(um.data.BouncingBalls(size=16).films(20, 12), tmp_path / "films.npz")
    settings = {"frames": 4, "width": 4, "blocks": 1, "steps": 3, "batch": 2, "picture_every": 0}
    made = um.recipe.video(episodes=tmp_path / "films.npz", **settings).fit(tmp_path / "run", quiet=True)
    model = um.load(tmp_path / "run", "cpu")
    x = model.sample(2, steps=2)
    assert x.shape == (2, 4, 1, 16, 16)
    torch.testing.assert_close(x, made.sample(2, steps=2))
    window = um.grid.FrameGrid(um.grid.uniform(2), frames=4, known=2)
    first = model.encode(x)
    more = um.sampler.continue_frames(model.denoiser, first, frames=16, sampler=um.sampler.Adams(), grid=window)
    assert model.decode(more).shape == (2, 16, 1, 16, 16)
    model.modality.write(model.decode(more), tmp_path / "film.webp")
    assert (tmp_path / "film-1.webp").read_bytes()[8:12] == b"WEBP"
