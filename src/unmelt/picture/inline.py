"""Images inside HTML: the PNG stands in the page itself, which has nothing else to fetch."""

from base64 import b64encode
from html import escape
from io import BytesIO

from PIL.Image import Image

from unmelt.errors import UsageError


def inline(image: Image, alt: str, width: int | None = None) -> str:
    """Write an image as an HTML `img` element with its data.

    Args:
        image: The image.
        alt: What the image shows, for people who cannot see it.
        width: Pixels across at most; None for the image's own width.

    Returns:
        The HTML.

    Raises:
        UsageError: If `alt` is empty.
    """
    if not alt.strip():
        raise UsageError("an image without words", "what it shows, for those who cannot see it", 'alt="ten digits"')
    page = BytesIO()
    image.save(page, format="PNG")
    style = f"width:100%;max-width:{width or image.width}px;height:auto;image-rendering:pixelated;border-radius:4px"
    return (
        f'<img alt="{escape(alt)}" style="{style}" src="data:image/png;base64,{b64encode(page.getvalue()).decode()}">'
    )
