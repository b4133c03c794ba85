"""An image as part of a page: the PNG itself in the HTML, so that a page has nothing else to fetch."""

from base64 import b64encode
from html import escape
from io import BytesIO

from PIL.Image import Image

from unmelt.errors import UsageError


def inline(image: Image, alt: str, width: int | None = None) -> str:
    """An HTML `img` of at most so many pixels across, its own number if not given; `alt` says what it shows."""
    if not alt.strip():
        raise UsageError("an image without words", "what it shows, for those who cannot see it", 'alt="ten digits"')
    page = BytesIO()
    image.save(page, format="PNG")
    style = f"width:100%;max-width:{width or image.width}px;height:auto;image-rendering:pixelated;border-radius:4px"
    return (
        f'<img alt="{escape(alt)}" style="{style}" src="data:image/png;base64,{b64encode(page.getvalue()).decode()}">'
    )
