"""Draw src/unmelt/scene/sprites.png from Noto Emoji: one cell for each object of a scene, in shades of grey.

Each graphic is cut to its outline, fitted into a cell and reduced to its shading, in which the middle grey is the
commonest shade of the thing; `unmelt.scene.sprites` gives it a colour. The graphics are Google's (Apache-2.0), the
renderer is resvg (MPL-2.0):

    npm pack @iconify-json/noto@1.2.9 && tar xf iconify-json-noto-1.2.9.tgz
    pip install --no-deps resvg-py==0.5.0

Usage: python tools/make_sprites.py package/icons.json
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from unmelt.scene import OBJECTS
from unmelt.scene.sprites import CELL, STRIP

ICONS = {
    "apple": "red-apple",
    "bird": "bird",
    "car": "automobile",
    "cat": "cat-face",
    "cup": "hot-beverage",
    "fish": "fish",
    "flower": "tulip",
    "heart": "red-heart",
    "house": "house",
    "moon": "crescent-moon",
    "star": "star",
    "tree": "evergreen-tree",
}

DRAWN = 512
"""Side at which a graphic is drawn before it is reduced."""

LIGHTER = 0.3
"""Least range of luminance above the commonest shade that is stretched to white."""


def draw(body: str) -> Image.Image:
    """The graphic of an icon, cut to its outline and centred in a square."""
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {links} viewBox="0 0 128 128">{body}</svg>'
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=DRAWN, height=DRAWN))))
    cut = drawn.convert("RGBA").crop(drawn.getchannel("A").getbbox())
    square = Image.new("RGBA", (max(cut.size),) * 2)
    square.paste(cut, ((square.width - cut.width) // 2, (square.height - cut.height) // 2))
    return square.resize((CELL, CELL), Image.Resampling.BOX)


def shaded(drawn: Image.Image) -> Image.Image:
    """The shading and the outline of a drawing: 0 is black, 0.5 the commonest shade, 1 white."""
    pixels = np.asarray(drawn, np.float64) / 255
    luminance, alpha = pixels[..., :3] @ (0.299, 0.587, 0.114), pixels[..., 3]
    body = np.median(luminance[alpha > 0.9])
    lighter = 0.5 + 0.5 * (luminance - body) / max(1 - body, LIGHTER)
    shade = np.where(luminance < body, 0.5 * luminance / body, lighter)
    both = np.stack([np.where(alpha > 0, shade, 0.5), alpha], -1)
    return Image.fromarray(np.round(both.clip(0, 1) * 255).astype(np.uint8), "LA")


def main() -> None:
    icons = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["icons"]
    strip = Image.new("LA", (CELL * len(OBJECTS), CELL))
    for number, name in enumerate(OBJECTS):
        strip.paste(shaded(draw(icons[ICONS[name]]["body"])), (number * CELL, 0))
    strip.save(STRIP, optimize=True)


if __name__ == "__main__":
    main()
