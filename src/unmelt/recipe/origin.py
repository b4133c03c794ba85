"""A recipe records its own name and settings in the model it returns, so that the run folder can repeat it."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

from unmelt.arguments import checked
from unmelt.errors import enough_memory
from unmelt.model import CodecModel, DrafterModel, Model, SpeechModel, TextModel, VocoderModel

P = ParamSpec("P")
M = TypeVar("M", Model, TextModel, CodecModel, SpeechModel, VocoderModel, DrafterModel)

Folder: TypeAlias = str | Path
"""A setting that is a path, stored in absolute form to be valid from any working directory; or hf:owner/name."""


def recorded(make: Callable[P, M]) -> Callable[P, M]:
    """Decorator of a recipe: `model.origin` becomes its name and every setting, defaults included.

    Args:
        make: The recipe, with keyword-only settings.

    Returns:
        The recipe, which also refuses positional, unknown and missing settings, and values of another kind.

    Raises:
        UsageError: By the decorated recipe, if a setting is positional, unknown, missing or of another kind.
    """
    signature = inspect.signature(make)
    name = make.__name__

    @checked(f"um.recipe.{name}")
    @functools.wraps(make)
    def recipe(*args: P.args, **settings: P.kwargs) -> M:
        bound = signature.bind(*args, **settings)
        bound.apply_defaults()
        for setting, value in bound.arguments.items():
            is_path = signature.parameters[setting].annotation == Folder and str(value)
            if is_path and not str(value).startswith("hf:"):
                bound.arguments[setting] = Path(value).expanduser().absolute()
        with enough_memory(f"a smaller network or batch; {name} has defaults for both", f"{name}(...)"):
            model = make(*bound.args, **bound.kwargs)
        model.origin = {"recipe": name, "settings": {key: _plain(value) for key, value in bound.arguments.items()}}
        return model

    return recipe


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
