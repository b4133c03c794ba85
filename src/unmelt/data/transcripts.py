"""Which recordings a folder holds, who speaks in each, and what is said.

    metadata.csv      LJSpeech's layout: id|text|normalised text, without a heading; recordings are wavs/id.wav.
                      Or a table with a heading and commas: file_name, text and, where there are several, voice
    *.jsonl           {"file": "a.wav", "text": "...", "voice": "..."}, a recording a line
    a.wav and a.txt   a text beside each recording, where no table names it

A table may lie in the folder or in folders below it; paths in it begin there. Where no column says who speaks, it is
the first folder below the top: recordings/anna/a.wav is of the voice "anna".
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from unmelt.data import files
from unmelt.data.encoded_text import decoded, json_lines, printable
from unmelt.data.wav import SOUND_SUFFIXES
from unmelt.errors import UsageError
from unmelt.near_path import not_data

FILE = ("file_name", "file", "audio", "audio_filepath", "path", "id")
TEXT = ("text", "transcription", "transcript", "sentence", "normalized_text")
VOICE = ("voice", "speaker", "speaker_id", "client_id")
"""Usual names of columns; the first that there is counts."""

INNER = ("wavs", "wav", "audio", "clips")
"""Folders of recordings that are no voices."""


class Recording(NamedTuple):
    """A recording that there should be.

    Args:
        name: Its path below the folder, for reports.
        path: Its file.
        text: What is said; "" if unknown.
        voice: Who speaks; "" if unknown.
    """

    name: str
    path: Path
    text: str
    voice: str


class Transcripts(NamedTuple):
    """What a folder holds.

    Args:
        found: The recordings, sorted by path.
        refused: Name and reason of what was left out.
    """

    found: list[Recording]
    refused: list[str]


def transcripts(folder: str | Path) -> Transcripts:
    """List the recordings of a folder with their transcripts and voices; no sound is read.

    Args:
        folder: The folder.

    Returns:
        Recordings, with "" for the text of those that have none, and what was left out.

    Raises:
        UsageError: If there is no such folder, or no recording in it.
    """
    top = Path(folder).expanduser()
    if (wrong := not_data(top, "recordings")) is not None:
        given, instead = wrong
        raise UsageError(given, "a folder of recordings", instead)
    if not top.is_dir():
        raise UsageError(f"{top} is not a folder", "a folder of recordings and what is said in them", "recordings")
    every, skipped = files.walk(top)
    refused = [f"{printable(each.name)} is {why}" for each, why in skipped]
    said: dict[Path, Recording] = {}
    for table in (each for each in every if each.name == "metadata.csv" or each.suffix in (".jsonl", ".ndjson")):
        for one in _table(table, top, refused):
            said.setdefault(one.path, one)
    sounds = [each for each in every if each.suffix.lower() in SOUND_SUFFIXES]
    for path in sounds:
        if path not in said:
            said[path] = Recording(_name(path, top), path, _beside(path, top), _folder_voice(path, top))
    known = set(sounds)
    refused += [
        f"{each.name} is in a table, and there is no such file" for each in said.values() if each.path not in known
    ]
    found = sorted((each for each in said.values() if each.path in known), key=lambda each: each.path)
    if not found:
        raise UsageError(
            f"no recordings in {top} ({'; '.join(refused[:5]) or 'no files of sound'})",
            f"{', '.join(SOUND_SUFFIXES)} with a metadata.csv, JSON lines, or a .txt beside each",
            "a folder such as LJSpeech-1.1",
        )
    return Transcripts(found, refused)


def _name(path: Path, top: Path) -> str:
    return printable(path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name)


def _folder_voice(path: Path, top: Path) -> str:
    """The first folder below the top, unless it is one that holds recordings in any layout."""
    above = path.relative_to(top).parts[:-1] if path.is_relative_to(top) else ()
    return above[0] if above and above[0].lower() not in INNER else ""


def _beside(path: Path, top: Path) -> str:
    text = path.with_suffix(".txt")
    try:
        return " ".join(decoded(files.read(text, top)).split()) if text.exists() else ""
    except (OSError, ValueError):
        return ""


def _table(table: Path, top: Path, refused: list[str]) -> Iterator[Recording]:
    """The recordings that a table names."""
    name = _name(table, top)
    try:
        content = files.read(table, top)
        rows = _csv_rows(decoded(content)) if table.suffix == ".csv" else _json_rows(content)
        for number, row in rows:
            file, text = (next((row[each] for each in names if row.get(each)), "") for names in (FILE, TEXT))
            path = _file_of(table.parent, file) if isinstance(file, str) and "\0" not in file else None
            if path is None or not isinstance(text, str):
                refused.append(f"{name}:{number} names no file and text")
                continue
            voice = next((str(row[each]) for each in VOICE if row.get(each) not in (None, "")), "")
            voice = voice or _folder_voice(path, top)
            yield Recording(_name(path, top), path, " ".join(text.split()), printable(voice))
    except (OSError, ValueError, csv.Error) as error:
        refused.append(f"{name} cannot be read ({files.reason(error)})")


def _file_of(folder: Path, file: str) -> Path | None:
    """The file that a table names: by its path, by its path without suffix, or by its name in wavs/."""
    if not file:
        return None
    named = [folder / file, *(folder / f"{file}{suffix}" for suffix in SOUND_SUFFIXES)]
    named += [folder / "wavs" / each.name for each in named]
    return next((each for each in named if each.is_file()), named[0])


def _json_rows(content: bytes) -> Iterator[tuple[int, dict[str, object]]]:
    for number, row in json_lines(content):
        yield number, row if isinstance(row, dict) else {}


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, object]]]:
    lines = text.splitlines()
    first = lines[0].lower().replace("|", ",").split(",") if lines else []
    if any(each.strip() in FILE for each in first):
        mark = "|" if "|" in lines[0] else ","
        table = csv.DictReader(lines, delimiter=mark, quoting=csv.QUOTE_NONE if mark == "|" else csv.QUOTE_MINIMAL)
        for number, row in enumerate(table, 2):
            yield number, {str(key).strip().lower(): value for key, value in row.items() if key is not None}
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            identifier, *said = line.split("|")
            yield number, {"id": identifier.strip(), "text": next((each for each in said[1::-1] if each.strip()), "")}
