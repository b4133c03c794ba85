"""What an autoregressive head writes in one call, against exact laws by enumeration."""

import math

import pytest
import torch
from torch import nn
from truth.enumeration import L, V, far, law

from unmelt.backbone import Transformer
from unmelt.condition import Condition
from unmelt.denoiser import ExactTokenDenoiser, JointTokenDenoiser, TokenDenoiser
from unmelt.distill import AutoregressiveHead, Setup
from unmelt.objective import AnyOrder
from unmelt.posterior import Categorical, draw_order
from unmelt.process import Mask
from unmelt.rng import Stream, seeded
from unmelt.sampler import Ancestral, grid, sample
from unmelt.sampler.tokens import Confidence, Unmask
from unmelt.train import Training
from unmelt.train.step import Batch


class Exact(nn.Module):
    """The exact denoiser of a law, as a teacher: its beliefs at some positions."""

    def __init__(self, law):
        super().__init__()
        self.table = ExactTokenDenoiser(law, Mask(law.shape[0]))
        self.asked = []

    def logits_at(self, x_t, where, t, condition=None):
        self.asked.append((x_t, where, t))
        return Categorical(self.table(x_t, t).logits[where].clamp_min(-40))

    def data(self, rows, seed):
        """Rows of the law."""
        draws = torch.multinomial(
            self.table.law.flatten(), rows, replacement=True, generator=torch.Generator().manual_seed(seed)
        )
        return self.table.sequences[draws]


def network_of(exact):
    """A network for rows of a law, in which places of a row of masks can be told apart from the first step on."""
    vocabulary, length = exact.table.law.shape[0], exact.table.law.ndim
    with seeded(0), torch.no_grad():
        network = Transformer(
            input_vocabulary=vocabulary + 1, vocabulary=vocabulary, length=length, width=32, depth=1, heads=2
        )
        for each in (network.into.weight, network.left, network.right):
            each.normal_()
    return TokenDenoiser(network, Mask(vocabulary), (length,))


def fitted(network, loss, data, rounds):
    optimizer = torch.optim.Adam([each for each in network.parameters() if each.requires_grad], lr=0.01)
    for number in range(rounds):
        optimizer.param_groups[0]["lr"] = 0.01 * min(1, 2 - 2 * number / rounds)
        loss(data(128, number), number).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def student_and_step(exact, steps=1, rounds=0, **settings):
    """A student of a network that has learned the law, and the training step, in which the teacher is exact."""
    network, method = network_of(exact), AutoregressiveHead(**settings)
    fitted(network, lambda x0, n: AnyOrder(equal_token_weights=True)(network, x0, None, Stream(n)), exact.data, rounds)
    student = method.student(network, None)
    if method.from_scratch:
        student.backbone.load_state_dict(network_of(exact).backbone.state_dict())
    setup = Setup(teacher=exact, student=student, grid=grid.uniform(steps), training=Training(steps=1))
    return student, method.train_step(setup)


def learned(exact, rounds, steps=1, **settings):
    student, step = student_and_step(exact, steps, 0 if settings.get("from_scratch") else rounds, **settings)
    phase = step.phases()[0]
    student.requires_grad_(False)
    network = step.networks()[phase.network].requires_grad_(True)
    fitted(network, lambda x0, n: phase.loss(Batch(x0, None, n), Stream(n)), exact.data, rounds)
    return student.eval()


@torch.no_grad()
def law_of_one_call(student, sequences):
    """What the first call from masks writes, by the product of its conditionals in turn."""
    x_t = torch.full_like(sequences, student.process.mask)
    belief = student(x_t, torch.ones(len(x_t), dtype=torch.float64))
    total, drawn, rows = (
        torch.zeros(len(x_t), dtype=torch.float64),
        torch.zeros_like(x_t, dtype=torch.bool),
        torch.arange(len(x_t)),
    )
    for place in draw_order(x_t.shape[1]).tolist():
        logits = belief.given(rows, torch.full_like(rows, place), x_t, drawn).double().log_softmax(-1)
        total += logits.gather(1, sequences[:, place : place + 1])[:, 0]
        x_t, drawn = x_t.clone(), drawn.clone()
        x_t[:, place], drawn[:, place] = sequences[:, place], True
    return total.exp()


@torch.no_grad()
def law_of_marginals(student, sequences):
    """What it would write if its tokens were independent."""
    masks = torch.full_like(sequences[:1], student.process.mask)
    p = student(masks, torch.ones(1, dtype=torch.float64)).probabilities[0]
    return torch.stack([p[place, sequences[:, place]] for place in range(sequences.shape[1])]).prod(0)


@pytest.mark.parametrize("from_scratch", [False, True], ids=["teacher", "data"])
def test_two_places_that_must_agree_do_so_in_one_call(from_scratch):
    law = torch.zeros(4, 4, dtype=torch.float64)
    law[0, 1] = law[2, 3] = 0.5  # "New York", "San Diego"
    exact = Exact(law)
    student = learned(exact, 60, from_scratch=from_scratch)
    sequences, valid = exact.table.sequences, exact.table.law.flatten() > 0
    found = law_of_one_call(student, sequences)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    assert found[~valid].sum() < 0.01
    assert far(found, exact.table.law.flatten()) < 0.08
    assert law_of_marginals(student, sequences)[~valid].sum().item() == pytest.approx(0.5, abs=0.03)
    x = sample(student, rows=2000, sampler=Ancestral(), grid=grid.uniform(1), seed=0)
    assert (law[x[:, 0], x[:, 1]] == 0).double().mean() < 0.015
    assert bool(exact.asked) is not from_scratch


WORDS = {
    (0, 1, 2, 3): 0.3,
    (0, 1, 3, 3): 0.25,
    (2, 2, 1, 0): 0.2,
    (3, 2, 1, 0): 0.1,
    (1, 0, 2, 3): 0.1,
    (3, 3, 3, 3): 0.05,
}


def law_of_words():
    law = torch.zeros(4, 4, 4, 4, dtype=torch.float64)
    for word, chance in WORDS.items():
        law[word] = chance
    return law


def test_one_call_writes_one_of_six_words():
    exact = Exact(law_of_words())
    student, truth, sequences = learned(exact, 200), exact.table.law.flatten(), exact.table.sequences
    found = law_of_one_call(student, sequences)
    assert found[truth == 0].sum() < 0.01
    assert far(found, truth) < 0.08
    assert law_of_marginals(student, sequences)[truth == 0].sum() > 0.7
    x = sample(student, rows=2000, sampler=Unmask(Confidence()), grid=grid.uniform(1), seed=0)
    assert (exact.table.law[tuple(x.T)] == 0).double().mean() < 0.015


def test_two_calls_write_one_of_six_words_with_and_without_known_tokens():
    exact = Exact(law_of_words())
    student = learned(exact, 200, steps=2)
    for known in (None, torch.tensor([[-1, -1, -1, 3]])):
        condition = None if known is None else Condition(known_tokens=known.expand(3000, 4))
        x = sample(student, rows=3000, sampler=Ancestral(), grid=grid.uniform(2), seed=0, condition=condition)
        found = torch.bincount((x * torch.tensor([64, 16, 4, 1])).sum(1), minlength=256) / len(x)
        expected = exact.table if known is None else exact.table.given(known[0].clamp_min(0), known[0] >= 0)
        assert found[expected.law.flatten() == 0].sum() < 0.02
        assert far(found, expected.law.flatten()) < 0.08


@pytest.mark.parametrize("from_scratch", [False, True], ids=["teacher", "data"])
def test_the_head_is_told_any_of_the_tokens_of_a_step_and_asked_for_all_others(from_scratch):
    exact, least = Exact(law()), 0 if from_scratch else 1
    student, step = student_and_step(exact, steps=2, from_scratch=from_scratch)
    x0 = exact.data(20_000, 0)
    given = []
    student.logits_given = lambda *args: (given.append(args), JointTokenDenoiser.logits_given(student, *args))[1]
    step.phases()[0].loss(Batch(x0, None, 0), Stream(5))
    ((x_t, told, drawn, where, t, _),) = given
    masked = x_t == V
    assert torch.equal(told, x0)
    assert torch.equal(where, masked & ~drawn)
    assert not (drawn & ~masked).any()
    if not from_scratch:
        ((x_r, asked, _),) = exact.asked
        assert torch.equal(asked, where)
        assert torch.equal(x_r, torch.where(drawn, x0, x_t))
    assert set(t.tolist()) == {1.0, 0.5}
    for time, masks, rate in ((1.0, 4, 0.5), (0.5, 3, 1.0), (0.5, 1, 1.0)):
        rows = (t == time) & (masked.sum(1) == masks)
        assert rows.sum() > 1000
        found = torch.bincount(drawn[rows].sum(1), minlength=L) / rows.sum()
        expected = torch.zeros(L, dtype=torch.float64)
        for size in range(masks + 1):
            chance = math.comb(masks, size) * rate**size * (1 - rate) ** (masks - size)
            many = max(size - least, 1)
            expected[least : least + many] += chance / many
        assert far(found, expected) < 0.02
        one = drawn[rows & (drawn.sum(1) == 1) & (t == 1)]
        if len(one):  # every place equally often
            assert far(one.double().mean(0), torch.full((L,), 1 / L, dtype=torch.float64)) < 0.03


def test_a_head_begins_as_the_teachers_network():
    network = network_of(Exact(law()))
    nn.init.normal_(network.backbone.out.weight, std=0.3)
    student = AutoregressiveHead().student(network, None)
    x_t, rows = torch.full((2, L), V), torch.arange(2)
    belief = student(x_t, torch.ones(2))
    torch.testing.assert_close(belief.logits, network(x_t, torch.ones(2)).logits)
    drawn = torch.tensor([[True, False, True, False], [False, True, False, False]])
    for place in (1, 3):
        given = belief.given(rows, torch.full_like(rows, place), torch.ones_like(x_t), drawn)
        torch.testing.assert_close(given, belief.logits[:, place], rtol=1e-3, atol=1e-3)
    embedding = network.backbone.into.weight[:V]
    torch.testing.assert_close(student.head.tokens.weight, (embedding / embedding.std()).repeat(1, 3))
    fresh = AutoregressiveHead(from_scratch=True).student(network, None)
    assert not torch.allclose(fresh.backbone.out.weight, network.backbone.out.weight)


def test_only_the_head_learns_from_a_teacher_and_the_network_too_from_data():
    exact = Exact(law())
    for from_scratch in (False, True):
        student, step = student_and_step(exact, from_scratch=from_scratch)
        learning = step.networks()[step.phases()[0].network]
        assert learning is (student if from_scratch else student.head)
        assert next(iter(step.networks().values())) is student
        empty = torch.zeros(0, L, dtype=torch.int64)
        x_t = torch.zeros(3, L, dtype=torch.int64)  # without masks there is nothing to learn, and no error
        none = torch.zeros_like(x_t, dtype=torch.bool)
        belief = student.logits_given(x_t, x_t, none, none, torch.zeros(3))
        assert belief.logits.shape == (*empty.shape[:1], V)
        belief.logits.sum().backward()


def test_the_loss_is_the_divergence_from_the_teachers_belief_after_the_drawn_tokens():
    exact = Exact(law())
    student, step = student_and_step(exact)
    nn.init.normal_(student.head.down.weight, std=0.3)
    x0 = exact.data(64, 3)
    found = step.phases()[0].loss(Batch(x0, None, 0), Stream(9))
    ((x_r, where, t),) = exact.asked
    for row in range(len(x0)):
        drawn, total = (x_r[row] < V)[None], 0.0
        masks = torch.full((1, L), V)
        belief = student(masks, t[:1])
        target = exact.table(x_r[row : row + 1], t[:1]).probabilities[0]
        for place in where[row].nonzero()[:, 0]:
            logits = belief.given(torch.tensor([0]), place[None], x0[row : row + 1], drawn)[0].double()
            total += (torch.xlogy(target[place], target[place]) - target[place] * logits.log_softmax(-1)).sum().item()
        assert found[row].item() == pytest.approx(total / max(1, int(where[row].sum())), abs=1e-5)
