"""Models that come with unmelt: each is a folder next to this file, and is loaded by the folder's name.

    um.load("digits").sample(4, label=3)
    unmelt sample digits --label 3 --out three.png

A run folder of that name in the working directory is preferred. The cards say what each model learned from, by
which command, and how good it is. `tools/ship.py` writes them.
"""

from pathlib import Path

PLACE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The models that there are."""
    return tuple(sorted(path.parent.name for path in PLACE.glob("*/config.json")))


def shipped(folder: str | Path) -> Path | None:
    """Where the model of this name is.

    Args:
        folder: What a user gave: a name, or the path of a run folder.

    Returns:
        The model's folder; None if there is no such model, or the working directory has a run folder of that name.
    """
    name = str(Path(folder))  # "digits/" is digits
    is_own = (Path(folder) / "config.json").exists()
    return PLACE / name if name in names() and not is_own else None
