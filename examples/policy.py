"""A policy from demonstrations: a point finds its way past discs, left or right of each, and never in between.

python examples/policy.py [--out runs/policy.png]
"""

import sys
from pathlib import Path

import torch

import unmelt as um
from unmelt.cli.script import run_script


def main(
    demonstrations: int = 500,
    training: int = 2000,
    width: int = 128,
    points: int = 8,
    out: Path = Path("runs/policy.png"),
) -> float:
    """Record demonstrations, train, act, draw.

    Args:
        demonstrations: Episodes to learn from.
        training: Training steps.
        width: Features of the network.
        points: Points that set out.
        out: The picture to write.
    """
    game, episodes = um.data.DiscRows(), out.with_suffix(".npz")
    out.parent.mkdir(parents=True, exist_ok=True)
    um.data.save_episodes(game.demonstrations(demonstrations), episodes)
    how = {"episodes": episodes, "horizon": 8, "steps": training, "width": width, "batch": 64, "picture_every": 0}
    policy = um.Policy(um.recipe.policy(**how).fit(quiet=True, device="cpu"), steps=4, act_steps=4, hold=2)

    state = game.start(points, um.rng.Stream(0))
    for _ in range(24):
        action = policy.act(game.observation(state))
        state = game.step(state, torch.as_tensor(action).double())
    arrived = game.success(state).double().mean().item()
    print(f"{100 * arrived:.0f} % of {points} points passed all rows and touched no disc")
    panel = um.picture.Panel(
        "ways of the policy", state.path.flatten(0, 1), torch.arange(points).repeat_interleave(state.path.shape[1])
    )
    um.picture.scatter([panel], tuple(map(str, range(points))), out)
    print(f"drawn in {out}")
    return arrived


if __name__ == "__main__":
    sys.exit(run_script(main))
