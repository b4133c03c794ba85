"""Names from outside cannot control the terminal."""

import io
import sys

import pytest

from unmelt.terminal import notify, printable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("Katze, 猫, кошка, \U0001f408", "Katze, 猫, кошка, \U0001f408"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("one\ntwo\r\x00", "one\\ntwo\\r\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("cat\u202egpj.exe", "cat\\u202egpj.exe"),
        ("\u2066a\u2069\u200f", "\\u2066a\\u2069\\u200f"),
        ("line\u2028end", "line\\u2028end"),
        ("caf\udce9", "caf\\udce9"),
        ("[red]name[/]", "[red]name[/]"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_invisible_characters_are_escaped_and_all_others_kept(given, shown):
    assert printable(given) == shown


def test_characters_to_keep_are_kept():
    assert printable("a\tb\n\x1b", keep="\n\t") == "a\tb\n\\x1b"


@pytest.mark.parametrize(
    ("coding", "shown"), [("ascii", "\\u732b \\x1b"), ("cp1252", "\\u732b \\x1b"), ("utf-8", "猫 \\x1b")]
)
def test_a_message_is_written_in_any_encoding(monkeypatch, coding, shown):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding=coding))
    notify("猫 \x1b", "second")
    sys.stderr.flush()
    assert written.getvalue().decode(coding).splitlines() == [shown, "second"]
