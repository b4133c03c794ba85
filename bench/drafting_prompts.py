"""Prompts of three kinds that no download is needed for: source code, prose and questions in a chat.

    code    Python's standard library, a module each, without what stands before its first import or definition
    prose   the language reference as pydoc prints it, a topic each
    chat    questions in the verifier's own chat format, where it has one

A file gives one prompt. Files that a drafter learned from can be left out (`learned`).
"""

import ast
import itertools
import sys
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SUBJECTS = ("rain", "a mortgage", "photosynthesis", "the moon", "sleep", "a hash table", "glass", "inflation", "bees")
SUBJECTS += ("tides", "bread", "a vaccine", "chess")
QUESTIONS = (
    "What is {}?",
    "Explain {} to a child of ten.",
    "Give me three facts about {}.",
    "Write a short story about {}.",
    "What do most people get wrong about {}?",
)


def code(encode: Callable[[str], list[int]], tokens: int, learned: Collection[str] = ()) -> list[list[int]]:
    """Prompts of source code."""
    found = []
    for name in sorted(sys.stdlib_module_names):
        spec = None if name.startswith("_") or name in ("this", "antigravity") else find_spec(name)
        path = Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
        if path is None or path.name in learned:
            continue
        source = path.read_text(encoding="utf-8", errors="replace")
        row = encode(_without_head(source))
        if len(row) > 2 * tokens:
            found.append(row[tokens // 2 : tokens // 2 + tokens])
    return found


def _without_head(source: str) -> str:
    """The source from its first definition on: licences and imports are alike in many files."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return "".join(source.splitlines(keepends=True)[node.lineno - 1 :])
    return source


def prose(encode: Callable[[str], list[int]], tokens: int, learned: Collection[str] = ()) -> list[list[int]]:
    """Prompts of prose."""
    from pydoc_data.topics import topics

    rows = [encode(text) for name, text in sorted(topics.items()) if name not in learned]
    return [row[tokens // 2 : tokens // 2 + tokens] for row in rows if len(row) > 2 * tokens]


def chat(tokenizer: Any, encode: Callable[[str], list[int]]) -> list[list[int]]:
    """Prompts that ask something."""
    found = []
    for question, subject in itertools.product(QUESTIONS, SUBJECTS):
        said = [{"role": "user", "content": question.format(subject)}]
        text = (
            tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
            if tokenizer.chat_template
            else said[0]["content"] + "\n"
        )
        found.append(encode(text))
    return found


def repeats(prompt: list[int], written: list[int], n: int = 4, share: float = 0.5) -> bool:
    """Whether at least this share of the n-grams of a text stood in it, or in its prompt, before."""
    text, seen, again = prompt + written, set(), 0
    for at in range(len(text) - n + 1):
        gram = tuple(text[at : at + n])
        again += gram in seen and at >= len(prompt)
        seen.add(gram)
    return again >= share * max(1, len(written) - n + 1)
