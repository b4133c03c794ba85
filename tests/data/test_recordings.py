"""Folders of recordings: layouts, voices, what is left out and why, the cache, and splits by what is said."""

import json
import sys

import pytest
import torch

import unmelt as um
from unmelt.data import Recordings, recordings
from unmelt.data.wav import wav_bytes

RATE = 8000


def tone(pitch, seconds=0.3, rate=RATE):
    return 0.5 * torch.sin(2 * torch.pi * pitch * torch.arange(int(seconds * rate)) / rate)[None]


def put(path, x, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_bytes(x, rate))


def read(folder, **settings):
    return recordings(folder, sample_rate=RATE, **settings)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_ljspeech_layout_prefers_the_normalised_text(tmp_path):
    for k in range(3):
        put(tmp_path / "wavs" / f"LJ00{k}.wav", tone(200 + 100 * k, 0.2 + 0.1 * k))
    lines = ["LJ000|Dr. A.|Doctor A", "LJ001|only one|", "LJ002|two", "LJ009|no such file"]
    (tmp_path / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    found, report = read(tmp_path)
    assert found.texts == ["Doctor A", "only one", "two"]
    assert found.lengths.tolist() == [1600, 2400, 3200]
    assert (found.classes, found.labels) == ((), None)
    assert report.refused == ("LJ009 is in a table, and there is no such file",)
    assert report.seconds == pytest.approx(0.9)
    step = 1.5 / 32_768
    torch.testing.assert_close(found.sound(1), tone(300)[0], atol=step, rtol=0)


def test_voices_come_from_a_column_or_from_the_folder(tmp_path):
    put(tmp_path / "a.wav", tone(200))
    put(tmp_path / "b.wav", tone(300))
    rows = [{"audio": "a.wav", "text": "one", "speaker": "anna"}, {"file": "b", "text": "two", "voice": "bert"}, 7]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    put(tmp_path / "carla" / "wavs" / "c.wav", tone(400))
    (tmp_path / "carla" / "metadata.csv").write_text("file_name,text\nwavs/c.wav,three", encoding="utf-8")
    put(tmp_path / "dora" / "d.wav", tone(500))
    (tmp_path / "dora" / "d.txt").write_text(" four\n words ", encoding="utf-8")
    found, report = read(tmp_path)
    assert found.classes == ("anna", "bert", "carla", "dora")
    said = {found.classes[label]: text for label, text in zip(found.labels.tolist(), found.texts, strict=True)}
    assert said == {"anna": "one", "bert": "two", "carla": "three", "dora": "four words"}
    assert report.refused == ("all.jsonl:3 names no file and text",)
    assert report.voices == 4


def test_unusable_recordings_are_counted_and_named(tmp_path):
    put(tmp_path / "good.wav", torch.cat([tone(200), -0.5 * tone(200)]))  # two channels
    put(tmp_path / "silent.wav", 0 * tone(200))
    put(tmp_path / "hour.wav", tone(200, 6))
    put(tmp_path / "click.wav", tone(200, 0.01))
    put(tmp_path / "wordless.wav", tone(200))
    put(tmp_path / "cut.wav", tone(200))
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:-1000])
    (tmp_path / "link.wav").symlink_to("/etc/hostname")
    for name in ("good", "silent", "hour", "click", "cut", "link"):
        (tmp_path / f"{name}.txt").write_text("hello", encoding="utf-8")
    found, report = read(tmp_path, longest=5.0)
    assert len(found) == 1
    torch.testing.assert_close(found.sound(0), 0.25 * tone(200)[0], atol=1e-4, rtol=0)
    why = dict(each.split(" ", 1) for each in report.refused)
    assert why["silent.wav"] == "is silent"
    assert why["hour.wav"] == "lasts 6 seconds, more than the 5 that are taken"
    assert why["click.wav"].startswith("lasts 0.010 seconds")
    assert why["wordless.wav"] == "has no transcript"
    assert "cut off" in why["cut.wav"]
    assert "leads out of the folder" in why["link.wav"]
    assert len(recordings(tmp_path, sample_rate=RATE, longest=5.0, needs_text=False)[0]) == 2
    assert "1 recordings, 0.0 minutes, 1 voices; 6 left out" in str(report)


def test_any_rate_becomes_the_rate_that_is_wanted(tmp_path):
    put(tmp_path / "a.wav", tone(440, 0.5, 48_000), 48_000)
    (tmp_path / "a.txt").write_text("tone", encoding="utf-8")
    found = read(tmp_path)[0].sound(0)
    torch.testing.assert_close(found[200:-200], tone(440, 0.5)[0, 200:-200], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["missing", "empty", "texts"])
def test_a_folder_without_recordings_is_one_message(tmp_path, name):
    if name != "missing":
        (tmp_path / name).mkdir()
    if name == "texts":
        (tmp_path / name / "a.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(um.UsageError, match=r"is not a folder|no recordings|there is no"):
        read(tmp_path / name)


def test_the_cache_is_read_until_a_file_changes(tmp_path, monkeypatch):
    put(tmp_path / "a.wav", tone(200))
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    before = read(tmp_path)[0]
    with monkeypatch.context() as patch:
        module = sys.modules["unmelt.data.recordings"]
        patch.setattr(module, "read_sound", lambda *_: pytest.fail("it was read again"))
        again = read(tmp_path)[0]
        assert torch.equal(again.sound(0), before.sound(0))
        assert again.identity() == before.identity()
    put(tmp_path / "a.wav", tone(250, 0.4))
    assert read(tmp_path)[0].lengths.tolist() == [3200]
    assert read(tmp_path)[0].identity() != before.identity()


def source(n=12, voices=2):
    lengths = [100 + 10 * k for k in range(n)]
    labels = torch.arange(n) % voices
    texts = [f"sentence {k // voices}" for k in range(n)]
    sounds = torch.arange(1, 1 + sum(lengths)).to(torch.int16)
    return Recordings(sounds, lengths, texts, RATE, labels, [f"v{k}" for k in range(voices)])


def test_a_sentence_is_on_one_side_of_the_split_in_all_voices():
    kept, held_out = source(40).split(0.3)
    assert not set(kept.texts) & set(held_out.texts)
    assert len(kept) + len(held_out) == 40
    whole = source(40)
    places = {(text, label): k for k, (text, label) in enumerate(zip(whole.texts, whole.labels.tolist(), strict=True))}
    for k in range(len(held_out)):
        item = places[held_out.texts[k], int(held_out.labels[k])]
        assert torch.equal(held_out.sound(k), whole.sound(item))


def test_batches_hold_every_recording_once_an_epoch():
    made = source(12)
    seen = torch.cat([made.items(step, 4) for step in range(3)])
    assert sorted(seen.tolist()) == list(range(12))
    x, condition = made.batch(1, 4)
    items = made.items(1, 4)
    assert x.shape == (4, 1, int(made.lengths[items].max()))
    assert torch.equal(condition.label, made.labels[items])
    for row, item in zip(x, items.tolist(), strict=True):
        length = int(made.lengths[item])
        assert torch.equal(row[0, :length], made.sound(item))
        assert not row[0, length:].any()
