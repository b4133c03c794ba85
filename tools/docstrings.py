"""Check that every public docstring of src/unmelt names every argument, what is returned and which mistakes are raised.

Ruff's D rules check the form of a docstring; this script checks its content, by parsing alone:

    classes       `Args:` lists every constructor argument (dataclass and NamedTuple fields are arguments, inherited
                  ones too), and `Raises:` is present where `__init__` or `__post_init__` raises UsageError; a class
                  that only inherits its constructor may leave `Args:` to the base class that documents it
    functions     `Args:` lists every argument; `Returns:` (or `Yields:`) is present where there are arguments and the
                  result is not None; `Raises:` is present where the body itself raises UsageError
    methods       the same; a method documented in a base class, or in a protocol that its class satisfies, is exempt

An `Args:` section must not name anything else. Names and modules with a leading underscore are private. Files that
pyproject.toml exempts from ruff's D rules are skipped here as well.

Usage: python tools/docstrings.py [FILE ...]    checks these files even if they are exempt; without any, all others
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "unmelt"
SECTIONS = r"Args|Returns|Yields|Raises|Attributes|Example|Examples|Note|Notes|Warning|References|See Also"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Class:
    """A class of the package, with what the check needs to know of it."""

    node: ast.ClassDef
    bases: tuple[str, ...]
    methods: dict[str, Function] = field(default_factory=dict)
    fields: tuple[str, ...] = ()  # annotated in the body, in order
    attributes: frozenset[str] = frozenset()  # assigned to self in __init__ or in the class body

    @property
    def is_protocol(self) -> bool:
        return "Protocol" in self.bases

    @property
    def is_record(self) -> bool:
        decorators = {_name(d.func if isinstance(d, ast.Call) else d) for d in self.node.decorator_list}
        return "dataclass" in decorators or "NamedTuple" in self.bases


def _name(node: ast.expr) -> str:
    """The last part of a dotted name, without its subscript."""
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_field(statement: ast.stmt) -> bool:
    """Whether a statement in a class body declares a constructor argument of a dataclass."""
    if not isinstance(statement, ast.AnnAssign) or _name(statement.annotation) in ("ClassVar", "KW_ONLY"):
        return False
    value = statement.value
    settings = value.keywords if isinstance(value, ast.Call) and _name(value.func) == "field" else []
    return not any(s.arg == "init" and isinstance(s.value, ast.Constant) and s.value.value is False for s in settings)


def _describe(node: ast.ClassDef) -> Class:
    methods = {s.name: s for s in node.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)}
    annotated = [s for s in node.body if isinstance(s, ast.AnnAssign)]
    assigned = [t for s in node.body if isinstance(s, ast.Assign) for t in s.targets] + [s.target for s in annotated]
    if "__init__" in methods:
        inside = [s for s in ast.walk(methods["__init__"]) if isinstance(s, ast.Assign | ast.AnnAssign)]
        targets = [t for s in inside for t in (s.targets if isinstance(s, ast.Assign) else [s.target])]
        assigned += [part for t in targets for part in (t.elts if isinstance(t, ast.Tuple) else [t])]
    return Class(
        node,
        tuple(_name(base) for base in node.bases),
        methods,
        tuple(_name(s.target) for s in annotated if _is_field(s)),
        frozenset(filter(None, map(_name, assigned))),
    )


class Package:
    """All classes of the package by name, and what they inherit."""

    def __init__(self, trees: Sequence[ast.Module]) -> None:
        found = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        self.classes: dict[str, list[Class]] = {}
        for node in found:
            self.classes.setdefault(node.name, []).append(_describe(node))
        self.protocols = [c for same in self.classes.values() for c in same if c.is_protocol]

    def parents(self, cls: Class) -> list[Class]:
        """The base classes of `cls` that are in the package, nearest first."""
        nearest = [base for name in cls.bases for base in self.classes.get(name, []) if base.node is not cls.node]
        return nearest + [further for base in nearest for further in self.parents(base)]

    def arguments(self, cls: Class) -> list[str]:
        """The arguments of the constructor of `cls`."""
        if cls.is_protocol:
            return []
        if "__init__" in cls.methods:
            return _arguments(cls.methods["__init__"])[1:]
        inherited = [name for base in self.parents(cls)[:1] for name in self.arguments(base)]
        own = [name for name in cls.fields if not name.startswith("_")] if cls.is_record else []
        return inherited + [name for name in own if name not in inherited]

    def has_documented_constructor_above(self, cls: Class) -> bool:
        """Whether `cls` inherits its constructor unchanged, and a base class documents the arguments."""
        if "__init__" in cls.methods or (cls.is_record and cls.fields):
            return False
        arguments = self.arguments(cls)
        listed = [_listed(_sections(ast.get_docstring(b.node) or "").get("Args", "")) for b in self.parents(cls)]
        return any(set(arguments) <= set(names) for names in listed)

    def is_documented_above(self, cls: Class, method: str) -> bool:
        """Whether a base class documents this method, or a protocol whose members and argument names `cls` has."""
        family = [cls, *self.parents(cls)]
        members = {name for one in family for name in (*one.methods, *one.attributes)}
        arguments = _arguments(cls.methods[method])
        protocols = [
            p
            for p in self.protocols
            if p.node is not cls.node
            and {*p.methods, *p.attributes} <= members
            and (method not in p.methods or _arguments(p.methods[method]) == arguments)
        ]
        return any(method in c.methods and ast.get_docstring(c.methods[method]) for c in (*family[1:], *protocols))


def _arguments(function: Function) -> list[str]:
    """The names of all arguments, in order."""
    a = function.args
    every = [*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs, *([a.kwarg] if a.kwarg else [])]
    return [argument.arg for argument in every]


def _sections(docstring: str) -> dict[str, str]:
    """The text of each section of a Google-style docstring."""
    parts = re.split(rf"^({SECTIONS}):[ ]*$", docstring, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _listed(section: str) -> list[str]:
    """The names that an `Args:` section describes."""
    return re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", section, flags=re.MULTILINE)


def _own_statements(function: Function) -> Iterator[ast.AST]:
    """All nodes of a body except those of functions and classes defined inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        inside = ast.iter_child_nodes(node)
        waiting += [n for n in inside if not isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]


def _raises(function: Function | None) -> bool:
    """Whether the body itself raises UsageError."""
    raised = [n.exc for n in _own_statements(function) if isinstance(n, ast.Raise)] if function else []
    return any(isinstance(exc, ast.Call) and _name(exc.func) == "UsageError" for exc in raised)


def _decorators(function: Function) -> set[str]:
    return {_name(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list}


def _returns(function: Function) -> bool:
    """Whether the annotation says that something comes back."""
    annotation = ast.unparse(function.returns) if function.returns else "None"
    return annotation not in ("None", "NoReturn", "Never", "Iterator[None]", "Generator[None]")


def _check(docstring: str | None, arguments: list[str], returns: bool, raises: bool) -> Iterator[str]:
    """What is wrong with the docstring of something with these arguments."""
    if docstring is None:
        yield "no docstring"
        return
    sections = _sections(docstring)
    listed = _listed(sections.get("Args", ""))
    missing = [name for name in arguments if name not in listed and not name.startswith("_")]
    if missing:
        yield f"Args: lacks {', '.join(missing)}"
    strange = [name for name in listed if name not in arguments]
    if strange:
        yield f"Args: names {', '.join(strange)}, which it does not take"
    if returns and arguments and not {"Returns", "Yields"} & sections.keys():
        yield "no Returns:"
    if raises and "Raises" not in sections:
        yield "raises UsageError, no Raises:"


def _check_function(function: Function, owner: str = "") -> Iterator[tuple[int, str]]:
    decorators = _decorators(function)
    if {"overload", "setter"} & decorators:
        return
    arguments = _arguments(function)[1 if owner and "staticmethod" not in decorators else 0 :]
    for problem in _check(ast.get_docstring(function), arguments, _returns(function), _raises(function)):
        yield function.lineno, f"{owner}{function.name}: {problem}"


def _check_class(cls: Class, package: Package) -> Iterator[tuple[int, str]]:
    name = cls.node.name
    raises = any(_raises(cls.methods.get(method)) for method in ("__init__", "__post_init__"))
    docstring, arguments = ast.get_docstring(cls.node), package.arguments(cls)
    if "Args" not in _sections(docstring or "") and package.has_documented_constructor_above(cls):
        arguments = []
    for problem in _check(docstring, arguments, False, raises):
        yield cls.node.lineno, f"{name}: {problem}"
    for method, function in cls.methods.items():
        is_public = method == "__call__" or not method.startswith("_")
        if is_public and not package.is_documented_above(cls, method):
            yield from _check_function(function, f"{name}.")


def problems(tree: ast.Module, package: Package) -> Iterator[tuple[int, str]]:
    """The line and the description of everything that is wrong in one file.

    Args:
        tree: The parsed file.
        package: The classes of the whole package, for what is inherited.

    Yields:
        (line, message), in the order of the file.
    """
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _check_class(_describe(node), package)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield from _check_function(node)


def _is_exempt(path: str, patterns: Sequence[str]) -> bool:
    private = any(part.startswith("_") and not part.startswith("__") for part in Path(path).parts)
    return private or any(fnmatch(path, pattern) for pattern in patterns)


def main(chosen: Sequence[str]) -> int:
    """Print every problem as `file:line: message`.

    Args:
        chosen: Files to check; none checks all that pyproject.toml does not exempt from ruff's D rules.

    Returns:
        The exit code: 1 if there is a problem, else 0.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"][
        "per-file-ignores"
    ]
    exempt = [pattern for pattern, rules in settings.items() if "D" in rules and not pattern.startswith("!")]
    trees = {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    package = Package(list(trees.values()))
    wanted = {Path(path).resolve().relative_to(ROOT).as_posix() for path in chosen}
    count = 0
    for path, tree in trees.items():
        if path in wanted or not (wanted or _is_exempt(path, exempt)):
            for line, message in problems(tree, package):
                print(f"{path}:{line}: {message}")
                count += 1
    if count:
        print(f"{count} problems in public docstrings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
