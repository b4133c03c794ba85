"""Films of balls that bounce behind a post: momentum, energy, and where a hidden ball comes out again.

    python bench/video.py --save

Films of `um.data.BouncingBalls`, two balls, 32 x 32, half of them with a post. A model of the recipe `video` and two
controls learn windows of 16 frames for --steps each: windows whose frames are shuffled, and one time for all frames of
a window (known frames are then noised to the time of the others, as in RePaint). A third control copies the last known
frame, and the simulator itself, read in the same way, says what reading costs. All are given 8 true frames:

    place      distance of the balls from the simulator's over the next 8 frames, in pixels (no post)
    momentum   error of the balls' momentum over these frames, as a share of the sum of their speeds (no post)
    energy     how far the median energy over these frames is from the true one, as a share of it (no post)
    reappears  share of balls hidden by the post that are seen where and when they come out (overlap above 1/2), within
               these frames
    rollout    energy as above in the last 16 of 64 frames that follow, four times the length of a window
    light      share of these last frames whose light is within a tenth of that of two balls apart

Training resumes where it was interrupted, and finished figures are kept in --out: the same command goes on from there.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor

import unmelt as um
from unmelt.data.bouncing_balls import BallsState, BouncingBalls
from unmelt.rng import Stream

ARMS = ("video", "control: shuffled frames", "control: one shared time", "control: last frame copied", "the simulator")
WINDOW, KNOWN, LONG, LAST = 16, 8, 64, 16
NEXT = WINDOW - KNOWN
POST = BouncingBalls(post=0.35)


class Shuffled:
    """A source of windows whose frames come in any order."""

    classes: tuple[str, ...] = ()

    def __init__(self, source: um.data.FrameWindows) -> None:
        self.source, self.shape = source, source.shape

    def batch(self, step: int, rows: int) -> tuple[Tensor, um.Condition]:
        x, condition = self.source.batch(step, rows)
        order = Stream(step).uniform(x.shape[:2]).argsort(1)
        return x[torch.arange(rows)[:, None], order], condition


def films(count: int, moments: int, seed: int) -> um.data.Episodes:
    """Films, every other one with a post."""
    hidden, state = [], POST.start(count, Stream(seed))
    for _ in range(moments):
        every = torch.stack([POST.frame(state), POST.frame(state, with_post=False)])
        hidden.append(every[torch.arange(count) % 2, torch.arange(count)])
        state = POST.step(state)
    return um.data.Episodes([{"frames": film} for film in torch.stack(hidden, 1).numpy()])


def truth(count: int, moments: int, seed: int, with_post: bool) -> tuple[Tensor, list[BallsState]]:
    """Frames [films, moments, 1, 32, 32] in [0, 1], and the state at each moment."""
    states = [POST.start(count, Stream(seed))]
    for _ in range(moments - 1):
        states.append(POST.step(states[-1]))
    return torch.stack([POST.frame(state, with_post) for state in states], 1).float() / 255, states


def trained(arm: str, path: Path, options: argparse.Namespace) -> tuple[um.Model, float]:
    """The model of an arm, trained or loaded, and the seconds of processor time that its training took this time."""
    model = um.recipe.video(
        episodes=path,
        frames=WINDOW,
        steps=options.steps,
        batch=options.batch,
        width=options.width,
        blocks=options.blocks,
        lr=options.lr,
        seed=options.seed,
        picture_every=0,
    )
    if arm.endswith("shuffled frames"):
        model.source, model.held_out = Shuffled(model.source), Shuffled(model.held_out)
    if arm.endswith("one shared time"):
        times = um.objective.Stratified(um.objective.Uniform())
        model.objective = um.objective.Regression(times=times, weight=model.objective.weight)
    folder = options.out / arm.replace("control: ", "").replace(" ", "-")
    start = time.process_time()
    model.fit(folder, device="cpu", quiet=True)
    return um.load(folder, "cpu"), time.process_time() - start


def replaced(model: um.Model, past: Tensor, frames: int, steps: int) -> Tensor:
    """Continue with one time for all frames: known ones are noised to the time of the others at every step."""
    process, rng, whole = model.denoiser.process, Stream(0), past
    while whole.shape[1] < past.shape[1] + frames:
        known = whole[:, -KNOWN:]
        x = rng.normal((len(past), WINDOW, *past.shape[2:]))
        for k in range(steps, 0, -1):
            t, s = (torch.full((len(past),), each / steps, dtype=torch.float64) for each in (k, k - 1))
            x[:, :KNOWN] = process.mix(known, rng.normal(known.shape), t)
            mean = model.denoiser(x, t).mean
            x = x + (s - t).view(-1, 1, 1, 1, 1).float() * (x - mean) / t.view(-1, 1, 1, 1, 1).float()
        whole = torch.cat([whole, x[:, KNOWN:]], 1)
    return whole[:, past.shape[1] : past.shape[1] + frames]


@torch.no_grad()
def continued(arm: str, model: um.Model | None, true: Tensor, frames: int, options: argparse.Namespace) -> Tensor:
    """Frames that an arm puts after the first known ones of true films."""
    if arm == "the simulator":
        return true[:, KNOWN : KNOWN + frames]
    if model is None:
        return true[:, KNOWN - 1 : KNOWN].expand(-1, frames, -1, -1, -1)
    made = []
    for part in true[:, :KNOWN].split(options.chunk):
        past = model.codec.encode(part)
        if arm.endswith("one shared time"):
            new = replaced(model, past, frames, options.frame_steps)
        else:
            window = um.grid.FrameGrid(um.grid.uniform(options.frame_steps), frames=WINDOW, known=KNOWN)
            new = um.sampler.continue_frames(
                model.denoiser, past, frames=frames, sampler=um.sampler.Adams(), grid=window, seed=options.seed
            )
        made.append(model.decode(new).clamp(0, 1))
    return torch.cat(made)


def energy(place: Tensor) -> Tensor:
    """Energy of the balls [films, moments - 1], of their places [films, moments, balls, 2]; 1 is that at the start."""
    return place.diff(dim=1).square().sum((2, 3)) / (POST.balls * POST.speed**2)


def in_the_open(arm: str, model: um.Model | None, options: argparse.Namespace) -> dict[str, float]:
    """Laws of mechanics, in films without a post."""
    true, states = truth(options.judged, KNOWN + LONG, 20_000 + options.seed, with_post=False)
    new = continued(arm, model, true, LONG, options)
    first = states[KNOWN - 1].position
    own = um.data.track_balls(torch.cat([true[:, KNOWN - 1 : KNOWN], new], 1), first)
    near = torch.stack([state.position for state in states[KNOWN - 1 : KNOWN + NEXT]], 1)
    gap = torch.minimum(*((order - near).norm(dim=3).mean((1, 2)) for order in (own[:, : NEXT + 1], _swapped(own))))
    momentum = (own[:, : NEXT + 1].diff(dim=1).sum(2) - near.diff(dim=1).sum(2)).norm(dim=2)
    late = energy(own)[:, -LAST:]
    light = new[:, -LAST:].sum((2, 3, 4)) / true[:, :1].sum((2, 3, 4))
    return {
        "place": gap.mean().item() * POST.size,
        "momentum": momentum.mean().item() / (POST.balls * POST.speed),
        "energy": (energy(own)[:, :NEXT].median(1).values - 1).abs().mean().item(),
        "rollout": (late.median(1).values - 1).abs().mean().item(),
        "light": ((light - 1).abs() < 0.1).double().mean().item(),
    }


def _swapped(place: Tensor) -> Tensor:
    """The balls after the first moment under each other's names: two that touch may change theirs."""
    return place[:, : NEXT + 1].flip(2)


def behind_the_post(arm: str, model: um.Model | None, options: argparse.Namespace) -> dict[str, float]:
    """Whether balls come out from behind the post where and when they should."""
    true, states = truth(options.judged, WINDOW, 30_000 + options.seed, with_post=True)
    new = continued(arm, model, true, NEXT, options)
    place = torch.stack([state.position for state in states], 1)
    within = (place[..., 0] - 0.5).abs()
    hidden = (within < POST.post / 2 - POST.radius)[:, KNOWN - 1 : -1].cumsum(1) > 0
    out = within > POST.post / 2
    comes_out = out[:, KNOWN:] & ~out[:, KNOWN - 1 : -1] & hidden
    coordinate = (torch.arange(POST.size, dtype=torch.float64) + 0.5) / POST.size
    beside = (coordinate - 0.5).abs() > POST.post / 2
    right = []
    for film, moment, ball in comes_out.nonzero().tolist():
        x, y = place[film, KNOWN + moment, ball]
        area = ((coordinate - x).abs() < 2 * POST.radius) & beside & ((coordinate > 0.5) == (x > 0.5))
        area = area & ((coordinate[:, None] - y).abs() < 2 * POST.radius)
        here, there = (each[film, k, 0] > 0.5 for each, k in ((new, moment), (true, KNOWN + moment)))
        both, either = (here & there & area).sum(), ((here | there) & area).sum()
        right.append(bool(2 * both > either))
    return {"reappears": sum(right) / max(1, len(right)), "reappearing": len(right)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12_000, help="training steps of every arm")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--frame-steps", type=int, default=16, help="sampling steps of a window")
    parser.add_argument("--films", type=int, default=4000, help="films of 32 frames to learn from")
    parser.add_argument("--judged", type=int, default=200, help="films to judge by")
    parser.add_argument("--chunk", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--out", type=Path, default=Path("runs/video_bench"), help="run folders and finished figures")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/video.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    path, kept = options.out / "films.npz", options.out / "figures.json"
    if not path.exists():
        um.data.save_episodes(films(options.films, 32, options.seed), path)
    done: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    report = timing.Report(
        "video",
        f"Balls behind a post, windows of {WINDOW} frames of 32 x 32, {options.steps:,} training steps",
        [
            ("who", "who", ""),
            ("place", "place, pixels", ".2f"),
            ("momentum", "momentum error", ".3f"),
            ("energy", "energy error", ".3f"),
            ("reappears", "reappears rightly", ".3f"),
            ("rollout", "energy error, last 16 of 64", ".3f"),
            ("light", "light right, last 16 of 64", ".3f"),
        ],
    )
    for arm in options.arms:
        settings = (options.steps, options.batch, options.width, options.blocks, options.lr, options.frame_steps)
        key = " | ".join(map(str, (arm, *settings, options.judged, options.seed)))
        if key not in done:
            learns = arm not in ARMS[3:]
            model, seconds = trained(arm, path, options) if learns else (None, 0.0)
            found = in_the_open(arm, model, options) | behind_the_post(arm, model, options)
            done[key] = {"seconds": seconds, **found}
            kept.write_text(json.dumps(done, indent=1), encoding="utf-8")
            if not options.json:
                print(key, json.dumps(done[key]), flush=True)
        report.rows.append({"who": arm, **done[key]})
    report.notes = [f"{options.judged} fresh films with a post and as many without, given {KNOWN} true frames"]
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
