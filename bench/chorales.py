"""Bach's chorales: bits per note of unseen pieces, and how often harmonisations break rules of voice leading.

    python bench/chorales.py --save

Pieces are music21's; those with one melody are held out together or not at all. Windows are of 16 quarters, in eighths.

    bits per note    of all tokens, over the notes that begin: of the masked model an upper bound, of its autoregressive
                     twin (the same network, as many steps of as many windows) and of counts exact. Two kinds of
                     counts, interpolated by Witten and Bell's method: of the tokens before, and of tokens chosen for
                     music; of each the best number of tokens on the held-out windows themselves.
    breaks           parallel fifths and octaves, crossings, ranges (um.metric.rule_breaks), in a hundred notes: three
                     voices made for the melodies of held-out windows, beside Bach's own. Control: the same three
                     voices under the melody of another window, and Bach's own under it. Free samples of both.
    alto             how many of its tokens are Bach's, where the other three voices are known; control: where they
                     are those of another window

Every finished cell is kept in --cells, and every training in --runs: the same command goes on from there.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor

import unmelt as um
from unmelt.data.chorale_grid import HELD, LOWEST, PITCHES, REST, UNKNOWN, VOICES, sounding, transposed
from unmelt.data.chorales import SHIFT
from unmelt.metric import RuleBreaks, rule_breaks

ARMS = ("masked", "autoregressive")
ORDERS = range(9)
TOKENS = REST + 1


def notes_in(windows: Tensor) -> int:
    return int((windows < HELD).sum())


def breaks_in(windows: Tensor) -> RuleBreaks:
    counts = [rule_breaks(sounding(each), (each < HELD).long()) for each in windows]
    return RuleBreaks(*(sum(each) for each in zip(*counts, strict=True)))


def before(windows: Tensor) -> Tensor:
    """The voice, and the tokens before, the nearest first; 0 for none."""
    flat = windows.flatten(1) + 1
    shifted = [torch.nn.functional.pad(flat, (k, 0))[:, : flat.shape[1]] for k in range(1, max(ORDERS) + 1)]
    return torch.stack([voice_of(windows), *shifted], -1)


def musical(windows: Tensor) -> Tensor:
    """What decides a token most, first: the pitch it may leave, the voices above, when it is, what went before."""
    sung = torch.stack([sounding(each) for each in windows])
    sung = torch.where(sung > 0, sung - LOWEST + 1, 0)
    token, voice = (windows + 1).flatten(1), voice_of(windows)

    def back(x: Tensor, moments: int) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0, moments, 0))[:, : x.shape[1]]

    def above(k: int) -> Tensor:
        return torch.where(voice >= k, torch.nn.functional.pad(token, (k, 0))[:, : token.shape[1]], 0)

    first = torch.where(voice > 0, windows[:, :, :1].expand_as(windows).flatten(1) + 1, 0)
    moment = torch.arange(windows.shape[1])[:, None].expand(windows.shape) % 2
    columns = [voice, back(sung, 1).flatten(1), first, above(1), moment.flatten(1), back(windows + 1, 1).flatten(1)]
    bass = back(sung[:, :, -1:].expand_as(sung).contiguous(), 1)
    columns += [back(sung, 2).flatten(1), bass.flatten(1), back(sung.roll(-1, 2), 1).flatten(1)]
    return torch.stack(columns, -1)


def voice_of(windows: Tensor) -> Tensor:
    return torch.arange(VOICES).expand(windows.shape).flatten(1)


Context = Callable[[Tensor], Tensor]


def counted(train: Tensor, held_out: Tensor, context: Context) -> dict[int, float]:
    """Bits of the held-out windows by counts, for each number of tokens of the context.

    p_k(x | c_1 .. c_k) = (n(c_1 .. c_k, x) + d p_{k-1}(x)) / (n(c_1 .. c_k) + d), d the kinds of x after c_1 .. c_k.
    """
    seen, asked = (context(each).flatten(0, 1) for each in (train, held_out))
    next_seen, next_asked = train.flatten(), held_out.flatten()
    p, bits = torch.full((len(asked),), 1 / TOKENS, dtype=torch.float64), {}
    code_seen, code_asked = torch.zeros_like(next_seen), torch.zeros_like(next_asked)
    for order in ORDERS:
        code_seen, code_asked = 64 * code_seen + seen[:, order], 64 * code_asked + asked[:, order]
        pairs, of_pair = (64 * code_seen + next_seen).unique(return_counts=True)
        contexts, of_context = code_seen.unique(return_counts=True)
        _, kinds = (pairs // 64).unique(return_counts=True)
        n, d = looked_up(contexts, of_context, code_asked), looked_up(contexts, kinds, code_asked)
        both = looked_up(pairs, of_pair, 64 * code_asked + next_asked)
        p = torch.where(n > 0, (both + d * p) / (n + d).clamp_min(1), p)
        bits[order] = -p.log2().sum().item()
    return bits


def looked_up(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
    """The value of each key, 0 where there is none."""
    at = torch.searchsorted(keys, asked).clamp_max(len(keys) - 1)
    return torch.where(keys[at] == asked, values[at], 0)


def in_all_keys(windows: Tensor) -> Tensor:
    """Each window in the keys of training."""
    found = []
    for window in windows:
        notes = window[window < PITCHES]
        for key in range(-SHIFT, SHIFT + 1):
            if int(notes.min()) + key >= 0 and int(notes.max()) + key < PITCHES:
                found.append(transposed(window, key))
    return torch.stack(found)


def trained(arm: str, seed: int, options: argparse.Namespace) -> um.TextModel:
    sizes = {"width": options.width, "depth": options.depth, "batch": options.batch, "steps": options.steps}
    often = {"picture_every": 0, "save_every": 100}
    model = um.recipe.chorales(autoregressive=arm != "masked", seed=seed, held_out=options.held_out, **often, **sizes)
    size = f"{options.held_out:g}-{options.width}x{options.depth}-{options.steps}x{options.batch}"
    return model.fit(options.runs / f"{arm}-{size}-{seed}", device="cpu", quiet=options.json)


def cell(arm: str, seed: int, options: argparse.Namespace, windows: Tensor) -> dict[str, Any]:
    """Train one network, and all figures of it."""
    begun = time.process_time()
    model = trained(arm, seed, options)
    found: dict[str, Any] = {"train_minutes": (time.process_time() - begun) / 60}
    estimate = model.log_likelihood(windows.flatten(1), draws=options.draws, seed=1000 + seed)
    found["bits"] = -estimate.value.sum().item() / math.log(2) / notes_in(windows)
    found["bits_error"] = estimate.error.square().sum().sqrt().item() / math.log(2) / notes_in(windows)
    allowed = torch.arange(model.tokenizer.vocabulary) < TOKENS
    some = windows[: options.harmonised]
    free = um.data.chorale_grid("".join(model.sample(len(some), allowed=allowed, seed=2000 + seed)))
    found["free"] = breaks_in(free.view(some.shape))._asdict()
    if arm == "masked":
        asked = some.clone()
        asked[:, :, 1:] = UNKNOWN
        made = um.fill_chorale(model, asked, seed=3000 + seed, steps=options.sampling_steps)
        found["harmonised"] = breaks_in(made)._asdict()
        found["others_melody"] = breaks_in(with_others_melody(made))._asdict()
        for name, known in (("alto", some), ("alto_control", some.roll(1, 0))):
            asked = known.clone()
            asked[:, :, 1] = UNKNOWN
            made = um.fill_chorale(model, asked, seed=4000 + seed, steps=options.sampling_steps)
            found[name] = (made[:, :, 1] == some[:, :, 1]).double().mean().item()
    found["minutes"] = (time.process_time() - begun) / 60
    return found


def with_others_melody(windows: Tensor) -> Tensor:
    """The lower voices of each window under the melody of the one before."""
    return torch.cat([windows[:, :, :1].roll(1, 0), windows[:, :, 1:]], 2)


def mean_of(values: list[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1200, help="training steps of each network")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--draws", type=int, default=16, help="draws of masks for each held-out window")
    parser.add_argument("--windows", type=int, default=10_000, help="held-out windows at most")
    parser.add_argument("--harmonised", type=int, default=128, help="windows that are harmonised")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the melodies")
    parser.add_argument("--sampling-steps", type=int, default=64)
    parser.add_argument("--cells", type=Path, default=Path("runs/chorale_cells.json"), help="finished cells")
    parser.add_argument("--runs", type=Path, default=Path("runs/chorales"), help="trained networks")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/chorales.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    done: dict[str, Any] = json.loads(options.cells.read_text(encoding="utf-8")) if options.cells.exists() else {}

    def kept(key: str, make: Callable[[], Any]) -> Any:
        if key not in done:
            done[key] = make()
            options.cells.parent.mkdir(parents=True, exist_ok=True)
            options.cells.write_text(json.dumps(done, indent=1), encoding="utf-8")
            if not options.json:
                print(key, json.dumps(done[key]), flush=True)
        return done[key]

    train, aside = um.data.split_chorales(um.data.chorales(), options.held_out)
    windows = um.data.chorale_windows(aside)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))
    windows = windows[order[: options.windows]]
    some = windows[: options.harmonised]
    counting = um.data.chorale_windows(train)

    def counts(context: Context) -> dict[str, float]:
        found = counted(in_all_keys(counting), windows, context)
        return {str(k): bits / notes_in(windows) for k, bits in found.items()}

    size = f"{options.held_out:g} held out, {options.width} x {options.depth}, {options.steps} steps of {options.batch}"
    judged = f"{len(windows)} windows, {options.draws} draws, {len(some)} harmonised in {options.sampling_steps} steps"
    report = timing.Report(
        "chorales",
        f"Bach's chorales: {len(windows)} windows of {len(aside)} unseen pieces, {len(options.seeds)} seeds",
        [
            ("who", "who", ""),
            ("bits", "bits a note", ".3f"),
            ("bits_error", "±", ".3f"),
            ("breaks", "breaks in 100 notes", ".2f"),
            ("breaks_error", "±", ".2f"),
            ("fifths", "fifths", ".2f"),
            ("octaves", "octaves", ".2f"),
            ("crossings", "crossings", ".2f"),
            ("ranges", "ranges", ".2f"),
            ("share", "alto's tokens as Bach's", ".3f"),
        ],
    )

    def row(who: str, breaks: list[dict[str, int]], **more: Any) -> float:
        each = [RuleBreaks(**one) for one in breaks]
        mean, error = mean_of([one.per_hundred for one in each])
        parts = {
            name: statistics.fmean(100 * getattr(one, name) / max(1, one.notes) for one in each)
            for name in ("fifths", "octaves", "crossings", "ranges")
        }
        report.rows.append({"who": who, "breaks": mean, "breaks_error": error, **parts, **more})
        return mean

    for name, context in (("tokens before", before), ("tokens chosen for music", musical)):
        found = kept(
            f"counts | {name} | {len(counting)} | {len(windows)} windows", lambda context=context: counts(context)
        )
        best = min(found, key=found.__getitem__)
        report.rows.append({"who": f"counts, {best} {name}", "bits": found[best]})
        report.found[f"bits_{name.replace(' ', '_')}"] = found
    arms = {
        arm: [
            kept(f"{arm} | {seed} | {size} | {judged}", lambda arm=arm, seed=seed: cell(arm, seed, options, windows))
            for seed in options.seeds
        ]
        for arm in ARMS
    }
    bach = row("Bach", [breaks_in(some)._asdict()])
    row("Bach under another melody", [breaks_in(with_others_melody(some))._asdict()])
    for arm, cells in arms.items():
        bits, error = mean_of([one["bits"] for one in cells])
        what = "masked, new" if arm == "masked" else "autoregressive, new"
        row(what, [one["free"] for one in cells], bits=bits, bits_error=error)
    cells = arms["masked"]
    ours = row("masked, given melody", [one["harmonised"] for one in cells])
    row("control: under another melody", [one["others_melody"] for one in cells])
    for name, who in (("alto", "masked, given three voices"), ("alto_control", "control: another window's three")):
        report.rows.append({"who": who, "share": statistics.fmean(one[name] for one in cells)})
    report.found |= {"breaks_of_bachs": ours / bach if bach else None, "wanted_at_most": 1.3, "cells": arms}
    report.found["notes_in_windows"], report.found["pieces"] = notes_in(windows), [len(train), len(aside)]
    minutes = statistics.fmean(one["minutes"] for each in arms.values() for one in each)
    report.notes += [
        "The bits of the masked model are a bound: what it knows is at least that much.",
        f"Harmonisations break {ours / bach if bach else float('nan'):.2f} times as many rules as Bach; "
        "at most 1.3 was wanted.",
        f"{minutes:.1f} minutes of processor time for each network, trained and judged; networks of {size}.",
        f"{len(train)} pieces to learn from; lowest pitch {LOWEST}.",
    ]
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
