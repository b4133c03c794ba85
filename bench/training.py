"""What our training step costs: beside a bare loop written by hand, and beside diffusers' training recipe.

U-Nets at three sizes, on digits and on crops of two photographs; AdamW, clipping, averaged weights. Blocks of steps in
turns; every ratio is to the bare loop's block of the same round. With one thread, what is counted is processor time,
which other programs disturb less.

    bare PyTorch           the same network and loss (EDM, classes dropped one time in ten) in the fewest lines: fused
                           AdamW, clipping, a foreach average, batches by index. Nothing in it can be resumed or saved.
    unmelt                 `train.Trainer.step`, as `fit` calls it, the images packed once from their folder
    diffusers, best        DDPMScheduler.add_noise, the loss on the noise, Accelerator.backward and clip_grad_norm_,
                           get_scheduler, EMAModel(foreach=True), fused AdamW, batches by index
    diffusers, as written  the same steps as its unconditional training example has them: files decoded, resized,
                           flipped and normalised for every batch by a DataLoader through Accelerator.prepare; AdamW
                           and EMAModel as they come, Accelerator.accumulate; float32, which is its default
    ..., bfloat16          products in bfloat16 (autocast), where the device multiplies it; unmelt's default there
    ..., compiled          the network under torch.compile; with --compile alone, since that takes minutes

Memory is the most that a process of its own held while it took 12 steps, over what it held before.

    OMP_NUM_THREADS=1 python bench/training.py --save
    OMP_NUM_THREADS=1 python bench/training.py --save --sizes 1 --compile      one size, put among the saved ones
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import peers
import timing
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import unmelt as um
from unmelt.train.execution import worth_compiling
from unmelt.train.loop import has_bfloat16

TARGET, FASTER = 1 / 0.97, 1.5
SD, STEPS = 0.5, 100_000
Step = Callable[[], Any]
"""One optimizer step."""


class Size(NamedTuple):
    """side of the images, their channels; width of the network, images a step, steps between looks at the clock"""

    name: str
    side: int
    channels: int
    width: int
    batch: int
    block: int


SIZES = (
    Size("digits, 8 x 8", 8, 1, 32, 96, 4),
    Size("photographs, 32 x 32", 32, 3, 32, 32, 1),
    Size("photographs, 64 x 64", 64, 3, 48, 8, 1),
)


def files(size: Size, folder: Path) -> Path:
    """A folder of images in two or ten classes: digits as PNG, or crops of photographs, twice as large, as JPEG."""
    if size.channels == 1:
        x, labels = um.data.digits().all()
        for number, (image, label) in enumerate(zip(x, labels, strict=True)):
            (folder / str(int(label))).mkdir(exist_ok=True)
            pixels = (255 * image[0]).round().byte().numpy()
            Image.fromarray(pixels).save(folder / str(int(label)) / f"{number}.png")
        return folder
    from sklearn.datasets import load_sample_image

    random, side = np.random.default_rng(0), 2 * size.side
    for name in ("china.jpg", "flower.jpg"):
        photograph = load_sample_image(name)
        (folder / name).mkdir()
        for number in range(500):
            top, left = (random.integers(0, n - side) for n in photograph.shape[:2])
            crop = Image.fromarray(photograph[top : top + side, left : left + side])
            crop.save(folder / name / f"{number}.jpg")
    return folder


def network(size: Size, classes: int) -> um.backbone.UNet:
    with um.rng.seeded(0):
        return um.backbone.UNet(
            channels=size.channels,
            width=size.width,
            multipliers=(1, 2) if size.side == 8 else (1, 2, 2),
            blocks=1,
            attention=(False, True) if size.side == 8 else (False, False, True),
            classes=classes,
        ).train()


def training(size: Size, low: bool = False) -> um.train.Training:
    rate = um.train.lr_schedule.Cosine(warmup=500)
    precision: Literal["float32", "bfloat16"] = "bfloat16" if low else "float32"
    return um.train.Training(steps=STEPS, batch=size.batch, lr=1e-3, lr_schedule=rate, precision=precision)


def pack_tokens(size: Size, folder: Path) -> um.data.Arrays:
    return um.data.images(folder, size.side, size.channels)[0]


def unmelt(size: Size, folder: Path, low: bool = False, compiled: bool = False) -> Step:
    source = pack_tokens(size, folder)
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    body = network(size, len(source.classes))
    denoiser = um.denoiser.NetworkDenoiser(body, process, um.prediction.Preconditioned(SD), source.shape, data_sd=SD)
    times = um.objective.Stratified(um.objective.LogNormalSigma(-1.2, 1.2))
    objective = um.objective.Regression(times=times, weight=um.objective.EDMWeight(SD), drop=0.1)
    if compiled:
        for each in worth_compiling(body):  # as `Engine(compile=True)` does for a run
            each.compile()
    step = um.train.ObjectiveStep(denoiser, objective)
    return um.train.Trainer(step, source, um.codec.Affine.images(), training(size, low)).step


def _batches(x: Tensor, labels: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Epochs without end, each in a new order, the last short batch dropped."""
    while True:
        order = torch.randperm(len(x))
        for first in range(0, len(x) - rows + 1, rows):
            items = order[first : first + rows]
            yield x[items], labels[items]


def _held(size: Size, folder: Path) -> tuple[Tensor, Tensor]:
    """All images in [-1, 1], and their classes."""
    x, labels = pack_tokens(size, folder).all()
    assert labels is not None
    return 2 * x - 1, labels


def bare(size: Size, folder: Path, low: bool = False, compiled: bool = False) -> Step:
    x, labels = _held(size, folder)
    body, plan = network(size, int(labels.max()) + 1), training(size)
    parameters: list[Tensor] = list(body.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, plan.lr, (0.9, 0.99), weight_decay=0.0, fused=True)
    batches, numbers, rows = _batches(x, labels, size.batch), count(), size.batch
    if compiled:
        body.compile()

    def step() -> Tensor:
        number = next(numbers)
        optimizer.param_groups[0]["lr"] = plan.lr_at(number)
        x0, label = next(batches)
        sigma = torch.exp(1.2 * torch.randn(rows) - 1.2)
        wide = sigma.view(-1, 1, 1, 1)
        x_t = torch.addcmul(x0, wide, torch.randn_like(x0))
        known = um.Condition(label=label, given={"label": torch.rand(rows) >= 0.1})
        total = wide.square() + SD**2
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            output = body(x_t * total.rsqrt(), sigma.log() / 4, known).float()
        belief = x_t * (SD**2 / total) + output * (wide * SD * total.rsqrt())
        loss = ((belief - x0).square() * (total / (wide * SD).square())).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, plan.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - min(plan.ema, (number + 1) / (number + 11)))
        return loss.detach()

    return step


class Files(Dataset):  # type: ignore[type-arg]
    """A folder of images as the example's transforms leave them: resized, flipped one time in two, in [-1, 1]."""

    def __init__(self, size: Size, folder: Path) -> None:
        self.size, names = size, sorted(path.name for path in folder.iterdir())
        self.items = [(path, names.index(path.parent.name)) for path in sorted(folder.glob("*/*.*"))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        path, label = self.items[item]
        side = self.size.side
        image = Image.open(path).convert("RGB" if self.size.channels == 3 else "L")
        pixels = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
        x = torch.from_numpy(pixels.copy()).view(side, side, -1).permute(2, 0, 1).float() / 127.5 - 1
        return (x.flip(-1) if torch.rand(()) < 0.5 else x), label


def diffusers(size: Size, folder: Path, as_written: bool, low: bool = False) -> Step:
    library, helpers, accelerate = peers.diffusers_training()
    dataset = Files(size, folder)
    body, plan = network(size, 1 + max(label for _, label in dataset.items)), training(size)
    accelerator = accelerate.Accelerator(cpu=True)  # one a process; mixed_precision="bf16" is the autocast below
    scheduler = library.DDPMScheduler(num_train_timesteps=1000)
    fused = {} if as_written else {"fused": True}
    optimizer = torch.optim.AdamW(body.parameters(), plan.lr, (0.95, 0.999), weight_decay=1e-6, **fused)
    rate = library.optimization.get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=STEPS)
    ema = helpers.EMAModel(body.parameters(), decay=0.9999, use_ema_warmup=True, foreach=not as_written)
    body, optimizer, rate = accelerator.prepare(body, optimizer, rate)

    def loaded() -> Iterator[tuple[Tensor, Tensor]]:
        loader = accelerator.prepare(DataLoader(dataset, batch_size=size.batch, shuffle=True, drop_last=True))
        while True:
            yield from loader

    batches = loaded() if as_written else _batches(*_held(size, folder), size.batch)

    def step() -> Tensor:
        clean, label = next(batches)
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (len(clean),))
        noisy = scheduler.add_noise(clean, noise, timesteps)
        known = um.Condition(label=label, given={"label": torch.rand(len(clean)) >= 0.1})
        with accelerator.accumulate(body):
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                output = body(noisy, timesteps.float() / 1000, known)
            loss = F.mse_loss(output.float(), noise.float())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(body.parameters(), plan.clip)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            ema.step(body.parameters())
        return loss.detach()

    return step


MAKERS: dict[str, Callable[[Size, Path], Step]] = {
    "bare PyTorch": bare,
    "bare, bfloat16": partial(bare, low=True),
    "bare, bfloat16, compiled": partial(bare, low=True, compiled=True),
    "bare, compiled": partial(bare, compiled=True),
    "unmelt": unmelt,
    "unmelt, bfloat16": partial(unmelt, low=True),
    "unmelt, bfloat16, compiled": partial(unmelt, low=True, compiled=True),
    "unmelt, compiled": partial(unmelt, compiled=True),
    "diffusers, best": partial(diffusers, as_written=False),
    "diffusers, best, bfloat16": partial(diffusers, as_written=False, low=True),
    "diffusers, as written": partial(diffusers, as_written=True),
}


def block(step: Step, steps: int) -> Callable[[], float]:
    """Seconds for each of some steps."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def timed() -> float:
        start = clock()
        for _ in range(steps):
            step()
        return (clock() - start) / steps

    return timed


def held(size: Size, folder: Path, name: str) -> float:
    """Megabytes that a process of its own needed to take some steps."""
    words = [sys.executable, __file__, "--alone", name, str(SIZES.index(size)), str(folder)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def alone(name: str, size: Size, folder: Path) -> None:
    peers.diffusers_training()  # what is imported counts for nobody
    before = _most()
    step = MAKERS[name](size, folder)
    for _ in range(12):
        step()
    print((_most() - before) / 1024)


def _most() -> int:
    """Kilobytes that this process held at most; not getrusage's, which counts what its parent held before it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measured(size: Size, folder: Path, names: Sequence[str], rounds: int, report: timing.Report) -> None:
    """Adds the rows of one size."""
    contestants: dict[str, Callable[[], float]] = {}
    for name in names:
        try:
            contestants[name] = block(MAKERS[name](size, folder), size.block)
        except peers.MissingError as missing:
            if str(missing) not in report.notes:
                report.notes.append(str(missing))
    times = timing.interleave(contestants, rounds)
    for name, seconds in times.items():
        shares = timing.ratios(seconds, times["bare PyTorch"])
        low, high = timing.spread(shares)
        report.rows.append(
            {
                "size": size.name,
                "library": name,
                "ratio": timing.median(shares),
                "quartiles": [low, high],
                "range": f"{low:.3f} to {high:.3f}",
                "milliseconds": timing.median(seconds) * 1e3,
                "rows_per_second": size.batch / timing.median(seconds),
                "memory": held(size, folder, name),
            }
        )


def judged(report: timing.Report) -> None:
    """What the rows say, size by size: the fastest of each kind beside one another."""
    worst, least = 0.0, float("inf")
    for size in SIZES:
        found = {row["library"]: row["ratio"] for row in report.rows if row["size"] == size.name}
        if not found:
            continue
        best, ours = (min(ratio for name, ratio in found.items() if name.startswith(who)) for who in ("bare", "unmelt"))
        said = [f"{size.name}: unmelt reaches {best / ours:.3f} of the best bare loop's speed"]
        worst = max(worst, ours / best)
        if written := found.get("diffusers, as written"):
            least = min(least, written / ours)
            said += [f"is {written / ours:.2f} times as fast as diffusers' recipe as written"]
            said += [f"and {written / found['unmelt']:.2f} times in float32 as well"]
        report.notes.append(", ".join(said))
    report.found = {"times the best bare loop": worst, "at most 1/0.97": worst <= TARGET}
    report.found |= {"diffusers over ours": least, "at least 1.5": least >= FASTER}
    report.notes.append(f"over all: {1 / worst:.3f} (target .97), {least:.2f} (target {FASTER})")


def kept(sizes: Sequence[Size]) -> list[dict[str, Any]]:
    """Saved rows of the other sizes."""
    path = timing.HERE / "results" / "training.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return [row for row in rows if row.get("size") in {size.name for size in SIZES if size not in sizes}]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/training.json and .md")
    parser.add_argument("--rounds", type=int, default=30, help="rounds to take medians over (30)")
    parser.add_argument("--compile", action="store_true", help="compiled networks as well")
    parser.add_argument("--sizes", default="0,1,2", help="which sizes; saved rows of the others are kept (0,1,2)")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        name, number, folder = options.alone
        alone(name, SIZES[int(number)], Path(folder))
        return
    start = time.perf_counter()
    columns = [
        ("size", "images", ""),
        ("library", "library", ""),
        ("ratio", "times bare", ".3f"),
        ("range", "half of rounds", ""),
        ("milliseconds", "ms a step", ".1f"),
        ("rows_per_second", "images/s", ",.0f"),
        ("memory", "MB at most", ",.0f"),
    ]
    report = timing.Report("training", "A training step, beside a bare PyTorch loop and diffusers' recipe", columns)
    low = has_bfloat16(torch.device("cpu"))
    names = [name for name in MAKERS if (options.compile or "compiled" not in name) and (low or "bfloat16" not in name)]
    torch.manual_seed(0)
    sizes = [SIZES[int(number)] for number in options.sizes.split(",")]
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            measured(size, files(size, Path(folder)), names, options.rounds, report)
    report.rows += kept(sizes)
    report.rows.sort(key=lambda row: [size.name for size in SIZES].index(row["size"]))
    judged(report)
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
