"""Several modules of this package as one file that needs none of it.

Each module's text stands as it is, comments and all, after those that it imports from; its imports of this package are
gone, those of others are gathered at the top. Shapes in the annotations stay to be read; they are never evaluated.
"""

import ast
import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType

UNNEEDED = ("__future__", "jaxtyping")
"""Packages that annotations alone ask for."""


def bundle(roots: Sequence[ModuleType], head: str) -> str:
    """One file of everything that these modules need, under a docstring."""
    modules: dict[str, ModuleType] = {}
    for root in roots:
        _gather(root, modules)
    imports: set[str] = set()
    texts = [_text(module, imports) for module in modules.values()]
    first = f'"""{head}"""\n\nfrom __future__ import annotations\n'
    return "\n\n".join([first + "\n" + "\n".join(sorted(imports)), *texts]) + "\n"


def _gather(module: ModuleType, into: dict[str, ModuleType]) -> None:
    """What the module imports from this package, before the module itself."""
    if module.__name__ in into:
        return
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom) and _ours(node):
            for alias in node.names:
                source = importlib.import_module(str(node.module))
                _gather(inspect.getmodule(getattr(source, alias.name)) or source, into)
    into[module.__name__] = module


def _ours(node: ast.ImportFrom) -> bool:
    return str(node.module).partition(".")[0] == __name__.partition(".")[0]


def _text(module: ModuleType, imports: set[str]) -> str:
    """The module without its imports, those of others being added to `imports`; its docstring becomes a comment."""
    source = inspect.getsource(module)
    gone: set[int] = set()
    body = ast.parse(source).body
    for node in body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        gone.update(range(node.lineno - 1, node.end_lineno or node.lineno))
        if isinstance(node, ast.Import) or (not _ours(node) and node.module not in UNNEEDED):
            imports.add(ast.unparse(node))
    about = inspect.getdoc(module) or ""
    gone.update(range((body[0].end_lineno or 1) if about else 0))
    title = f"# {module.__name__}".ljust(118, " ").rstrip()
    comment = "\n".join(f"# {line}".rstrip() for line in ["-" * 110, *about.splitlines()])
    rest = "\n".join(line for number, line in enumerate(source.splitlines()) if number not in gone)
    return f"{title}\n{comment}\n\n\n{rest.strip()}\n"
