"""How much of a GPU a training step uses: DiT-B and DiT-XL on synthetic latents, beside diffusers' DiT.

Latents of 4 x 32 x 32 in patches of 2, 256 tokens; bfloat16 autocast, float32 weights, fused AdamW, averaged weights,
clipping; the blocks of both networks compiled. Utilisation is the floating-point operations of the network's products,
forwards and backwards (counted by torch, recomputation not counted), over what the device is built for.

    unmelt      `train.Trainer.step` with `Engine(compile=True)`, as `fit(engine=...)` calls it
    diffusers   DiTTransformer2DModel of the same width, depth and heads in the training step of its examples, given
                what ours has: compiled blocks, fused AdamW, EMAModel(foreach=True)

    python bench/utilisation.py --save                  on a GPU; about five minutes
    python bench/utilisation.py --models DiT-B --rounds 3
"""

import argparse
import time
from collections.abc import Callable, Iterator

import peers
import timing
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import unmelt as um

MODELS = {"DiT-B": (768, 12, 12, 384), "DiT-XL": (1152, 28, 16, 128)}
"""Width, depth, heads, and images a step."""

PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""bfloat16 operations a second that the maker names, dense, of chips seen so far."""

CLASSES, SIZE, CHANNELS, BLOCK, TARGET = 1000, 32, 4, 8, 0.5
Step = Callable[[], Tensor]


class Latents:
    """Batches of noise and classes, a fixed pool of them: what is measured is the step."""

    shape, classes = (CHANNELS, SIZE, SIZE), tuple(map(str, range(CLASSES)))

    def __init__(self, pool: int = 4096) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(pool, *self.shape, generator=generator)
        self.label = torch.randint(0, CLASSES, (pool,), generator=generator)

    def batch(self, step: int, rows: int) -> tuple[Tensor, um.Condition]:
        items = torch.arange(step * rows, (step + 1) * rows) % len(self.x)
        return self.x[items], um.Condition(label=self.label[items])


def network(width: int, depth: int, heads: int) -> um.backbone.DiT:
    return um.backbone.DiT(
        channels=CHANNELS, size=(SIZE, SIZE), patch=2, width=width, depth=depth, heads=heads, classes=CLASSES
    )


def operations(width: int, depth: int, heads: int) -> float:
    """Floating-point operations for one image, there and back."""
    body, x = network(width, depth, heads).cuda(), torch.randn(2, CHANNELS, SIZE, SIZE, device="cuda")
    known = um.Condition(label=torch.zeros(2, dtype=torch.int64, device="cuda"))
    counter = FlopCounterMode(display=False)
    with counter, torch.autocast("cuda", torch.bfloat16):
        body(x, torch.zeros(2, device="cuda"), known).square().mean().backward()
    return counter.get_total_flops() / 2


def unmelt(width: int, depth: int, heads: int, rows: int, compiled: bool = True) -> Step:
    process = um.process.Gaussian(um.schedule.Straight())
    denoiser = um.denoiser.Network(network(width, depth, heads), process, um.prediction.FlowVelocity(), Latents.shape)
    training = um.train.Training(steps=1_000_000, batch=rows, lr=1e-4, ema=0.9999, precision="bfloat16")
    execution = um.train.Execution(compile=compiled)
    objective = um.objective.Regression(drop=0.1)
    train_step = um.train.ObjectiveStep(denoiser, objective)
    trainer = um.train.Trainer(train_step, Latents(), um.codec.Affine(), training, "cuda", execution)
    torch.nn.init.normal_(denoiser.backbone.modulation.weight, std=0.02)  # nothing may be free because it is zero
    prepared = execution.prepared(denoiser)
    prepared.__enter__()

    def step(_: object = prepared) -> Tensor:  # kept for as long as the step is: it undoes what it did
        return trainer.step()

    return step


def diffusers(width: int, depth: int, heads: int, rows: int) -> Step:
    library, helpers, accelerate = peers.diffusers_training()
    accelerator = accelerate.Accelerator(mixed_precision="bf16")
    body = library.DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=CHANNELS,
        num_layers=depth,
        sample_size=SIZE,
        patch_size=2,
        num_embeds_ada_norm=CLASSES,
    )
    scheduler = library.DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(body.parameters(), 1e-4, weight_decay=0.0, fused=True)
    rate = library.optimization.get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=1_000_000)
    ema = helpers.EMAModel(body.parameters(), decay=0.9999, foreach=True)
    body, optimizer, rate = accelerator.prepare(body, optimizer, rate)
    ema.to("cuda")
    for each in body.transformer_blocks:
        each.compile()
    source = Latents()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        step = 0
        while True:
            x, known = source.batch(step, rows)
            yield x.pin_memory().cuda(non_blocking=True), known.label.pin_memory().cuda(non_blocking=True)
            step += 1

    supply = batches()

    def step() -> Tensor:
        clean, label = next(supply)
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (rows,), device="cuda")
        noisy = scheduler.add_noise(clean, noise, timesteps)
        output = body(noisy, timestep=timesteps, class_labels=label).sample
        loss = F.mse_loss(output.float(), noise)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(body.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad(set_to_none=True)
        ema.step(body.parameters())
        return loss.detach()

    return step


def block(step: Step) -> Callable[[], float]:
    """Seconds a step, over some steps between two waits for the device."""

    def timed() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(BLOCK):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / BLOCK

    return timed


def measured(name: str, rounds: int, report: timing.Report) -> None:
    width, depth, heads, rows = MODELS[name]
    each, chip = operations(width, depth, heads), torch.cuda.get_device_name()
    peak = next((value for part, value in PEAK.items() if part in chip), None)
    if peak is None:
        report.notes.append(f"what a {chip} is built for is not known here, so no utilisation; see PEAK")
    makers = {"unmelt": unmelt, "diffusers": diffusers}
    steps: dict[str, Callable[[], float]] = {}
    memory = {}
    for library, make in makers.items():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        try:
            steps[library] = block(make(width, depth, heads, rows))
        except peers.MissingError as missing:
            report.notes.append(str(missing))
            continue
        steps[library]()
        memory[library] = (torch.cuda.max_memory_allocated() - before) / 2**30
    times = timing.interleave(steps, rounds)
    for library, seconds in times.items():
        second = timing.median(seconds)
        report.rows.append(
            {
                "library": f"{library} {name}",
                "images": rows / second,
                "ratio": timing.median(timing.ratios(times["unmelt"], seconds)),
                "milliseconds": 1e3 * second,
                "memory": memory[library],
                "utilisation": each * rows / second / peak if peak and library == "unmelt" else None,
                "rows": rows,
            }
        )
    found = report.rows[-len(times)]
    if peak:
        report.found[name] = found["utilisation"]
        report.notes.append(
            f"{name}: {each / 1e9:.0f} GFLOP an image; {100 * found['utilisation']:.1f} % (target 50 %)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/utilisation.json and .md")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--models", default=",".join(MODELS), help="which, with commas")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("bench/utilisation.py needs a CUDA GPU, and torch sees none here; run it where there is one")
    torch.set_float32_matmul_precision("high")
    start = time.perf_counter()
    columns: list[tuple[str, str, str]] = [
        ("library", "library", ""),
        ("images", "images/s", ",.0f"),
        ("ratio", "speed, of ours", ".3f"),
        ("milliseconds", "ms a step", ".1f"),
        ("memory", "GB at most", ".1f"),
        ("utilisation", "of the chip", ".1%"),
        ("rows", "batch", "d"),
    ]
    report = timing.Report("utilisation", "A training step of DiT at 256 tokens in bfloat16", columns)
    for name in options.models.split(","):
        measured(name, options.rounds, report)
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
