"""Arguments of commands: values by the signature's types, and one message for every mistake."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from test_cli import refused, ring, unmelt  # noqa: F401

import unmelt as um
from unmelt.arguments.names import SAME
from unmelt.cli import COMMANDS, command
from unmelt.cli.arguments import arguments_of, parse
from unmelt.cli.other_names import OPTIONS
from unmelt.cli.train_recipe import _form
from unmelt.recipe import RECIPES


def work(
    folder: Annotated[Path, "RUN"],
    /,
    rows: int | None = None,
    scale: float = 1.0,
    sizes: tuple[int, ...] = (4, 6),
    order: Literal["own", "random"] = "own",
    out: Path | None = None,
    label: str | None = None,
    json: bool = False,
    browser: bool = True,
) -> None:
    """A command."""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("r", {"folder": Path("r"), "rows": None, "scale": 1.0, "sizes": (4, 6), "browser": True}),
        ("r --rows 3 --scale -2", {"rows": 3, "scale": -2.0}),
        ("r --rows=-3 --scale=1e-3", {"rows": -3, "scale": 1e-3}),
        ("--sizes 1 2 3 r", {"folder": Path("r"), "sizes": (1, 2, 3)}),
        ("r --no-json=false --no_browser", {"json": True, "browser": False}),
        ("r --scale -1e-3 --rows -3", {"scale": -1e-3, "rows": -3}),
        ("r --scale -inf --label=", {"scale": float("-inf"), "label": ""}),
        ("r --sizes 1 --sizes 2 3", {"sizes": (2, 3)}),
        ("r --json --no-browser", {"json": True, "browser": False}),
        ("r --json False --label 7", None),
        ("r --json=false --label=--x", {"json": False, "label": "--x"}),
        ("r --order random --out a/b.png", {"order": "random", "out": Path("a/b.png")}),
        ("--json -- -r", {"folder": Path("-r"), "json": True}),
    ],
)
def test_values_are_read_by_their_types(line, expected):
    if expected is None:
        with pytest.raises(um.UsageError, match="'False' after unmelt work"):
            parse(work, "unmelt work", line.split())
        return
    values = parse(work, "unmelt work", line.split())
    assert {name: values[name] for name in expected} == expected
    assert [type(values[name]) for name in expected] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("line", "given", "needed", "instead"),
    [
        ("", "unmelt work without RUN", "RUN (required)", "unmelt work runs/digits"),
        ("r s", "'s' after unmelt work", "RUN, and options", "unmelt work r"),
        ("r --rows", "--rows without a value", "a whole number", ""),
        ("r --rows --json", "--rows without a value, before --json", "a whole number", ""),
        ("r --label --x", "--label without a value, before --x", "a word; one that begins", "--label=--x"),
        ("r --rows 2.5", "--rows 2.5", "a whole number", "--rows 4"),
        ("r --rows 1e99", "--rows 1e99", "a whole number", "--rows 4"),
        ("r --rows nan", "--rows nan", "a whole number", "--rows 4"),
        ("r --scale many", "--scale many", "a number", "--scale 1"),
        ("r --sizes 1 x", "--sizes x", "a whole number", "--sizes 4"),
        ("r --order randm", "--order randm", "one of own, random", "--order random"),
        ("r --label -x", "--label without a value, before -x", "a word; one that begins", "--label=-x"),
        ("r --sizes --json", "--sizes without a value, before --json", "a whole number", ""),
        ("--sizes 1 x r", "'r' after unmelt work", "RUN, and options", "unmelt work --sizes 1 x"),
        ("r -hx", "there is no option -hx for", "one of --rows", "unmelt work --help"),
        ("r --no-rows 3", "there is no option --no-rows for", "--rows", "unmelt work r --rows 3"),
        ("r --json=maybe", "--json maybe", "true or false", "--json"),
        ("r --scal 3", "there is no option --scal for unmelt work", "--scale", "unmelt work r --scale 3"),
        ("r -o x.png", "there is no option -o for unmelt work", "--out", "unmelt work r --out x.png"),
        ("r --guidance-scale 3", "there is no option --guidance-scale for", "--scale", "unmelt work r --scale 3"),
        ("r --num_samples=5", "there is no option --num-samples for", "--rows", "unmelt work r --rows=5"),
        ("r --zzzz 5", "there is no option --zzzz for unmelt work", "one of --rows, --scale", "unmelt work --help"),
    ],
)
def test_a_mistake_says_what_was_given_and_what_is_needed(line, given, needed, instead):
    with pytest.raises(um.UsageError) as caught:
        parse(work, "unmelt work", line.split())
    assert caught.value.given.startswith(given)
    assert caught.value.needed.startswith(needed)
    assert caught.value.instead == instead


def upload(folder: Annotated[Path, "RUN"], name: Annotated[str, "NAME"], /, public: bool = False) -> None:
    """A command of two places."""


def learn(*, out: Path, folder: Path, steps: int = 3) -> None:
    """A command without places."""


@pytest.mark.parametrize(
    ("command", "line", "instead"),
    [
        (upload, "runs/pets", "unmelt work runs/pets owner/digits"),
        (upload, "runs/pets --public", "unmelt work runs/pets owner/digits --public"),
        (upload, "--public", "unmelt work runs/digits owner/digits --public"),
        (learn, "--steps 4", "unmelt work --out runs/new --folder path/to/data --steps 4"),
        (learn, "pets --out runs/1", "unmelt work --folder pets --out runs/1"),
    ],
)
def test_what_is_missing_is_added_where_it_belongs(command, line, instead):
    with pytest.raises(um.UsageError) as caught:
        parse(command, "unmelt work", line.split())
    assert caught.value.instead == instead


def test_a_number_of_many_digits_is_refused():
    with pytest.raises(um.UsageError, match="a whole number"):
        parse(work, "unmelt work", ["r", "--rows", "9" * 5000])


@pytest.mark.parametrize("columns", [44, 80])
def test_help_lists_the_options_in_order_and_fits_the_terminal(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as end:
        parse(command("sample"), "unmelt sample", ["runs/x", "--rows", "x", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.startswith("usage: unmelt sample RUN [options]\n\nSample a trained model")
    assert "UsageError" not in shown
    listed = re.findall(r"^  --([a-z-]+)", shown, re.MULTILINE)
    assert listed == list(options_of("sample"))
    assert "The run folder. (required)" in " ".join(shown.split())
    assert "1 is unguided. (default: 1.0)" in " ".join(shown.split())
    assert "Default: 64, or 1 text. --label" in " ".join(shown.split())


def test_help_says_what_a_word_can_be(capsys):
    def work(share: Literal["own", "all"] = "own", sizes: tuple[int, ...] = (1, 2)) -> None:
        """Take 50 % of it.

        Args:
            share: 100 % of it, or
                less.
            sizes: Two.

        Returns:
            Nothing.
        """

    with pytest.raises(SystemExit):
        parse(work, "unmelt work", ["-h"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Take 50 % of it. options:" in shown
    assert "--share NAME 100 % of it, or less. One of own, all. (default: own)" in shown
    assert shown.endswith("--sizes INT [INT ...] Two. (default: 1 2)")


def options_of(name):
    function = _form(name.removeprefix("train ")) if name.startswith("train ") else command(name)
    return {each.name.replace("_", "-"): each for each in arguments_of(function).values() if not each.positional}


EVERY = [*(name for name in COMMANDS if name != "train"), *(f"train {name}" for name in RECIPES)]


def test_every_other_name_stands_for_an_option_that_exists():
    known = {option.replace("-", "_") for command in EVERY for option in options_of(command)}
    own = {names: here for names, here in OPTIONS.items() if names not in SAME}
    assert {name for here in own.values() for name in here.split()} <= known
    assert not {name for names in own for name in names.split()} & {
        name for names in SAME for name in names.split()
    } - {
        "epochs",  # rounds of a fit, or steps of a training
    }


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("sample r --num-inference-steps 20", "--steps"),
        ("sample r --guidance-scale 2", "--guidance"),
        ("sample r --num-samples 4", "--rows"),
        ("sample r -n 4", "--rows"),
        ("sample r --output a.png", "--out"),
        ("sample r -o a.png", "--out"),
        ("sample r --watch", "--live"),
        ("sample r --nats 3", "--entropy-budget"),
        ("infill r f --apart 3", "--min-distance"),
        ("eval r --num-samples 4", "--samples"),
        ("eval r -n 4", "--samples"),
        ("average r --length 0.1", "--ema-std"),
        ("train images --epochs 3", "--steps"),
        ("train images --num-train-epochs 3", "--steps"),
        ("tune r --epochs 3", "--rounds"),
        ("infill r f --max-new-tokens 3", "--tokens"),
        ("sample r --gpu", "--device"),
        ("train images --learning-rate 3", "--lr"),
        ("train images --batch-size 3", "--batch"),
        ("train images --data x", "--folder"),
        ("train images --watch wandb", "--log-to"),
        ("train text --middle 0.5", "--fim-rate"),
        ("train text --free 0.5", "--bidirectional-row-fraction"),
    ],
)
def test_the_name_of_another_tool_is_answered_with_the_name_here(refused, line, meant):
    said = refused(*line.split())
    assert re_option(said) == meant
    assert len(said.splitlines()) == 3


def re_option(said):
    return said.splitlines()[1].removeprefix("  needed: ").split(":")[0]


@pytest.mark.parametrize(
    ("command", "meant"), [("ledger", "compare"), ("generate", "sample"), ("samlpe", "sample"), ("evaluate", "eval")]
)
def test_another_name_of_a_command_is_answered_with_its_name_here(refused, command, meant):
    assert f"unmelt {meant} --help" in refused(command)


@pytest.mark.parametrize("command", EVERY)
def test_a_number_that_is_none_is_one_message(refused, command):
    """Words that are no whole number, for every option that takes one."""
    for name, one in options_of(command).items():
        values = {int: ("nan", "inf", "1e99", "2.5", "", "x"), float: ("", "x", "1,5")}.get(one.kind, ())
        for value in values:
            assert refused(*command.split(), f"--{name}={value}").splitlines()[0] == f"unmelt: --{name} {value}"


def test_with_json_a_mistake_is_one_object_too(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in (
        "show nothing --json",
        "eval nothing --json",
        "tune --json",
        "curve x --json --steps y",
        "nope --json",
    ):
        assert unmelt(*line.split()) == 2
        out, err = capsys.readouterr()
        assert set(json.loads(out)["error"]) == {"given", "needed", "instead"}
        assert err.startswith("unmelt: ")


# Numbers out of range, and places


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tune RING --rounds 0 --rows 16", "rounds=0"),
        ("tune RING --rounds -1 --rows 16", "rounds=-1"),
        ("tune RING --guidance 1e99 --rows 16", "finite"),
        ("tune RING --guidance 1e30 --rows 16", "finite"),
        ("tune RING --rows 1000000000000000000000", "--rows"),
        ("curve RING --steps 0 --rows 2", "steps"),
        ("curve RING --steps -1 --rows 2", "steps"),
        ("curve RING --rows 0", "rows=0"),
        ("eval RING --samples 0", "samples=0"),
        ("average RING --ema-std 0", "EMA std"),
        ("average RING --ema-std nan", "EMA std"),
        ("sample RING --threshold 0", "--threshold for"),
        ("sample RING --min-distance 0", "--min-distance for"),
        ("lab --port -1", "port=-1"),
        ("lab --port 65536", "port=65536"),
    ],
)
def test_a_number_out_of_range_is_refused(ring, refused, line, said):
    before = {path: path.read_bytes() for path in ring.iterdir() if path.is_file()}
    assert said in refused(*line.replace("RING", str(ring)).split())
    assert before == {path: path.read_bytes() for path in ring.iterdir() if path.is_file()}


def test_a_folder_of_runs_is_answered_with_the_runs_in_it(ring, refused):
    said = refused("sample", ring.parent)
    assert f"needed: a run folder, such as {ring}" in said
    assert f"try:    unmelt show {ring}" in said
    assert f"try:    unmelt show {ring}" in refused("eval", ring.parent / "rong")
