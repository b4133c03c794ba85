"""Several modules of this package as one file that does not need the package.

Each module's text is kept as it is, comments included, after the modules that it imports. Imports of this package are
removed, those of other packages are gathered at the top. Shape annotations remain as text and are never evaluated. What
a module says of itself to the package, `publish(__name__)`, is removed too.
"""

import ast
import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType

from unmelt import public_names

UNNEEDED = ("__future__", "jaxtyping")
"""Packages that annotations alone ask for."""


def bundle(roots: Sequence[ModuleType], head: str) -> str:
    """Join modules and everything of this package that they import into one file.

    Args:
        roots: The modules.
        head: Docstring of the file.

    Returns:
        The file's text.
    """
    modules: dict[str, ModuleType] = {}
    for root in roots:
        _gather(root, modules)
    imports: set[str] = set()
    texts = [_text(module, imports) for module in modules.values()]
    first = f'"""{head}"""\n\nfrom __future__ import annotations\n'
    return "\n\n".join([first + "\n" + "\n".join(sorted(imports)), *texts]) + "\n"


def _gather(module: ModuleType, into: dict[str, ModuleType]) -> None:
    """Add to `into` what the module imports from this package, then the module itself."""
    if module.__name__ in into:
        return
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom) and _ours(node):
            for alias in node.names:
                source = importlib.import_module(str(node.module))
                part = getattr(source, alias.name)
                if part is not public_names.publish:
                    _gather(inspect.getmodule(part) or source, into)
    into[module.__name__] = module


def _ours(node: ast.ImportFrom) -> bool:
    return str(node.module).partition(".")[0] == __name__.partition(".")[0]


def _is_publish(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith(f"{public_names.publish.__name__}(")


def _text(module: ModuleType, imports: set[str]) -> str:
    """The module without imports and with its docstring as a comment; foreign imports are added to `imports`."""
    source = inspect.getsource(module)
    gone: set[int] = set()
    body = ast.parse(source).body
    for node in body:
        if not (isinstance(node, ast.Import | ast.ImportFrom) or _is_publish(node)):
            continue
        gone.update(range(node.lineno - 1, node.end_lineno or node.lineno))
        is_foreign = isinstance(node, ast.ImportFrom) and not _ours(node) and node.module not in UNNEEDED
        if isinstance(node, ast.Import) or is_foreign:
            imports.add(ast.unparse(node))
    about = inspect.getdoc(module) or ""
    gone.update(range((body[0].end_lineno or 1) if about else 0))
    title = f"# {module.__name__}".ljust(118, " ").rstrip()
    comment = "\n".join(f"# {line}".rstrip() for line in ["-" * 110, *about.splitlines()])
    rest = "\n".join(line for number, line in enumerate(source.splitlines()) if number not in gone)
    return f"{title}\n{comment}\n\n\n{rest.strip()}\n"
