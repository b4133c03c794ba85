"""Pictures of scenes and their captions, without end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.condition import Condition
from unmelt.data.captioned_folder import CaptionedPicture, write_captioned
from unmelt.encoder import HashedCaptionEncoder, TextEncoder
from unmelt.encoder.encoder import caption_condition
from unmelt.errors import UsageError
from unmelt.rng import Stream, fold
from unmelt.scene import SEEN_COLOURS, Scene, ScenePrompt, accuracy, lay_out, paint, random_scene, scene_prompts, word
from unmelt.scene.choice import choose

SEPARATOR = " | "
"""Between a wording and a plan in a caption."""


PROMPTS = 204
"""Captions that each share of `Scenes.caption_accuracy` is measured on."""


class CaptionedScene(NamedTuple):
    """A scene and its caption.

    Args:
        scene: The scene.
        caption: A wording, a plan, or a wording and a plan.
    """

    scene: Scene
    caption: str


@final
@checked_init("um.data.Scenes")
@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Pictures of scenes that are not held out, worded as in training, with captions of three forms.

        wording             1/2     "a red star above a cat"
        wording | plan      1/4     "a red star above a cat | 1 red star top; 1 cat bottom"
        plan                1/4     "1 red star top; 1 cat bottom"

    With layouts, two thirds of all captions have a plan, of which two thirds say where each thing stands
    ("1 red star top c1; 1 cat bottom b5").

    Captions come from a pool, as a language model reads each of them once; a picture is painted anew each time.

    Args:
        size: Side of the pictures, in pixels.
        captions: Number of captions in the pool.
        layouts: Whether plans may have cells.
        shuffled: Whether each picture gets the caption of another, which makes captions useless: a control.
        encoder: Encodes the captions.
        seed: Seed of the pool and of the batches.

    Raises:
        UsageError: If there are no captions, or pictures are too small.
    """

    size: int = 32
    captions: int = 4000
    layouts: bool = False
    shuffled: bool = False
    encoder: TextEncoder = HashedCaptionEncoder()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.captions < 1:
            raise UsageError(f"captions={self.captions}", "at least one", "captions=4000")
        paint(random_scene(Stream(0)), Stream(0), self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size)

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def pool(self) -> tuple[CaptionedScene, ...]:
        """The scenes and their captions."""
        return tuple(map(self._captioned, range(self.captions)))

    def captioned(self, step: int, rows: int) -> tuple[Float[Tensor, "rows 3 size size"], list[str]]:
        """The pictures and captions of a batch.

        Args:
            step: Number of the batch.
            rows: Number of pictures.

        Returns:
            (pictures in [0, 1], their captions).
        """
        rng, numbers = Stream(fold(fold(self.seed, 0), step)), range(self.captions)
        shown = [self._captioned(choose(numbers, rng)) for _ in range(rows)]
        pictures = [paint(each.scene, rng, self.size, SEEN_COLOURS).picture for each in shown]
        said = [self._captioned(choose(numbers, rng)) for _ in range(rows)] if self.shuffled else shown
        return torch.stack(pictures), [each.caption for each in said]

    def batch(self, step: int, rows: int) -> tuple[Float[Tensor, "rows 3 size size"], Condition]:
        pictures, captions = self.captioned(step, rows)
        return pictures, caption_condition(self.encoder, captions)

    def caption_accuracy(self, sample: Callable[[list[str]], Tensor]) -> dict[str, float]:
        """Measure how often samples show all that their captions say, and nothing else.

        Args:
            sample: Makes a picture [n, 3, size, size] of each of n captions.

        Returns:
            right_seen: Of captions in words, of combinations and wordings of training.
            right_held_out: The same of combinations that training never shows.
            right_seen_planned: As the first, of captions with their plans, and with layouts if there are any.
            right_held_out_planned: As the second, of captions with their plans.
        """
        shares = {}
        for ending in ("", "_planned"):
            for name, called in (("seen", "seen"), ("held-out combinations", "held_out")):
                rng, asked = Stream(self.seed), scene_prompts(name, PROMPTS)
                pictures = sample([self._asking(each, rng) if ending else each.wording for each in asked])
                shares[f"right_{called}{ending}"] = accuracy(asked, pictures).parts["all"]
        return shares

    def _asking(self, prompt: ScenePrompt, rng: Stream) -> str:
        """The caption of a prompt with its plan."""
        plan = lay_out(prompt.scene, rng) if self.layouts else prompt.scene
        return f"{prompt.wording}{SEPARATOR}{plan}"

    def _captioned(self, number: int) -> CaptionedScene:
        return _captioned(fold(fold(self.seed, 1), number), self.layouts)


@lru_cache(maxsize=1 << 16)
def _captioned(seed: int, layouts: bool) -> CaptionedScene:
    rng = Stream(seed)
    scene = random_scene(rng)
    wording, plan = word(scene, rng), str(scene)
    if layouts:
        if choose((True, False, False), rng):
            return CaptionedScene(scene, wording)
        planned = choose((scene, *2 * (lay_out(scene, rng),)), rng)
        return CaptionedScene(planned, choose((f"{wording}{SEPARATOR}{planned}", str(planned)), rng))
    return CaptionedScene(scene, choose((wording, wording, f"{wording}{SEPARATOR}{plan}", plan), rng))


@checked("um.data.draw_scenes")
def draw_scenes(
    out: str | Path, *, pictures: int = 5000, size: int = 64, captions: int = 4000, seed: int = 0, quiet: bool = False
) -> Path:
    """Paint scenes into a folder that `recipe.autoencoder` and `recipe.latents` learn from.

    Args:
        out: The folder to make: PNG files, metadata.csv with captions, and the licence of the sprites.
        pictures: How many to paint.
        size: Side in pixels.
        captions: Number of different captions.
        seed: Seed of scenes and pictures.
        quiet: Whether to show no progress.

    Returns:
        The folder.

    Raises:
        UsageError: If the folder exists, or there are no pictures or captions.
    """
    if pictures < 1:
        raise UsageError(f"pictures={pictures}", "at least one", "pictures=5000")
    source = Scenes(size=size, captions=captions, seed=seed)

    def painted(number: int) -> CaptionedPicture:
        (picture,), (caption,) = source.captioned(number, 1)
        pixels = (255 * picture).round().to(torch.uint8).permute(1, 2, 0).numpy()
        return CaptionedPicture(f"{number:06d}", Image.fromarray(pixels), caption)

    made = map(painted, range(pictures))
    return write_captioned(Path(out), made, pictures, "scenes", "sprites of Noto Emoji, Google, Apache-2.0", quiet)
