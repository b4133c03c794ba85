"""What every modality keeps: the protocol, a description in run folders, and the formats that it says it writes."""

import json

import pytest
import torch
from PIL.Image import Image

import unmelt as um
from unmelt.errors import UsageError
from unmelt.modality import Images, Modality, Points, Sound, Text, modality_of

SAMPLES = {
    Images(): torch.rand(3, 1, 8, 8),
    Points(): torch.rand(3, 2),
    Text(): ["one text", "another", "and the third"],
    Sound(8000): torch.rand(3, 1, 900) - 0.5,
}
each = pytest.mark.parametrize("modality", SAMPLES, ids=lambda modality: modality.name)


@each
def test_it_is_a_modality_and_comes_back_from_its_description(modality):
    assert isinstance(modality, Modality)
    assert um.config.build(json.loads(json.dumps(um.config.describe(modality)))) == modality


@each
def test_every_suffix_can_be_written_and_no_other(modality, tmp_path):
    x = SAMPLES[modality]
    for suffix in modality.suffixes:
        for path in modality.write(x, tmp_path / f"a{suffix}"):
            assert path.stat().st_size > 0
    before = set(tmp_path.iterdir())
    with pytest.raises(
        UsageError, match=rf"a name that ends in .*\{modality.suffixes[-1]}.*out=.a\{modality.suffixes[0]}"
    ):
        modality.write(x, tmp_path / "a.xyz")
    assert set(tmp_path.iterdir()) == before


@each
def test_samples_and_trajectories_have_pictures(modality):
    x, frames = SAMPLES[modality], [SAMPLES[modality]] * 3
    labels = torch.tensor([1, 0, 1])
    assert isinstance(modality.draw(x), Image)
    assert isinstance(modality.draw(x, labels, ("a", "b")), Image)
    assert isinstance(modality.strip(frames, [1.0, 0.5, 0.0]), Image)
    assert isinstance(modality.strip(frames, [1.0, 0.5, 0.0], labels, ("a", "b")), Image)


def test_shapes_say_what_old_run_folders_hold():
    assert modality_of((3, 32, 32)) == modality_of([1, 8, 8]) == Images()
    for shape in ((2,), (1,), (2, 3), (1, 2, 3, 4)):
        assert modality_of(shape) == Points()
