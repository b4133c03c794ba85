"""Films of bouncing balls: made whole, and then continued beyond the window that the model has learned.

    python examples/video.py [--out runs/video]

Stopped half-way, the same command goes on.
"""

import sys
from pathlib import Path

import torch

import unmelt as um
from unmelt.cli.script import run_script


def main(
    films: int = 200,
    training: int = 3000,
    width: int = 32,
    size: int = 16,
    steps: int = 12,
    out: Path = Path("runs/video"),
) -> list[Path]:
    """Draw films, train, sample, continue, write.

    Args:
        films: Films of 16 frames to learn from.
        training: Training steps.
        width: Channels of the network.
        size: Side of the frames, in pixels.
        steps: Sampling steps.
        out: Folder of run and films.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "films.npz").exists():
        um.data.save_episodes(um.data.BouncingBalls(size=size).films(films, 16), out / "films.npz")
    how = {"episodes": out / "films.npz", "frames": 8, "width": width, "blocks": 1, "picture_every": 0}
    model = um.recipe.video(steps=training, batch=16, **how).fit(out / "run")
    made = model.sample(2, steps=steps, seed=0)
    window = um.grid.FrameGrid(um.grid.uniform(steps), frames=8, known=4)
    more = um.sampler.continue_frames(
        model.denoiser, model.encode(made), frames=16, sampler=um.sampler.Adams(), grid=window
    )
    written = model.modality.write(torch.cat([made, model.decode(more)], 1), out / "film.gif")
    print(f"8 frames at once and 16 more: {', '.join(map(str, written))}")
    return list(written)


if __name__ == "__main__":
    sys.exit(run_script(main, go_on="the same command goes on from the last checkpoint"))
