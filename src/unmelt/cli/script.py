"""What every command does at its end: one message for a mistake, an exit code, and no traceback.

0 success, 2 a mistake in what was asked, 130 Ctrl-C, 143 SIGTERM, 141 the reader of the output has gone.
"""

import ast
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from unmelt.cli import output
from unmelt.errors import UsageError, is_out_of_memory
from unmelt.terminal import notify

MISTAKE, INTERRUPTED, READER_GONE, TERMINATED = 2, 130, 141, 143
"""Exit codes."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def run_command(work: Callable[[], Any], name: str = "unmelt", json: bool = False, go_on: str = "") -> int:
    """Do the work of a command and report how it ended.

    Args:
        work: The work.
        name: What messages begin with.
        json: Whether a mistake is also reported as one JSON object on standard output.
        go_on: What a person may do after Ctrl-C; an exception that says it itself comes first.

    Returns:
        The exit code.
    """
    output.tolerate_encodings()
    try:
        with _terminable():
            work()
            sys.stdout.flush()
    except UsageError as mistake:
        return _refused(name, json, mistake.given, mistake.needed, as_option(mistake.instead))
    except BrokenPipeError:
        output.close_quietly()
        return READER_GONE
    except OSError as error:
        return _refused(name, json, str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _refused(name, json, "this takes more memory than there is", "fewer rows, or smaller ones")
    except KeyboardInterrupt as interrupt:
        ended = "terminated" if isinstance(interrupt, TerminatedError) else "interrupted"
        notify(
            "; ".join([f"{name}: {ended}", *(map(str, interrupt.args) if interrupt.args else [go_on] * bool(go_on))])
        )
        return TERMINATED if ended == "terminated" else INTERRUPTED
    return 0


def run_script(main: Callable[..., Any], go_on: str = "the same command begins again") -> int:
    """Run a script's main function with the arguments of the command line.

    Args:
        main: The function; its arguments are the options.
        go_on: What a person may do after Ctrl-C.

    Returns:
        The exit code.
    """
    from unmelt.cli.arguments import call

    prog = f"python {sys.argv[0]}"
    return run_command(lambda: call(main, prog, sys.argv[1:]), name=Path(sys.argv[0]).name, go_on=go_on)


def as_option(instead: str) -> str:
    """Rewrite a setting from Python's syntax to an option's: lr=0.001, or UNet(..., lr=0.001), becomes --lr 0.001.

    Args:
        instead: A corrected call or command.

    Returns:
        The same as an option, where it is one setting.
    """
    if instead.startswith(("um.recipe.", "um.load(")):
        return _as_command(instead)
    if method := re.fullmatch(r"um\.distill\.(\w+)\((from_scratch=True)?\)", instead):
        word = re.sub("(?<=[a-z])(?=[A-Z])", "-", method[1]).lower()
        return f"--method {word}" + (" --from-scratch" if method[2] else "")
    if sides := re.fullmatch(r"size=\((\d+), (\d+)\)", instead):  # height and width
        return f"--size {sides[2]}x{sides[1]}"
    alone = re.fullmatch(r"\w+\(\.\.\., ([^,]+)\)", instead)
    one = r"(\w+)=('[^']*'|[^\s,']\S*?)(?=, |$)"
    found = alone[1] if alone else instead
    if not re.fullmatch(rf"{one}(, {one})*", found):
        return instead
    return " ".join(_option(name, value) for name, value in re.findall(one, found))


def _as_command(instead: str) -> str:
    """Rewrite um.recipe.NAME(a=1).fit(out='x') as `unmelt train NAME --a 1 --out x`, and calls of a run alike."""
    try:
        node: ast.AST = ast.parse(instead, mode="eval").body
    except SyntaxError:
        return instead
    calls: list[tuple[str, ast.Call]] = []
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        calls.insert(0, (node.func.attr, node))
        node = node.func.value
    if ast.unparse(node) not in ("um", "um.recipe") or not calls:
        return instead
    name, first = calls[0]
    options = [
        _option(keyword.arg, _word(keyword.value))
        for _, call in (calls[:2] if name != "load" else calls[1:2])
        for keyword in call.keywords
        if keyword.arg is not None
    ]
    if name != "load":
        out = [] if any(option.startswith("--out ") for option in options) else [f"--out runs/{name}"]
        return " ".join(["unmelt train", name, *options, *out])
    verb = {"": "show", "evaluate": "eval", "sample": "sample", "tune": "tune"}.get(
        calls[1][0] if len(calls) > 1 else ""
    )
    run = _word(first.args[0]) if first.args else "RUN"
    return instead if verb is None else " ".join(["unmelt", verb, run, *options])


def _option(name: str, value: str) -> str:
    """A setting as an option; one that is true or false is a flag."""
    name = name.replace("_", "-")
    return {"True": f"--{name}", "False": f"--no-{name}"}.get(value, f"--{name} {value}")


def _word(value: ast.expr) -> str:
    """A value as a word of a command."""
    return shlex.quote(str(value.value)) if isinstance(value, ast.Constant) else ast.unparse(value)


def _refused(name: str, json: bool, given: str, needed: str = "", instead: str = "") -> int:
    """Report a mistake on standard error, and on standard output where JSON was asked for."""
    lines = [f"{name}: {given}", f"  needed: {needed}" * bool(needed), f"  try:    {instead}" * bool(instead)]
    notify(*filter(None, lines))
    if json:
        output.print_json({"error": {"given": given, "needed": needed, "instead": instead}})
    return MISTAKE


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM raises an exception, so that what is half-written is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
