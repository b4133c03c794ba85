"""Pictures of every chapter as a reader sees it: `python tests/lab/screenshots.py` makes those in docs/lab.

    python tests/lab/screenshots.py                               1280 wide, light: docs/lab/NAME.png, and all.png
    python tests/lab/screenshots.py --folder shots --every        light and dark, 1280 and 390 wide, to look at
    python tests/lab/screenshots.py --only words way-back

What a chapter trains is trained once and kept (UNMELT_CACHE). Colours are reduced to a palette, for small files.
"""

import argparse
from io import BytesIO
from pathlib import Path

import chromium
from PIL import Image

from unmelt.lab import chapters

DOCS = Path(__file__).parents[2] / "docs" / "lab"

PRESSED = {
    "learning": ("Train on the ring", "Train on the drawing"),
    "way-back": ("Tune",),
    "words": ("Measure",),
}
"""Buttons that a reader would press, by chapter."""

MOVED = {"guidance": ((0, 0.5), (3, 0.25))}
"""Sliders that a reader would move, and how far along."""

LAST = {
    "melting": 'pre[aria-label^="Text melted"]',
    "score": 'td[data-what^="largest share"]',
    "learning": 'svg[aria-label^="1,000 points of the drawing: drawn"]',
    "way-back": 'td[data-what="error with 8 evaluations"]',
    "guidance": 'img[alt^="Forty digits"]',
    "straight-paths": 'svg[aria-label^="1,000 samples in"]',
    "words": 'svg[aria-label^="Share of gaps"]',
    "few-steps": 'td[data-what="San Diego"]',
    "pictures": 'img[alt$="in six colours from the same noise"]',
}
"""What comes last on each page."""


def opened(visit, name):
    """A chapter with everything on it, at rest."""
    visit.open(name, until="h1")
    for button in PRESSED.get(name, ()):
        visit.page.get_by_role("button", name=button).click(timeout=600_000)
        visit.still()
    if name in LAST:
        visit.page.wait_for_selector(LAST[name], timeout=600_000)
    for which, share in MOVED.get(name, ()):
        visit.drag(share, which)
        visit.still()
    visit.page.mouse.move(0, 0)
    visit.page.evaluate("document.activeElement.blur()")
    visit.still()


def taken(visit):
    """The whole page, as an image."""
    width = visit.page.viewport_size["width"]
    for _ in range(2):  # what scrolls is within the page, and a taller window may lay it out anew
        height = visit.page.evaluate(
            "Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight).filter(h => h < 20000))"
        )
        visit.page.set_viewport_size({"width": width, "height": height + 1})
        visit.still()
    return Image.open(BytesIO(visit.page.screenshot())).convert("RGB")


def small(image):
    """With as few colours as it can do with, none of them rare ones lost."""
    return image.quantize(128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


TILE, COLUMNS = (480, 360), 4
SEEN = {
    "": 0.0,
    "melting": 0.34,
    "score": 0.17,
    "learning": 0.17,
    "way-back": 0.16,
    "guidance": 0.3,
    "straight-paths": 0.17,
    "words": 0.22,
}
"""Where on each page, from the top, the part begins that stands for it."""


def sheet(pages):
    """All pages in small, side by side: what a README shows."""
    rows = -(-len(pages) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * (TILE[0] + 12) - 12, rows * (TILE[1] + 12) - 12), "#d9dde2")
    for k, (name, page) in enumerate(pages.items()):
        top = min(round(SEEN.get(name, 0.0) * page.height), max(0, page.height - 960))
        part = page.crop((0, top, 1280, top + 960)).resize(TILE, Image.Resampling.LANCZOS)
        whole.paste(part, (k % COLUMNS * (TILE[0] + 12), k // COLUMNS * (TILE[1] + 12)))
    return whole


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=DOCS)
    parser.add_argument("--every", action="store_true", help="light and dark, 1280 and 390 wide")
    parser.add_argument("--only", nargs="*", help="chapters, by name")
    options = parser.parse_args()
    if chromium.MISSING:
        raise SystemExit(chromium.MISSING)
    options.folder.mkdir(parents=True, exist_ok=True)
    looks = [(1280, "light")]
    if options.every:
        looks += [(390, "light"), (1280, "dark"), (390, "dark")]
    names = options.only or ["", *(each.name for each in chapters())]
    pages = {}
    with chromium.served() as (_, address), chromium.browser() as browser:
        for name in names:
            for width, scheme in looks:
                with chromium.visit(browser, address, width=width, scheme=scheme) as visit:
                    opened(visit, name)
                    image = taken(visit)
                path = options.folder / f"{name or 'contents'}{f'-{width}-{scheme}' if options.every else ''}.png"
                small(image).save(path, optimize=True)
                print(f"{path}  {path.stat().st_size / 1000:.0f} KB", flush=True)
                if (width, scheme) == looks[0]:
                    pages[name] = image
    if options.only is None:
        small(sheet(pages)).save(options.folder / "all.png", optimize=True)


if __name__ == "__main__":
    main()
