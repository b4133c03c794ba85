"""Tables and styled lines on standard output."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unmelt.terminal import printable


class _Console(Console):
    """A console that leaves a closed pipe to whoever runs the command."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(width: int | None = None) -> Console:
    """Make a console for standard output, without markup: names may contain brackets.

    Args:
        width: Columns; None for the terminal's.

    Returns:
        The console.
    """
    return _Console(markup=False, highlight=False, emoji=False, width=width)


def table(rows: Mapping[str, Any], title: str = "") -> None:
    """Print names and values in two columns, to standard output.

    Args:
        rows: Values by name; floats are printed with four significant digits.
        title: A line above the table; none if empty.
    """
    printed = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        printed.add_row(Text(printable(name)), Text(printable(shown)))
    if title:
        heading = title.lstrip("\n")
        console().print(Text("\n" * (len(title) - len(heading)) + printable(heading), "bold"), soft_wrap=True)
    console().print(printed)
