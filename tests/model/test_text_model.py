"""The facade for text: prompts, suffixes and gaps, seeds, likelihoods, and error messages."""

import itertools

import pytest
import torch

import unmelt as um
from unmelt.backbone import Transformer
from unmelt.codec import Symbols
from unmelt.data import GAP_MARKER, Arrays, Questions
from unmelt.denoiser import Autoregressive, Blockwise, TokenDenoiser
from unmelt.model import TextModel
from unmelt.objective import NELBO, AnyOrder, NextToken
from unmelt.process import Mask, Uniform
from unmelt.rng import seeded
from unmelt.sampler import Ancestral, grid
from unmelt.sampler.tokens import Confidence, FirstHitting, LeftToRight, Remask, Threshold, Unmask
from unmelt.train import Training

LETTERS = Symbols("abcd.")
LENGTH = 10
KINDS = ("masked", "uniform", "autoregressive", "middle", "blocks", "both")


def model(kind="masked", **more):
    vocabulary = LETTERS.vocabulary
    process = Uniform(vocabulary) if kind == "uniform" else Mask(vocabulary)
    block = {"autoregressive": 1, "middle": 1, "blocks": 4, "both": 4}.get(kind)
    with seeded(1):
        backbone = Transformer(
            input_vocabulary=process.symbols,
            vocabulary=vocabulary,
            length=LENGTH,
            width=16,
            depth=2,
            heads=2,
            block=block,
        )
        torch.nn.init.normal_(backbone.out.weight, std=0.5)
    made = {
        "autoregressive": lambda: Autoregressive(backbone, process, (LENGTH,)),
        "middle": lambda: Autoregressive(backbone, process, (LENGTH,), fills_middle=True),
        "blocks": lambda: Blockwise(backbone, process, (LENGTH,)),
        "both": lambda: Blockwise(backbone, process, (LENGTH,), also_bidirectional=True),
    }.get(kind, lambda: TokenDenoiser(backbone, process, (LENGTH,)))()
    objective = {
        "uniform": NELBO(),
        "autoregressive": NextToken(),
        "middle": NextToken(),
        "both": AnyOrder(bidirectional_row_fraction=0.5),
    }.get(kind, AnyOrder())
    sampler = {"masked": FirstHitting(), "uniform": Ancestral()}.get(kind, Unmask(LeftToRight(), cache=True))
    settings = {
        "denoiser": made,
        "codec": LETTERS,
        "sampler": sampler,
        "grid": grid.uniform(5),
        "objective": objective,
        "training": Training(steps=4, batch=4, picture_every=2, save_every=2),
        "source": Arrays(torch.randint(5, (20, LENGTH), generator=torch.Generator().manual_seed(0))),
    }
    return TextModel(**{**settings, **more})


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_kept_and_the_same_seed_gives_the_same_text(kind):
    lm = model(kind)
    many = lm.sample(5, prompt="ab", seed=3)
    assert all(text.startswith("ab") and set(text) <= set("abcd.") for text in many)
    assert lm.sample(3, prompt="ab", seed=3) == many[:3]
    assert lm.sample(1, prompt="ab", seed=[um.rng.fold(3, 4)]) == many[4:]
    assert len(set(lm.sample(20, seed=0))) > 5
    assert lm.sample(2, prompt=["a", "bcd"], seed=0)[1].startswith("bcd")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("autoregressive", "blocks")])
def test_suffixes_are_kept_by_models_that_can_condition_on_them(kind):
    for text in model(kind).sample(6, prompt="ab", suffix="dd", seed=1):
        assert text.startswith("ab")
        assert text.endswith("dd")
        assert len(text) <= LENGTH


@pytest.mark.parametrize(
    "sampler", [FirstHitting(), Ancestral(), Remask(3.0), Unmask(), Unmask(pace=Threshold(0.4))], ids=str
)
def test_every_sampler_fills_gaps_anywhere_and_keeps_the_rest(sampler):
    lm = model()
    text = f"{GAP_MARKER}b{GAP_MARKER}{GAP_MARKER}a."
    for found in lm.infill([text] * 8, seed=2, sampler=sampler):
        assert [found[1], found[-2:]] == ["b", "a."] or len(found) < 6  # specials decode to nothing
    long = "abcd" * 5 + "<gap>" + "dcba" * 5
    (found,) = lm.infill(long, marker="<gap>", tokens=3, sampler=sampler)
    assert found.startswith("abcd" * 5)
    assert found.endswith("dcba" * 5)


@torch.no_grad()
def test_a_model_trained_in_both_modes_samples_by_blocks_and_infills_bidirectionally():
    both, blocks = model("both"), model("blocks")
    free = model(sampler=Unmask(LeftToRight()))  # of the same weights
    assert both.sample(4, prompt="ab", seed=1) == blocks.sample(4, prompt="ab", seed=1)
    assert both.sample(4, prompt="ab", suffix="dd", seed=1) == free.sample(4, prompt="ab", suffix="dd", seed=1)
    assert both.sample(4, seed=1, sampler=FirstHitting()) == free.sample(4, seed=1, sampler=FirstHitting())
    text = f"{GAP_MARKER}b{GAP_MARKER}a."
    assert both.infill(text, seed=2) == free.infill(text, seed=2)
    ahead = {"prompt": "a", "suffix": "c"}
    assert torch.equal(both.log_likelihood("bd", **ahead).value, free.log_likelihood("bd", **ahead).value)
    assert torch.equal(both.log_likelihood("bd", prompt="a").value, blocks.log_likelihood("bd", prompt="a").value)
    for each in (both, free, blocks):
        each.held_out = each.source
    scores = both.evaluate(rows=8)
    assert scores["bits_per_byte"] == blocks.evaluate(rows=8)["bits_per_byte"]
    assert scores["bits_per_byte_any_order"] == free.evaluate(rows=8)["bits_per_byte"]


def test_an_end_token_in_a_gap_keeps_the_known_text_after_it():
    for lm, cache in ((model(), False), (model("both"), True)):
        ends = Unmask(Confidence(), cache=cache, end_token=LETTERS.encode("a")[0])  # hardly a gap without one
        for text in lm.infill([f"b{GAP_MARKER * 4}cd"] * 8, seed=3, sampler=ends):
            assert (text[0], text[-2:]) == ("b", "cd")
        for text in lm.sample(8, prompt="b", suffix="cd", seed=3, sampler=ends):
            assert text.endswith("cd")


@pytest.mark.parametrize("kind", ["autoregressive", "middle", "blocks"])
def test_an_autoregressive_model_refuses_other_decoding_orders(kind):
    lm = model(kind)
    for sampler in (FirstHitting(), Ancestral(), Remask(), Unmask(), Unmask(LeftToRight())):
        with pytest.raises(um.UsageError, match="from left to right"):
            lm.sample(1, sampler=sampler)
    block = lm.denoiser.block
    assert lm.sample(3, seed=1, sampler=Unmask(block=block)) == lm.sample(3, seed=1, sampler=Unmask(cache=True))


def test_a_question_that_is_a_whole_text_includes_its_end_token():
    lm, seen = model(), []
    read = lm.denoiser.forward

    def spy(x_t, t, condition=None):
        seen.append(x_t)
        return read(x_t, t, condition)

    lm.denoiser.forward = spy
    assert lm.score(Questions((f"ab{GAP_MARKER}",), ("abc",))) in (0.0, 1.0)
    end, padding = LETTERS.special("end"), LETTERS.special("padding")
    assert seen[0][0, 3:].tolist() == [end] + [padding] * (LENGTH - 4)
    assert lm.infill([f"ab{GAP_MARKER}"], text_is_complete=True, seed=1)[0].startswith("ab")


def test_only_allowed_tokens_are_sampled():
    lm = model()
    may = torch.zeros(LETTERS.vocabulary, dtype=torch.bool)
    may[:2] = True
    texts = lm.sample(6, prompt="d", allowed=may, seed=1)
    assert all(set(text[1:]) <= set("ab") for text in texts)
    cold = lm.sample(3, prompt="d", temperature=1e-3, seed=[1, 2, 3], sampler=Unmask(Confidence()), steps=LENGTH)
    assert len(set(cold)) == 1


@torch.no_grad()
def test_likelihoods_match_enumeration():
    lm = model("autoregressive")
    texts = ["".join(letters) for letters in itertools.product("abcd.", repeat=2)]
    found = lm.log_likelihood(texts, prompt="c")
    x = torch.tensor([[2, *LETTERS.encode(text)] for text in texts])
    belief = lm.denoiser(x, torch.zeros(len(x)))
    expected = belief.log_probabilities.gather(-1, x[..., None])[:, 1:, 0].double().sum(1)
    torch.testing.assert_close(found.value, expected, rtol=1e-5, atol=1e-5)
    assert found.error.max() == 0

    masked = model()
    found = masked.log_likelihood("bd", prompt="a", suffix="c", draws=400)
    chance = 0.0  # of the middle, given both sides, averaged over the two orders
    for order in ((1, 2), (2, 1)):
        x = torch.tensor([[0, LETTERS.vocabulary, LETTERS.vocabulary, 2]])
        for place in order:
            token = {1: 1, 2: 3}[place]
            chance += masked.denoiser(x, torch.zeros(1)).log_probabilities[0, place, token].item() / 2
            x[0, place] = token
    assert abs(found.value.item() - chance) < 5 * found.error.item() + 1e-6


def test_a_trajectory_goes_from_gaps_to_the_sampled_text():
    frames = list(model().trajectory(2, prompt="ab", suffix="cd", steps=6, seed=1))
    assert len(frames) == 7
    assert frames[0].text[0] == "ab" + GAP_MARKER * 6 + "cd"
    assert [frame.t for frame in frames] == sorted((frame.t for frame in frames), reverse=True)
    assert GAP_MARKER not in frames[-1].text[0]
    assert frames[-1].text == model().sample(2, prompt="ab", suffix="cd", steps=6, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_model_is_fitted_saved_resumed_loaded_and_evaluated(kind, tmp_path):
    questions = {"end": Questions((f"ab{GAP_MARKER}",), ("abc",)), "start": Questions((f"{GAP_MARKER}bc",), ("abc",))}
    lm = model(kind)
    lm.held_out, lm.questions = lm.source, lambda: questions
    lm.fit(tmp_path / "run", device="cpu", quiet=True)
    assert (tmp_path / "run" / "samples" / "000002.txt").read_text(encoding="utf-8")
    again = um.load(tmp_path / "run")
    assert isinstance(again, TextModel)
    assert again.sample(3, prompt="a", seed=4) == lm.sample(3, prompt="a", seed=4)
    on = model(kind, training=lm.training, sampler=lm.sampler)
    on.held_out = on.source
    on.fit(tmp_path / "run", device="cpu", quiet=True)  # a run that is over: what it learned is there
    assert on.sample(3, prompt="a", seed=4) == lm.sample(3, prompt="a", seed=4)
    other = model(kind, codec=Symbols("abcd,"))
    other.held_out = other.source
    with pytest.raises(um.UsageError, match="codec"):
        other.fit(tmp_path / "run", device="cpu", quiet=True)
    scores = lm.evaluate(rows=8)
    assert scores["exact"] == (kind in ("autoregressive", "middle"))
    assert scores["bits_per_byte"] > 0
    assert scores["end"] in (0.0, 1.0)
    assert (scores["start"] is None) == (kind in ("autoregressive", "blocks"))
    assert um.TextModel.from_pretrained(tmp_path / "run").describe() == again.describe()
    with pytest.raises(um.UsageError, match=r"um\.load"):
        um.Model.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda lm: lm.sample(1, prompt="abcd" * 3), "a prompt of 12"),
        (lambda lm: lm.sample(1, prompt="abc", length=3), "fewer than 3"),
        (lambda lm: lm.sample(1, length=11), "1 to 10 tokens"),
        (lambda lm: lm.sample(1, steps=0), "steps=0"),
        (lambda lm: lm.sample(0), "rows=0"),
        (lambda lm: lm.sample(3, prompt=["a", "b"]), "2 of prompt for 3 rows"),
        (lambda lm: lm.sample(1, prompt="xyz"), "'xyz' in it"),
        (lambda lm: lm.infill("abc"), "text without"),
        (lambda lm: lm.infill(f"a{GAP_MARKER}", tokens=11), "at least 1 token a gap, and 10"),
        (lambda lm: lm.log_likelihood(""), "some text"),
        (lambda lm: lm.log_likelihood("a" * 11), "10 tokens in all"),
        (lambda lm: lm.log_likelihood("a", draws=0), "draws=0"),
        (lambda lm: lm.evaluate(), "without text to be judged by"),
        (lambda lm: lm.denoiser.process.check(torch.tensor([[99]])), "tokens 0 to 9"),
        (lambda lm: model("autoregressive").sample(1, suffix="a"), "reads from left to right"),
        (lambda lm: model(codec=Symbols("ab")), "as many tokens in both"),
    ],
)
def test_bad_arguments_are_refused(ask, match):
    with pytest.raises(um.UsageError, match=match):
        ask(model())
