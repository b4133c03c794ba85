"""Video: rows [frames, channels, height, width] in [0, 1], shown as strips of frames, written as moving pictures.

energy   Energy distance of the samples to held-out windows; `energy_floor` is that of the training windows.
change   Mean square change from a frame to the next, and `change_real` that of held-out windows: a model of frozen
         frames may have a small energy distance, and has none of this.

Moving pictures are GIF or WebP, which Pillow writes. MP4 needs the package imageio-ffmpeg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from unmelt import picture
from unmelt.arguments import checked_init
from unmelt.data import Source
from unmelt.errors import UsageError
from unmelt.metric import SampleSet, energy_distance
from unmelt.modality.files import check_suffix, write_array, write_picture
from unmelt.modality.modality import Distance
from unmelt.train.atomic_files import write

SHOWN, ACROSS, MOMENTS, LEAST = 6, 8, 6, 96
"""Videos in a preview, frames of each, times of a strip, and pixels of a moving picture's longer side at least."""


@final
@checked_init("um.modality.Video")
@dataclass(frozen=True)
class Video:
    """Windows of frames, [rows, frames, channels, height, width] in [0, 1], of 1 or 3 channels.

    Args:
        fps: Frames per second of moving pictures.

    Raises:
        UsageError: If there is not at least one frame a second.
    """

    fps: int = 15

    def __post_init__(self) -> None:
        if self.fps < 1:
            raise UsageError(f"Video(fps={self.fps})", "frames per second", "Video(fps=15)")

    @property
    def name(self) -> str:
        return "video"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".gif", ".webp", ".mp4", ".png", ".npy")

    @property
    def hub_task(self) -> str:
        return "unconditional-video-generation"

    def preview_rows(self, classes: int) -> int:
        """Choose 6 videos."""
        return SHOWN

    def samples_to_score(self, real: int) -> int:
        """Choose as many as there are training windows, up to 500."""
        return min(real, 500)

    def draw(
        self,
        x: Float[Tensor, "rows frames channels height width"],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image.Image:
        """Draw up to 8 frames of each video in a row, spread over its length."""
        few = _spread(x, 1, ACROSS)
        names = [] if labels is None else [classes[label] for label in labels.tolist()]
        return picture.tiles(few.flatten(0, 1), columns=few.shape[1], row_labels=names)

    def strip(
        self,
        frames: Sequence[Float[Tensor, "rows frames channels height width"]],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image.Image:
        """Draw the last frame of the first 4 videos at several times."""
        return picture.strip([frame[:4, -1] for frame in frames], times, MOMENTS)

    def write(
        self,
        x: Float[Tensor, "rows frames channels height width"],
        path: Path,
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> list[Path]:
        """Write moving pictures (.gif, .webp, .mp4), what `draw` makes (.png), or the numbers (.npy).

        One video becomes `path` itself; several become NAME-0.gif, NAME-1.gif, ... beside it.
        """
        check_suffix(path, self.suffixes)
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return write_array(path, x)
        if suffix == ".png":
            return write_picture(path, self.draw(x, labels, classes))
        width = len(str(len(x) - 1))
        paths = [path] if len(x) == 1 else [path.with_stem(f"{path.stem}-{k:0{width}}") for k in range(len(x))]
        for one, video in zip(paths, x, strict=True):
            pixels = _enlarged(video)
            if suffix == ".mp4":
                _write_mp4(pixels, one, self.fps)
                continue
            first, *rest = [Image.fromarray(frame) for frame in pixels]
            page, duration = BytesIO(), round(1000 / self.fps)
            shared: dict[str, Any] = {"save_all": True, "append_images": rest, "duration": duration, "loop": 0}
            first.save(
                page,
                "WEBP" if suffix == ".webp" else "GIF",
                **shared,
                **{"lossless": True} if suffix == ".webp" else {},
            )
            write(one, page.getvalue())
        return paths

    def score(self, made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
        """Score by energy distance, and by how much changes from frame to frame."""
        return {
            "energy": energy_distance(made.x, held_out.x),
            "energy_floor": energy_distance(real.x, held_out.x),
            "change": _change(made.x),
            "change_real": _change(held_out.x),
        }

    def distance(self, real: Float[Tensor, "n *video"], held_out: Float[Tensor, "m *video"]) -> Distance:
        """Choose the energy distance."""
        return Distance("energy distance", lambda x: energy_distance(x, held_out), energy_distance(real, held_out))


def _change(x: Tensor) -> float:
    return float(x.diff(dim=1).square().mean())


def _spread(x: Tensor, axis: int, most: int) -> Tensor:
    """At most so many indices along an axis, spread over it."""
    count = x.shape[axis]
    chosen = sorted({round(k * (count - 1) / max(1, most - 1)) for k in range(min(most, count))})
    return x[:, chosen] if axis == 1 else x[chosen]


def _enlarged(video: Float[Tensor, "frames channels height width"]) -> UInt8[np.ndarray, "frames h w 3"]:
    """Frames as bytes of three channels, small ones enlarged by a whole factor."""
    pixels = (video.detach().cpu().float().nan_to_num(0.0).clamp(0, 1) * 255).round().byte()
    factor = max(1, -(-LEAST // max(pixels.shape[2:])))
    big = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3).permute(0, 2, 3, 1)
    found: np.ndarray = big.expand(-1, -1, -1, 3).contiguous().numpy()
    return found


def _write_mp4(pixels: np.ndarray, path: Path, fps: int) -> None:
    if find_spec("imageio_ffmpeg") is None:
        raise UsageError(
            f"{path.name} without imageio-ffmpeg", "the package that writes MP4", "pip install imageio-ffmpeg, or .gif"
        )
    height, width = pixels.shape[1:3]
    writer = import_module("imageio_ffmpeg").write_frames(str(path), (width, height), fps=fps, macro_block_size=1)
    writer.send(None)
    for frame in pixels:
        writer.send(frame.tobytes())
    writer.close()
