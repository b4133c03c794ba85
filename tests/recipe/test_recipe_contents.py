"""What is in each recipe: every setting where it acts, its numbers, and nothing learned from held-out data."""

import sys

import numpy as np
import pytest
import torch
from jaxtyping import config
from PIL import Image

import unmelt as um
from unmelt.codec import BPE, Affine, Bytes, Symbols
from unmelt.data import Sudoku, documents, pack_tokens, split_documents
from unmelt.denoiser import Autoregressive, Blockwise, GaussianMixtureDenoiser, ResidualDenoiser, TokenDenoiser
from unmelt.denoiser.prediction import Preconditioned
from unmelt.objective import NELBO, AnyOrder, EDMWeight, LogNormalSigma, NextToken, Regression, Stratified
from unmelt.process import Gaussian, Mask, Uniform
from unmelt.sampler import Ancestral, grid
from unmelt.sampler.tokens import LeftToRight, Unmask
from unmelt.schedule import VarianceExploding
from unmelt.train import AdamW, Muon, Training, lr_schedule


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)


RUN = {"steps": 70, "batch": 6, "lr": 2.5e-3, "seed": 3}
SAVING = {"ema": 0.97, "save_every": 11, "picture_every": 13}


def edm(mean, sd, data_sd, drop):
    return Regression(times=Stratified(LogNormalSigma(mean=mean, sd=sd)), weight=EDMWeight(data_sd), drop=drop)


def same_backbone(denoiser, kind, seed, **settings):
    """Whether the network is the one of these settings, made with this seed."""
    with um.rng.seeded(seed):
        wanted = kind(**settings)
    found = denoiser.backbone.state_dict()
    return found.keys() == wanted.state_dict().keys() and all(
        torch.equal(found[name], value) for name, value in wanted.state_dict().items()
    )


def test_digits():
    made = um.recipe.digits(width=8, components=2, shrink=0.3, drop=0.15, **RUN, **SAVING)
    assert made.objective == edm(-0.8, 1.2, 0.75, 0.15)
    assert made.training == Training(**RUN, **SAVING, lr_schedule=lr_schedule.Cosine(warmup=3), optimizer=Muon())
    assert isinstance(made.denoiser, ResidualDenoiser)
    assert (made.denoiser.data_sd, made.denoiser.residual_sd) == (0.75, 0.5)
    assert made.denoiser.process == Gaussian(VarianceExploding(0.02, 80.0))
    assert made.grid == grid.balanced(20)
    settings = {
        "channels": 2,
        "width": 8,
        "multipliers": (1, 3),
        "blocks": 1,
        "attention": (False, True),
        "classes": 10,
    }
    assert same_backbone(made.denoiser, um.backbone.UNet, 3, **settings)
    plain = um.recipe.digits()
    assert plain.objective == edm(-0.8, 1.2, 0.75, 0.05)
    x, _ = plain.source.all()
    assert plain.codec.encode(x).std().item() == pytest.approx(0.75, abs=0.01)  # the deviation that it is told


def test_the_mixture_of_digits_is_fitted_to_the_training_images_alone():
    made, plain = um.recipe.digits(width=4, components=2, shrink=0.3, seed=1), um.data.digits(seed=1)
    x, labels = plain.all()
    assert torch.equal(made.source.all()[0], x)
    assert torch.equal(made.held_out.all()[0], um.data.digits(held_out=True).all()[0])
    base = GaussianMixtureDenoiser(made.denoiser.process, (1, 8, 8), 10, 2, 0.3).fit(made.codec.encode(x), labels)
    for name, value in base.state_dict().items():
        torch.testing.assert_close(made.denoiser.base.state_dict()[name], value)


@pytest.mark.parametrize(
    ("name", "own"), [("ring", {"modes": 4, "radius": 1.5, "sd": 0.2}), ("two_modes", {"sd": 0.2})]
)
def test_points(name, own):
    made = um.recipe.RECIPES[name](width=12, depth=2, **own, **RUN)
    kind = {"ring": um.data.Ring, "two_modes": um.data.TwoModes}[name]
    assert (made.source, made.held_out) == (kind(**own, seed=3), kind(**own, seed=4))
    classes = len(made.source.classes)
    assert made.objective == edm(-1.0, 1.4, 1.0, 0.1 if classes else 0.0)
    assert made.training == Training(**RUN, ema=0.995)
    assert made.codec == Affine(scale=1.5)
    assert made.denoiser.process == Gaussian(VarianceExploding(0.002, 80.0))
    assert (made.denoiser.prediction, made.denoiser.data_sd) == (Preconditioned(1.0), 1.0)
    assert made.grid == grid.balanced(20)
    shape = made.source.shape
    assert same_backbone(made.denoiser, um.backbone.MLP, 3, shape=shape, width=12, depth=2, classes=classes)


@pytest.fixture
def pets(tmp_path):
    for k in range(20):
        path = tmp_path / "pets" / ("cat", "dog")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pets"


def test_images(pets):
    settings = {"size": 8, "width": 8, "blocks": 1, "drop": 0.2, "dropout": 0.25, "precision": "float32"}
    made = um.recipe.images(folder=pets, held_out=0.3, **settings, **RUN, **SAVING)
    rest, held_out = um.data.images(pets, 8, 3, 3)[0].split(0.3)
    assert torch.equal(made.source.all()[0], rest.all()[0])
    assert torch.equal(made.held_out.all()[0], held_out.all()[0])
    assert not any((x == made.source.all()[0]).flatten(1).all(1).any() for x in made.held_out.all()[0])
    assert made.classes == ("cat", "dog")
    assert made.objective == edm(-1.2, 1.2, 0.5, 0.2)
    assert made.training == Training(**RUN, **SAVING, precision="float32")
    assert made.denoiser.process == Gaussian(VarianceExploding(0.002, 80.0))
    assert (made.denoiser.prediction, made.denoiser.data_sd) == (Preconditioned(0.5), 0.5)
    assert (made.codec, made.grid) == (Affine.images(), grid.balanced(20))
    wanted = {"channels": 3, "width": 8, "multipliers": (1, 2, 2), "blocks": 1, "classes": 2, "dropout": 0.25}
    assert same_backbone(made.denoiser, um.backbone.UNet, 3, **wanted, attention=(False, False, True))
    assert made.denoiser.backbone.dropout == 0.25
    plain = um.recipe.images(folder=pets, label="", held_out=0.3, channels=1, size=8, width=8)
    assert (plain.objective.drop, plain.classes, plain.source.shape) == (0.0, (), (1, 8, 8))
    assert plain.training.optimizer == AdamW()


def test_scenes():
    made = um.recipe.scenes(size=24, captions=30, width=8, drop=0.2, precision="float32", **RUN, **SAVING)
    reader = um.encoder.LayoutEncoder(um.encoder.HashedCaptionEncoder(context=True), 24)
    wanted = {"size": 24, "captions": 30, "layouts": True, "encoder": reader}
    assert (made.source, made.held_out) == (um.data.Scenes(**wanted, seed=3), um.data.Scenes(**wanted, seed=4))
    assert made.encoder == made.source.encoder
    assert made.objective == edm(-0.6, 1.4, 0.5, 0.2)
    given = {**RUN, **SAVING, "precision": "float32"}
    assert made.training == Training(**given, lr_schedule=lr_schedule.Cosine(warmup=3), optimizer=Muon())
    assert made.denoiser.process == Gaussian(VarianceExploding(0.002, 80.0))
    assert (made.denoiser.prediction, made.denoiser.data_sd) == (Preconditioned(0.5), 0.5)
    assert (made.codec, made.grid) == (Affine.images(), grid.balanced(20))
    sizes = {
        "channels": 3,
        "patch": 2,
        "width": 8,
        "multipliers": (1, 2, 4),
        "blocks": 1,
        "sequence_width": 736,
        "context_channels": 19,
        "positions": True,
    }
    assert same_backbone(made.denoiser, um.backbone.UNet, 3, **sizes, attention=(False, True, True))
    control = um.recipe.scenes(size=24, captions=30, width=8, shuffled=True)
    assert control.source.shuffled
    assert control.held_out.shuffled


def test_scenes_are_sampled_by_their_captions(tmp_path):
    made = um.recipe.scenes(size=24, captions=9, width=8, steps=2, batch=4, picture_every=0).fit(tmp_path, quiet=True)
    again = um.load(tmp_path)
    captions = ["2 red star", "a cat"]
    samples = [model.sample(2, caption=captions, steps=2, seed=0) for model in (made, again)]
    assert torch.equal(*samples)
    assert not torch.equal(samples[0], again.sample(2, caption="a cat", steps=2, seed=0))


def marked(k):
    """The text of document k, in which one pair of letters that no other has comes a hundred times."""
    return f"q{'abcdefghij'[k]}" * 100 + f" and the sea {k}"


def check_pairs(tokenizer, rest, held_out):
    """The pairs of the training documents are tokens, and those of the held-out ones are not."""
    pieces = {tokenizer.decode([token]) for token in range(tokenizer.vocabulary)}
    assert rest
    assert held_out
    for part, learned in ((rest, True), (held_out, False)):
        for each in part:
            assert any(each.text[:2] in piece for piece in pieces) == learned


@pytest.fixture
def books(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    for k in range(10):
        (folder / f"{k}.txt").write_text(marked(k), encoding="utf-8")
    return folder


def text(books, **settings):
    small = {"length": 16, "vocabulary": 280, "width": 16, "depth": 1, "heads": 2, "held_out": 0.2}
    return um.recipe.text(folder=books, **{**small, **RUN, **SAVING, **settings})


def test_byte_pairs_are_learned_from_the_training_documents_alone(books):
    made = text(books)
    rest, held_out = split_documents(documents(books, "text")[0], 0.2, 3)
    check_pairs(made.tokenizer, rest, held_out)
    assert made.tokenizer.sizes.tolist() == BPE.learned((each.text for each in rest), 280).sizes.tolist()
    for source, part in ((made.source, rest), (made.held_out, held_out)):
        wanted = pack_tokens((each.text for each in part), made.tokenizer, 16, 3)
        assert torch.equal(source.all()[0], wanted.all()[0])
        assert source.seed == 3
    assert text(books, vocabulary=0).tokenizer == Bytes()


def of_text(made, denoiser, objective, sampler, *, warmup=7):
    assert isinstance(made.denoiser, denoiser)
    assert (made.objective, made.sampler) == (objective, sampler)
    wanted = {"lr_schedule": lr_schedule.Trapezoid(warmup=warmup, fall=0.5), "optimizer": Muon()}
    assert made.training == Training(**RUN, **SAVING, **wanted)


def test_every_kind_of_text_model(books):
    masked = text(books)
    pad, end, length = masked.tokenizer.special("padding"), masked.tokenizer.special("end"), 16
    vocabulary = masked.tokenizer.vocabulary
    of_text(masked, TokenDenoiser, AnyOrder(equal_token_weights=True, padding=pad), Ancestral())
    assert masked.denoiser.process == Mask(vocabulary)
    uniform = text(books, kind="uniform")
    of_text(uniform, TokenDenoiser, NELBO(padding=pad), Ancestral())
    assert uniform.denoiser.process == Uniform(vocabulary)
    blocks = text(books, block=4, bidirectional_row_fraction=0.5)
    objective = AnyOrder(equal_token_weights=True, padding=pad, bidirectional_row_fraction=0.5, antithetic_masks=True)
    of_text(blocks, Blockwise, objective, Unmask(cache=True, end_token=end))
    assert (blocks.denoiser.block, blocks.denoiser.also_bidirectional) == (4, True)
    assert not text(books, block=4, bidirectional_row_fraction=0.0).denoiser.also_bidirectional
    left = text(books, kind="autoregressive", fim_rate=0.5)
    of_text(left, Autoregressive, NextToken(padding=pad), Unmask(LeftToRight(), cache=True, end_token=end))
    assert (left.denoiser.block, left.denoiser.fills_middle, left.source.rate) == (1, True, 0.5)
    assert not text(books, kind="autoregressive").denoiser.fills_middle
    for made in (masked, uniform, blocks, left):
        assert made.grid == grid.uniform(length)
        sizes = {"width": 16, "depth": 1, "heads": 2, "length": length, "vocabulary": vocabulary}
        sizes |= {"input_vocabulary": made.denoiser.process.symbols, "time": made is uniform}
        block = {id(blocks): 4, id(left): 1}.get(id(made))
        assert same_backbone(made.denoiser, um.backbone.Transformer, 3, block=block, **sizes)
    assert text(books, steps=5000).training.lr_schedule.warmup == 80
    assert text(books, length=100).grid == grid.uniform(64)


def test_sudoku_and_reversal():
    small = {"width": 16, "depth": 1, "heads": 2, **RUN, **SAVING}
    made = um.recipe.sudoku(side=4, **small)
    of_text(made, TokenDenoiser, AnyOrder(equal_token_weights=False), Ancestral())
    assert made.tokenizer == Symbols("1234.=")
    for part, source in ((False, made.source), (True, made.held_out)):
        wanted = Sudoku(4, False, part, 3)
        assert all(torch.equal(source.batch(k, 5)[0], wanted.batch(k, 5)[0]) for k in range(3))
    asked = made.questions()["solved"]
    assert asked == Sudoku(4, False, True, 3).questions(300)
    left = um.recipe.sudoku(side=4, autoregressive=True, **small)
    assert left.objective == NextToken()
    facts = um.recipe.reversal(count=9, **small)
    pad = facts.tokenizer.special("padding")
    of_text(facts, TokenDenoiser, AnyOrder(equal_token_weights=True, padding=pad), Ancestral())
    assert facts.held_out is None
    assert facts.source.seed == 3


@pytest.mark.parametrize(
    ("name", "kind", "objective"),
    [("code", Blockwise, AnyOrder), ("code_ar", Autoregressive, NextToken), ("code_uniform", TokenDenoiser, NELBO)],
)
def test_code_is_each_kind_of_text_model_on_one_corpus(name, kind, objective, monkeypatch):
    from unmelt.recipe.python_code import Corpus

    tokens = torch.randint(0, 200, (30, 16), generator=torch.Generator().manual_seed(0))
    corpus = Corpus(Bytes(), um.data.Arrays(tokens, seed=3), um.data.Arrays(tokens[:5], seed=3), "notes")
    asked, module = [], sys.modules[um.recipe.RECIPES[name].__module__]
    monkeypatch.setattr(module, "python_code", lambda *settings: asked.append(settings) or corpus)
    made = um.recipe.RECIPES[name](length=16, vocabulary=261, width=16, depth=1, heads=2, **RUN, **SAVING)
    assert asked == [(261, 16, 3)]
    assert isinstance(made.denoiser, kind)
    assert isinstance(made.objective, objective)
    assert made.objective.padding == Bytes().special("padding")
    assert (made.source, made.held_out, made.notes) == (corpus.source, corpus.held_out, "notes")
    assert {key: getattr(made.training, key) for key in (*RUN, *SAVING)} == {**RUN, **SAVING}
    if name == "code":
        assert (made.denoiser.block, made.objective.bidirectional_row_fraction) == (4, 0.25)


def test_byte_pairs_of_the_code_are_learned_from_its_training_modules_alone(monkeypatch):
    from unmelt.data import Document
    from unmelt.recipe import python_code as module

    found = [Document(f"{k}.py", marked(k)) for k in range(10)]
    monkeypatch.setattr(module, "python_source", lambda: found)
    corpus = module.python_code.__wrapped__(290, 16, 5)
    rest, held_out = split_documents(found, 0.1, by="position")
    wanted = BPE.learned((each.text for each in rest), 290)
    assert [corpus.tokenizer.decode([k]) for k in range(corpus.tokenizer.vocabulary)] == [
        wanted.decode([k]) for k in range(corpus.tokenizer.vocabulary)
    ]
    for source, part in ((corpus.source, rest), (corpus.held_out, held_out)):
        wanted = pack_tokens((each.text for each in part), corpus.tokenizer, 16, 5)
        assert torch.equal(source.all()[0], wanted.all()[0])
        assert source.seed == 5
