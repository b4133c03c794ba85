"""Decorators that check a call against the signature of what is called, so that a mistake is one sentence.

    @checked("model.sample")                     functions and methods
    @checked_init("um.process.Gaussian")         classes whose constructor takes parts

An unknown name is answered with the name it has here; a value that the annotation does not allow with one that it does;
a part that is called by a word ("ddim") with the call that makes it. Numbers of numpy become Python's.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar, get_args, is_typeddict

from torch import Tensor

from unmelt.arguments import names
from unmelt.arguments.parts import call_of
from unmelt.arguments.values import MISMATCH, alternatives, converted, needed, number_types, part_class, shown
from unmelt.errors import UsageError, nearest

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

EXAMPLES = {
    "rows": "16",
    "steps": "20",
    "grid": "um.grid.karras(20)",
    "sampler": "um.sampler.DDIM()",
    "seed": "0",
    "strength": "0.5",
    "guidance": "2.0",
    "folder": "'path/to/folder'",
    "out": "'runs/faces'",
    "interval": "(0.1, 0.9)",
    "shape": "(2,)",
    "device": "'cpu'",
    "label": "3",
    "modes": "6",
    "radius": "2.0",
    "sd": "0.1",
    "process": "um.process.Gaussian(um.schedule.Cosine())",
    "top_p": "0.9",
    "length": "64",
    "beta_min": "0.1",
    "beta_max": "20.0",
    "dtype": "torch.float32",
    "prompt": "'The sea'",
    "suffix": "'the end.'",
    "texts": "['some text']",
    "samples": "1000",
    "path": "'samples.png'",
    "ema_std": "0.1",
}
"""A value for arguments that have no default to show."""

NEEDED = {
    "label": "a class by number or by name, or one for each row",
    "seed": "a whole number, or one for each row",
    "grid": "a Grid object, or steps",
}
DENOISER = "a Denoiser object: it has a `process`, is called with (x_t, t, condition) and returns a posterior"
"""What arguments need whose annotation says it less well."""

KEYWORDS = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature(NamedTuple):
    """What a call takes.

    Args:
        of: Its signature.
        hints: The annotation of each argument, those of a `**settings` among them.
        keywords: Names that may be given.
    """

    of: inspect.Signature
    hints: dict[str, Any]
    keywords: tuple[str, ...]


def _signature(function: Callable[..., Any]) -> Signature:
    """The signature of a function with resolved annotations; one that cannot be resolved accepts everything."""
    inner = inspect.unwrap(function)
    space = getattr(inner, "__globals__", {}) | vars(sys.modules.get(inner.__module__, sys))
    signature, keywords = inspect.signature(function), list[str]()
    hints: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        hint = _resolved(parameter.annotation, space)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            table = get_args(hint)[0] if get_args(hint) else None
            if is_typeddict(table):
                own = vars(sys.modules[table.__module__])
                hints |= {name: _resolved(one, own) for name, one in table.__annotations__.items()}
                keywords += list(table.__annotations__)
        else:
            hints[parameter.name] = hint
            keywords += [parameter.name] if parameter.kind in KEYWORDS else []
    return Signature(signature, hints, tuple(name for name in keywords if name not in ("self", "cls")))


def _resolved(annotation: Any, space: Mapping[str, Any]) -> Any:
    annotation = getattr(annotation, "__forward_arg__", annotation)
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(space))  # our own source text, as typing.get_type_hints evaluates it
    except Exception:  # a name that only a type checker imports
        return Any


def checked(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator of a function or method: check the arguments of every call.

    Args:
        call: What a user writes to call it, such as "model.sample".

    Returns:
        The decorator; the decorated function has the same signature, annotations and docstring.

    Raises:
        UsageError: By the decorated function, if an argument is unknown, missing or not what its annotation allows.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known: list[Signature] = []  # made by the first call: annotations may name what is imported later

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if not known:
                known.append(_signature(function))
            bound = _bind(call, known[0], args, kwargs)
            return function(*bound.args, **bound.kwargs)

        return wrapper

    return decorate


def checked_init(call: str) -> Callable[[C], C]:
    """Decorator of a class: check the arguments of its constructor.

    Args:
        call: What a user writes to make one, such as "um.process.Gaussian".

    Returns:
        The decorator, which returns the class itself.
    """

    def decorate(cls: C) -> C:
        checked_constructor = checked(call)(cls.__init__)  # type: ignore[misc]
        cls.__init__ = checked_constructor  # type: ignore[misc]
        return cls

    return decorate


def _bind(call: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments of a call by name, their values as the annotations ask for them."""
    for name in kwargs:
        if name not in signature.keywords:
            raise _unknown(call, signature, name, args, kwargs)
    try:
        bound = signature.of.bind_partial(*args, **kwargs)
    except TypeError:
        raise _too_many(call, signature, args, kwargs) from None
    for name, value in bound.arguments.items():
        if isinstance(value, dict) and signature.of.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            bound.arguments[name] = {key: _value(call, signature, key, one) for key, one in value.items()}
        else:
            bound.arguments[name] = _value(call, signature, name, value)
    required = [name for name, p in signature.of.parameters.items() if p.default is p.empty and p.kind in KEYWORDS]
    if missing := [name for name in required if name not in bound.arguments]:
        raise UsageError(
            f"{call} was not given its {_listed(missing)}",
            f"{call} needs {'it' if len(missing) == 1 else 'them'}",
            _corrected(call, signature, args, kwargs, {name: EXAMPLES[name] for name in missing if name in EXAMPLES}),
        )
    return bound


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _unknown(call: str, signature: Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> UsageError:
    """The mistake of a name that the call does not take."""
    given, value = f"{call} has no argument {name!r}", kwargs[name]
    accepted = _accepted(signature, args)
    here = names.rename(name, accepted)
    if here is not None and here != name:
        differs = names.difference(name, here)
        called = f"{name} is called {here} here{f', {differs}' if differs else ''}"
        suggested = EXAMPLES.get(here, "...") if differs else _suggested(signature, here, value)
        if differs and here == "label" and (classes := getattr(args[0], "classes", ())):
            suggested = repr(classes[0])
        return UsageError(given, called, _corrected(call, signature, args, kwargs, {here: suggested}))
    if (other := names.elsewhere(name)) is not None:
        return UsageError(given, *other)
    if (meant := names.misspelt(name, accepted)) is not None:
        suggested = _corrected(call, signature, args, kwargs, {meant: "..."})
        return UsageError(given, f"one of {', '.join(accepted)}", suggested)
    return UsageError(given, f"one of {', '.join(accepted)}" if accepted else "none at all", f"help({call})")


def _accepted(signature: Signature, args: tuple[Any, ...]) -> list[str]:
    """The names that a call takes, without those that its model can do nothing with."""
    useless = getattr(args[0], "unused_arguments", ()) if args else ()
    return [name for name in signature.keywords if name not in useless]


def _suggested(signature: Signature, name: str, value: Any) -> str:
    """A value that was given under another name, or one that the argument takes."""
    fits = converted(signature.hints.get(name, Any), value) is not MISMATCH and len(shown(value)) < 40
    return shown(value) if fits and isinstance(value, int | float | str) else _example(signature, name, value)


def _corrected(
    call: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], changed: Mapping[str, str]
) -> str:
    """The call with some arguments changed, what else was given kept, and what it cannot do without."""
    parameters = [p for p in signature.of.parameters.values() if p.name not in ("self", "cls")]
    own = len(signature.of.parameters) - len(parameters)
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = dict(zip(positional, args[own:], strict=False))
    written = [_written(name, value) for name, value in given.items() if name not in changed]
    takes = {p.name for p in parameters if p.default is p.empty and p.kind in KEYWORDS}
    named: dict[str, str] = {}
    for name in [*(name for name in signature.keywords if name in takes), *kwargs]:
        if name in given or name in changed or name in named or name not in signature.keywords:
            continue
        if name in kwargs:
            named[name] = _written(name, kwargs[name])
        elif call != "model." + call.rpartition(".")[2]:
            named[name] = EXAMPLES.get(name, name)
    for name, value in kwargs.items():  # another of their names
        here = None if name in signature.keywords else names.rename(name, _accepted(signature, args))
        if here is not None and here not in {*given, *changed, *named} and not names.difference(name, here):
            named[here] = _suggested(signature, here, value)
    for name in [name for name in positional[len(given) :] if named.get(name) == name]:
        written.append(named.pop(name))
    return f"{call}({', '.join([*written, *(f'{name}={text}' for name, text in {**named, **changed}.items())])})"


def _written(name: str, value: Any) -> str:
    """A given value as it is written in a call: itself if that is short, else the argument's name."""
    value = str(value) if isinstance(value, Path) else value
    text = shown(value)
    return name if isinstance(value, type | Tensor) or text.startswith("<") else text


def _too_many(call: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> UsageError:
    """The mistake of arguments without names where names are needed, or given twice."""
    positional = [
        name
        for name, p in signature.of.parameters.items()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and name not in ("self", "cls")
    ]
    if twice := [name for name in positional if name in kwargs]:
        return UsageError(f"{call} was given its {twice[0]} twice", "it once", f"{call}({twice[0]}=...)")
    rest = [name for name in signature.keywords if name not in positional and name not in kwargs]
    own = len(signature.of.parameters) - len([name for name in signature.of.parameters if name not in ("self", "cls")])
    extra = args[own + len(positional) :]
    named = {name: _suggested(signature, name, value) for name, value in zip(rest, extra, strict=False)}
    return UsageError(
        f"{call} was given too many arguments without names",
        f"names for all{f' after {positional[-1]}' if positional else ''}",
        _corrected(call, signature, args, kwargs, named),
    )


def _value(call: str, signature: Signature, name: str, value: Any) -> Any:
    """One argument as its annotation asks for it."""
    hint = signature.hints.get(name, Any)
    found = converted(hint, value)
    if found is not MISMATCH:
        return found
    if (method := call.rpartition(".")[2]) and call.startswith("um.") and callable(getattr(value, method, None)):
        model = type(value).__name__
        raise UsageError(f"a {model} as the {name} of {call}", f"the {model}'s own {method}", f"model.{method}(16)")
    if name == "denoiser" and call in ("um.sample", "um.trajectory") and isinstance(value, str | Path):
        instead = f"um.load({str(value)!r}).{method}(16)"
    else:
        instead = f"{name}={_example(signature, name, value)}"
    said = NEEDED.get(name) if len(alternatives(hint)) > 1 else None
    if said is None and getattr(part_class(hint), "__name__", "") == "Denoiser":
        said = DENOISER
    raise UsageError(f"{name}={shown(value)}", said or needed(hint), instead)


def _example(signature: Signature, name: str, value: Any) -> str:
    """A value that the argument takes, as close as can be to the one that was given."""
    hint = signature.hints.get(name, Any)
    members = alternatives(hint)
    if isinstance(value, float | str) and {int, float} & set(members):
        with contextlib.suppress(ValueError, OverflowError):
            return repr(float(value)) if float in members else str(int(float(value)))
    if type(value).__name__ == "Generator" and hasattr(value, "initial_seed"):
        return "generator.initial_seed()"
    if name not in EXAMPLES and any(number_types(member) for member in members):
        return f"{name}.float()" if isinstance(value, Tensor) else f"torch.tensor({name})"
    for cls in filter(None, map(part_class, members)):
        made = None if int in members else _of_model(cls, value) or call_of(cls.__name__, _word(value))
        if made is not None:
            return made.replace("(20)", f"({value})") if type(value) is int and value > 0 else made
    literal = [one for member in members for one in get_args(member) if isinstance(one, str)]
    if literal and isinstance(value, str):
        return repr(nearest(value, literal))
    parameter = signature.of.parameters.get(name)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    if isinstance(default, int | float | str) and default != "":
        return repr(default)
    return EXAMPLES.get(name) or (repr(literal[0]) if literal else "...")


def _word(value: Any) -> str:
    """What a value is called that was given for a part."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, int | float):
        return ""
    if isinstance(value, list | tuple) or hasattr(value, "ndim"):
        return "fixed"  # the times of a grid
    return str(getattr(value, "__name__", type(value).__name__))


def _of_model(cls: type, value: Any) -> str | None:
    """Where a denoiser is to be had, if a model or the folder of one was given for it."""
    if cls.__name__ != "Denoiser":
        return None
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        return f"um.load({str(value)!r}).denoiser"
    is_network = not hasattr(value, "denoiser") and callable(value) and hasattr(value, "state_dict")
    return "um.denoiser.NetworkDenoiser(network, process, prediction, shape)" if is_network else None
