"""The facade for numbers: seeds, labels, guidance, pictures, saving and loading, tuning and editing."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from jaxtyping import config

import unmelt as um
from unmelt.device import device_named


def ring(**settings):
    return um.recipe.ring(**{"width": 8, "depth": 1, "modes": 3, "steps": 40, "batch": 32, **settings})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "ring"
    ring().fit(folder, device="cpu", quiet=True)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return um.load(folder, device="cpu")


@pytest.fixture
def unchecked(monkeypatch):
    """As people run it: types are not checked for us."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


def close(a, b):
    """Equal up to what a matrix product differs by when a row has other company: BLAS sums in another order."""
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# Seeds


def test_the_same_seed_gives_the_same_weights_and_samples(model):
    again = ring().fit(device="cpu", quiet=True)
    assert all(torch.equal(a, b) for a, b in zip(model.denoiser.parameters(), again.denoiser.parameters(), strict=True))
    for given in ({"seed": 3}, {"seed": 3, "label": 1}, {"label": [0, 1, 2, 0], "guidance": 2.0}):
        assert torch.equal(model.sample(4, steps=5, **given), again.sample(4, steps=5, **given))
    other = ring(seed=1).fit(device="cpu", quiet=True)
    assert not torch.equal(model.sample(4, steps=5), other.sample(4, steps=5))


def test_samples_depend_on_their_seed_and_not_on_earlier_draws(model):
    first = model.sample(4, steps=5, seed=1)
    torch.manual_seed(99)
    model.sample(3, steps=2, seed=8)
    assert torch.equal(model.sample(4, steps=5, seed=1), first)
    assert not torch.equal(model.sample(4, steps=5, seed=2), first)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    model.sample(2, steps=2)
    assert torch.equal(torch.rand(1), expected)


def test_a_row_does_not_depend_on_the_batch_size(model, monkeypatch):
    whole = model.sample(13, steps=6, seed=5)
    for rows in (1, 2, 4, 5, 12):
        close(model.sample(rows, steps=6, seed=5), whole[:rows])
    monkeypatch.setattr(um.Model, "CHUNK", 4)  # 13 rows are then made as 4 + 4 + 4 + 1
    close(model.sample(13, steps=6, seed=5), whole)
    labels = [k % 3 for k in range(13)]
    parts = model.sample(13, label=labels, steps=6, seed=5, guidance=2.0)
    monkeypatch.setattr(um.Model, "CHUNK", 512)
    close(parts, model.sample(13, label=labels, steps=6, seed=5, guidance=2.0))


def test_rows_do_not_depend_on_the_chunk_they_are_sampled_in(model):
    rows = um.Model.CHUNK + 3
    many = model.sample(rows, steps=2, seed=5, label=1)
    assert many.shape == (rows, 2)
    close(many[:5], model.sample(5, steps=2, seed=5, label=1))
    seeds = [um.rng.fold(5, row) for row in range(um.Model.CHUNK - 1, rows)]
    close(many[um.Model.CHUNK - 1 :], model.sample(4, steps=2, seed=seeds, label=1))


def test_each_row_can_have_its_own_seed(model):
    rows = model.sample(4, steps=5, seed=[7, 8, 7, 9])
    assert not torch.equal(rows[0], rows[1])
    close(rows[0], rows[2])
    close(rows[3], model.sample(1, steps=5, seed=[9])[0])
    for seeds in ([1, 2, 3], [1, 2, 3, 4, 5], []):
        with pytest.raises(um.UsageError, match=f"{len(seeds)} seeds for 4 rows"):
            model.sample(4, steps=5, seed=seeds)


# Labels and guidance


def test_labels_by_name_number_list_or_tensor_give_the_same_samples(model):
    expected = model.sample(3, label=1, steps=4)
    for label in ("mode 1", [1, 1, 1], ("mode 1", "mode 1", "mode 1"), torch.tensor(1), torch.tensor([1, 1, 1])):
        assert torch.equal(model.sample(3, label=label, steps=4), expected)
    mixed = model.sample(3, label=["mode 2", "mode 0", "mode 1"], steps=4)
    close(mixed, model.sample(3, label=[2, 0, 1], steps=4))
    close(mixed[2], expected[2])
    assert not torch.equal(model.sample(3, label=0, steps=4), expected)
    assert not torch.equal(model.sample(3, steps=4), expected)


def test_numpy_labels_give_the_same_samples(model, unchecked):
    expected = model.sample(3, label=1, steps=4)
    assert torch.equal(model.sample(3, label=np.int64(1), steps=4), expected)
    assert torch.equal(model.sample(3, label=np.array([1, 1, 1]), steps=4), expected)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (3, "no class 3; a class from 0 to 2"),
        (-1, "no class -1"),
        ([0, 1, 3], "no class 3"),
        ("mode 7", "no class 'mode 7'.*mode 0, mode 1, mode 2"),
        (["mode 0", "x", "mode 1"], "no class 'x'"),
        ([0, 1], "2 labels for 3 rows"),
        ([], "0 labels for 3 rows"),
        (1.5, "label=1.5"),
        (torch.tensor([0.5, 1.0, 2.0]), "label=0.5"),
        ([[0], [1], [2]], r"label=\[\[0\]"),
        (None, "guidance=2.0 without a label"),
    ],
)
def test_an_invalid_label_is_refused(model, unchecked, label, said):
    for verb in (model.sample, model.trajectory):
        with pytest.raises(um.UsageError, match=said):
            verb(3, label=label, guidance=2.0, steps=2)


def test_a_model_without_classes_and_data_samples_and_refuses_labels(tmp_path):
    with um.rng.seeded(0):
        backbone = um.backbone.MLP(shape=(2,), width=8, depth=1)
    made = um.Model(
        denoiser=um.denoiser.NetworkDenoiser(
            backbone, um.process.Gaussian(um.schedule.Cosine()), um.prediction.V(), (2,)
        ),
        codec=um.codec.Affine(),
        sampler=um.sampler.DDIM(),
        grid=um.grid.uniform(4),
    )
    assert made.sample(3).shape == (3, 2)
    with pytest.raises(um.UsageError, match="without classes"):
        made.sample(3, label=0)
    for verb in (made.fit, made.evaluate):
        with pytest.raises(um.UsageError, match="without data"):
            verb()
    made.save(tmp_path)
    assert torch.equal(um.load(tmp_path).sample(3), made.sample(3))
    assert made.picture().size[0] > 50


def test_guidance_scale_1_is_unguided(model):
    given = {"label": [0, 1, 2, 0], "steps": 5, "seed": 4}
    plain = model.sample(4, **given)
    assert torch.equal(model.sample(4, guidance=1.0, **given), plain)
    assert torch.equal(model.sample(4, guidance=1.0, interval=(0.2, 0.7), **given), plain)
    assert not torch.equal(model.sample(4, guidance=1.5, **given), plain)
    close(model.sample(4, guidance=0.0, **given), model.sample(4, steps=5, seed=4))


@pytest.mark.parametrize("rows", [0, -1, 2.0, True, 1_000_001])
def test_an_invalid_number_of_rows_is_refused(model, unchecked, rows):
    for verb in (model.sample, model.trajectory):
        with pytest.raises(um.UsageError, match="rows="):
            verb(rows)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": 10**9}, {"guidance": float("nan"), "label": 0}, {"interval": (0.9, 0.1), "guidance": 2.0}],
)
def test_trajectory_refuses_bad_arguments_at_the_call_and_not_at_the_first_frame(model, wrong):
    with pytest.raises(um.UsageError):
        model.trajectory(3, **{"label": 0, **wrong})


# Trajectories


def test_a_trajectory_ends_in_the_sample(model):
    given = {"label": 2, "guidance": 1.5, "steps": 6, "seed": 3}
    frames = list(model.trajectory(4, **given))
    assert torch.equal(frames[-1].x, model.sample(4, **given))
    times = [frame.t for frame in frames]
    assert (times[0], times[-1], len(times)) == (1.0, 0.0, 7)
    assert all(late > early for late, early in itertools.pairwise(times))
    assert 0.3 < frames[0].x.std() / model.codec.scale < 3  # noise of sd 80, brought to the size of data
    last = frames[-1].x - frames[-1].x0  # a last step may be a long one, and end beside the last belief
    assert last.abs().mean() < 0.1 * frames[-1].x.std()


def test_a_given_sampler_and_grid_are_used(model):
    given = {"sampler": um.sampler.Heun(), "grid": um.grid.log_snr(3)}
    assert len(list(model.trajectory(2, **given))) == 4
    assert not torch.equal(model.sample(2, **given), model.sample(2, steps=3))


def test_steps_change_the_number_of_steps_of_a_given_grid(model):
    karras = um.grid.karras(5)
    assert len(list(model.trajectory(2, grid=karras))) == 6
    assert len(list(model.trajectory(2, grid=karras, steps=7))) == 8
    euler = um.sampler.Euler()
    both = model.sample(4, sampler=euler, grid=karras, steps=7)
    one = model.sample(4, sampler=euler, grid=um.grid.karras(7))
    assert torch.equal(both, one)
    with pytest.raises(um.UsageError, match="7 steps, and a spacing Fixed of 3 given times") as refused:
        model.sample(4, grid=um.grid.fixed((1.0, 0.6, 0.3, 0.0)), steps=7)
    assert refused.value.instead == "steps=3"


def test_dropout_is_off_outside_training(tmp_path):
    """A model is in evaluation mode from the start, also while one trajectory is half read and another begins."""
    made = um.recipe.digits(width=4, steps=2, batch=4)
    backbone = um.backbone.UNet(
        channels=1, width=4, multipliers=(1,), blocks=1, attention=(False,), classes=10, dropout=0.9
    )
    torch.nn.init.normal_(backbone.out.weight)
    for block in [*backbone.down, *backbone.up, backbone.middle]:
        torch.nn.init.normal_(block.second.weight)
    fresh = um.Model(
        denoiser=um.denoiser.NetworkDenoiser(
            backbone, um.process.Gaussian(um.schedule.Cosine()), um.prediction.V(), made.source.shape, data_sd=0.5
        ),
        codec=made.codec,
        sampler=um.sampler.DDIM(),
        grid=um.grid.uniform(2),
        classes=made.classes,
    )
    next(iter(fresh.trajectory(2)))  # and no further
    a, b = fresh.sample(2), fresh.sample(2)
    assert torch.equal(a, b)
    assert not fresh.denoiser.training


# Keeping


def test_a_saved_model_loads_as_the_same_model(folder, model, tmp_path):
    model.save(tmp_path / "copy")
    again = um.load(tmp_path / "copy")
    assert again.describe() == model.describe()
    for given in ({}, {"label": 1, "guidance": 2.0}, {"label": "mode 2", "steps": 3}):
        assert torch.equal(again.sample(5, **given), model.sample(5, **given))
    assert (tmp_path / "copy/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert again.steps_done == 40
    assert again.origin["settings"]["modes"] == 3
    assert again.classes == ("mode 0", "mode 1", "mode 2")


def test_a_loaded_model_can_be_evaluated_once_it_has_data(folder):
    again, fresh = um.load(folder), ring()
    with pytest.raises(um.UsageError, match="without data"):
        again.evaluate()
    again.source, again.held_out = fresh.source, fresh.held_out
    scores = again.evaluate(steps=3)
    assert scores == again.evaluate(steps=3)
    assert scores["energy"] > 10 * scores["energy_floor"]  # 40 steps teach nothing
    assert (scores["samples"], scores["steps"], scores["guidance"], scores["seed"]) == (2000, 3, 1.0, 0)


def test_an_unknown_device_is_refused():
    for name in ("tpu", "cuda:99", "", "CPU"):
        with pytest.raises(um.UsageError, match="device"):
            device_named(name)
    assert device_named(torch.device("cpu")) == torch.device("cpu")


def test_pictures_are_written_and_returned(model, tmp_path):
    cloud = model.picture(tmp_path / "deep" / "a.png", steps=2)
    assert (tmp_path / "deep" / "a.png").is_file()
    assert cloud.size[0] > 100
    model.draw(model.sample(5, steps=2), path=tmp_path / "b.png")
    assert (tmp_path / "b.png").is_file()


def test_a_picture_of_many_classes_has_at_most_128_samples(monkeypatch):
    """For images of 500 classes 128 samples are drawn, not 4000."""
    asked = []
    made = um.recipe.digits(width=4, steps=1, batch=2)
    made.classes = tuple(str(k) for k in range(500))
    monkeypatch.setattr(
        made, "sample", lambda rows, **given: asked.append(given["label"]) or torch.zeros(rows, 1, 8, 8)
    )
    made.picture()
    assert len(asked[0]) == 128
    assert asked[0].max() >= 490


class TestTrainedModel:
    """Tuning, editing, likelihood and guidance of any kind, through the facade."""

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("later") / "ring"
        settings = {"modes": 3, "steps": 300, "width": 32, "depth": 2, "batch": 128}
        um.recipe.ring(**settings).fit(folder, quiet=True)
        return folder

    @pytest.fixture
    def trained(self, run, tmp_path):
        shutil.copytree(run, tmp_path / "ring")
        return um.load(tmp_path / "ring")

    def test_a_tuned_sampler_is_used_and_saved(self, trained, tmp_path):
        before = trained.sample(8, label=1, seed=3)
        result = trained.tune(steps=4, rows=96, rounds=6, quiet=True)
        assert result.tuned_error < result.default_error
        after = trained.sample(8, label=1, seed=3)
        assert not torch.equal(before, after)
        assert torch.equal(after, trained.sample(8, label=1, seed=3, steps=4))
        assert len(list(trained.trajectory(2, label=1))) == 5
        again = um.load(tmp_path / "ring")
        assert again.tuned == trained.tuned
        assert torch.equal(after, again.sample(8, label=1, seed=3))
        assert torch.equal(before, again.sample(8, label=1, seed=3, steps=trained.grid.steps))

    def test_a_tuned_sampler_is_used_only_at_its_guidance_scale(self, trained):
        trained.tune(steps=4, guidance=2.0, rows=64, rounds=3, quiet=True)
        assert trained.default_sampler(None, 2.0)[1].steps == 4
        assert trained.default_sampler(None, 1.0) == um.sampler.default_sampler(trained.grid.steps)
        assert trained.default_sampler(4, 1.0) == um.sampler.default_sampler(4)

    def test_an_interrupted_tuning_says_that_nothing_is_kept(self, trained, monkeypatch):
        def stop(*args, **kwargs):
            raise KeyboardInterrupt

        before = trained.tuned
        monkeypatch.setattr("unmelt.model.tuning.tune", stop)
        with pytest.raises(KeyboardInterrupt, match="nothing of this tuning is kept"):
            trained.tune(steps=4, rows=64, quiet=True)
        assert trained.tuned == before

    def test_tuning_again_replaces_the_tuned_sampler(self, trained):
        for rounds in (1, 2):
            trained.tune(steps=3, rows=64, rounds=rounds, quiet=True)
        assert len(trained.tuned) == 1

    def test_further_training_discards_tuned_samplers(self, trained, tmp_path):
        trained.tune(steps=3, rows=64, rounds=1, quiet=True)
        settings = {"modes": 3, "width": 32, "depth": 2, "batch": 128}
        assert um.recipe.ring(**settings, steps=300).fit(tmp_path / "ring", quiet=True).tuned == trained.tuned
        assert um.recipe.ring(**settings, steps=310).fit(tmp_path / "ring", quiet=True).tuned == ()

    def test_guidance_can_be_any_function_that_wraps_the_denoiser(self, trained):
        plain = trained.sample(4, label=0, seed=1)
        same = trained.sample(4, label=0, seed=1, guidance=lambda d: um.guidance.CFG(d, 2.0))
        assert torch.equal(same, trained.sample(4, label=0, seed=1, guidance=2.0))
        assert not torch.equal(plain, same)

    def test_edit_keeps_structure_coarser_than_the_noise(self, trained):
        x, _ = um.data.Ring(modes=3, radius=2.0, sd=0.15, seed=0).batch(0, 64)
        little, much = (trained.edit(x, strength=strength, label=0, seed=1) for strength in (0.1, 1.0))
        assert (little - x).norm(dim=1).median() < 0.1
        assert (much - x).norm(dim=1).median() > 0.5

    def test_the_density_in_data_space_integrates_to_one(self, trained, unchecked):
        """On a lattice around one cluster, so that the codec's scale must be accounted for."""
        side, reach = 31, 1.2
        line = torch.linspace(-reach, reach, side)
        x = torch.cartesian_prod(line, line) + torch.tensor([2.0, 0.0])
        found = trained.log_likelihood(x, label=0)
        assert not found.error.any()
        cell = (2 * reach / (side - 1)) ** 2
        assert found.value.exp().sum().item() * cell == pytest.approx(1, abs=0.1)

    def test_bad_arguments_are_refused(self, trained):
        with pytest.raises(um.UsageError, match="encoded to shape"):
            trained.edit(torch.zeros(3, 5), strength=0.5)
        with pytest.raises(um.UsageError, match="strength"):
            trained.edit(torch.zeros(3, 2), strength=0.0)
        with pytest.raises(um.UsageError, match="2 to 30"):
            trained.tune(steps=1, rows=64)
        with pytest.raises(um.UsageError, match="encoded to shape"):
            trained.log_likelihood(torch.zeros(3, 1))
        with pytest.raises(um.UsageError, match="scale"):
            trained.sample(2, label=0, guidance=float("nan"))


def test_a_denoiser_without_a_network_is_refused():
    ring = um.denoiser.Mixture.ring(modes=3, radius=1.0, sd=0.1, process=um.process.Gaussian(um.schedule.Cosine()))
    with pytest.raises(um.UsageError, match=r"a Mixture, which has no network; .*um\.sample\("):
        um.Model(denoiser=ring, codec=um.codec.Affine(), grid=um.grid.uniform(3))
    assert um.sample(ring, rows=4, sampler=um.sampler.DPMpp(order=2), grid=um.grid.balanced(20)).shape == (4, 2)
