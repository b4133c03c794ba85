"""All recipes by name, each imported when it is looked up."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from unmelt.model.load import AnyModel

    Recipe: TypeAlias = Callable[..., AnyModel]

NAMES = (
    "two_modes",
    "ring",
    "digits",
    "images",
    "control",
    "autoencoder",
    "latents",
    "scenes",
    "vocoder",
    "speech",
    "policy",
    "world",
    "video",
    "sudoku",
    "chorales",
    "reversal",
    "code",
    "code_uniform",
    "code_ar",
    "text",
    "drafter",
)


class _Catalogue(Mapping[str, "Recipe"]):
    """Recipes by name. The names are known without torch."""

    def __getitem__(self, name: str) -> "Recipe":
        if name not in NAMES:
            raise KeyError(name)
        found: Recipe = getattr(import_module("unmelt.recipe"), name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


RECIPES: Mapping[str, "Recipe"] = _Catalogue()
"""Every recipe by its name, simplest first."""
