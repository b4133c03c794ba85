"""The look that all pictures share: paper, ink, colours, type.

Class colours are those of Okabe and Ito, 2008, which people with any of the common colour blindnesses tell apart.
Yellow, which is faint on white, comes last. Figures are made of matplotlib's objects without pyplot, whose global state
would be shared with the user's plots.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageFont

from unmelt.terminal import printable

MOST_LETTERS = 28
"""Characters of a name that are drawn."""

PAPER, INK, FAINT = "#ffffff", "#222222", "#8a8a8a"
_OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#222222", "#f0e442")


def colours(count: int) -> list[str]:
    """Choose one colour for each class: Okabe and Ito's for up to eight, evenly from viridis for more.

    Args:
        count: The number of classes.

    Returns:
        Colours as "#rrggbb".
    """
    if count <= len(_OKABE_ITO):
        return list(_OKABE_ITO[:count])
    ramp = matplotlib.colormaps["viridis"].resampled(count)
    return [matplotlib.colors.to_hex(ramp(k)) for k in range(count)]


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Load the typeface of all pictures, DejaVu Sans, which comes with matplotlib.

    Args:
        size: Height in pixels.

    Returns:
        The typeface.
    """
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def name(text: str, most: int = MOST_LETTERS) -> str:
    """Make a name from outside fit to be drawn: without invisible characters, and not too long.

    Args:
        text: The name.
        most: Characters at most; the rest becomes one ellipsis.

    Returns:
        The name as it is drawn by Pillow.
    """
    shown = printable(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def plot_name(text: str, most: int = MOST_LETTERS) -> str:
    """Make a name fit to be drawn by matplotlib, to which dollars are mathematics and a leading underscore hides.

    Args:
        text: The name.
        most: Characters at most.

    Returns:
        The name for a title, a label or a legend.
    """
    shown = name(text, most).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def figure(width: float, height: float) -> Figure:
    """Make an empty figure that is on no screen.

    Args:
        width: Width in inches of 150 pixels.
        height: Height in inches.

    Returns:
        The figure.
    """
    made = Figure(figsize=(width, height), dpi=150, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(made)
    return made


def quiet(axes: Axes, title: str = "") -> None:
    """Leave only the left and the bottom axis, in grey.

    Args:
        axes: The axes to change.
        title: Their title.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=FAINT, labelcolor=INK, labelsize=8)
    axes.set_title(title, fontsize=10, color=INK)


def finish(drawn: Figure | Image.Image, path: str | Path | None) -> Image.Image:
    """Finish a picture: turn a figure into an image, and write it.

    Args:
        drawn: A figure or an image.
        path: Where the picture is written as PNG; None writes nothing.

    Returns:
        The image.
    """
    if isinstance(drawn, Figure):
        page = BytesIO()
        drawn.savefig(page, format="png", bbox_inches="tight", pad_inches=0.1)  # tight: no word is ever cut off
        drawn = Image.open(page).convert("RGB")
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        drawn.save(path, format="PNG")
    return drawn
