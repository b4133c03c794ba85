"""A scene: what a picture shows, in groups of like objects.

    scene  =  group                              1 to 3 objects; one alone may have a place
           |  group; group                       one object each, at opposite places or at any
    group  =  number [colour] object [place] [cells]     "2 red star", "1 blue cat left", "2 red star b2 e5"

Cells say where each thing stands (`layout`); a scene has them for all things or for none.

The text of a scene is its plan: `str(scene)` and `Scene.parse` are inverse to each other. No two texts mean one scene,
but for the order of its groups.
"""

import re
from dataclasses import dataclass
from typing import Final, final

from unmelt.arguments import checked, checked_init
from unmelt.errors import UsageError, nearest

OBJECTS: Final = ("apple", "bird", "car", "cat", "cup", "fish", "flower", "heart", "house", "moon", "star", "tree")
"""Things that a scene may have."""

COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple")
"""Colours that a thing may have."""

OPPOSITE: Final = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
"""By place: the one across from it."""

PLACES: Final = tuple(OPPOSITE)
"""Places where a group may be."""

CELL_COLUMNS: Final = "abcdef"
"""Columns of cells, from left to right."""

CELL_ROWS: Final = "123456"
"""Rows of cells, from top to bottom."""

PLACE_CELLS: Final = {"left": "ab", "right": "ef", "top": "12", "bottom": "56"}
"""By place: the columns or rows of cells that are at it."""

MOST = 3
"""Largest number of objects in a group."""

GROUP = re.compile(
    rf"(\d{{1,9}})\s+(?:(\w+)\s+)??(\w+)(?:\s+({'|'.join(PLACES)}))?((?:\s+[{CELL_COLUMNS}][{CELL_ROWS}])*)"
)
"""Number, colour, object, place and cells in the text of a group."""


@final
@checked_init("um.scene.Group")
@dataclass(frozen=True)
class Group:
    """Like objects in a scene.

    Args:
        object: What they are, of OBJECTS.
        colour: Of COLOURS; None for any.
        number: How many, from 1 to 3.
        place: Part of the picture, of PLACES; None for any.
        cells: Where each of them stands, such as ("b2", "e5"); none for anywhere.

    Raises:
        UsageError: If one of them is not in its list, or cells are not one for each object, different, and at the
            place.
    """

    object: str
    colour: str | None = None
    number: int = 1
    place: str | None = None
    cells: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("object", self.object, OBJECTS),
            ("colour", self.colour, (None, *COLOURS)),
            ("number", self.number, tuple(range(1, MOST + 1))),
            ("place", self.place, (None, *PLACES)),
        ):
            if value not in known:
                words = [each for each in known if isinstance(each, str)] or list(map(str, known))
                raise UsageError(
                    f"a group with {name}={value!r}",
                    f"one of {', '.join(words)}",
                    nearest(str(value), words) or words[0],
                )
        self._check_cells()

    def _check_cells(self) -> None:
        cells = tuple(self.cells)
        said = f"cells={' '.join(map(str, cells))} for {self.number} at {self.place or 'any place'}"
        if cells and (len(set(cells)) != len(cells) or len(cells) != self.number):
            raise UsageError(said, "a different cell for each object", 'Group("star", number=2, cells=("b2", "e5"))')
        if not all(re.fullmatch(f"[{CELL_COLUMNS}][{CELL_ROWS}]", cell) for cell in cells):
            raise UsageError(said, "a column from a to f and a row from 1 to 6", '"b2"')
        if self.place is not None and not all(set(cell) & set(PLACE_CELLS[self.place]) for cell in cells):
            raise UsageError(said, f"{' or '.join(PLACE_CELLS[self.place])} at the {self.place}", "cells=()")

    def __str__(self) -> str:
        named = (self.number, self.colour, self.object, self.place, *self.cells)
        return " ".join(str(each) for each in named if each is not None)


@final
@checked_init("um.scene.Scene")
@dataclass(frozen=True)
class Scene:
    """One group of up to three objects, or two groups of one.

    Args:
        groups: The groups.

    Raises:
        UsageError: If they make no scene: none or over two of them, several objects in one of two groups, a place of
            several objects, two places that are not opposite, or cells of some groups only.
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        said = "; ".join(map(str, self.groups))
        if not 1 <= len(self.groups) <= 2:
            raise UsageError(f"a scene of {len(self.groups)} groups", "one or two", '"1 red apple left; 1 cat right"')
        if len(self.groups) == 2 and any(group.number > 1 for group in self.groups):
            raise UsageError(f"the scene {said!r}", "one object in each of two groups", '"1 red apple; 1 cat"')
        if self.groups[0].number > 1 and self.groups[0].place is not None:
            raise UsageError(f"the scene {said!r}", "no place for several objects", '"2 red apple"')
        if len(self.groups) == 2:
            first, second = (group.place for group in self.groups)
            if (None if first is None else OPPOSITE[first]) != second:
                raise UsageError(f"the scene {said!r}", "opposite places, or none", '"1 apple left; 1 cat right"')

        cells = [cell for group in self.groups for cell in group.cells]
        if len(set(cells)) != len(cells) or len({bool(group.cells) for group in self.groups}) > 1:
            raise UsageError(
                f"the scene {said!r}", "a cell of its own for each object, or none", '"1 cat b2; 1 cup e5"'
            )

    def __str__(self) -> str:
        return "; ".join(map(str, self.groups))

    @classmethod
    @checked("um.scene.Scene.parse")
    def parse(cls, text: str) -> "Scene":
        """Read a scene from its text.

        Args:
            text: As `str(scene)` writes it.

        Returns:
            The scene.

        Raises:
            UsageError: If the text is none of a scene.
        """
        groups = []
        for part in text.split(";"):
            found = GROUP.fullmatch(part.strip())
            if found is None:
                raise UsageError(f"the plan {text!r}", "groups of number, colour, object and place", '"2 red star"')
            number, colour, thing, place, cells = found.groups()
            groups.append(Group(thing, colour, int(number), place, tuple(cells.split())))
        return cls(tuple(groups))
