"""Power-function averages are their closed form, and those made after training are those kept all along."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.integrate import quad
from test_training import fitted, interrupt, model

import unmelt as um
from unmelt.cli import main
from unmelt.train import ObjectiveStep, PowerFunctionEMA, Trainer, reconstruct_ema
from unmelt.train.ema_profile import (
    LARGEST_STD,
    EMAProfile,
    inner_product,
    newest_weight,
    solve_coefficients,
    std_to_power,
)

TRIED = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)


def density(profile, s):
    return (profile.power + 1) * (s / profile.steps) ** profile.power / profile.steps * (s <= profile.steps)


@pytest.mark.parametrize("length", [0.01, *TRIED, 0.28, LARGEST_STD])
def test_the_ema_std_is_the_standard_deviation_of_the_density(length):
    """By integration; and the two powers that the paper gives for .05 and .1."""
    one = EMAProfile(std_to_power(length), 1)
    mean, square = (quad(lambda s, k=k: s**k * density(one, s), 0, 1)[0] for k in (1, 2))
    assert math.sqrt(square - mean**2) == pytest.approx(length, rel=1e-6)
    assert std_to_power(0.05) == pytest.approx(16.97, abs=0.005)
    assert std_to_power(0.1) == pytest.approx(6.94, abs=0.005)


def test_inner_products_equal_numerical_integration():
    profiles = [EMAProfile(std_to_power(length), steps) for length in (0.05, 0.1, 0.25) for steps in (400, 1000)]
    for a in profiles:
        for b in profiles:
            last = min(a.steps, b.steps)
            exact = quad(lambda s, a=a, b=b: density(a, s) * density(b, s), 0, last, points=[0.9 * last])[0]
            assert inner_product(a, b) == pytest.approx(exact, rel=1e-8)


def test_the_power_function_ema_equals_its_closed_form():
    weight = torch.zeros(3, dtype=torch.float64)
    kept = PowerFunctionEMA({"w": weight}, (0.05, 0.2))
    values = torch.randn(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for value in values:
        weight.copy_(value)
        kept.update()
    edges = torch.linspace(0, 1, 301, dtype=torch.float64)
    for length, (average,) in zip(kept.stds, kept.averages, strict=True):
        shares = (edges ** (std_to_power(length) + 1)).diff()
        torch.testing.assert_close(average, shares @ values, rtol=0, atol=1e-12)
    assert newest_weight(3.0, 1) == 1


def kept_profiles(count, steps=1000):
    return [
        EMAProfile(std_to_power(x), n) for n in range(steps // count, steps + 1, steps // count) for x in (0.05, 0.1)
    ]


@pytest.mark.parametrize("length", TRIED)
def test_the_reported_error_is_that_of_the_least_squares_combination(length):
    """The residual of the densities by a fine sum; and nothing nearer is found beside it."""
    kept, wanted = kept_profiles(20), EMAProfile(std_to_power(length), 1000)
    found = solve_coefficients(kept, wanted)
    s = (np.arange(400_000) + 0.5) / 400
    target, parts = density(wanted, s), np.stack([density(one, s) for one in kept])

    def off(shares):
        return math.sqrt(np.square(target - shares @ parts).mean() / np.square(target).mean())

    assert found.error == pytest.approx(off(np.array(found.coefficients)), rel=1e-3, abs=1e-4)
    assert sum(found.coefficients) == pytest.approx(1, abs=1e-12)
    moves = np.random.default_rng(0).normal(size=(20, len(kept))) * 1e-2
    assert all(
        off(np.array(found.coefficients) + move - move.mean()) >= off(np.array(found.coefficients)) for move in moves
    )


def test_twenty_snapshots_reach_stds_from_003_to_02_within_three_percent():
    """What the documentation promises: from 20 snapshots of .05 and .1, lengths of .03 to .2 within 3 %."""
    off = {
        length: solve_coefficients(kept_profiles(20), EMAProfile(std_to_power(length), 1000)).error for length in TRIED
    }
    assert off[0.05] < 1e-7
    assert off[0.1] < 1e-7
    assert max(off[0.03], off[0.07], off[0.15], off[0.2]) < 0.03
    half = solve_coefficients(kept_profiles(20), EMAProfile(std_to_power(0.1), 500))
    assert half.error < 1e-7


@pytest.fixture(scope="module")
def wandering(tmp_path_factory):
    """Weights on a random walk towards a goal for 2000 steps: snapshots of two averages, and others kept all along."""
    folder = tmp_path_factory.mktemp("averages")
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, dtype=torch.float64, generator=generator)
    still = torch.full((2,), 3.0, dtype=torch.float64)
    kept, direct = (
        PowerFunctionEMA({"w": weight, "still": still}),
        PowerFunctionEMA({"w": weight, "still": still}, TRIED),
    )
    early = None
    for step in range(1, 2001):
        weight.mul_(0.999).add_(torch.randn(50, dtype=torch.float64, generator=generator), alpha=0.03)
        kept.update()
        direct.update()
        if step % 50 == 0:
            kept.save(folder)
        if step == 1200:
            early = [average[0].clone() for average in direct.averages]
    return folder, direct, early, weight


@pytest.mark.parametrize(("number", "length"), list(enumerate(TRIED)))
def test_post_hoc_averages_equal_those_kept_during_training(wandering, number, length):
    """From 40 snapshots; the error against the distance that averaging goes from the last weights."""
    folder, direct, early, last = wandering
    for steps, wanted in ((None, direct.averages[number][0]), (1200, early[number])):
        found = reconstruct_ema(folder, length, steps)
        error = (found.tensors["w"] - wanted).norm() / (last - direct.averages[number][0]).norm()
        print(f"length {length}: error {error:.1e}, profile off {found.error:.1e}")
        assert error < max(1e-10, found.error)
        torch.testing.assert_close(
            found.tensors["still"], torch.full((2,), 3.0, dtype=torch.float64), rtol=1e-12, atol=0
        )


def test_damaged_snapshots_are_left_out_with_a_warning(wandering, tmp_path):
    folder, direct, _, _ = wandering
    paths = sorted(folder.iterdir())
    for path in paths:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = paths[30].read_bytes()
    (tmp_path / paths[30].name).write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    (tmp_path / paths[10].name).write_bytes(content[:100])
    warned = []
    found = reconstruct_ema(tmp_path, 0.07, warn=warned.append)
    assert sorted(paths[n].name in text for n in (10, 30) for text in warned) == [False, False, True, True]
    assert (found.tensors["w"] - direct.averages[TRIED.index(0.07)][0]).norm() < 1e-3


def test_post_hoc_averages_of_a_run_equal_the_sum_over_its_steps(tmp_path):
    """Every weight, beside the sum over all steps of the run done by hand; and bit for bit after an interruption."""
    cut = model(at=17, do=interrupt, snapshot_every=2)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(tmp_path / "cut", device="cpu", quiet=True)
    fitted(tmp_path / "cut", snapshot_every=2)
    whole = fitted(tmp_path / "whole", snapshot_every=2)
    names = sorted(path.name for path in (tmp_path / "whole/averages").iterdir())
    assert names == [f"{step:09d}.safetensors" for step in range(2, 41, 2)]
    for name in names:
        one, other = (load_file(tmp_path / run / "averages" / name) for run in ("whole", "cut"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)

    by_hand = model()
    trainer = Trainer(
        ObjectiveStep(by_hand.denoiser, by_hand.objective), by_hand.source, by_hand.codec, by_hand.training
    )
    history = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(40):
            trainer.step()
            history.append({name: p.detach().double().clone() for name, p in by_hand.denoiser.named_parameters()})
    edges = torch.linspace(0, 1, 41, dtype=torch.float64)
    for length, close in ((0.05, 2e-6), (0.08, 2e-4), (0.15, 5e-4)):
        made = whole.averaged(length)
        assert made.steps_done == 40
        assert "EMA of width" in made.notes
        shares = (edges ** (std_to_power(length) + 1)).diff()
        for name, weight in made.denoiser.named_parameters():
            wanted = sum(s * step[name] for s, step in zip(shares, history, strict=True))
            torch.testing.assert_close(weight.detach().double(), wanted, rtol=0, atol=close)
    assert not torch.equal(whole.sample(2), whole.averaged(0.2).sample(2))


def test_averages_that_cannot_be_combined_are_refused(tmp_path):
    fitted(tmp_path, steps=10, snapshot_every=5)
    made = um.load(tmp_path)
    for length in (0.0, 0.3, -1.0, math.nan):
        with pytest.raises(um.UsageError, match="a share of the run"):
            made.averaged(length)
    with pytest.raises(um.UsageError, match=r"an error of \d+ %"):
        made.averaged(0.01)
    with pytest.raises(um.UsageError, match=r"steps=7, without.*steps=5"):
        made.averaged(0.1, steps=7)
    with pytest.raises(um.UsageError, match="without a run folder"):
        model().averaged(0.1)
    with pytest.raises(um.UsageError, match="snapshot_every is 5 there, 0 here"):
        fitted(tmp_path, steps=12)


def test_the_average_command_writes_run_folders(tmp_path, capsys):
    run = tmp_path / "ring"
    settings = ["--width", "8", "--depth", "1", "--steps", "20", "--batch", "8", "--device", "cpu", "--log-to", "none"]
    assert main(["train", "ring", "--out", str(run), *settings, "--snapshot-every", "2"]) == 0
    assert main(["average", str(run), "--ema-std", "0.08", "0.1"]) == 0
    assert "EMA of width 0.08 over 20 steps" in " ".join(capsys.readouterr().err.split())
    kept = load_file(sorted((run / "averages").iterdir())[-1])
    made = load_file(tmp_path / "ring-0.1" / "model.safetensors")
    for name, value in made.items():
        torch.testing.assert_close(value, kept.get(f"0.1/{name}", value), rtol=0, atol=1e-6)
    assert main(["sample", str(tmp_path / "ring-0.08"), "--rows", "4"]) == 0
    assert main(["average", str(run), "--ema-std", "0.1", "--out", str(run)]) == 2
    assert main(["average", str(run), "--ema-std", "0.9"]) == 2
    assert main(["average", str(tmp_path / "none"), "--ema-std", "0.1"]) == 2
    capsys.readouterr()
    assert main(["train", "ring", "--out", str(tmp_path / "plain"), *settings]) == 0
    assert main(["average", str(tmp_path / "plain"), "--ema-std", "0.1"]) == 2
    assert "no snapshots" in capsys.readouterr().err
