"""How the command line speaks: to a person on standard error, results on standard output, --json and nothing else."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def notify(line: str) -> None:
    """Say it to a person: on standard error, as it is, in one line however long."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def table(rows: dict[str, Any], title: str = "") -> None:
    drawn = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        drawn.add_row(name, Text(f"{value:.4g}" if isinstance(value, float) else str(value)))
    if title:
        Console().print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    Console().print(drawn)
