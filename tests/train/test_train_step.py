"""A training step of several networks: each learns by its own loss alone, and the run is the same run bit for bit."""

import pytest
import torch
from jaxtyping import config
from safetensors.torch import load_file
from torch import nn
from two_networks import fitted, made

import unmelt as um
from unmelt.rng import Stream, fold
from unmelt.train import Batch, Execution, ObjectiveStep, Phase, Trainer, Training, lr_schedule
from unmelt.train.atomic_files import read_tensors
from unmelt.train.checkpoint import chain


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """As people run it: shapes and types are checked in the tests of single networks."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


def trainer(model, step, execution=None, **settings):
    training = Training(**{**vars(model.training), **settings})
    return Trainer(step, model.source, model.codec, training, execution=execution)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def newest(folder):
    return load_file(chain(folder / "checkpoints")[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "whole"
    fitted(folder)
    return folder


# What a phase does


def test_a_loss_moves_its_own_network_only():
    """Step 1 runs the critic alone, though its loss calls the denoiser; step 2 the denoiser, through the critic."""
    model, step = made()
    run = trainer(model, step)
    run.step()
    before = {name: state(network) for name, network in step.networks().items()}
    teacher = state(step.teacher)
    run.step()
    after = {name: state(network) for name, network in step.networks().items()}
    assert equal(before["denoiser"], after["denoiser"])
    assert equal(before["target"], after["target"])
    assert not equal(before["critic"], after["critic"])
    run.step()
    assert not equal(after["denoiser"], state(step.denoiser))
    assert not equal(after["target"], state(step.target))
    assert equal(teacher, state(step.teacher))


def test_gradients_never_reach_the_other_networks():
    model, step = made()
    run = trainer(model, step)
    others = {
        "denoiser": [step.critic, step.target, step.teacher],
        "critic": [step.denoiser, step.target, step.teacher],
    }
    seen = []

    def watch(name, loss):
        def watched(batch, rng):
            held = [p for module in others[name] for p in module.parameters()]
            assert not any(p.requires_grad or p.grad is not None for p in held)
            assert all(p.requires_grad for p in step.networks()[name].parameters())
            seen.append((name, batch.step))
            return loss(batch, rng)

        return watched

    for learner in run.learners:
        loss = watch(learner.phase.network, learner.phase.loss)
        learner.phase = Phase(**{**vars(learner.phase), "loss": loss})
    for _ in range(4):
        run.step()
    assert seen == [(n, k) for k in range(4) for n in ("denoiser", "critic") if n == "critic" or k % 2 == 0]
    everything = [p for module in (step.denoiser, step.critic, step.target, step.teacher) for p in module.parameters()]
    assert all(p.requires_grad and p.grad is None for p in everything)


def test_a_phase_with_every_2_runs_in_the_even_steps():
    model, step = made()
    run = trainer(model, step)
    losses = torch.stack([run.step() for _ in range(6)])
    assert losses.isfinite().tolist() == [[True, True], [False, True]] * 3
    assert step.updates == [(n, k) for k in range(6) for n in ("denoiser", "critic") if n == "critic" or k % 2 == 0]


def without_dropout(step):
    for network in step.networks().values():
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0


def test_a_step_is_the_two_updates_by_hand():
    """Each phase's loss with its own numbers, by autograd; AdamW's first step in closed form: lr g / (|g| + 1e-8)."""
    model, step = made(dtype=torch.float64)
    _, by_hand = made(dtype=torch.float64)
    phases = [Phase(**{**vars(phase), "optimizer": None}) for phase in step.phases()]
    step.phases = lambda: phases
    without_dropout(step)
    without_dropout(by_hand)
    run = trainer(model, step, clip=1e9, lr_schedule=lr_schedule.Cosine(warmup=0))
    x, condition = model.source.batch(0, 6)
    batch, seed, losses = Batch(2 * x.double() - 1, condition, 0), fold(model.training.seed, 0), []
    for k, (network, loss, factor) in enumerate(
        ((by_hand.denoiser, by_hand.generator_loss, 1.0), (by_hand.critic, by_hand.critic_loss, 2.0))
    ):
        value = loss(batch, Stream(seed if k == 0 else fold(seed, -k))).mean()
        gradients = torch.autograd.grad(value, list(network.parameters()))
        losses.append(value.item())
        with torch.no_grad():  # the critic sees the denoiser as it is after its update
            for p, g in zip(network.parameters(), gradients, strict=True):
                p.sub_(model.training.lr * factor * g / (g.abs() + 1e-8))
    assert run.step().tolist() == pytest.approx(losses, rel=1e-6)
    for network, exact in ((step.denoiser, by_hand.denoiser), (step.critic, by_hand.critic)):
        for p, value in zip(network.parameters(), exact.parameters(), strict=True):
            torch.testing.assert_close(p.detach(), value.detach(), rtol=0, atol=1e-7)


def test_the_target_is_its_closed_form():
    """target_n = decay^n w_0 + (1 - decay) sum over k of decay^(n-k) w_k, over the denoiser's own updates."""
    model, step = made()
    run = trainer(model, step)
    name = "backbone.modulation.weight"
    name = name if name in state(step.denoiser) else next(iter(state(step.denoiser)))
    exact = state(step.denoiser)[name].double()
    for number in range(8):
        run.step()
        if number % 2 == 0:
            exact = 0.8 * exact + 0.2 * state(step.denoiser)[name].double()
    torch.testing.assert_close(state(step.target)[name].double(), exact, rtol=0, atol=1e-6)


def test_the_first_phase_draws_what_plain_training_draws():
    """With a critic beside it that it does not call, a denoiser ends as it does alone, bit for bit."""
    model, _ = made()
    alone = trainer(model, ObjectiveStep(model.denoiser, model.objective))
    other, step = made()
    plain = ObjectiveStep(other.denoiser, other.objective)
    critic = step.phases()[1]
    step.phases = lambda: [plain.phases()[0], critic]
    beside = trainer(other, step)
    with torch.random.fork_rng(devices=[]):
        losses = [(alone.step()[0].item(), beside.step()[0].item()) for _ in range(6)]
    assert all(a == b for a, b in losses)
    assert equal(state(model.denoiser), state(other.denoiser))


@pytest.mark.parametrize("bad", ["denoiser", "critic"])
def test_a_gradient_that_is_not_finite_stops_its_own_network_only(bad):
    model, step = made()
    run = trainer(model, step)
    index = ["denoiser", "critic"].index(bad)
    phase = run.learners[index].phase
    run.learners[index].phase = Phase(**{**vars(phase), "loss": lambda batch, rng: phase.loss(batch, rng) * torch.nan})
    before = {name: state(network) for name, network in step.networks().items()}
    run.step()
    for name in ("denoiser", "critic"):
        assert equal(before[name], state(step.networks()[name])) == (name == bad)
    assert [learner.skipped.tolist() for learner in run.learners] == [
        [name == bad] * 2 for name in ("denoiser", "critic")
    ]


def test_a_batch_in_parts_is_the_batch_for_every_network():
    ended = []
    for count in (1, 3):
        model, step = made(dtype=torch.float64)
        without_dropout(step)
        run = trainer(model, step, Execution(gradient_accumulation=count))
        losses = torch.stack([run.step() for _ in range(6)]).nan_to_num()
        ended.append((losses, [value for network in step.networks().values() for value in state(network).values()]))
    torch.testing.assert_close(ended[0][0], ended[1][0], rtol=1e-5, atol=0)
    for one, other in zip(ended[0][1], ended[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda s: [Phase(network="denoiser", loss=s.generator_loss, every=2)], "a phase that runs in every step"),
        (lambda s: [Phase(network="critc", loss=s.critic_loss)], "one of denoiser, critic, target"),
        (lambda s: [Phase(network="critic", loss=s.critic_loss)] * 2, "at most one phase per network"),
        (lambda s: [Phase(network="critic", loss=s.critic_loss, every=0)], "every=0"),
        (lambda s: [Phase(network="critic", loss=s.critic_loss, lr_factor=0.0)], "lr_factor=0"),
    ],
)
def test_phases_that_cannot_be(wrong, said):
    model, step = made()
    step.phases = lambda: wrong(step)
    with pytest.raises(um.UsageError, match=said):
        trainer(model, step)


# Codecs and adapters


class Latent(nn.Module):
    """A codec with weights and dropout, whose encoder would receive gradients if it were let."""

    def __init__(self):
        super().__init__()
        with um.rng.seeded(5):
            self.scale = nn.Parameter(1 + 0.1 * torch.randn(1, 4, 4))
        self.dropout = nn.Dropout(0.5)

    def encode(self, x, rng=None):
        return self.dropout(2 * x - 1) * self.scale

    def decode(self, z):
        return (z / self.scale + 1) / 2

    def latent_shape(self, shape):
        return tuple(shape)


def test_a_codec_with_weights_is_constant():
    """In evaluation mode, without a gradient even where a loss decodes through it; x0 is its encoding."""
    model, step = made(codec=Latent())
    before, seen = state(model.codec), []

    def decoded(batch, rng):
        seen.append(batch.x0)
        (belief,) = step.beliefs(batch, rng, step.denoiser)
        return (model.codec.decode(belief) - model.codec.decode(batch.x0)).square().flatten(1).mean(1)

    step.phases = lambda: [Phase(network="denoiser", loss=decoded)]
    run = trainer(model, step)
    assert not model.codec.training
    run.step()
    assert equal(before, state(model.codec))
    assert model.codec.scale.grad is None
    assert not model.codec.scale.requires_grad
    assert not seen[0].requires_grad
    x, _ = model.source.batch(0, 6)
    assert torch.equal(seen[0], (2 * x - 1) * model.codec.scale.detach())


class Adapted(nn.Module):
    """A linear layer with a low-rank term beside it: W x + B A x."""

    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer = layer
        with um.rng.seeded(9):
            self.factors = nn.ParameterList(
                [0.3 * torch.randn(rank, layer.in_features), torch.zeros(layer.out_features, rank)]
            )

    def forward(self, x):
        return self.layer(x) + x @ self.factors[0].T @ self.factors[1].T


class AdapterStep:
    """The factors learn by the denoiser's objective. `listed`: whether the denoiser is a network or a frozen module."""

    def __init__(self, denoiser, objective, listed):
        self.denoiser, self.objective, self.listed = denoiser, objective, listed
        self.adapters = nn.ModuleList()
        for module in list(denoiser.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear) and not isinstance(module, Adapted):
                    setattr(module, name, Adapted(child))
                    self.adapters.append(getattr(module, name).factors)

    def networks(self):
        return {"adapter": self.adapters, **({"denoiser": self.denoiser} if self.listed else {})}

    def frozen(self):
        return [] if self.listed else [self.denoiser]

    def phases(self):
        return [Phase(network="adapter", loss=lambda b, rng: self.objective(self.denoiser, b.x0, b.condition, rng))]

    def after_update(self, network, step): ...


@pytest.mark.parametrize("listed", [True, False])
def test_an_adapter_learns_while_the_base_stays_bit_for_bit(tmp_path, listed):
    model, _ = made()
    step = AdapterStep(model.denoiser, model.objective, listed)
    factors = {id(p) for p in step.adapters.parameters()}
    base = {n: p.detach().clone() for n, p in model.denoiser.named_parameters() if id(p) not in factors}
    start = state(step.adapters)
    run = trainer(model, step)
    losses = [run.step().item() for _ in range(10)]
    moved = state(step.adapters)
    assert len(start) == len(factors) > 0
    assert not any(torch.equal(start[name], moved[name]) for name in start if name.endswith(".1"))
    now = dict(model.denoiser.named_parameters())
    assert all(torch.equal(value, now[name].detach()) for name, value in base.items())
    assert all(now[name].requires_grad and now[name].grad is None for name in base)
    run.checkpoint.save(tmp_path, 10)
    tensors, _ = read_tensors(chain(tmp_path)[0])
    stored = [name for name in tensors if "weights." in name]
    assert len(stored) == len(factors) + (len(model.denoiser.state_dict()) - len(factors) if listed else 0)
    assert all(("networks.denoiser." in name) == (listed and not name.startswith("weights.")) for name in stored)

    again, _ = made()
    second = AdapterStep(again.denoiser, again.objective, listed)
    rest = trainer(again, second)
    rest.done = rest.checkpoint.load(tmp_path)
    assert [rest.step().item() for _ in range(3)] == [run.step().item() for _ in range(3)]
    assert equal(state(step.adapters), state(second.adapters))
    assert losses[0] != losses[-1]


def test_averaged_weights_of_an_adapter_are_what_the_denoiser_computes_with():
    model, _ = made()
    step = AdapterStep(model.denoiser, model.objective, False)
    run = trainer(model, step)
    for _ in range(5):
        run.step()
    factor = step.adapters[0][1]
    with run.averaged():
        number = next(k for k, p in enumerate(step.adapters.parameters()) if p is factor)
        average = factor.detach().clone()
    assert torch.equal(average, run.ema.average[number])
    assert not torch.equal(average, factor)
