"""Hooks of the documentation site (mkdocs.yml): pages that are made of the code and of what was measured.

    reference/NAME.md    every public name of `unmelt.NAME`, from its docstring
    measured/NAME.md     every table of bench/results

Both are made while the site is built, so that none can be out of date. Links of the guides to files of the repository
lead to these pages.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


def public_modules(root: str = "unmelt") -> list[str]:
    """Public modules in the order in which their packages list them, those inside others too.

    Args:
        root: The package to begin with; it is not in the list.

    Returns:
        Dotted names as users write them; a module that has two names has the first.
    """
    found: dict[str, str] = {}

    def visit(name: str) -> None:
        module = importlib.import_module(root) if name == root else _named(name)
        for each in module.__all__:
            value, dotted = getattr(module, each), f"{name}.{each}"
            if isinstance(value, ModuleType) and value.__name__ not in found:
                found[value.__name__] = dotted
                visit(dotted)

    visit(root)
    return list(found.values())


def public_names(module: str) -> dict[str, str]:
    """Names that a module lists, without the modules among them.

    Args:
        module: Its dotted name.

    Returns:
        By name: where it is defined.
    """
    owner = _named(module)
    found = {}
    for each in owner.__all__:
        value = getattr(owner, each)
        if isinstance(value, ModuleType):
            continue
        place = f"{owner.__name__}.{each}"
        if inspect.isclass(value) or inspect.isroutine(value):
            place = f"{value.__module__}.{value.__qualname__}"
        found[each] = place
    return found


def _shared(module: str, place: str) -> int:
    """How many letters of a place are its module's name."""
    name = _named(module).__name__
    return len(name) if place.startswith(f"{name}.") else 0


def _named(dotted: str) -> ModuleType:
    value: Any = importlib.import_module(dotted.split(".")[0])
    for part in dotted.split(".")[1:]:
        value = getattr(value, part)
    assert isinstance(value, ModuleType)
    return value


def home_pages() -> dict[str, str]:
    """The module on whose page each public object is described.

    Returns:
        By where it is defined: of the modules that list it, the one that is nearest to there.
    """
    found: dict[str, str] = {}
    for module in ["unmelt", *public_modules()]:
        for place in public_names(module).values():
            known = found.get(place)
            if known is None or _shared(module, place) > _shared(known, place):
                found[place] = module
    return found


def reference(module: str, homes: dict[str, str]) -> str:
    """The page of a module.

    Args:
        module: Its dotted name.
        homes: `home_pages()`.

    Returns:
        Markdown, with a directive for each name, or a link to the page that describes it.
    """
    opening = inspect.cleandoc(_named(module).__doc__ or "").split("\n\n")[0]
    described, linked = [], []
    for name, place in public_names(module).items():
        if homes[place] == module and f"::: {place}" not in described:
            described += [f"::: {place}", ""]
        else:
            linked.append(f"- [`{name}`][{place}]")
    return "\n".join([f"# {module}", "", opening, "", *linked, "", *described])


def reference_pages() -> dict[str, str]:
    """All pages of the reference.

    Returns:
        By path below docs: Markdown.
    """
    homes = home_pages()
    pages = {f"reference/{module}.md": reference(module, homes) for module in ["unmelt", *public_modules()]}
    listed = []
    for module in ["unmelt", *public_modules()]:
        first = inspect.cleandoc(_named(module).__doc__ or "").split("\n")[0]
        listed.append(f"| [{module}]({module}.md) | {first} |")
    head = ["# Reference", "", "| module | |", "|---|---|"]
    return {"reference/index.md": "\n".join([*head, *listed, ""]), **pages}


def measured_pages() -> dict[str, str]:
    """All tables of bench/results.

    Returns:
        By path below docs: Markdown.
    """
    return {f"measured/{path.name}": path.read_text(encoding="utf-8") for path in sorted(RESULTS.glob("*.md"))}


def on_config(config: Any) -> Any:
    """List the pages that are made in the navigation.

    Args:
        config: Of the site.

    Returns:
        The same.
    """
    tables = [{path.stem: f"measured/{path.name}"} for path in sorted(RESULTS.glob("*.md"))]
    modules = [{module: f"reference/{module}.md"} for module in ["unmelt", *public_modules()]]
    for part in config.nav:
        part.get("Measured", []).extend(tables)
        part.get("Reference", []).extend(modules)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made.

    Args:
        files: The pages that are written by hand.
        config: Of the site.

    Returns:
        All pages.
    """
    from mkdocs.structure.files import File

    for path, content in {**reference_pages(), **measured_pages()}.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **given: Any) -> str:
    """Lead links to files of the repository to pages of the site.

    Args:
        markdown: The page.
        page: Where it is.
        given: Not used.

    Returns:
        The page with other links.
    """
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(r"\]\((?:\.\./)+bench/results/(\w+\.md)\)", rf"]({up}measured/\1)", markdown)
    markdown = re.sub(r"\[([^]]*)\]\((?:\.\./)+(?:src|bench|tests|examples|tools)/[^)]*\)", r"\1", markdown)
    if page.file.src_uri == "measured.md":
        rows = [f"| [{path.stem}](measured/{path.name}) | {_title(path)} |" for path in sorted(RESULTS.glob("*.md"))]
        markdown = markdown.replace("<!-- tables -->", "\n".join(["| table | what it says |", "|---|---|", *rows]))
    return markdown


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n")[0].removeprefix("# ")
