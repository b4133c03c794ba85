"""Text on the command line: sampling, infilling, and messages with exit code 2."""

import pytest

import unmelt as um
from unmelt.cli import main

SMALL = {"width": 16, "depth": 1, "heads": 2, "length": 32, "vocabulary": 0, "steps": 2, "batch": 4, "picture_every": 0}
KINDS = {"masked": {}, "blocks": {"block": 4}, "uniform": {"kind": "uniform"}, "ar": {"kind": "autoregressive"}}
TEXT = "def f(x):\n    return 3 * x\n" * 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Four runs, and files that are and are not what they should be."""
    root = tmp_path_factory.mktemp("text")
    (root / "src").mkdir()
    for number in range(4):
        (root / "src" / f"{number}.py").write_text(TEXT, encoding="utf-8")
    for name, more in KINDS.items():
        um.recipe.text(folder=root / "src", **SMALL, **more).fit(root / name, device="cpu", quiet=True)
    (root / "folder").mkdir()
    (root / "empty.txt").write_text("", encoding="utf-8")
    (root / "binary").write_bytes(b"\x00\xff\x10" * 100)
    (root / "whole.py").write_text("x = 1\n", encoding="utf-8")
    (root / "gap.py").write_text("def f(<gap>): pass\n", encoding="utf-8")
    (root / "two.py").write_text("a = <gap>\nb = <gap>\n", encoding="utf-8")
    (root / "lines.jsonl").write_text('{"text": 3}\nno json\n', encoding="utf-8")
    return root


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


MISTAKES = [
    ("sample masked --prompt " + "x" * 100, "a prompt of 100"),
    ("sample blocks --steps 0", "steps=0"),
    ("sample masked --steps -1", "steps=-1"),
    ("sample masked --steps 100000", "from 1 to 10000"),
    ("sample masked --length 0", "length=0"),
    ("sample masked --length 33", "1 to 32 tokens"),
    ("sample masked --rows 0", "rows=0"),
    ("sample masked --temperature -1", "temperature of -1"),
    ("sample masked --temperature nan", "temperature of nan"),
    ("sample masked --top-p 0", "top_p=0"),
    ("sample masked --threshold 1.5", "at most 1"),
    ("sample masked --threshold nan", "at most 1"),
    ("sample masked --threshold 0.9 --order remask", "--threshold with --order remask"),
    ("sample masked --label 3", "a model without classes"),
    ("sample masked --guidance 2", "--guidance 1"),
    ("sample masked --out x.png", "ends in .txt"),
    ("sample uniform --threshold 0.9", "a denoiser on masks"),
    ("sample ar --suffix x", "a prompt alone"),
    ("sample ar --order ancestral", "from left to right"),
    ("sample ar --order remask", "from left to right"),
    ("infill masked whole.py", "text without '<gap>'"),
    ("sample masked --threshold 0.9 --entropy-budget 1", "one of them"),
    ("sample masked --entropy-budget -1", "not below 0"),
    ("sample masked --entropy-budget nan", "not below 0"),
    ("sample masked --min-distance 0", "at least 1, the distance of neighbours"),
    ("sample masked --min-distance 4 --order remask", "--min-distance with --order remask"),
    ("sample ar --min-distance 4", "decodes from left to right"),
    ("infill masked empty.txt", "which is empty"),
    ("infill masked binary", "which is not text"),
    ("infill masked missing.py", "No such file"),
    ("infill masked folder", "Is a directory"),
    ("infill masked gap.py --tokens 0", "at least 1 token a gap"),
    ("infill masked gap.py --tokens 100", "and 32 in all"),
    ("infill masked gap.py --steps 0", "steps=0"),
    ("infill blocks gap.py --steps 0", "steps=0"),
    ("infill masked gap.py --marker ?", "text without '?'"),
    ("infill masked two.py --tokens 20", "the gaps one at a time"),
    ("infill ar gap.py", "a prompt alone"),
    ("train text --out new --folder missing", "there is no"),
    ("train text --out new --folder empty.txt", "is empty"),
    ("train text --out new --folder binary", "not UTF-8"),
    ("train text --out new --folder folder", "no files"),
    ("train text --out new --folder lines.jsonl", "has no text in 'text'"),
    ("train text --out new --folder src --vocabulary 100", "vocabulary=100"),
    ("train text --out new --folder src --length 0", "length=0"),
    ("train text --out new --folder src --heads 3", "heads=3"),
    ("train text --out new --folder src --block -1", "block=-1"),
    ("train text --out new --folder src --held-out 1", "held_out=1"),
    ("train text --out new --folder src --kind autoregressive --fim-rate 2", "fim_rate=2"),
    ("train reversal --out new --count 0", "0 facts"),
    ("train reversal --out new --count 1000000", "1000000 facts"),
    ("compare masked ar", "autoregressive run first"),
    ("compare ar missing", "missing"),
    ("compare ar masked --tokens 0", "tokens=0"),
    ("compare ar masked --tokens 33", "tokens=33"),
    ("compare ar masked --steps 0", "steps"),
    ("compare ar masked --rows 0", "rows=0"),
    ("compare ar masked --gap 0", "gap=0"),
    ("compare ar masked --batches 0", "batches"),
    ("compare ar masked --questions -1", "questions=-1"),
    ("compare ar masked --temperature -1", "temperature of -1"),
    ("eval masked --samples 0", "0"),
]


@pytest.mark.parametrize(("command", "said"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_refused_with_one_message(there, command, said, capsys):
    before = sorted(there.rglob("*"))
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert not out
    assert said in err
    assert sum(line.startswith("unmelt: ") for line in err.splitlines()) == 1
    assert sorted(there.rglob("*")) == before


def test_an_empty_marker_is_refused(there, capsys):
    assert main(["infill", "masked", "gap.py", "--marker", ""]) == 2
    assert "an empty marker" in capsys.readouterr().err


@pytest.mark.parametrize("order", ["own", "confidence", "margin", "entropy", "random", "reading"])
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_kept_in_every_decoding_order(there, kind, order, capsys):
    if kind == "uniform" and order != "own":
        pytest.skip("has no masks")
    assert main(["sample", kind, "--prompt", "def ", "--order", order, "--rows", "2", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("def ") >= 2
    assert out.startswith("def ")


def test_entropy_budget_and_min_distance_keep_the_prompt(there, capsys):
    for kind in ("masked", "blocks"):
        for more in (["--entropy-budget", "9"], ["--entropy-budget", "30", "--min-distance", "4", "--order", "random"]):
            assert main(["sample", kind, "--prompt", "def ", *more]) == 0
            assert capsys.readouterr().out.startswith("def ")


def test_infill_fills_the_gaps_and_keeps_the_text_around_them(there, capsys):
    for kind in ("masked", "blocks"):
        for more in ([], ["--threshold", "0.5"], ["--order", "ancestral"]):
            assert main(["infill", kind, "two.py", "--tokens", "3", *more]) == 0
            out = capsys.readouterr().out
            assert out.startswith("a = ")
            assert "\nb = " in out
            assert "<gap>" not in out


def test_live_display_and_output_file_give_the_same_text(there, tmp_path, capsys):
    asked = ["sample", "blocks", "--prompt", "def ", "--threshold", "0.9", "--seed", "1"]
    assert main(asked) == 0
    plain = capsys.readouterr().out
    assert main([*asked, "--live"]) == 0
    assert capsys.readouterr().out == plain
    assert main([*asked, "--out", str(tmp_path / "x.txt")]) == 0
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == plain


def test_settings_of_infilling_arrive(there, monkeypatch):
    seen, infill = {}, um.TextModel.infill

    def spy(self, texts, **settings):
        seen.update(settings)
        return infill(self, texts, **settings)

    monkeypatch.setattr(um.TextModel, "infill", spy)
    given = ["--top-p", "0.7", "--temperature", "0.4", "--tokens", "3", "--steps", "2"]
    assert main(["infill", "masked", "gap.py", *given, "--out", "filled.txt"]) == 0
    wanted = {"top_p": 0.7, "temperature": 0.4, "tokens": 3, "steps": 2}
    assert {name: seen[name] for name in wanted} == wanted
