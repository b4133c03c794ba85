"""A world to play in: a model learns a game of paddle and ball from its frames, and dreams on as you act.

    python examples/world.py [--out runs/world]

`unmelt play runs/world/run` plays in it with the keyboard. Stopped half-way, the same command goes on.
"""

import sys
from pathlib import Path

import torch

import unmelt as um
from unmelt.cli.script import run_script


def main(
    games: int = 200, training: int = 5000, width: int = 32, frames: int = 40, out: Path = Path("runs/world")
) -> Path:
    """Record games, train, dream, write a film.

    Args:
        games: Episodes of 40 moments to learn from.
        training: Training steps.
        width: Channels of the network.
        frames: Moments of the dream.
        out: Folder of games, run and film.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "games.npz").exists():
        um.data.save_episodes(um.data.PaddleGame().play(games, 40), out / "games.npz")
    how = {"episodes": out / "games.npz", "steps": training, "width": width, "batch": 16, "picture_every": 0}
    world = um.World(um.recipe.world(**how).fit(out / "run"), steps=2)
    world.reset()
    actions = torch.randint(0, 3, (frames,), generator=torch.Generator().manual_seed(0)).tolist()
    film = torch.stack([world.step(action) for action in actions], 1)
    (written,) = um.modality.Video(fps=15).write(film, out / "dream.gif")
    print(f"{frames} moments dreamt, in {written}")
    return written


if __name__ == "__main__":
    sys.exit(run_script(main, go_on="the same command goes on from the last checkpoint"))
