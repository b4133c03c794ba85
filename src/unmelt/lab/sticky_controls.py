"""Controls that stay at the top of a page while the reader scrolls: the slider that moves everything below it.

They are shown by the cell that creates them. That cell does not run again when they are moved, so the browser has only
the pictures to redraw.
"""

_STYLE = """<style>
.marimo-cell:has(.unmelt-stays) { position: sticky; top: 0; z-index: 20; background: var(--background); }
.unmelt-stays { display: flex; flex-wrap: wrap; align-items: end; gap: .1rem 1.5rem; padding: .5rem 0;
                border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
.unmelt-stays > :first-child { flex: 1 1 18rem; }
</style>"""


def stays(*shown: object) -> str:
    """Place marimo elements side by side at the top of the page.

    Args:
        shown: The elements; the first takes the room that the others leave.

    Returns:
        The HTML.
    """
    return _STYLE + '<div class="unmelt-stays">' + "".join(f"<div>{each}</div>" for each in shown) + "</div>"
