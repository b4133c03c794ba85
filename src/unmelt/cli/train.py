"""`unmelt train RECIPE` and `--resume RUN`: what is asked for is checked before anything large is imported."""

import shlex
from collections.abc import Sequence

from unmelt.errors import UsageError, nearest
from unmelt.recipe import RECIPES


def train(args: Sequence[str]) -> None:
    """Parse `RECIPE --out DIR [settings]`, or `--resume RUN [settings]`, and train.

    Args:
        args: The arguments after `unmelt train`.

    Raises:
        UsageError: If there is no such recipe or run, or a setting is refused.
    """
    if not args or args[0] in ("-h", "--help"):
        from unmelt.cli.recipes import first_line

        names = "\n".join(f"  {name:10}  {first_line(name)}" for name in RECIPES)
        print(f"usage: unmelt train RECIPE --out DIR [settings]\n\n{names}\n")
        print("unmelt train RECIPE --help lists its settings.")
        print("unmelt train --resume RUN goes on with an interrupted run, with the settings that it has recorded.")
        return
    if args[0].split("=")[0] == "--resume":
        from unmelt.cli.train_recipe import resume

        resume(args)
        return
    name, rest = args[0], args[1:]
    if name not in RECIPES:
        near = nearest(name, RECIPES)
        raise UsageError(
            f"there is no recipe {name!r}",
            f"one of {', '.join(RECIPES)}",
            shlex.join(["unmelt", "train", near, *(rest or ["--out", f"runs/{near}"])]),
        )
    from unmelt.cli.train_recipe import train_recipe

    train_recipe(name, rest)
