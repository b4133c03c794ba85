"""Layouts at the end of captions become maps, which the network is told beside the words."""

import torch

import unmelt as um
from unmelt.encoder import HashedCaptionEncoder, LayoutEncoder, TextEncoder
from unmelt.rng import Stream
from unmelt.scene import COLOURS, OBJECTS, Scene, lay_out, paint

CAPTIONS = ["a star | 1 red star b2", "2 cat a1 f6", "a star | 1 red star", "1 cat", "a star b2", None, ""]


def test_captions_with_cells_have_maps():
    encoder = LayoutEncoder(size=24)
    values, given = encoder.maps(CAPTIONS)
    assert values.shape == (7, encoder.map_channels, 24, 24)
    assert given.tolist() == [True, True, False, False, False, False, False]
    assert not values[2:].any()
    star, cats = values[0], values[1]
    assert star.flatten(1).any(1).nonzero()[:, 0].tolist() == [0, 1 + OBJECTS.index("star"), 13 + COLOURS.index("red")]
    assert cats.flatten(1).any(1).nonzero()[:, 0].tolist() == [0, 1 + OBJECTS.index("cat")]  # of any colour
    assert cats[0, 1:8, 1:8].all()
    assert cats[0, -8:-1, -8:-1].all()
    assert not cats[0, :, 11:13].any()
    assert encoder.maps([]).values.shape == (0, encoder.map_channels, 24, 24)


def test_things_are_painted_within_their_boxes():
    rng = Stream(3)
    for text in ("1 cat", "3 tree", "1 cup top; 1 car bottom"):
        for _ in range(10):
            scene = lay_out(Scene.parse(text), rng)
            ink = paint(scene, rng).picture.mean(0) < 0.9
            inside = LayoutEncoder().maps([str(scene)]).values[0, 0].bool()
            assert (ink & ~inside).sum() <= 0.1 * ink.sum()


def test_words_are_those_of_the_other_encoder():
    words = HashedCaptionEncoder()
    encoder = LayoutEncoder(words)
    assert isinstance(encoder, TextEncoder)
    assert encoder.width == words.width
    assert all(map(torch.equal, encoder(CAPTIONS), words(CAPTIONS)))
    assert um.config.build(um.config.describe(encoder)) == encoder


def test_sources_and_models_are_told_both(tmp_path):
    encoder = LayoutEncoder()
    sources = (
        um.data.Scenes(captions=40, layouts=True, encoder=encoder),
        um.data.Arrays(torch.zeros(7, 3, 32, 32), captions=CAPTIONS, encoder=encoder),
    )
    for source in sources:
        _, condition = source.batch(0, 32)
        assert condition.context.shape == (32, encoder.map_channels, 32, 32)
        assert condition.given["context"].tolist() == condition.context.flatten(1).any(1).tolist()
        assert 0 < int(condition.given["context"].sum()) < 32
    model = um.recipe.scenes(captions=20, width=8)
    known = model.condition_of(2, caption=CAPTIONS[:1] + CAPTIONS[2:3])
    assert known.given["context"].tolist() == [True, False]
    assert torch.equal(known.context, model.encoder.maps([CAPTIONS[0], ""]).values)
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", "cpu")
    with torch.no_grad():
        for parameter in (*model.denoiser.parameters(), *again.denoiser.parameters()):
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    asked = {"plan": ["1 red star b2", "1 red star e5"], "steps": 2, "seed": [3, 3]}
    one, other = model.sample(2, **asked)
    assert not torch.allclose(one, other)
    assert torch.equal(again.sample(2, **asked)[1], other)


def test_maps_have_the_size_of_the_pictures():
    model = um.recipe.scenes(captions=20, width=8)
    assert model.sample(2, plan="1 cat b2", steps=2, size=(40, 24)).shape == (2, 3, 40, 24)
    x = model.sample(1, plan="1 cat b2", steps=2)
    assert model.outpaint(x, right=8, plan="1 cat b2", steps=2, resamples=0).shape == (1, 3, 32, 40)
    assert model.edit(x, plan="1 cat b2", steps=2, strength=0.5).shape == x.shape
