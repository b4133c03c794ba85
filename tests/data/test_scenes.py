import pytest
import torch

import unmelt as um
from unmelt.data import Scenes
from unmelt.data.scenes import SEPARATOR
from unmelt.encoder import EncodedText, HashedCaptionEncoder
from unmelt.errors import UsageError
from unmelt.scene import HELD_OUT_COLOURED, Scene, check, is_held_out, read, wordings


class Remembering:
    """An encoder that keeps what it was given."""

    width = 1

    def __init__(self):
        self.given = []

    def __call__(self, captions):
        self.given += captions
        return EncodedText(torch.zeros(len(captions), 1, 1), torch.ones(len(captions), 1).bool())


def test_captions_are_wordings_plans_and_both_of_seen_scenes():
    pool = Scenes(captions=400).pool
    forms = {"wording": 0, "both": 0, "plan": 0}
    for scene, caption in pool:
        assert not is_held_out(scene)
        wording, _, plan = caption.partition(SEPARATOR)
        if plan:
            assert Scene.parse(plan) == scene
            assert wording in wordings(scene)
            forms["both"] += 1
        elif caption in wordings(scene):
            forms["wording"] += 1
        else:
            assert Scene.parse(caption) == scene
            forms["plan"] += 1
    assert 160 < forms["wording"] < 240
    assert 65 < forms["both"] < 135
    assert 65 < forms["plan"] < 135


def test_pictures_show_their_captions_and_shuffled_ones_do_not():
    right = {}
    for shuffled in (False, True):
        encoder = Remembering()
        source = Scenes(captions=100, shuffled=shuffled, encoder=encoder)
        pictures, condition = source.batch(3, 40)
        assert condition.sequence.shape == (40, 1, 1)
        scenes = {caption: scene for scene, caption in source.pool}
        found = read(pictures)
        assert not {thing[:2] for things in found for thing in things} & HELD_OUT_COLOURED
        asked = [scenes[caption] for caption in encoder.given]
        right[shuffled] = sum(check(*pair)["all"] for pair in zip(asked, found, strict=True)) / 40
    assert right[False] >= 0.97
    assert right[True] < 0.2


def test_a_batch_is_that_of_its_number_and_seed():
    one, again = (Scenes(captions=50).batch(2, 8) for _ in range(2))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1].sequence, again[1].sequence)
    assert not torch.equal(one[0], Scenes(captions=50).batch(3, 8)[0])
    assert not torch.equal(one[0], Scenes(captions=50, seed=1).batch(2, 8)[0])
    assert Scenes(size=64).batch(0, 1)[0].shape == (1, *Scenes(size=64).shape)


def test_no_caption_is_cut_by_hashed_words():
    """The longest one: no word of another scene's is longer than one word of this one's."""
    scene = Scene.parse("1 red apple top; 1 red cat bottom")
    longest = [f"{wording}{SEPARATOR}{scene}" for wording in wordings(scene)]
    _, mask = HashedCaptionEncoder()(longest)
    assert mask.sum(1).max() < 32


@pytest.mark.parametrize(("given", "message"), [({"captions": 0}, "captions=0"), ({"size": 8}, "size=8")])
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        Scenes(**given)


def test_a_folder_of_scenes_has_the_pictures_and_captions_of_the_source(tmp_path):
    folder = um.data.draw_scenes(tmp_path / "scenes", pictures=4, size=32, captions=9, seed=3, quiet=True)
    painted, _ = um.data.images(folder, 32, 3, 0, label="auto", caption="auto")
    assert painted.classes == ()
    source = Scenes(size=32, captions=9, seed=3)
    rows = [source.captioned(number, 1) for number in range(4)]
    wanted = torch.cat([pictures for pictures, _ in rows])
    found = um.metric.collect_samples(painted).x
    nearest = (found[:, None] - wanted[None]).abs().amax((2, 3, 4))
    assert nearest.amin(0).max() <= 0.5 / 255 + 1e-6
    metadata = (folder / "metadata.csv").read_text(encoding="utf-8")
    assert all(captions[0] in metadata for _, captions in rows)
    with pytest.raises(UsageError, match="exists"):
        um.data.draw_scenes(folder)
