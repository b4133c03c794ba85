"""The arguments of a command, read by the signature of its function: each mistake is one message.

Arguments before the function's `/` are positional, all others are options: `--name value`, `--name=value`, `--flag` and
`--no-flag`, and for a tuple `--name value value`. `--help` is tyro's, which reads the same signature and docstring.
"""

import difflib
import inspect
import re
import shlex
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from unmelt.cli import other_names
from unmelt.errors import UsageError, nearest

REQUIRED = inspect.Parameter.empty

KINDS = {int: "a whole number", float: "a number", Path: "a path", str: "a word"}
"""How the types of values are called."""

EXAMPLES = {"folder": "runs/digits", "name": "owner/digits", "file": "draft.txt", "out": "runs/new", "ema_std": "0.05"}
"""Values of required arguments, for corrected commands."""

LARGEST = 2**63 - 1
"""Largest whole number of an option but a seed."""

MOST_DIGITS = 400
"""Longer words are no numbers."""


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Args:
        name: Its name in Python.
        kind: The type of its value, or of one of its values.
        many: Whether it takes several values.
        positional: Whether it is given by its place.
        default: Its default; `REQUIRED` for none.
        metavar: How the help calls a value.
    """

    name: str
    kind: Any
    many: bool
    positional: bool
    default: Any
    metavar: str

    @property
    def shown(self) -> str:
        """How a person writes it."""
        return self.metavar if self.positional else f"--{self.name.replace('_', '-')}"


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments that a command takes.

    Args:
        function: The command's function, or a dataclass of its options.

    Returns:
        Arguments by name, in order.
    """
    return {p.name: _argument(p) for p in inspect.signature(function, eval_str=True).parameters.values()}


def _argument(parameter: inspect.Parameter) -> Argument:
    kind, metavar = parameter.annotation, parameter.name.upper()
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        metavar = next((note.metavar for note in notes if getattr(note, "metavar", None)), metavar)
    if get_origin(kind) in (Union, types.UnionType):  # of a type and None
        kind = next(each for each in get_args(kind) if each is not types.NoneType)
    many = get_origin(kind) is tuple
    kind = get_args(kind)[0] if many else kind
    positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    return Argument(parameter.name, kind, many, positional, parameter.default, metavar)


def parse(function: Callable[..., Any], prog: str, args: Sequence[str]) -> dict[str, Any]:
    """Read the arguments of a command.

    Args:
        function: The command's function, or a dataclass of its options.
        prog: The command as a person types it, such as "unmelt sample".
        args: What follows it.

    Returns:
        Values by name, defaults included.

    Raises:
        UsageError: If an option is unknown, a value is missing or of the wrong type, or a required argument is missing.
    """
    if asks_for_help(args):
        import tyro

        tyro.cli(function, prog=prog, args=["--help"])
    return _Reader(arguments_of(function), prog, [str(each) for each in args]).read()


def call(function: Callable[..., Any], prog: str, args: Sequence[str]) -> Any:
    """Call a function with arguments from the command line.

    Args:
        function: The function.
        prog: The command as a person types it.
        args: What follows it.

    Returns:
        What the function returns.

    Raises:
        UsageError: As `parse`, and whatever the function raises.
    """
    values = parse(function, prog, args)
    by_place = [values.pop(name) for name, each in arguments_of(function).items() if each.positional]
    return function(*by_place, **values)


def asks_for_help(args: Sequence[str]) -> bool:
    """Whether there is a request for help among arguments.

    Args:
        args: The arguments.

    Returns:
        True for -h and --help.
    """
    return any(each in ("-h", "--help") for each in args)


class _Reader:
    """Reads the words of one command line from left to right."""

    def __init__(self, known: dict[str, Argument], prog: str, args: list[str]) -> None:
        self.known, self.prog, self.args = known, prog, args
        self.options = {each.name.replace("_", "-"): each for each in known.values() if not each.positional}
        self.places = [each for each in known.values() if each.positional]
        self.given: dict[str, Any] = {}
        self.loose: list[str] = []

    def read(self) -> dict[str, Any]:
        words = list(self.args)
        while words:
            word = words.pop(0)
            if word == "--":
                self.loose += words
                break
            if _is_option(word):
                self._option(word, words)
            else:
                self.loose.append(word)
        self._place()
        values = {name: each.default for name, each in self.known.items()} | self.given
        missing = [each for name, each in self.known.items() if values[name] is REQUIRED]
        if missing:
            self._missing(missing)
        return values

    def _option(self, word: str, words: list[str]) -> None:
        """Read one option, and its values from the words that follow."""
        dashes, name, attached = re.fullmatch(r"(--?)([^=]*)(?:=(.*))?", word, re.DOTALL).groups()  # type: ignore[union-attr]
        name = name.replace("_", "-")
        one = self.options.get(name) if dashes == "--" else None
        negated = self.options.get(name.removeprefix("no-")) if name.startswith("no-") else None
        if one is None and negated is not None and negated.kind is bool and attached is None:
            self.given[negated.name] = False
        elif one is None:
            self._unknown(word, f"{dashes}{name}", name, attached)
        elif one.kind is bool:
            self.given[one.name] = True if attached is None else self._value(one, attached)
        elif one.many:
            self.given[one.name] = self._values(one, words) if attached is None else (self._value(one, attached),)
        elif attached is not None or (words and not words[0].startswith("--")):
            self.given[one.name] = self._value(one, words.pop(0) if attached is None else attached)
        else:
            self._needs_value(one, words)

    def _values(self, one: Argument, words: list[str]) -> tuple[Any, ...]:
        """Read the values of an option that takes several."""
        texts = []
        while words and not _is_option(words[0]) and self._fits(one, words[0]):
            texts.append(words.pop(0))
        if not texts:
            self._needs_value(one, words)
        return tuple(self._value(one, text) for text in texts)

    def _fits(self, one: Argument, word: str) -> bool:
        """Whether a word can be one more value: where it cannot, it belongs to a place that is still empty."""
        free = len(self.loose) < len(self.places) or any(place.many for place in self.places)
        try:
            self._value(one, word)
        except UsageError:
            return not free
        return True

    def _place(self) -> None:
        """Give the words without an option to the arguments that have a place."""
        rest = list(self.loose)
        for one in self.places:
            if one.many:
                self.given[one.name] = tuple(self._value(one, word) for word in rest)
                rest = []
            elif rest:
                self.given[one.name] = self._value(one, rest.pop(0))
        if rest:
            takes = " and ".join(one.metavar for one in self.places) or "options alone"
            without = [word for word in self.args if word not in rest]
            raise UsageError(f"{rest[0]!r} after {self.prog}", f"{takes}, and options", _command(self.prog, without))

    def _value(self, one: Argument, text: str) -> Any:
        if get_origin(one.kind) is Literal:
            choices = {str(choice): choice for choice in get_args(one.kind)}
            if text not in choices:
                self._refuse(one, text, f"one of {', '.join(choices)}", nearest(text, choices))
            return choices[text]
        if one.kind is bool:
            if text.lower() not in ("true", "false"):
                self._refuse(one, text, "true or false", "true")
            return text.lower() == "true"
        try:
            if (one.kind in (int, float) and len(text) > MOST_DIGITS) or "\0" in text:
                raise ValueError
            value = one.kind(text)
            if one.kind is int and one.name != "seed" and abs(value) > LARGEST:
                raise ValueError
            return value
        except ValueError:
            example = one.default if isinstance(one.default, one.kind) else one.kind(4)
            self._refuse(one, text, KINDS[one.kind], f"{example:g}" if one.kind is float else str(example))

    def _refuse(self, one: Argument, text: str, needed: str, example: str) -> None:
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise UsageError(f"{one.shown} {shown}", needed, example if one.positional else f"{one.shown} {example}")

    def _needs_value(self, one: Argument, words: list[str]) -> None:
        given = f"{one.shown} without a value" + (f", before {words[0]}" if words else "")
        kind = "one of " + ", ".join(map(str, get_args(one.kind))) if get_origin(one.kind) else KINDS[one.kind]
        if words and one.kind is str:
            raise UsageError(given, f"{kind}; one that begins with -- is written after =", f"{one.shown}={words[0]}")
        raise UsageError(given, kind, "")

    def _missing(self, missing: list[Argument]) -> None:
        names = [f"{one.shown} (required)" if one.positional else f"{one.shown} VALUE (required)" for one in missing]
        added = [EXAMPLES.get(one.name, one.metavar) for one in missing if one.positional]
        for one in missing:
            if not one.positional:
                added += [one.shown, EXAMPLES.get(one.name, one.metavar)]
        raise UsageError(
            f"{self.prog} without {' and '.join(one.shown for one in missing)}",
            ", ".join(names),
            _command(self.prog, [*added, *self.args]),
        )

    def _unknown(self, word: str, shown: str, name: str, attached: str | None) -> None:
        given = f"there is no option {shown} for {self.prog}"
        meant = other_names.option_named(name, self.options)
        if meant is None:
            meant = next(iter(difflib.get_close_matches(name, self.options, n=1)), None)
        if meant is None:
            raise UsageError(given, f"one of {', '.join(f'--{each}' for each in self.options)}", f"{self.prog} --help")
        if name in other_names.EPOCHS:
            raise UsageError(given, "--steps: training is counted in steps, each on one batch", f"{self.prog} --help")
        renamed = f"--{meant}" + ("" if attached is None else f"={attached}")
        corrected = [renamed if each == word else each for each in self.args]
        raise UsageError(given, f"--{meant}", _command(self.prog, corrected))


def _is_option(word: str) -> bool:
    """Whether a word names an option: it begins with a hyphen, and is neither a number nor a hyphen alone."""
    return word.startswith("-") and len(word) > 1 and not re.match(r"-[.\d]|-inf\b|-nan\b", word)


def _command(prog: str, args: Sequence[str]) -> str:
    return f"{prog} {shlex.join(args)}".rstrip()
