"""`unmelt edit`: other versions of a picture, parts of it made anew, more around it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from unmelt.cli import destination
from unmelt.cli.runs import RunFolder, class_named, of_numbers
from unmelt.errors import UsageError
from unmelt.terminal import notify

if TYPE_CHECKING:
    from torch import Tensor

    from unmelt.model import Model

SUFFIXES = (".png", ".npy")

ImageFile = Annotated[Path, "IMAGE"]

STRENGTH = 0.6


def edit(
    folder: RunFolder,
    image: ImageFile,
    /,
    strength: float | None = None,
    mask: Path | None = None,
    left: int = 0,
    right: int = 0,
    top: int = 0,
    bottom: int = 0,
    rows: int = 1,
    label: str | None = None,
    caption: str | None = None,
    prompt: str | None = None,
    plan: Literal[True] | str | None = None,
    negative: str | None = None,
    control: Path | None = None,
    control_scale: float | None = None,
    guidance: float = 1.0,
    steps: int | None = None,
    resamples: int = 1,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Make a picture anew: all of it in part (--strength), a part of it (--mask), or more around it (--left, --top).

    The picture is read as training data are: turned upright, cropped to the central square and resized to the model's
    size. A mask is an image of the same size: white where the picture is made anew, black where it stays.

    Args:
        folder: The run folder.
        image: The picture, a file of any kind of image.
        strength: How much changes: near 0 nothing, at 1 all is made anew. Default: 0.6, or 1 with a mask.
        mask: An image as large as the picture: white is made anew, black stays exactly as it is.
        left: Pixels to add on the left, for networks that take any size.
        right: Pixels to add on the right.
        top: Pixels to add above.
        bottom: Pixels to add below.
        rows: Number of versions.
        label: Class of the picture, by name or by number.
        caption: Caption of the picture, for models that were trained with captions.
        prompt: What the whole picture shall show: the caption, to which a plan may be added.
        plan: Add a plan of the scene to the prompt: this one, such as "1 red apple left; 1 cat right", or without a
            value one that the model's planner makes.
        negative: What guidance moves away from, in words.
        control: A picture that the result follows, such as edges, for models that know one.
        control_scale: How much a control network counts.
        guidance: Scale of classifier-free guidance; 1 is unguided.
        steps: Network evaluations per sample, approximately. Default: the model's own number.
        resamples: How often each step is taken again, where known and new pixels are to agree.
        seed: Seed of the versions; the same seed gives the same ones.
        out: File to write: .png or .npy (default: RUN/edit.png). Of several versions, the files are numbered.
        device: Where to compute: auto, cpu or cuda.

    Raises:
        UsageError: If a file is no image, the mask is of another size, or the model is not one of images.
    """
    from unmelt.model import check_rows
    from unmelt.model.painting import check_pictures
    from unmelt.model.picture_size import picture_shape

    check_rows(rows)
    sides = {"left": left, "right": right, "top": top, "bottom": bottom}
    grows = {f"--{name}": pixels for name, pixels in sides.items() if pixels}
    changes = {"--mask": mask, "--strength": strength}
    if grows and (given := next((name for name, value in changes.items() if value is not None), None)):
        one = next(iter(grows))
        raise UsageError(f"{given} with {one}", "one of them: what is added is made anew whole", f"{one} {grows[one]}")
    destination.check_file(out or folder / "edit.png", SUFFIXES)
    content, size = _opened(image, "a picture")
    if mask is not None:
        covering, covered = _opened(mask, "a mask")
        if covered != size:
            pair = " and ".join(f"{wide} x {high}" for wide, high in (covered, size))
            raise UsageError(
                f"a mask and a picture of {pair} pixels", "a mask as large as the picture", f"--mask {mask.name}"
            )
    model = of_numbers(folder, device)
    check_pictures(model, "edit")
    files = _files(out or folder / "edit.png", rows)
    inputs = [each for each in (image, mask) if each is not None]
    if any(file.exists() and file.samefile(each) for file in files for each in inputs):
        raise UsageError(f"--out {out}, which is read", "another file", f"--out {files[0].stem}-new.png")
    x = _pixels(content, image, picture_shape(model))
    said = {"label": class_named(label, model.classes), "caption": caption, "prompt": prompt, "plan": plan}
    settings: dict[str, Any] = {**said, "negative": negative, "guidance": guidance, "steps": steps, "seed": seed}
    settings |= {"control": control, "control_scale": control_scale}
    made = _made(
        model,
        x.expand(rows, *x.shape[1:]),
        None if mask is None else _pixels(covering, mask, (1, *x.shape[2:]))[:, 0],
        sides if grows else None,
        strength,
        resamples,
        settings,
    )
    with destination.made(files[0].parent):
        for file, one in zip(files, made, strict=True):
            _write(one, file)
    if x.shape[-2:] != (size[1], size[0]):
        notify(f"{image.name}: {size[0]} x {size[1]} pixels, cropped and resized to {x.shape[-1]} x {x.shape[-2]}")
    notify(f"{rows} {'picture' if rows == 1 else 'pictures'}: {files[0]}{f' to {files[-1]}' if rows > 1 else ''}")


def _made(
    model: Model,
    x: Tensor,
    mask: Tensor | None,
    sides: dict[str, int] | None,
    strength: float | None,
    resamples: int,
    settings: dict[str, Any],
) -> Tensor:
    if sides is not None:
        return model.outpaint(x, resamples=resamples, **{**settings, **sides})
    if mask is not None:
        return model.inpaint(x, mask, strength=1.0 if strength is None else strength, resamples=resamples, **settings)
    return model.edit(x, strength=STRENGTH if strength is None else strength, **settings)


def _opened(path: Path, what: str) -> tuple[bytes, tuple[int, int]]:
    """A file's content, and the width and the height of the image in it, upright."""
    from io import BytesIO

    from PIL import Image, ImageOps

    from unmelt.data import files
    from unmelt.data.crop import reason

    try:
        content = files.read(path)
        with Image.open(BytesIO(content)) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return content, image.size
    except Exception as error:  # decoders raise anything
        raise UsageError(
            f"{path}, which cannot be read ({reason(error)})", f"{what}, as an image file", "photo.png"
        ) from None


def _pixels(content: bytes, path: Path, shape: tuple[int, ...]) -> Tensor:
    """[1, *shape] in [0, 1]."""
    import torch

    from unmelt.data.crop import cropped, reason

    try:
        pixels = cropped(content, (shape[1], shape[2]), shape[0])
    except Exception as error:  # decoders raise anything
        raise UsageError(f"{path}, which cannot be read ({reason(error)})", "an image file", "photo.png") from None
    return torch.from_numpy(pixels.copy())[None].float() / 255


def _files(out: Path, rows: int) -> list[Path]:
    """A file for each version, each of which can be written."""
    files = [out] if rows == 1 else [out.with_stem(f"{out.stem}-{row}") for row in range(rows)]
    for file in files:
        destination.check_file(file, SUFFIXES)
    return files


def _write(x: Tensor, path: Path) -> None:
    """One picture, pixel by pixel."""
    from PIL import Image

    from unmelt.modality.files import write_array, write_picture

    if path.suffix.lower() == ".npy":
        write_array(path, x)
        return
    pixels = (x * 255).round().byte().permute(1, 2, 0).numpy()
    write_picture(path, Image.fromarray(pixels[:, :, 0] if len(x) == 1 else pixels))
