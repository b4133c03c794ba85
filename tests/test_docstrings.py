"""The check of public docstrings: what it asks for, and what it lets pass."""

import ast
import importlib.util
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "docstrings.py"
    spec = importlib.util.spec_from_file_location("unmelt_tools_docstrings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def messages(check: ModuleType, source: str) -> list[str]:
    tree = ast.parse(dedent(source))
    return [message for _, message in check.problems(tree, check.Package([tree]))]


def test_a_function_must_document_arguments_result_and_error(check: ModuleType) -> None:
    source = '''
    def half(x, y) -> int:
        """Half of x."""
        if x % 2:
            raise UsageError("odd x", "an even number")
        return x // 2
    '''
    assert messages(check, source) == [
        "half: Args: lacks x, y",
        "half: no Returns:",
        "half: raises UsageError, no Raises:",
    ]


def test_a_complete_docstring_passes_and_private_names_are_not_checked(check: ModuleType) -> None:
    source = '''
    def half(x: int, *others: int) -> int:
        """Half of x.

        Args:
            x: An even number.
            *others: Ignored.

        Returns:
            x / 2.
        """

    def _private(x): ...
    '''
    assert messages(check, source) == []


def test_an_argument_that_no_longer_exists_is_reported(check: ModuleType) -> None:
    source = '''
    def run(x: int) -> None:
        """Run.

        Args:
            x: A number.
            y: Renamed to x.
        """
    '''
    assert messages(check, source) == ["run: Args: names y, which it does not take"]


def test_inherited_dataclass_fields_are_arguments(check: ModuleType) -> None:
    source = '''
    @dataclass(frozen=True)
    class Base:
        """A base.

        Args:
            first: A number.
        """

        first: int

    @dataclass(frozen=True)
    class Derived(Base):
        """A derived class.

        Args:
            second: A number.
        """

        second: int
        computed: int = field(init=False)
    '''
    assert messages(check, source) == ["Derived: Args: lacks first"]


def test_an_inherited_constructor_may_be_documented_by_the_base_class(check: ModuleType) -> None:
    source = '''
    class Base:
        """A base.

        Args:
            first: A number.
        """

        def __init__(self, first: int) -> None: ...

    class Same(Base):
        """A derived class with the same constructor."""

    class Other(Base):
        """A derived class with a constructor of its own."""

        def __init__(self, first: int, second: int) -> None: ...
    '''
    assert messages(check, source) == ["Other: Args: lacks first, second"]


def test_a_method_documented_by_a_base_class_or_a_protocol_needs_no_docstring(check: ModuleType) -> None:
    source = '''
    class Encoder(Protocol):
        """An encoder."""

        def encode(self, x) -> int:
            """Encode.

            Args:
                x: A number.

            Returns:
                Its code.
            """

    class Structural:
        """An encoder that does not inherit."""

        def encode(self, x) -> int: ...

    class OtherArguments:
        """Not an encoder."""

        def encode(self, x, y) -> int: ...
    '''
    assert messages(check, source) == ["OtherArguments.encode: no docstring"]
