"""The comparison: passes match the network's calls, shares have Wilson intervals, likelihoods are the models' own."""

import json
import math

import pytest
import torch

import unmelt as um
from unmelt.cli import main
from unmelt.compare import compare, gaps, quality, speed
from unmelt.compare.decoding_modes import decoding_modes
from unmelt.data import Questions
from unmelt.model import text_evaluation

TINY = {"width": 16, "depth": 1, "heads": 2, "length": 32, "vocabulary": 0, "steps": 2, "batch": 4, "picture_every": 0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    (root / "src").mkdir()
    for number in range(12):
        lines = [f"def area_{number}(r):", f"    return {number} * r ** 2", "", "x = area(3)  # squared"] * 6
        (root / "src" / f"{number}.py").write_text("\n".join(lines), encoding="utf-8")
    made = {}
    kinds = ("autoregressive", {}), ("masked", {}), ("uniform", {}), ("autoregressive", {"fim_rate": 0.5})
    for kind, more in (*kinds, ("masked", {"block": 4})):
        name = "_".join([kind, *more])
        model = um.recipe.text(folder=root / "src", kind=kind, **{**TINY, **more})
        model.fit(root / name, device="cpu", quiet=True)
        made[name] = root / name
    return made


def loaded(runs):
    from unmelt.recipe import with_data

    return {name: with_data(folder, "cpu") for name, folder in runs.items()}


def test_the_page_holds_every_measurement(runs, tmp_path):
    models = loaded(runs)
    page = compare(
        models, tokens=12, steps=(3, 6), rows=4, questions=5, gap=2, batches=(1, 3), out=tmp_path, quiet=True
    )
    assert (tmp_path / "quality.png").stat().st_size > 1000
    assert json.loads(json.dumps(page.plain()))["tokens"] == 12
    ar, masked = page.speed["autoregressive"], page.speed["masked"]
    assert [each.passes for each in ar["one token per pass, cached"]] == [12, 12]
    assert [each.passes for each in masked["3 steps"]] == [3, 3]
    assert masked["one token per pass, any order"][0].passes == 12
    assert 1 <= masked["confidence above 0.9"][0].passes <= 12
    assert masked["6 steps"][0].flops_per_token == pytest.approx(2 * masked["3 steps"][0].flops_per_token)
    assert (
        ar["one token per pass, cached"][0].flops_per_token < ar["one token per pass, no cache"][0].flops_per_token / 3
    )
    for name, model in models.items():
        assert page.bits[name]["bits_per_byte"] == pytest.approx(model.evaluate(draws=4)["bits_per_byte"])
    assert page.bits["autoregressive"]["exact"]
    assert not page.bits["masked"]["exact"]
    assert [page.gaps[name][0].sees for name in models] == ["before", *["both sides"] * 4]
    assert "6 steps" in page.orders["uniform"]
    assert page.speed["uniform"]["6 steps, predictor-corrector"][0].passes == 6 + 5
    assert 2 <= masked["40 nats per pass, 6 apart, any order"][0].passes <= 12
    blocks = page.speed["masked_block"]
    assert blocks["one token per pass, cached"][0].passes == blocks["one token per pass, no cache"][0].passes == 12
    assert all(
        3 <= each.passes <= 12 for each in blocks["confidence above 0.3, cached"]
    )  # however many rows wait for others
    assert blocks["one token per pass, most confident first"][0].passes == 12
    assert page.bits["masked_block"]["bits_per_byte_any_order"] > 0
    assert page.gaps_real.value > 0.5  # of real gaps, most are in lines that are Python
    assert page.quality["real"]["held-out text"].lines > 0.9


def test_drafted_decoding_has_a_row_of_its_own(runs, tmp_path, capsys):
    models = loaded({name: runs[name] for name in ("autoregressive", "masked")})
    plain, *_, drafted = decoding_modes(models["autoregressive"], 16, (), um.drafting.NGram())
    assert "verified" in drafted.name
    how = {"length": 16, "temperature": 0.0, "prompt": "area_1"}
    texts = [models["autoregressive"].sample(1, **how, **mode.settings) for mode in (plain, drafted)]
    assert texts[0] == texts[1]
    settings = ["--tokens", "8", "--rows", "2", "--questions", "2", "--gap", "2", "--steps", "2", "--batches", "1"]
    command = ["compare", *(str(runs[name]) for name in models), *settings, "--out", str(tmp_path), "--json"]
    assert main([*command, "--drafter", str(runs["masked"])]) == 0
    speeds = json.loads(capsys.readouterr().out)["speed"]
    assert 1 <= speeds[str(runs["autoregressive"])][drafted.name][0]["passes"] <= 8
    assert drafted.name not in speeds[str(runs["masked"])]
    assert main([*command, "--drafter", str(runs["uniform"])]) == 2
    assert "drafts no blocks of text" in capsys.readouterr().err


def test_intervals_are_wilson_intervals():
    value, low, high = gaps.share(8, 10)
    assert value == 0.8
    for bound in (low, high):  # where the score test has its 5 %
        assert abs(0.8 - bound) == pytest.approx(1.96 * math.sqrt(bound * (1 - bound) / 10), rel=1e-9)
    assert gaps.share(0, 20).low == pytest.approx(0, abs=1e-12)
    assert gaps.share(20, 20).high == pytest.approx(1)


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("x = 3", True),
        ("    return x", True),
        ("if a:", True),
        ("else:", True),
        ("except ValueError:", True),
        ("def f(a, b=2):", True),
        ("# only words", True),
        ("", True),
        ("foo(bar", False),
        ("if a", False),
        ("these are words", False),
        ("\0", False),
    ],
)
def test_is_python_recognises_lines(line, good):
    assert quality.is_python(line) is good


def test_quality_matches_a_computation_by_hand(runs):
    models = loaded(runs)
    judge, writer = models["autoregressive"], models["masked"]
    text = "x = 1\ny = (\nz = 3\n"
    row = torch.tensor([writer.tokenizer.encode(text)])
    found = quality.quality(row, writer, judge)
    assert found.lines == 0  # of the lines that are whole, which the first and the last may not be
    assert found.judge == pytest.approx(-judge.log_likelihood(text).value.item() / len(text), rel=1e-6)
    shares = torch.bincount(row[0]).double() / row.numel()
    assert found.entropy == pytest.approx(torch.special.entr(shares).sum().item())


def test_time_to_first_token_is_when_it_stops_changing(runs):
    models = loaded(runs)
    mode = decoding_modes(models["autoregressive"], 16, ())[0]
    found = speed.speed(models["autoregressive"], mode, 16, 1)
    assert 0 < found.first_token < 16 / found.tokens_per_second


def test_on_the_command_line(runs, tmp_path, capsys):
    folders = [str(runs["autoregressive"]), str(runs["masked"])]
    few = ["--tokens", "8", "--steps", "2", "--rows", "2", "--questions", "3", "--gap", "2", "--batches", "1"]
    assert main(["compare", *folders, *few, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for words in ("bits per byte", "passes", "own entropy", "gaps filled", "real text"):
        assert words in shown
    assert main(["compare", *folders, *few, "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits"][folders[0]]["exact"]
    assert main(["compare", *folders[::-1], "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "autoregressive run first" in told
    assert f"try:    unmelt compare {folders[0]} {folders[1]}" in told
    assert main(["compare", folders[1]]) == 2
    assert "try:    unmelt train text --kind autoregressive" in capsys.readouterr().err
    assert main(["compare", "--out", str(tmp_path)]) == 2


def test_accuracies_of_questions_are_on_the_page(runs):
    models = {name: model for name, model in loaded(runs).items() if name in ("autoregressive", "masked")}
    for model in models.values():
        model.questions = lambda: {"kind": Questions(("x = ░",), ("x = 1",)), "gap": Questions(("░ = 1",), ("x = 1",))}
    page = compare(models, tokens=8, steps=(2,), rows=2, questions=2, gap=2, batches=(1,), quiet=True)
    assert page.questions["masked"].keys() == {"kind", "gap"}
    assert page.questions["autoregressive"]["gap"] is None


def test_every_text_that_quality_is_measured_on_has_its_own_seed(runs, monkeypatch):
    model = loaded(runs)["masked"]
    seeds, trajectory = [], type(model).trajectory

    def spy(self, rows, *, seed, **settings):
        seeds.extend(seed)
        return trajectory(self, rows, seed=seed, **settings)

    monkeypatch.setattr(type(model), "trajectory", spy)
    mode = decoding_modes(model, 4, (1,))[-1]
    rows = quality.CHUNK + 3
    assert len(quality.generate_rows(model, mode, 4, rows, 5)) == rows
    assert seeds == list(range(5, 5 + rows))


def test_the_error_of_bits_per_byte_is_in_bits_per_byte(runs):
    model = loaded(runs)["masked"]
    found = text_evaluation.evaluate(model, 6, 3, 0)
    values, padding = model.held_out.values[:6], model.tokenizer.special("padding")
    known = torch.where(values == padding, values, -1)
    expected = text_evaluation.negative_log_likelihood(model, values, known, 3, um.rng.fold(0, 0))
    assert found["bits_per_byte"] == pytest.approx(expected.value.sum().item() / found["bytes"] / math.log(2), rel=1e-6)
    error = expected.error.double().square().sum().sqrt().item()
    assert error > 0
    assert found["bits_per_byte_error"] == pytest.approx(error / found["bytes"] / math.log(2), rel=1e-6)
