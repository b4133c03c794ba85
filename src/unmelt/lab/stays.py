"""What stays in view at the top of a page while a reader scrolls: the slider that moves everything below it.

It is shown by the cell that makes it, which does not run again as it is moved, so that a browser has only pictures
to draw anew.
"""

_STYLE = """<style>
.marimo-cell:has(.unmelt-stays) { position: sticky; top: 0; z-index: 20; background: var(--background); }
.unmelt-stays { display: flex; flex-wrap: wrap; align-items: end; gap: .1rem 1.5rem; padding: .5rem 0;
                border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
.unmelt-stays > :first-child { flex: 1 1 18rem; }
</style>"""


def stays(*shown: object) -> str:
    """HTML with these elements of marimo's side by side; the first has the room that the others leave."""
    return _STYLE + '<div class="unmelt-stays">' + "".join(f"<div>{each}</div>" for each in shown) + "</div>"
