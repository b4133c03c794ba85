"""`unmelt recipes`: the recipes and their settings."""

import inspect
from typing import Any

from rich.text import Text

from unmelt.cli.output import print_json
from unmelt.cli.table import console, table
from unmelt.recipe import RECIPES


def settings_of(name: str) -> dict[str, Any]:
    """The settings of a recipe.

    Args:
        name: Name of the recipe.

    Returns:
        Defaults by setting; "required" stands for a setting that has none.
    """
    parameters = inspect.signature(RECIPES[name]).parameters.values()
    return {p.name: "required" if p.default is inspect.Parameter.empty else p.default for p in parameters}


def first_line(name: str) -> str:
    """The first line of a recipe's docstring.

    Args:
        name: Name of the recipe.

    Returns:
        The line.
    """
    return inspect.cleandoc(RECIPES[name].__doc__ or "").splitlines()[0]


def recipes(json: bool = False) -> None:
    """List the recipes and their settings.

    Args:
        json: Print one JSON object and nothing else.
    """
    if json:
        print_json({name: {"about": first_line(name), "settings": settings_of(name)} for name in RECIPES})
        return
    for name in RECIPES:
        console().print(Text.assemble("\n", (name, "bold"), f"  {first_line(name)}"), soft_wrap=True)
        table(settings_of(name))
    console().print("\nunmelt train RECIPE --out runs/NAME", soft_wrap=True)
