"""The arguments of a command: an argparse parser, made from a function's signature and Google-style docstring.

Arguments before the function's `/` are positional, all others are options: `--name value`, `--name=value`, `--flag` and
`--no-flag`, and for a tuple `--name value value`. Each mistake is one `UsageError`.
"""

import difflib
import inspect
import re
import shlex
import shutil
import textwrap
import types
from argparse import SUPPRESS, ArgumentError, ArgumentParser, BooleanOptionalAction, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from unmelt.cli import other_names
from unmelt.errors import UsageError, nearest

REQUIRED = inspect.Parameter.empty

KINDS = {int: "a whole number", float: "a number", Path: "a path", str: "a word", bool: "true or false"}
"""How the types of values are called."""

METAVARS = {int: "INT", float: "NUMBER", Path: "PATH", str: "TEXT"}
"""How the help calls values of each type."""

EXAMPLES = {
    "RUN": "runs/digits",
    "NAME": "owner/digits",
    "FILE": "draft.txt",
    "IMAGE": "photo.png",
    "ADAPTER": "style",
    "--folder": "path/to/data",
    "--out": "runs/new",
    "--ema-std": "0.05",
}
"""Values of required arguments, for corrected commands, by what a person is shown."""

LARGEST = 2**63 - 1
"""Largest whole number of an option but a seed."""

MOST_DIGITS = 400
"""Longer words are no numbers."""

NEGATIVE = re.compile(r"-[.\d]|-inf\b|-nan\b")
"""How negative numbers begin, which are values; argparse's own pattern has no exponents, infinities or nan."""


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
        bare: Whether it may stand without a value, which is True then.
    """

    name: str
    kind: Any
    many: bool
    positional: bool
    default: Any
    metavar: str
    bare: bool = False

    @property
    def shown(self) -> str:
        """How a person writes it."""
        return self.metavar if self.positional else f"--{self.name.replace('_', '-')}"

    @property
    def choices(self) -> dict[str, Any]:
        """Its values by their words, where it takes no others."""
        if self.kind is bool:
            return {"true": True, "false": False}
        return {str(each): each for each in get_args(self.kind)}

    @property
    def needed(self) -> str:
        """What its value must be."""
        return KINDS.get(self.kind) or f"one of {', '.join(self.choices)}"

    def read(self, text: str) -> Any:
        """Read one value.

        Args:
            text: What was given.

        Returns:
            The value.

        Raises:
            UsageError: If it is no value of the argument's type.
        """
        try:
            if self.choices:
                return self.choices[text.lower() if self.kind is bool else text]
            if "\0" in text or (self.kind in (int, float) and len(text) > MOST_DIGITS):
                raise ValueError
            value = self.kind(text)
            if self.kind is int and self.name != "seed" and abs(value) > LARGEST:
                raise ValueError
            return value
        except (KeyError, ValueError):
            given = f"{self.shown} {text if len(text) <= 60 else f'{text[:60]}...'}"
            raise UsageError(given, self.needed, self._corrected(text)) from None

    def _corrected(self, text: str) -> str:
        if self.kind is bool:
            return self.shown
        if self.choices:
            return f"{self.shown} {nearest(text, self.choices)}"
        example = self.default if isinstance(self.default, self.kind) else self.kind(4)
        shown = f"{example:g}" if self.kind is float else str(example)
        return shown if self.positional else f"{self.shown} {shown}"


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments that a command takes.

    Args:
        function: The command's function, or a dataclass of its options. A word in `Annotated` is the metavar.

    Returns:
        Arguments by name, in order.
    """
    return {p.name: _argument(p) for p in inspect.signature(function, eval_str=True).parameters.values()}


def _argument(parameter: inspect.Parameter) -> Argument:
    kind, metavar, bare = parameter.annotation, "", False
    positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    if get_origin(kind) is Annotated:
        kind, metavar = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):  # of a type and None
        bare = Literal[True] in get_args(kind)
        kind = next(each for each in get_args(kind) if each not in (types.NoneType, Literal[True]))
    many = get_origin(kind) is tuple
    kind = get_args(kind)[0] if many else kind
    metavar = metavar or (parameter.name.upper() if positional else METAVARS.get(kind, "NAME"))
    return Argument(parameter.name, kind, many, positional, parameter.default, metavar, bare)


def _parser(function: Callable[..., Any], prog: str, arguments: Sequence[Argument], add_help: bool) -> ArgumentParser:
    """The parser of some of a command's arguments. Values stay words, and what is not given stays out of its result."""
    width = max(40, min(shutil.get_terminal_size().columns, 120)) - 2
    about, helps = _docstring(inspect.getdoc(function) or "")
    needed = [one.shown + "..." * one.many for one in arguments if one.positional]
    needed += [f"{one.shown} {one.metavar}" for one in arguments if not one.positional and one.default is REQUIRED]
    parser = ArgumentParser(
        prog,
        usage=" ".join([prog, *needed, "[options]"]),
        description="\n\n".join(textwrap.fill(each, width) for each in about.split("\n\n")),
        formatter_class=lambda prog: RawDescriptionHelpFormatter(prog, max_help_position=22, width=width),
        argument_default=SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
        add_help=add_help,
    )
    parser._negative_number_matcher = NEGATIVE
    for one in arguments:
        said = _help(one, helps.get(one.name, ""))
        if one.kind is bool:
            parser.add_argument(one.shown, dest=one.name, help=said, action=BooleanOptionalAction)
        elif one.positional:
            parser.add_argument(one.name, help=said, metavar=one.metavar)
        else:
            many = "+" if one.many else "?" if one.bare else None
            bare: dict[str, Any] = {"const": True} if one.bare else {}
            parser.add_argument(one.shown, dest=one.name, help=said, metavar=one.metavar, nargs=many, **bare)
    return parser


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function, and of each of its arguments."""
    about, _, rest = text.partition("\n\nArgs:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.split(r"\n\n(?=\S)", rest)[0], re.MULTILINE)
    return re.split(r"\n\n(?:Returns|Raises):\n", about)[0], {name: " ".join(said.split()) for name, said in entries}


def _help(one: Argument, said: str) -> str:
    if get_origin(one.kind) is Literal:
        said += f" One of {', '.join(one.choices)}."
    if one.default is REQUIRED:
        said += " (required)"
    elif one.default is not None and "default:" not in said.lower():
        said += f" (default: {' '.join(map(str, one.default)) if one.many else one.default or repr(one.default)})"
    return said.strip().replace("%", "%%")


def parse(function: Callable[..., Any], prog: str, args: Sequence[str]) -> dict[str, Any]:
    """Read the arguments of a command; -h or --help prints its help and exits.

    Args:
        function: The command's function, or a dataclass of its options.
        prog: The command as a person types it, such as "unmelt sample".
        args: What follows it.

    Returns:
        Values by name, defaults included.

    Raises:
        UsageError: If an option is unknown, a value is missing or of the wrong type, or a required argument is missing.
    """
    known = arguments_of(function)
    if {"-h", "--help"} & set(args):
        print(_parser(function, prog, list(known.values()), add_help=True).format_help().rstrip())
        raise SystemExit(0)
    places = [one for one in known.values() if one.positional]
    options = {one.shown: one for one in known.values() if not one.positional}
    end = args.index("--") if "--" in args else len(args)
    words = [_spelled(options, str(word)) for word in args[:end]]
    try:
        found, loose = _parser(function, prog, list(options.values()), add_help=False).parse_known_args(words)
    except ArgumentError as problem:  # of a missing value: there is no other that argparse looks for here
        raise _without_value(options[str(problem.argument_name)], words) from None
    for word in filter(_is_option, loose):
        raise _unknown(word, options, prog, [*words, *args[end:]])
    given = vars(found)
    for one in options.values():
        if one.many and one.name in given:
            values = given[one.name]
            if len(loose) < len(places) or any(place.many for place in places):
                # in --steps 4 8 runs/faces, the last word belongs to a place that is still free
                values = list(takewhile(partial(_fits, one), values)) or values
            loose = sorted([*loose, *given[one.name][len(values) :]], key=words.index)
            given[one.name] = tuple(map(one.read, values))
        elif one.bare and one.name in given and given[one.name] is not True and len(loose) < len(places):
            loose.append(given[one.name])  # in --plan runs/faces, the word belongs to a place that is still free
            given[one.name] = True
        elif one.name in given and one.kind is not bool and given[one.name] is not True:
            given[one.name] = one.read(given[one.name])
    loose += args[end + 1 :]
    for one in places:
        if one.many:
            given[one.name], loose = tuple(map(one.read, loose)), []
        elif loose:
            given[one.name] = one.read(loose.pop(0))
    if loose:
        takes = " and ".join(one.metavar for one in places)
        required = [one for one in options.values() if one.default is REQUIRED and one.name not in given]
        named = [required[0].shown, loose[0]] if required and len(loose) == 1 else []
        rest = [word for word in words if word not in loose]
        needed = f"{takes}, and options" if takes else "options alone, each with its name"
        raise UsageError(f"{loose[0]!r} after {prog}", needed, _command(prog, [*named, *rest]))
    values = {name: one.default for name, one in known.items()} | given
    if missing := [one for name, one in known.items() if values[name] is REQUIRED]:
        raise _missing(missing, prog, args)
    return values


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


def _is_option(word: str) -> bool:
    """Whether a word names an option: it begins with a hyphen, and is neither a number nor a hyphen alone."""
    return word.startswith("-") and len(word) > 1 and not NEGATIVE.match(word)


def _fits(one: Argument, word: str) -> bool:
    try:
        one.read(word)
    except UsageError:
        return False
    return True


def _spelled(options: Mapping[str, Argument], word: str) -> str:
    """An option as argparse knows it: hyphens for underscores, and --no-flag for --flag=false."""
    name, equals, value = word.partition("=")
    name = name.replace("_", "-") if name.startswith("--") else name
    flag = name if name in options else name.replace("--no-", "--", 1)
    if equals and flag in options and options[flag].kind is bool:
        return flag if options[flag].read(value) == (flag == name) else f"--no-{flag[2:]}"
    return f"{name}{equals}{value}"


def _without_value(one: Argument, words: list[str]) -> UsageError:
    following = [words[at + 1 : at + 2] for at, word in enumerate(words) if word == one.shown]
    after = next((each[0] for each in following if each and _is_option(each[0])), "")
    given = f"{one.shown} without a value" + f", before {after}" * bool(after)
    if after and one.kind is str:
        return UsageError(given, f"{one.needed}; one that begins with - is written after =", f"{one.shown}={after}")
    return UsageError(given, one.needed)


def _missing(missing: Sequence[Argument], prog: str, args: Sequence[str]) -> UsageError:
    needed = ", ".join(f"{one.shown}{'' if one.positional else ' VALUE'} (required)" for one in missing)
    places = list(takewhile(lambda word: not _is_option(word), args)) if any(one.positional for one in missing) else []
    added: list[str] = []
    for one in missing:
        added += [*[one.shown][one.positional :], EXAMPLES.get(one.shown, one.metavar)]
    given = f"{prog} without {' and '.join(one.shown for one in missing)}"
    return UsageError(given, needed, _command(prog, [*places, *added, *args[len(places) :]]))


def _unknown(word: str, options: Mapping[str, Argument], prog: str, words: list[str]) -> UsageError:
    shown, equals, value = word.partition("=")
    name, known = shown.lstrip("-"), [each.removeprefix("--") for each in options]
    given = f"there is no option {shown} for {prog}"
    meant = other_names.option_named(name, known) or next(iter(difflib.get_close_matches(name, known, n=1)), None)
    if meant is None:
        return UsageError(given, f"one of {', '.join(options)}", f"{prog} --help")
    if name in other_names.EPOCHS and meant == "steps":
        return UsageError(given, "--steps: training is counted in steps, each on one batch", f"{prog} --help")
    corrected = [f"--{meant}{equals}{value}" if each == word else each for each in words]
    return UsageError(given, f"--{meant}", _command(prog, corrected))


def _command(prog: str, args: Sequence[str]) -> str:
    return f"{prog} {shlex.join(args)}".rstrip()
