"""A table of closed forms beside measurements, so that the reader can check every number that a chapter states."""

from collections.abc import Mapping
from html import escape

_CELL = "padding:.15rem .9rem .15rem 0;text-align:{0};font-variant-numeric:tabular-nums"


def beside(
    rows: Mapping[str, tuple[int | float, int | float]],
    columns: tuple[str, str] = ("closed form", "measured"),
    digits: int = 3,
) -> str:
    """A table as HTML.

    Args:
        rows: Quantity to (expected value, measured value).
        columns: Titles of the two columns.
        digits: Digits after the decimal point; integers have none.

    Returns:
        The HTML.
    """
    heads = "".join(f'<th scope="col" style="{_CELL.format("right")}">{escape(each)}</th>' for each in columns)
    lines = "".join(
        f'<tr><th scope="row" style="{_CELL.format("left")};font-weight:400">{escape(name)}</th>'
        + "".join(
            f'<td data-what="{escape(name)}" style="{_CELL.format("right")}">{_number(value, digits)}</td>'
            for value in pair
        )
        + "</tr>"
        for name, pair in rows.items()
    )
    return (
        '<div style="overflow-x:auto">'
        '<table style="border-collapse:collapse;width:auto;font-size:.9rem;margin:.3rem 0"><thead><tr>'
        f'<th style="{_CELL.format("left")}"></th>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _number(value: int | float, digits: int) -> str:
    text = str(value) if isinstance(value, int) else f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\u2212")
