"""Every command line of README and the guides is one: the parsers of the commands that it names take its words.

Every block of code of every page is Python between fences, which a test runs, or command lines, or one of `FIGURES`.
"""

import importlib.util
import inspect
import re
import shlex
import tomllib

import pytest
from doc_pages import DOCS, PAGES, ROOT, Block, blocks, commands_in, text_of

import unmelt as um
from unmelt.cli import COMMANDS, command
from unmelt.cli.adapter import merge, train
from unmelt.cli.arguments import parse
from unmelt.cli.distill import METHODS
from unmelt.cli.train_recipe import _form
from unmelt.recipe import RECIPES

TEXTS = [ROOT / "README.md", *PAGES]
EXTRAS = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]

FIGURES = {
    "README.md": ("data --codec--> x0", "src/unmelt/"),
    "index.md": ("data --codec--> x0",),
    "theory/few-steps.md": ("f(x_t, t, s) =",),
    "theory/guidance.md": ("D_w(x_t, t) =",),
    "theory/learning.md": ("loss = E w(t)",),
    "theory/melting.md": ("x_t = alpha(t) x_0",),
    "theory/score.md": ("grad log p(x_t) =",),
    "theory/straight-paths.md": ("x_t = (1 - t) x_0",),
    "theory/way-back.md": ("x_s = alpha(s) D",),
}
"""Blocks that are no code, by how they begin: the flow of data, the tree, and formulas."""

ELSEWHERE = {"hf download answerdotai/ModernBERT-base --local-dir models/modernbert"}
"""Commands of other programs; they are not checked, since they need the network."""

RUN = {
    **dict.fromkeys(("index", "start/applications", "start/learning", "start/own-data", "start/own-parts"), "site"),
    **{f"theory/{path.stem}": "site" for path in (DOCS / "theory").glob("*.md")},
    **dict.fromkeys(("data", "text", "few-steps", "latents", "training", "sharing", "serving"), "guides"),
}
"""The test that runs the Python of a page; of all others, that of their own name."""


def figures(page):
    return FIGURES.get(str(page.relative_to(ROOT if page.parent == ROOT else DOCS)), ())


def lines(page):
    """Command lines of a page."""
    found = []
    for block in blocks(page):
        if block.kind != "python" and not block.text.startswith(figures(page)):
            found += commands_in(block)
    return found


def check(line):
    """Let the parsers of what a line names read it.

    Raises:
        UsageError, SystemExit, AssertionError: If they do not take it.
    """
    program, *words = shlex.split(line)
    if line in ELSEWHERE:
        return
    if (program, *words[:2]) == ("py", "-m", "pip"):
        program, words = "pip", words[2:]
    match program:
        case "unmelt":
            check_unmelt(words)
        case "torchrun":
            from torch.distributed.run import get_args_parser

            read = get_args_parser().parse_args(words)
            assert (read.module, read.training_script) == (True, "unmelt.cli"), line
            check_unmelt(read.training_script_args)
        case "make":
            assert all(re.search(rf"(?m)^{re.escape(each)}:", text_of(ROOT / "Makefile")) for each in words), line
        case "pip":
            wanted = re.fullmatch(r"install (?:unmelt|(?:-e )?\.)(?:\[([\w,]+)\])?", " ".join(words))
            assert wanted, line
            assert set(filter(None, (wanted[1] or "").split(","))) <= EXTRAS.keys(), line
        case "python" | "py":
            script = ROOT / words[0]
            assert script.is_file(), line
            if script.parent.name == "examples":
                parse(main_of(script), line, words[1:])
            assert all(f'"{each}"' in text_of(script) for each in words[1:] if each.startswith("--")), line
        case _:
            raise AssertionError(f"no command: {line}")


def check_unmelt(words):
    name, *rest = words
    assert name in COMMANDS, words
    if name == "train":
        assert rest[0] in RECIPES, words
        parse(_form(rest[0]), f"unmelt train {rest[0]}", rest[1:])
    elif name == "adapter":
        parse({"train": train, "merge": merge}[rest[0]], f"unmelt adapter {rest[0]}", rest[1:])
    else:
        values = parse(command(name), f"unmelt {name}", rest)
        assert name != "distill" or values["method"] in METHODS, words


def main_of(script):
    spec = importlib.util.spec_from_file_location(f"script_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert inspect.isfunction(module.main)
    return module.main


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_commands(page):
    for line in lines(page):
        check(line)


@pytest.mark.parametrize(
    "line",
    [
        "unmelt tran images",
        "unmelt train imags --folder faces --out x",
        "unmelt train images --folder faces --out x --stps 3",
        "unmelt train images --folder faces",
        "unmelt sample x --steps many",
        "unmelt export x --to pickle",
        "unmelt distill x --method best --out y",
        "unmelt adapter learn x --folder y --out z",
        "torchrun --nproc-per-node 8 -m unmelt.cli train images --folder",
        "torchrun --nproc-per-nodes 8 -m unmelt.cli eval x",
        "make demos",
        "pip install 'unmelt[everything]'",
        "python bench/nothing.py",
        "python bench/few_steps.py --sav",
        "python examples/words_to_pictures.py --promt x",
        "um.load('digits')",
    ],
)
def test_what_is_no_command_is_found(line):
    with pytest.raises((um.UsageError, SystemExit, AssertionError, KeyError)):
        check(line)


def test_command_lines_end_before_a_remark():
    block = Block(
        "indented", 'unmelt sample x --prompt "a b"   # a remark\nunmelt eval x  said\n\nunmelt a \\\n    --b c\n'
    )
    assert commands_in(block) == ['unmelt sample x --prompt "a b"', "unmelt eval x", "unmelt a --b c"]


def test_there_are_no_other_blocks():
    for page in TEXTS:
        assert {block.kind for block in blocks(page)} <= {"python", "indented"}, page
        begin = [block.text for block in blocks(page) if block.kind == "indented"]
        assert all(any(text.startswith(each) for text in begin) for each in figures(page)), page


def test_the_python_of_every_page_is_run_by_a_test():
    for page in PAGES:
        if any(block.kind == "python" for block in blocks(page)):
            name = str(page.relative_to(DOCS).with_suffix(""))
            test = text_of(ROOT / "tests" / f"test_docs_{RUN.get(name, page.stem).replace('-', '_')}.py")
            assert f"{page.stem}.md" in test or f'"{name}"' in test or RUN.get(name) == "site", page
