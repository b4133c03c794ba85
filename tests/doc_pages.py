"""Code blocks of the pages, in their order: Python between fences, and indented blocks of commands or figures."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


class Block(NamedTuple):
    """What a page shows as code; `kind` is the language of a fence, or "indented"."""

    kind: str
    text: str


def text_of(page):
    return (page if isinstance(page, Path) else DOCS / f"{page}.md").read_text(encoding="utf-8")


def blocks(page):
    """Code blocks of a page, in its order."""
    found, kind, lines, before = [], None, [], ""
    for line in [*text_of(page).splitlines(), ""]:
        if kind not in (None, "indented"):  # between fences
            if line == "```":
                found.append(Block(kind, "\n".join(lines) + "\n"))
                kind, lines = None, []
            else:
                lines.append(line)
        elif line.startswith("```"):
            kind = line[3:]
        elif line.startswith("    ") and (kind == "indented" or not before):
            kind = "indented"
            lines.append(line[4:])
        elif kind == "indented":
            found.append(Block(kind, "\n".join(lines) + "\n"))
            kind, lines = None, []
        before = line
    return found


def python_of(page):
    return [block.text for block in blocks(page) if block.kind == "python"]


def commands_in(block):
    """Command lines of an indented block, without the remark that two blanks or more set apart."""
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    return [re.split(r"\s{2,}", line.strip())[0] for line in lines if line.strip()]


def run_page(page, names=None, changes=(), commands=None):
    """Run the Python of a page in its order, and those of its commands that `commands` has arguments to add for.

    Args:
        page: Its name.
        names: What the Python knows before it begins.
        changes: What is put in place of what, once each, such as a shorter training.
        commands: By how a command line begins: what is added to it.
    """
    from unmelt.cli import main

    names, found, changes, commands = {} if names is None else names, blocks(page), dict(changes), dict(commands or {})
    for block in found:
        if block.kind == "python":
            code = block.text
            for whole in [whole for whole in changes if whole in code]:
                code = code.replace(whole, changes.pop(whole))
            exec(code, names)
            continue
        for line in commands_in(block):
            begins = next((each for each in commands if line.startswith(each)), None)
            if begins is not None:
                assert main([*shlex.split(line)[1:], *shlex.split(commands.pop(begins))]) == 0, line
    assert not changes
    assert not commands
    return names


def draw(place, *names, side=8, seed=0):
    """Small pictures of noise, by their paths in a folder."""
    draws = np.random.default_rng(seed)
    for name in names:
        path = place / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (side, side, 3), np.uint8)).save(path)


def shorten(monkeypatch, place, name, **settings):
    """Let a recipe have other settings than a page gives it, such as few steps of a small network."""
    whole = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *args, **given: whole(*args, **given | settings))
