"""The contents page, made from the folder of chapters.

A chapter is a file `chapters/chN_name.py`; the first line of its docstring is its title, the next paragraph its story.
A new file is a new chapter and needs no registration.
"""

import ast
import re
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import NamedTuple

from unmelt.errors import UsageError

FOLDER = Path(__file__).parent / "chapters"


class Chapter(NamedTuple):
    """A chapter.

    Args:
        number: Its number.
        name: Its name in the address: /name/.
        title: First line of its docstring.
        story: The next paragraph.
        path: Path of the notebook.
    """

    number: int
    name: str
    title: str
    story: str
    path: Path


@lru_cache
def chapters(folder: Path = FOLDER) -> tuple[Chapter, ...]:
    """All chapters in order.

    Args:
        folder: The folder of notebooks.

    Returns:
        The chapters, sorted by number.
    """
    found = []
    for path in folder.glob("ch*.py"):
        named = re.fullmatch(r"ch(\d+)_(\w+)", path.stem)
        if named is None:
            continue
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or named[2]
        title, _, rest = text.partition("\n")
        story = " ".join(rest.strip().split("\n\n")[0].split())
        found.append(Chapter(int(named[1]), named[2].replace("_", "-"), title.strip().rstrip("."), story, path))
    return tuple(sorted(found))


def opening(name: str) -> str:
    """The beginning of a chapter's page as HTML: links to its neighbours, its title and its story.

    Args:
        name: Name of the chapter.

    Returns:
        The HTML.

    Raises:
        UsageError: If there is no such chapter.
    """
    every = chapters()
    at = next((k for k, each in enumerate(every) if each.name == name), None)
    if at is None:
        raise UsageError(f"a chapter {name!r}", f"one of {', '.join(one.name for one in every)}", "opening('melting')")
    here, links = every[at], ['<a href="../">Contents</a>']
    if at > 0:
        links.append(f'<a href="../{every[at - 1].name}/" rel="prev">\u2190 {escape(every[at - 1].title)}</a>')
    if at + 1 < len(every):
        links.append(f'<a href="../{every[at + 1].name}/" rel="next">{escape(every[at + 1].title)} \u2192</a>')
    return (
        f'<nav aria-label="Chapters" style="display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.85rem">'
        f'{"".join(links)}</nav><h1 style="font-size:1.9rem;font-weight:700;margin:.6rem 0 .3rem">'
        f'{here.number}. {escape(here.title)}</h1><p style="font-size:1.05rem;max-width:42rem">{escape(here.story)}</p>'
    )


def page(folder: Path = FOLDER) -> str:
    """The contents page. It is complete: the browser fetches nothing else for it.

    Args:
        folder: The folder of notebooks.

    Returns:
        The HTML.
    """
    entries = "".join(
        f'<li><a href="{each.name}/"><span class="number" aria-hidden="true">{each.number}</span>'
        f"<span><strong>{escape(each.title)}</strong><br>{escape(each.story)}</span></a></li>"
        for each in chapters(folder)
    )
    return _PAGE.replace("{entries}", entries)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The unmelt lab</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1d2329; --quiet: #59636e; --card: #ffffff; --edge: #d9dde2;
        --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16191d; --ink: #e8eaed; --quiet: #a3adb8; --card: #1f2429; --edge: #3a424b; --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2.2rem; margin: 0 0 .5rem; line-height: 1.15; }
p { max-width: 44rem; color: var(--quiet); margin: 0 0 1.75rem; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .9rem;
     grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
li a { display: flex; gap: 1rem; height: 100%; padding: 1rem 1.1rem; border: 1px solid var(--edge); border-radius: 10px;
       background: var(--card); color: inherit; text-decoration: none; }
li a:hover, li a:focus-visible { border-color: var(--accent); outline: 2px solid var(--accent); outline-offset: 1px; }
li strong { font-size: 1.1rem; color: var(--ink); }
li span { color: var(--quiet); }
li .number { flex: none; font-size: 1.6rem; line-height: 1.4; color: var(--accent); }
</style>
</head>
<body>
<main>
<h1>The unmelt lab</h1>
<p>Destroy data on a schedule, learn the way back, generate. Each chapter is one idea with sliders to drag; the numbers
and pictures are made by the library as you drag, and each closed form stands beside what was measured.</p>
<ol>{entries}</ol>
</main>
</body>
</html>
"""
