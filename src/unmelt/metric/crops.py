"""Small crops of images at full resolution: the detail that a distance over averaged pixels does not see.

Averages over areas are the same for a sharp image and for its blurred copy. Crops are not: of them a Fréchet distance
compares edges, grain and colours, wherever in the images they are.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.errors import UsageError


def image_crops(
    images: Float[Tensor, "n c h w"], size: int = 8, each: int = 4
) -> Float[Tensor, "crops c crop_h crop_w"]:
    """Cut square crops out of a grid of places; from image to image the places move on, so that all are seen equally.

    Args:
        images: Images.
        size: Side of a crop; images that are smaller are taken whole.
        each: Crops of each image at most; images of fewer places have one crop for each place.

    Returns:
        The crops, those of one place together.

    Raises:
        UsageError: If `size` or `each` is below 1.
    """
    if min(size, each) < 1:
        raise UsageError(f"size={size}, each={each}", "at least one pixel and one crop", "image_crops(x, 8, each=4)")
    height, width = (min(size, side) for side in images.shape[-2:])
    columns = images.shape[-1] // width
    places = images.shape[-2] // height * columns
    each = min(each, places)
    first, crops = torch.arange(len(images)) * each, []
    for place in range(places):
        top, left = place // columns * height, place % columns * width
        seen = (place - first) % places < each
        crops.append(images[seen.to(images.device), :, top : top + height, left : left + width])
    return torch.cat(crops)
