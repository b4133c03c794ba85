"""Points: two draws of one density score as the floor, other densities worse, and pictures keep what is in them."""

import numpy as np
import torch
from PIL import Image

from unmelt import data, picture
from unmelt.metric import collect_samples, energy_distance
from unmelt.modality import Points
from unmelt.rng import Stream

points = Points()
score = points.score


def test_real_points_score_as_the_floor_and_other_densities_worse():
    real, held_out = collect_samples(data.Ring(seed=0)), collect_samples(data.Ring(seed=1))
    good = score(collect_samples(data.Ring(seed=2)), real, held_out)
    assert set(good) == {"energy", "energy_floor", "sliced", "sliced_floor"}
    assert abs(good["energy"]) < 0.005
    assert abs(good["energy_floor"]) < 0.005
    assert good["sliced"] < 3 * good["sliced_floor"]
    for wrong in (data.Ring(radius=1.8, seed=2), data.Ring(modes=5, seed=2), data.Ring(sd=0.3, seed=2)):
        bad = score(collect_samples(wrong), real, held_out)
        assert bad["energy"] > abs(good["energy"])
        assert bad["sliced"] > 1.3 * good["sliced"]
    assert score(collect_samples(data.Ring(seed=2)), real, held_out) == good


def test_the_distance_is_the_energy_distance():
    real, held_out, made = (collect_samples(data.Ring(seed=seed)).x[:300] for seed in range(3))
    found = points.distance(real, held_out)
    assert (found.name, found.floor) == ("energy distance", energy_distance(real, held_out))
    assert found.measure(made) == energy_distance(made, held_out)


def test_samples_are_drawn_beside_as_many_real_points():
    ring, x = data.Ring(), torch.rand(50, 2)
    labels = torch.arange(50) % 6
    real, condition = ring.batch(0, 50)
    panels = [picture.Panel("data", real, condition.label), picture.Panel("samples", x, labels)]
    expected = picture.scatter(panels, ring.classes)
    assert np.array_equal(np.asarray(points.draw(x, labels, ring.classes, ring)), np.asarray(expected))
    alone = picture.scatter([picture.Panel("samples", x)])
    assert np.array_equal(np.asarray(points.draw(x)), np.asarray(alone))


def test_a_strip_shows_the_last_cloud_and_every_second_one_before_it():
    frames = [torch.rand(1200, 2) + k for k in range(5)]
    times = [1.0, 0.75, 0.5, 0.25, 0.0]
    panels = [picture.Panel(f"t = {times[k]:.2f}", frames[k][:1000]) for k in (4, 0, 2)]
    assert np.array_equal(np.asarray(points.strip(frames, times)), np.asarray(picture.scatter(panels)))


def test_rows_of_many_numbers_are_shown_in_their_main_plane(monkeypatch):
    seen = []
    scatter = picture.scatter
    monkeypatch.setattr(picture, "scatter", lambda panels, classes: seen.extend(panels) or scatter(panels, classes))
    plane = torch.linalg.qr(Stream(0).normal((6, 2), torch.float64))[0]
    flat = Stream(1).normal((200, 2), torch.float64) * torch.tensor([3.0, 1.0])
    x = (flat @ plane.T + 5).view(200, 2, 3)
    x[0] = torch.nan
    points.draw(x)
    shown = seen[0].points
    assert shown.shape == (200, 2)
    assert shown[0].isnan().all()
    # Distances within the plane are kept, and the wider direction is the first.
    torch.testing.assert_close(torch.cdist(shown[1:], shown[1:]), torch.cdist(flat[1:], flat[1:]), atol=1e-6, rtol=1e-9)
    assert shown[1:, 0].std() > 2 * shown[1:, 1].std()


def test_files_hold_the_numbers_or_the_picture(tmp_path):
    x = torch.rand(40, 2)
    points.write(x, tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), x.numpy())
    points.write(x, tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(points.draw(x)))


def test_previews_and_scores_take_many_points():
    assert points.preview_rows(6) == 2000
    assert points.samples_to_score(123) == 123
