"""Output of the command line: messages go to standard error, results to standard output."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def notify(line: str) -> None:
    """Print a message to standard error, without markup or line breaks.

    Args:
        line: The message.
    """
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output.

    Args:
        value: What to print.
    """
    print(json.dumps(value, indent=2))


def table(rows: dict[str, Any], title: str = "") -> None:
    """Print names and values in two columns, to standard output.

    Args:
        rows: Values by name; floats are printed with four significant digits.
        title: A line above the table; none if empty.
    """
    printed = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        printed.add_row(name, Text(f"{value:.4g}" if isinstance(value, float) else str(value)))
    if title:
        Console().print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    Console().print(printed)
