"""Text from a file, a folder of files or JSON lines, and rows of tokens made of it.

    books/*.txt  notes/**/*.md      one document for each file; names that start with a dot are ignored
    corpus.jsonl                    one document for each line, in the column `text`

Files that are not text are counted and named in a report; they do not end a run. Documents are concatenated, each
followed by an end token, and cut into rows of equal length; only the last row is padded.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unmelt.data.source import Arrays
from unmelt.errors import UsageError
from unmelt.rng import fold

MANY = 5
"""Files that a report names before it only counts."""


class Document(NamedTuple):
    """A text and its name.

    Args:
        name: Path of its file, with the line number for JSON lines.
        text: The text.
    """

    name: str
    text: str


class TextReport(NamedTuple):
    """How much text was found, and which files were refused.

    Args:
        documents: Number of documents.
        characters: Number of characters in all of them.
        refused: Name and reason of every file or line that was left out.
    """

    documents: int
    characters: int
    refused: tuple[str, ...]

    def __str__(self) -> str:
        found = f"{self.documents} documents, {self.characters:,} characters"
        if not self.refused:
            return found
        names = "; ".join(self.refused[:MANY]) + (" ..." if len(self.refused) > MANY else "")
        return f"{found}; {len(self.refused)} left out ({names})"


def documents(path: str | Path, column: str = "text") -> tuple[list[Document], TextReport]:
    """Read every document of a file or folder, in a fixed order.

    Args:
        path: A text file, a .jsonl file, or a folder of such files at any depth.
        column: Column of the text in JSON lines.

    Returns:
        (documents, report).

    Raises:
        UsageError: If there is nothing at the path or no text in it.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"there is nothing at {path}", "a file, a folder of text, or JSON lines", "folder=books")
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if _is_document(each, path))
    found: list[Document] = []
    refused: list[str] = []
    for file in files:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        lines = _lines(file, name, column) if file.suffix in (".jsonl", ".ndjson") else _whole(file, name)
        for each in lines:
            if isinstance(each, Document):
                found.append(each)
            else:
                refused.append(each)
    if not found:
        why = "; ".join(refused[:MANY]) or "no files"
        raise UsageError(f"no text in {path} ({why})", "UTF-8 text that is not empty", "a folder of .txt files")
    return found, TextReport(len(found), sum(len(each.text) for each in found), tuple(refused))


def _is_document(file: Path, top: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(top).parts)


def _whole(file: Path, name: str) -> Iterator[Document | str]:
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError:
        yield f"{name} is not UTF-8 text"
    except OSError as error:
        yield f"{name} cannot be read ({error.strerror})"
    else:
        if "\0" in text:
            yield f"{name} is binary"
        elif not text.strip():
            yield f"{name} is empty"
        else:
            yield Document(name, text)


def _lines(file: Path, name: str, column: str) -> Iterator[Document | str]:
    for whole in _whole(file, name):
        if isinstance(whole, str):
            yield whole
            return
        for number, line in enumerate(whole.text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                text = row[column] if isinstance(row, dict) else None
            except (ValueError, KeyError):
                text = None
            at = f"{name}:{number}"
            good = isinstance(text, str) and bool(text.strip())
            yield Document(at, text) if good else f"{at} has no text in {column!r}"  # type: ignore[arg-type]


def split_documents(found: list[Document], held_out: float, seed: int = 0) -> tuple[list[Document], list[Document]]:
    """Split documents into a training and a held-out part, at least one document on each side.

    The split depends only on the documents' number and the seed. A single document is cut: its end is held out.

    Args:
        found: The documents.
        held_out: The held-out share, between 0 and 1.
        seed: Seed of the split.

    Returns:
        (the rest, the held-out documents).

    Raises:
        UsageError: If the share is not between 0 and 1.
    """
    if not 0 < held_out < 1:
        raise UsageError(f"held_out={held_out}", "a share between 0 and 1", "held_out=0.1")
    if len(found) == 1:
        name, text = found[0]
        cut = max(1, min(len(text) - 1, round(len(text) * (1 - held_out))))
        return [Document(name, text[:cut])], [Document(f"{name} (its end)", text[cut:])]
    order = sorted(range(len(found)), key=lambda number: fold(seed, number))
    held_out_numbers = set(order[: max(1, min(len(found) - 1, round(held_out * len(found))))])
    rest = [each for number, each in enumerate(found) if number not in held_out_numbers]
    return rest, [found[number] for number in sorted(held_out_numbers)]


def pack_tokens(texts: Iterable[str], tokenizer: Any, length: int, seed: int = 0) -> Arrays:
    """Concatenate texts, each followed by an end token, and cut the tokens into rows.

    Args:
        texts: The texts.
        tokenizer: The tokenizer, with the special tokens "end" and "padding".
        length: Tokens in a row.
        seed: Seed of the order in which rows come.

    Returns:
        A source of rows [length]; only the last one is padded.

    Raises:
        UsageError: If the length is less than 1.
    """
    if length < 1:
        raise UsageError(f"length={length}", "at least one token", "length=256")
    tokens: list[int] = []
    for text in texts:
        tokens += [*tokenizer.encode(text), tokenizer.special("end")]
    tokens += [tokenizer.special("padding")] * (-len(tokens) % length)
    return Arrays(torch.tensor(tokens).view(-1, length), seed=seed)
