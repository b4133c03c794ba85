"""What a network costs on the pixels of an image and on the latents of an autoencoder that divides its sides by 8.

    python bench/latent_cost.py --save

Both networks are the same but for the size and the channels of x. Operations are counted by torch (a multiplication
and an addition are two) on networks without weights. Forward times are medians of --repeats calls for one image on one
core, pixels and latents in turn, of networks that are narrow enough for it. "An image" is --steps calls of the network,
and for latents also one of the decoder.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import timing
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import unmelt as um

LATENT_CHANNELS = 4
SPACES = ("pixels", "latents")

Make = Callable[[int, int], nn.Module]
"""(channels, side) -> the network."""


def unet(width: int, attention: bool, blocks: int) -> Make:
    """Three levels, the coarsest of which may have attention."""
    return lambda channels, _: um.backbone.UNet(
        channels=channels, width=width, blocks=blocks, attention=(False, False, attention)
    )


def dit(width: int, depth: int) -> Make:
    """A transformer of patches of 2 x 2."""
    return lambda channels, side: um.backbone.DiT(
        channels=channels, size=(side, side), width=width, depth=depth, heads=width // 64
    )


def decoder(width: int) -> um.codec.Autoencoder:
    """An autoencoder that divides sides by 8."""
    return um.codec.Autoencoder(
        channels=3, latent_channels=LATENT_CHANNELS, widths=(width, 2 * width, 4 * width), blocks=(1, 2, 2)
    )


COUNTED: dict[str, tuple[Make, int]] = {
    "U-Net, width 128, no attention": (unet(128, False, 2), 64),
    "U-Net, width 128, attention at a quarter": (unet(128, True, 2), 64),
    "DiT-B/2 (width 768, 12 blocks)": (dit(768, 12), 64),
}
TIMED: dict[str, tuple[Make, int]] = {
    "U-Net, width 16, no attention": (unet(16, False, 1), 16),
    "U-Net, width 16, attention at a quarter": (unet(16, True, 1), 16),
}
"""By name: the network and the width of its decoder."""


def inputs(space: str, side: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """x and its noise level."""
    shape = (3, side, side) if space == "pixels" else (LATENT_CHANNELS, side // 8, side // 8)
    return torch.zeros((1, *shape), device=device), torch.zeros(1, device=device)


def operations(call: Callable[..., Any], *given: torch.Tensor) -> float:
    """Operations of a call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(*given)
    return float(counter.get_total_flops())


def counted(name: str, side: int) -> dict[str, float]:
    """Operations of the network in both spaces, and of the decoder."""
    make, width = COUNTED[name]
    found = {}
    with torch.device("meta"):
        for space in SPACES:
            x, level = inputs(space, side, "meta")
            found[space] = operations(make(x.shape[1], x.shape[2]), x, level)
        found["decoder"] = operations(decoder(width).decode, inputs("latents", side, "meta")[0])
    return {space: value / 1e12 for space, value in found.items()}


def timed(name: str, side: int, repeats: int) -> dict[str, float]:
    """Seconds of a forward pass in both spaces, and of the decoder."""
    make, width = TIMED[name]
    calls: dict[str, Callable[[], Any]] = {}
    for space in SPACES:
        x, level = inputs(space, side, "cpu")
        network = make(x.shape[1], x.shape[2]).eval()
        calls[space] = lambda network=network, x=x, level=level: network(x, level)
    codec, z = decoder(width).eval(), inputs("latents", side, "cpu")[0]
    calls["decoder"] = lambda: codec.decode(z)
    taken: dict[str, list[float]] = {each: [] for each in calls}
    with torch.no_grad():
        for _ in range(repeats + 1):
            for each, call in calls.items():
                began = time.process_time()
                call()
                taken[each].append(time.process_time() - began)
    return {each: statistics.median(times[1:]) for each, times in taken.items()}


def row(name: str, unit: str, found: dict[str, float], steps: int) -> dict[str, Any]:
    """A line of the table."""
    pixels, latents = steps * found["pixels"], steps * found["latents"] + found["decoder"]
    return {"who": name, "unit": unit, **found, "call": found["pixels"] / found["latents"], "image": pixels / latents}


def measure(side: int, steps: int, repeats: int) -> Sequence[dict[str, Any]]:
    """All lines."""
    rows = [row(name, "10^12 operations", counted(name, side), steps) for name in COUNTED]
    return rows + [row(name, "seconds", timed(name, side, repeats), steps) for name in TIMED]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help="of the image, in pixels")
    parser.add_argument("--steps", type=int, default=20, help="calls of the network for an image")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/latent_cost.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    torch.set_num_threads(1)
    columns = [("who", "network", ""), ("unit", "unit", "")]
    columns += [(each, each, ".3g") for each in (*SPACES, "decoder")]
    columns += [("call", "pixels / latents: a call", ".0f"), ("image", f"an image of {options.steps} calls", ".0f")]
    title = f"What an image of {options.side} pixels costs, by pixels and by latents of an eighth of the side"
    rows = measure(options.side, options.steps, options.repeats)
    timing.publish(timing.Report("latent_cost", title, columns, rows), options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
