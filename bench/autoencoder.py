"""Our autoencoder beside diffusers' AutoencoderKL of the same size, trained as long on the same images.

    python bench/autoencoder.py --folder emoji --features runs/emoji-pixels --judge runs/emoji-pixels-1 --save

Both divide the sides by 4 and have 1.7 million parameters, 4 channels of latents, batches of the same size and averaged
weights. Ours is `um.recipe.autoencoder` as it comes, with a perceptual distance in the features of --features. Theirs
minimises the squared error and the KL, as the diffusers' own training does without a discriminator, with AdamW at the
best of three rates, each tried for a sixth of the time. Reconstructions of held-out images are judged by the Fréchet
distance, over averages and over crops at full resolution, and by the perceptual distance in the features of --judge,
a network that neither has seen. Theirs is given the processor seconds that ours took.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor, nn

import unmelt as um
from unmelt.metric import Pixels, frechet_distance, image_crops
from unmelt.metric.sample_set import collect_samples
from unmelt.objective import perceptual_distance
from unmelt.recipe.autoencoder import features_of
from unmelt.train.ema import EMA

RATES = (3e-4, 1e-3, 3e-3)
KL = 1e-6
"""Weight of the KL term in the training of latent diffusion's autoencoders, in nats a number of the image."""


class Theirs(nn.Module):
    """AutoencoderKL with squared error and KL."""

    def __init__(self) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.network = AutoencoderKL(
            block_out_channels=(32, 64, 96),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=16,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
        )

    def loss(self, x: Tensor) -> Tensor:
        x = 2 * x - 1
        latents = self.network.encode(x).latent_dist
        error = (self.network.decode(latents.sample()).sample - x).square().mean()
        return error + KL * latents.kl().mean() / x[0].numel()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        made = [self.network(2 * part - 1).sample for part in x.split(64)]
        return ((torch.cat(made) + 1) / 2).clamp(0, 1)


def trained_theirs(source: um.data.Source, rate: float, seconds: float, batch: int, seed: int) -> tuple[Theirs, int]:
    """A network trained for so many processor seconds, with averaged weights, and the steps it took."""
    torch.manual_seed(seed)
    model = Theirs()
    optimizer, average = (
        torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2),
        EMA(model.parameters(), 0.999),
    )
    spent, steps = 0.0, 0
    for x in batches(source, batch):
        began = time.process_time()
        share = spent / seconds
        for group in optimizer.param_groups:  # a warm-up, and a cosine to 0, as ours has
            group["lr"] = rate * min(1.0, share / 0.05 + 1e-3) * 0.5 * (1 + torch.tensor(torch.pi * share).cos().item())
        loss = model.loss(x)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
        steps += 1
        spent += time.process_time() - began
        if spent >= seconds:
            break
    average.swap()
    return model.eval(), steps


def batches(source: um.data.Source, batch: int) -> Iterator[Tensor]:
    for number in itertools.count():
        yield source.batch(number, batch)[0]


def trained_ours(options: argparse.Namespace, place: Path) -> tuple[um.CodecModel, float]:
    """Our autoencoder, trained if it is not there, and the processor seconds that it took."""
    made = um.recipe.autoencoder(
        folder=options.folder,
        size=options.size,
        features=options.features,
        steps=options.steps,
        batch=options.batch,
        held_out=0.2,
        seed=options.seed,
        picture_every=0,
    )
    taken = place / "processor_seconds.json"
    if not taken.exists():
        if place.exists():
            raise SystemExit(f"{place} was not trained to its end in one go, so its time is unknown: remove it")
        began = time.process_time()
        made.fit(place)
        taken.write_text(json.dumps(time.process_time() - began), encoding="utf-8")
    model = um.recipe.with_data(place)
    assert isinstance(model, um.CodecModel)
    return model, json.loads(taken.read_text(encoding="utf-8"))


def scores(made: Tensor, x: Tensor, judge: Any) -> dict[str, float]:
    """How far reconstructions are from the images."""
    pixels = Pixels()
    with torch.no_grad():
        pairs = zip(made.split(64), x.split(64), strict=True)
        perceptual = torch.cat([perceptual_distance(judge, *pair) for pair in pairs]).mean().item()
    return {
        "perceptual": perceptual,
        "frechet": frechet_distance(pixels(made), pixels(x)),
        "frechet_detail": frechet_distance(image_crops(made).flatten(1), image_crops(x).flatten(1)),
        "psnr": -10 * (made - x).square().mean().log10().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="images")
    parser.add_argument("--features", required=True, help="run of a model of pixels, whose features ours learns by")
    parser.add_argument("--judge", required=True, help="run of another one, whose features judge both")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3000, help="training steps of ours")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/autoencoder"))
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/autoencoder.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    place = options.runs / f"ours{options.seed}"
    model, seconds = trained_ours(options, place)
    assert model.source is not None
    assert model.held_out is not None
    x = collect_samples(model.held_out).x
    judge = features_of(Path(options.judge), tuple(x.shape[1:]))
    rows = [
        {"who": "unmelt", "steps": options.steps, "minutes": seconds / 60, **scores(model.reconstruct(x), x, judge)}
    ]
    tried = {}
    for rate in RATES:
        network, _ = trained_theirs(model.source, rate, seconds / 6, options.batch, options.seed)
        tried[rate] = (network.reconstruct(x) - x).square().mean().item()
    rate = min(tried, key=tried.__getitem__)
    network, steps = trained_theirs(model.source, rate, seconds, options.batch, options.seed)
    found = scores(network.reconstruct(x), x, judge)
    rows.append({"who": "diffusers AutoencoderKL", "steps": steps, "minutes": seconds / 60, "rate": rate, **found})
    columns = [("who", "who", ""), ("steps", "steps", "d"), ("minutes", "minutes", ".1f"), ("rate", "rate", ".0e")]
    columns += [(name, name, ".4f") for name in ("perceptual", "frechet", "frechet_detail", "psnr")]
    report = timing.Report("autoencoder", "Autoencoders of 1.7 million parameters, f4, trained as long", columns, rows)
    report.found = {name: rows[0][name] / rows[1][name] for name in ("perceptual", "frechet", "frechet_detail")}
    report.notes = [f"{name}: {share:.2f} of theirs" for name, share in report.found.items()]
    report.notes.append(f"{len(x):,} held-out images of {options.size} pixels, one seed")
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
