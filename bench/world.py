"""A world model of a game whose law is known: exact frames, the law of chance, and 1,000 frames of its own.

    python bench/world.py --save

The game is `um.data.PaddleGame`, 32 x 32. A model of the recipe `world` and three controls learn it for --steps each:
actions of other windows, actions that come one frame late, and known frames without noise. Held-out games judge them:

    exact     share of frames that are certain and come out right in every pixel, given true frames
    bounces   chi-square of the three ways off the paddle (2 degrees of freedom), and the share of frames that are one
    serves    the same of the four serves (3 degrees of freedom)
    valid     share of 1,000 frames in a row, each made of the model's own, that may follow by the game's law

Training resumes where it was interrupted, and finished figures are kept in --out: the same command goes on from there.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import timing
import torch
from scipy.stats import chi2
from torch import Tensor

import unmelt as um
from unmelt.data.paddle import BOUNCES, SERVES, PaddleGame
from unmelt.rng import Stream

ARMS = ("world", "control: actions of others", "control: actions one frame late", "control: clean known frames")
GAME = PaddleGame()
JUDGED, CHUNK, OWN, WORLDS = 2000, 250, 1000, 16


class Changed:
    """A source of windows whose actions are not those that were taken."""

    classes: tuple[str, ...] = ()

    def __init__(self, source: um.data.FrameWindows, how: str) -> None:
        self.source, self.how, self.shape = source, how, source.shape

    def batch(self, step: int, rows: int) -> tuple[Tensor, um.Condition]:
        x, condition = self.source.batch(step, rows)
        vector = condition.vector
        assert vector is not None
        late = torch.cat([0 * vector[:, :1], vector[:, :-1]], 1)
        return x, replace(condition, vector=vector.roll(1, 0) if self.how == "others" else late)


def trained(arm: str, games: Path, options: argparse.Namespace) -> tuple[um.Model, float]:
    """The model of an arm, trained or loaded, and the seconds that its training took this time."""
    settings = {"steps": options.steps, "batch": options.batch, "width": options.width, "lr": options.lr}
    noise = 0.0 if arm.endswith("clean known frames") else 0.1
    model = um.recipe.world(episodes=games, context_noise=noise, seed=options.seed, picture_every=0, **settings)
    if arm.startswith("control: actions"):
        how = "others" if arm.endswith("others") else "late"
        model.source, model.held_out = (Changed(each, how) for each in (model.source, model.held_out))
    folder, start = options.out / arm.replace("control: ", "").replace(" ", "-"), time.perf_counter()
    model.fit(folder, device="cpu", quiet=True)
    return um.load(folder, "cpu"), time.perf_counter() - start


def windows(length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Frames [games, moments, 1, 32, 32] in [0, 1] and the actions that were taken in them [games, moments]."""
    episodes = GAME.play(60, length, seed)
    frames = torch.stack([one.frames for one in episodes]).float() / 255
    return frames, torch.stack([one.actions for one in episodes]).argmax(2)


def one_frame(model: um.Model, options: argparse.Namespace) -> dict[str, Any]:
    """Next frames of true ones: which are certain and exact, and the law of those that are not."""
    frames, done = windows(300, 10_000 + options.seed)
    known, found = model.denoiser.shape[0] - 1, {}
    moments = [(g, k) for k in range(known + 1, frames.shape[1] - 1) for g in range(len(frames))]
    index = torch.tensor(moments)[torch.randperm(len(moments), generator=torch.Generator().manual_seed(0))]
    state, _ = GAME.read(frames[index[:, 0], index[:, 1] - 1], frames[index[:, 0], index[:, 1]])
    action = done[index[:, 0], index[:, 1]]
    count = GAME.choices(state, action)
    for name, choices in (("exact", 1), ("bounces", len(BOUNCES)), ("serves", len(SERVES))):
        which = (count == choices).nonzero()[:JUDGED, 0]
        shown = []
        for part in which.split(CHUNK):
            world = um.World(
                model, rows=len(part), steps=options.frame_steps, context_time=options.context, seed=options.seed
            )
            g, k = index[part, 0, None], index[part, 1, None] + torch.arange(1 - known, 1)
            before = torch.nn.functional.one_hot(done[g, k - 1], 3)
            world.reset(frames[g, k], before)
            following = world.step(action[part])
            shown.append(GAME.may_follow(type(state)(*(field[part] for field in state)), action[part], following))
        choice = torch.cat(shown)
        legal = (choice >= 0).double().mean().item()
        found[name] = legal
        if choices > 1:
            counts = torch.bincount(choice[choice >= 0], minlength=choices).double()
            expected = counts.sum() / choices
            statistic = ((counts - expected) ** 2 / expected).sum().item() if counts.sum() else float("nan")
            found |= {f"{name}_chi2": statistic, f"{name}_p": float(chi2.sf(statistic, choices - 1))}
            found[f"{name}_n"] = int(counts.sum())
    return found


def own_frames(model: um.Model, options: argparse.Namespace) -> dict[str, float]:
    """1,000 frames of the model's own: how many may follow the two before them."""
    frames, done = windows(12, 20_000 + options.seed)
    world = um.World(model, rows=WORLDS, steps=options.frame_steps, context_time=options.context, seed=options.seed + 1)
    before_actions = torch.nn.functional.one_hot(done[:WORLDS, :-1], 3)
    now = world.reset(frames[:WORLDS, 1:], before_actions)
    before, action, rng, valid = frames[:WORLDS, -2], done[:WORLDS, -1], Stream(7), []
    for _ in range(OWN):
        state, fine = GAME.read(before, now)
        action = GAME.player(state, action, rng)
        before, now = now, world.step(action)
        valid.append(fine & (GAME.may_follow(state, action, now) >= 0))
    share = torch.stack(valid).double()
    return {"valid": share.mean().item(), "valid_last_100": share[-100:].mean().item()}


def speed(model: um.Model, options: argparse.Namespace) -> dict[str, float]:
    world = um.World(model, steps=options.frame_steps, context_time=options.context)
    world.reset()
    for _ in range(10):
        world.step(1)
    start, processor = time.perf_counter(), time.process_time()
    for _ in range(100):
        world.step(2)
    return {
        "frames_per_second": 100 / (time.perf_counter() - start),
        "processor_ms": 10 * (time.process_time() - processor),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40_000, help="training steps of every arm")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--frame-steps", type=int, default=4, help="sampling steps of a frame")
    parser.add_argument("--games", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--out", type=Path, default=Path("runs/world_bench"), help="run folders and finished figures")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/world.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    games, kept = options.out / "games.npz", options.out / "figures.json"
    if not games.exists():
        um.data.save_episodes(GAME.play(options.games, 300, options.seed), games)
    done: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    report = timing.Report(
        "world",
        f"A paddle game of 32 x 32, {options.steps:,} training steps, {options.frame_steps} network calls a frame",
        [
            ("who", "who", ""),
            ("exact", "certain frames exact", ".4f"),
            ("bounces", "bounces legal", ".3f"),
            ("bounces_p", "p of chi-square", ".3f"),
            ("serves", "serves legal", ".3f"),
            ("serves_p", "p", ".3f"),
            ("valid", "own frames valid", ".4f"),
            ("valid_last_100", "last 100", ".4f"),
            ("frames_per_second", "frames/s", ".0f"),
        ],
    )
    for arm in options.arms:
        key = f"{arm} | {options.steps} | {options.batch} | {options.width} | {options.frame_steps} | {options.seed}"
        options.context = 0.0 if arm.endswith("clean known frames") else 0.05
        if key not in done:
            model, seconds = trained(arm, games, options)
            found = one_frame(model, options) | own_frames(model, options) | speed(model, options)
            done[key] = {"seconds": seconds, **found}
            kept.write_text(json.dumps(done, indent=1), encoding="utf-8")
            if not options.json:
                print(key, json.dumps(done[key]), flush=True)
        report.rows.append({"who": arm, **done[key]})
    report.notes = [
        f"certain frames, bounces and serves: up to {JUDGED} each of 60 held-out games, given true frames",
        f"own frames: {OWN} in each of {WORLDS} worlds; a world that leaves the game may come back to it",
    ]
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
