"""Text from a file, a folder of files or JSON lines, and rows of tokens made of it.

    books/*.txt  notes/**/*.md      one document for each file; names that start with a dot are ignored
    corpus.jsonl                    one document for each line, in the column `text`

A byte-order mark is no part of a text. Files that are not text, and links that lead out of the folder, are counted and
named in a report; they do not end a run. Documents are concatenated, each followed by an end token, and cut into rows
of equal length; only the last row is padded.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unmelt.data import files
from unmelt.data.encoded_text import decoded, json_lines, printable
from unmelt.data.source import Arrays
from unmelt.data.split import SplitBy, check_split, content_key, held_out_by_content, held_out_by_position
from unmelt.errors import UsageError
from unmelt.near_path import not_data

MANY = 5
"""Files that a report names before it only counts."""

MOST_TOKENS = 1 << 17
"""Tokens that a row may have: with a vocabulary of 2048, the predictions for one row are 1 GB then."""

LARGEST = 1 << 30
"""Bytes that one file of text may have."""


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
    path = Path(path).expanduser()
    if (wrong := not_data(path, "books")) is not None:
        given, instead = wrong
        raise UsageError(given, "a file, a folder of text, or JSON lines", instead)
    if not path.is_file() and not path.is_dir():
        raise UsageError(
            f"{path} is neither a file nor a folder", "a file, a folder of text, or JSON lines", "folder='books'"
        )
    top = path if path.is_dir() else None
    every, skipped = files.walk(path) if top else files.Folder([path], [])
    found: list[Document] = []
    refused = [f"{printable(each.name)} is {why}" for each, why in skipped]
    for file in every:
        name = printable(file.relative_to(path).as_posix() if top else file.name)
        read = _lines(file, name, top, column) if file.suffix in (".jsonl", ".ndjson") else _whole(file, name, top)
        for each in read:
            if isinstance(each, Document):
                found.append(each)
            else:
                refused.append(each)
    if not found:
        why = "; ".join(refused[:MANY]) or "no files"
        raise UsageError(f"no text in {path} ({why})", "UTF-8 text that is not empty", "a folder of .txt files")
    return found, TextReport(len(found), sum(len(each.text) for each in found), tuple(refused))


def _content(file: Path, name: str, top: Path | None) -> bytes | str:
    """The bytes of a file, or why they cannot be read."""
    try:
        return files.read(file, top, LARGEST)
    except (OSError, ValueError) as error:
        return f"{name} cannot be read ({files.reason(error)})"


def _whole(file: Path, name: str, top: Path | None) -> Iterator[Document | str]:
    content = _content(file, name, top)
    if isinstance(content, str):
        yield content
        return
    try:
        text = decoded(content)
    except UnicodeDecodeError:
        yield f"{name} is not UTF-8 text"
    else:
        if "\0" in text:
            yield f"{name} is binary"
        elif not text.strip():
            yield f"{name} is empty"
        else:
            yield Document(name, text)


def _lines(file: Path, name: str, top: Path | None, column: str) -> Iterator[Document | str]:
    content = _content(file, name, top)
    if isinstance(content, str) or b"\0" in content or not content.strip():
        yield content if isinstance(content, str) else f"{name} is {'binary' if content.strip() else 'empty'}"
        return
    for number, row in json_lines(content):
        text, at = row.get(column) if isinstance(row, dict) else None, f"{name}:{number}"
        if not isinstance(text, str) or not text.strip():
            yield f"{at} has no text in {column!r}"
        elif any("\ud800" <= each <= "\udfff" for each in text):
            yield f"{at} has half of a surrogate pair, which no text can hold"
        else:
            yield Document(at, text)


def split_documents(
    found: list[Document], held_out: float, seed: int = 0, by: SplitBy = "content"
) -> tuple[list[Document], list[Document]]:
    """Split documents into a training and a held-out part, at least one document on each side.

    The rules are those of `data.split`. A single document, or several of one text, is cut: its end is held out.

    Args:
        found: The documents.
        held_out: The held-out share, between 0 and 1.
        seed: Seed of the split.
        by: "content": each document's side is decided by its own text. "position": by the numbers of all documents.

    Returns:
        (the rest, the held-out documents).

    Raises:
        UsageError: If the share is not between 0 and 1.
    """
    check_split(held_out, by)
    if len(found) == 1 or (by == "content" and len({each.text for each in found}) == 1):
        name, text = found[0]
        cut = max(1, min(len(text) - 1, round(len(text) * (1 - held_out))))
        return [Document(name, text[:cut])], [Document(f"{name} (its end)", text[cut:])]
    everything = [range(len(found))]
    if by == "content":
        keys = [content_key(each.text.encode("utf-8", "surrogatepass")) for each in found]
        out = held_out_by_content(keys, everything, held_out, seed)
    else:
        out = held_out_by_position(len(found), everything, held_out, seed, least=1)
    rest, chosen = ([each for each, held in zip(found, out, strict=True) if held == side] for side in (False, True))
    return rest, chosen


def check_length(length: int) -> None:
    """Refuse a length that no network here can be trained on, before text is read for it.

    Args:
        length: Tokens in a row.

    Raises:
        UsageError: If it is out of range.
    """
    if not 1 <= length <= MOST_TOKENS:
        raise UsageError(f"length={length}", f"1 to {MOST_TOKENS:,} tokens in a row", "length=256")


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
        UsageError: If the length is out of range.
    """
    check_length(length)
    tokens: list[int] = []
    for text in texts:
        tokens += [*tokenizer.encode(text), tokenizer.special("end")]
    tokens += [tokenizer.special("padding")] * (-len(tokens) % length)
    return Arrays(torch.tensor(tokens).view(-1, length), seed=seed)
