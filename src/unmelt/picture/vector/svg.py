"""Axes with their layers, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unmelt.errors import UsageError
from unmelt.picture.vector.axes import SMALL, Axes, around
from unmelt.picture.vector.layers import Layer


def draw(axes: Axes, layers: Sequence[Layer], alt: str) -> str:
    """Write a picture as HTML: a figure with the SVG and, for layers that have names, a legend.

    Args:
        axes: What is shown.
        layers: What is drawn; later layers lie on top.
        alt: What the picture shows, in words.

    Returns:
        The HTML.

    Raises:
        UsageError: If `alt` is empty.
    """
    if not alt.strip():
        raise UsageError(
            "a picture without words", "what it shows, for those who cannot see it", 'alt="a ring of dots"'
        )
    left, top, width, height = axes.area
    inner = "".join(layer.svg(axes) for layer in layers)
    least = min(axes.width, 260)
    return (
        f'<figure style="margin:0;flex:1 1 0;min-width:min(100%,{least}px);max-width:{axes.width}px">'
        f'<svg viewBox="0 0 {axes.width} {axes.height}" role="img" aria-label="{escape(alt)}" '
        'style="width:100%;height:auto;display:block" xmlns="http://www.w3.org/2000/svg" '
        f'font-size="{SMALL}" font-family="inherit">'
        + around(axes)
        + f'<svg x="{left}" y="{top}" width="{width}" height="{height}" overflow="hidden">{inner}</svg></svg>'
        + _legend(layers)
        + "</figure>"
    )


def row(*pictures: str) -> str:
    """Put pictures into one row, or below one another where the page is narrow.

    Args:
        pictures: Pictures as HTML.

    Returns:
        The HTML.
    """
    return '<div style="display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start">' + "".join(pictures) + "</div>"


def _legend(layers: Sequence[Layer]) -> str:
    named = [layer for layer in layers if layer.name]
    if not named:
        return ""
    shapes = {
        "dot": '<circle cx="8" cy="5" r="3.5" fill="{0}"/>',
        "line": '<path d="M1 5h14" stroke="{0}" stroke-width="2.5"{1}/>',
        "box": '<rect x="3" y="0" width="10" height="10" fill="{0}" opacity=".6"/>',
        "ring": '<circle cx="8" cy="5" r="4" fill="none" stroke="{0}" stroke-width="2"/>',
    }
    entries = "".join(
        '<span style="white-space:nowrap"><svg width="16" height="10" aria-hidden="true" '
        'style="display:inline-block;vertical-align:baseline;margin-right:.3em">'
        + shapes[each.key].format(each.colour, ' stroke-dasharray="4 2"' if getattr(each, "dashed", False) else "")
        + f"</svg>{escape(each.name)}</span>"
        for each in named
    )
    style = "display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.8rem;margin:.2rem 0 0;justify-content:center"
    return f'<figcaption style="{style}">{entries}</figcaption>'
