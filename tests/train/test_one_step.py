"""One training step in closed form: its batch, its noise, its gradient, its clipping, its average and its dropout."""

from dataclasses import dataclass

import pytest
import torch
from jaxtyping import config
from torch import Tensor, nn

import unmelt as um
from unmelt.objective import EDMWeight, LogNormalSigma, Regression, Stratified
from unmelt.posterior import Point
from unmelt.rng import Stream, fold
from unmelt.train import AdamW, Execution, ObjectiveStep, Phase, Trainer, Training, lr_schedule
from unmelt.train.step import Batch

F64 = torch.float64
SEED = 7


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent: a step shows the gradient itself."""

    def of(self, network: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(network.parameters(), lr, fused=True)]


class Line(nn.Module):
    """A denoiser with one matrix, which notes what it sees and what the global generator gives."""

    def __init__(self) -> None:
        super().__init__()
        self.process, self.shape = um.process.Gaussian(um.schedule.Cosine()), (3,)
        self.matrix = nn.Parameter(torch.tensor([[0.5, 0.1, 0.0], [0.2, -0.3, 0.1], [0.0, 0.4, 0.7]]))
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.drawn: list[float] = []

    def forward(self, x_t: Tensor, t: Tensor, condition: object = None) -> Point:
        self.seen.append((x_t.detach(), t))
        self.drawn.append(torch.rand(()).item())
        return Point(x_t @ self.matrix)


class Doubling:
    """A codec that doubles: what is learned from is its output."""

    def encode(self, x: Tensor) -> Tensor:
        return 2 * x

    def decode(self, z: Tensor) -> Tensor:
        return z / 2

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape)


SOURCE = um.data.Arrays(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), seed=3)
HELD_OUT = um.data.Arrays(torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) + 2, seed=4)
OBJECTIVE = Regression(times=Stratified(LogNormalSigma(-0.5, 0.8)), weight=EDMWeight(0.7))


def trainer(execution: Execution | None = None, codec: object = Doubling(), **settings: object) -> Trainer:
    given = {"steps": 10, "batch": 8, "lr": 1.0, "lr_schedule": lr_schedule.Trapezoid(warmup=0, fall=0.0)}
    given |= {"optimizer": SGD(), "clip": 1e6, "ema": 0.999, "seed": SEED, "precision": "float32"}
    training = Training(**{**given, **settings})
    return Trainer(ObjectiveStep(Line(), OBJECTIVE), SOURCE, codec, training, execution=execution, held_out=HELD_OUT)


def by_hand(matrix: Tensor, batch: int, seed: int, source=SOURCE) -> tuple[Tensor, Tensor]:
    """The loss of a batch with the noise of a seed, and its gradient, written down from the definitions."""
    x0, _ = source.batch(batch, 8)
    x0, rng, process = 2 * x0, Stream(seed), um.process.Gaussian(um.schedule.Cosine())
    t = OBJECTIVE.times.draw(8, process.schedule, rng)
    x_t, _ = process.corrupt(x0, t, rng)
    matrix = matrix.detach().clone().requires_grad_()
    error = (x_t @ matrix - x0).square().mean(1)
    loss = (error * OBJECTIVE.weight(t, process.schedule, OBJECTIVE.times).float()).mean()
    return loss.detach(), torch.autograd.grad(loss, matrix)[0]


def test_every_step_is_gradient_descent_on_its_own_batch_with_its_own_noise():
    run = trainer(lr=0.01)
    for step in range(3):
        before = run.network.matrix.detach().clone()
        loss, gradient = by_hand(before, step, fold(SEED, step))
        assert run.step().item() == pytest.approx(loss.item(), rel=1e-6)
        torch.testing.assert_close(run.network.matrix.detach(), before - 0.01 * gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_gradient_longer_than_clip_is_scaled_to_it_and_a_shorter_one_is_not_touched(parts):
    _, gradient = by_hand(Line().matrix, 0, fold(SEED, 0))
    norm = gradient.norm().item()
    for clip, scale in ((1e-3, 1e-3 / norm), (norm / 2, 0.5), (1.5 * norm, 1.0), (1e6, 1.0), (2e6, 1.0)):
        run = trainer(Execution(gradient_accumulation=parts), clip=clip)
        before = run.network.matrix.detach().clone()
        run.step()
        torch.testing.assert_close(before - run.network.matrix.detach(), scale * gradient, rtol=1e-3, atol=2e-7)


def test_the_average_takes_part_of_the_newest_weights_in_every_step():
    """average <- lerp(average, weights, 1 - min(decay, n / (n + 10))), the weights being those after the step."""
    run = trainer(lr=0.01, ema=0.15)
    average = run.network.matrix.detach().clone()
    for n in (1, 2, 3):
        run.step()
        average = average.lerp(run.network.matrix.detach(), 1 - min(0.15, n / (n + 10)))
        torch.testing.assert_close(run.ema.average[0], average, rtol=1e-6, atol=1e-8)
        assert run.ema.updates == n


def test_the_global_generator_is_seeded_anew_for_every_step_and_part():
    """What dropout draws: by the step's own seed, so that no two steps or parts have the same mask."""
    run = trainer()
    for _ in range(3):
        run.step()
    wanted = []
    for step in range(3):
        torch.manual_seed(fold(SEED, step))
        wanted.append(torch.rand(()).item())
    assert run.network.drawn == wanted
    assert len(set(wanted)) == 3
    parts = trainer(Execution(gradient_accumulation=4))
    parts.step()
    parts.step()
    assert parts.network.drawn[0] == wanted[0]
    assert len(set(parts.network.drawn)) == 8


def test_the_second_phase_has_noise_of_its_own():
    seen = {}

    class Two:
        networks_, order = {"one": nn.Linear(3, 3), "two": nn.Linear(3, 3)}, ("one", "two")

        def networks(self):
            return self.networks_

        def frozen(self):
            return ()

        def phases(self):
            return [
                Phase(network=name, loss=lambda batch, rng, name=name: self.loss(name, batch, rng))
                for name in self.order
            ]

        def loss(self, name: str, batch: Batch, rng) -> Tensor:
            seen.setdefault(name, []).append((batch.step, rng.normal((2, 2))))
            return self.networks_[name](batch.x0).square().mean(1)

        def after_update(self, network: str, step: int) -> None:
            pass

    run = Trainer(Two(), SOURCE, None, Training(steps=5, batch=4, seed=SEED))
    run.step()
    run.step()
    for step in range(2):
        seeds = {"one": fold(SEED, step), "two": fold(fold(SEED, step), -1)}
        for name, seed in seeds.items():
            assert seen[name][step][0] == step
            assert torch.equal(seen[name][step][1], Stream(seed).normal((2, 2)))


def test_held_out_loss_is_the_mean_over_the_first_four_held_out_batches():
    run = trainer(lr=0.01)
    run.step()
    found = run.held_out_loss()
    losses = [by_hand(run.network.matrix, number, fold(SEED, -1 - number), HELD_OUT)[0] for number in range(4)]
    assert found == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    run.step()
    again = [by_hand(run.network.matrix, number, fold(SEED, -1 - number), HELD_OUT)[0] for number in range(4)]
    assert run.held_out_loss() == pytest.approx(torch.stack(again).mean().item(), rel=1e-5)


def test_the_held_out_loss_of_a_log_event_is_that_of_the_average():
    run = trainer(steps=3, lr=0.01, picture_every=3)
    (log,) = [event for event in run.run() if event.kind == "log"]
    average = run.network.matrix  # the run is over
    losses = [by_hand(average, number, fold(SEED, -1 - number), HELD_OUT)[0] for number in range(4)]
    assert log.numbers["held_out"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_log_events_hold_the_mean_loss_since_the_last_one_and_the_rate_of_the_last_step():
    run = trainer(steps=60, lr=1e-3, lr_schedule=lr_schedule.Cosine(warmup=10))
    alone = trainer(steps=60, lr=1e-3, lr_schedule=lr_schedule.Cosine(warmup=10))
    losses = [alone.step().item() for _ in range(60)]
    logs = [event for event in run.run() if event.kind == "log"]
    assert [event.step for event in logs] == [25, 50, 60]
    for event, (first, last) in zip(logs, ((0, 25), (25, 50), (50, 60)), strict=True):
        assert event.numbers["loss"] == pytest.approx(sum(losses[first:last]) / (last - first), rel=1e-5)
        assert event.numbers["lr"] == run.training.lr_at(last - 1)
        assert event.numbers["skipped"] == 0


def test_events_come_at_the_steps_that_the_settings_name():
    run = trainer(steps=12, lr=1e-3, save_every=5, picture_every=4, snapshot_every=3)
    events = [(event.kind, event.step) for event in run.run()]
    steps = {kind: [step for found, step in events if found == kind] for kind, _ in events}
    assert steps == {
        "log": [4, 8, 12],
        "preview": [4, 8, 12],
        "snapshot": [3, 6, 9, 12],
        "save": [5, 10, 12],
    }


def test_while_events_are_handled_and_afterwards_the_network_holds_the_average():
    run, alone = trainer(steps=6, lr=0.01, picture_every=2), trainer(steps=6, lr=0.01, picture_every=2)
    averages = []
    for _ in range(6):
        alone.step()
        averages.append(alone.ema.average[0].clone())
    for event in run.run():
        if event.kind in ("preview", "save"):
            assert torch.equal(run.network.matrix.detach(), averages[event.step - 1])
            assert not run.network.training
    assert torch.equal(run.network.matrix.detach(), averages[-1])
    assert torch.equal(run.ema.average[0], alone.network.matrix.detach())


def test_adamw_is_adam_with_decoupled_decay():
    """Two steps by hand, with betas and decay of their own (Loshchilov and Hutter, 2019, algorithm 2)."""
    body = nn.Linear(2, 2, bias=False).double()
    weight, (b1, b2), lr, decay = body.weight.detach().clone(), (0.7, 0.8), 0.1, 0.3
    (optimizer,) = AdamW(betas=(b1, b2), weight_decay=decay).of(body, lr)
    m, v = torch.zeros_like(weight), torch.zeros_like(weight)
    for n, gradient in enumerate(torch.randn(2, 2, 2, dtype=F64, generator=torch.Generator().manual_seed(0)), 1):
        body.weight.grad = gradient.clone()
        optimizer.step()
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        weight = (1 - lr * decay) * weight - lr * (m / (1 - b1**n)) / ((v / (1 - b2**n)).sqrt() + 1e-8)
        torch.testing.assert_close(body.weight.detach(), weight, rtol=1e-9, atol=1e-12)


def test_muon_gives_its_adamw_settings_to_what_is_no_matrix():
    body = nn.Linear(16, 16)
    rest, matrices = um.train.Muon(momentum=0.8, betas=(0.6, 0.7), weight_decay=0.2).of(body, 0.01)
    assert [group["params"] for group in rest.param_groups] == [[body.bias]]
    assert rest.param_groups[0]["betas"] == (0.6, 0.7)
    assert rest.param_groups[0]["weight_decay"] == matrices.param_groups[0]["weight_decay"] == 0.2
    assert matrices.param_groups[0]["momentum"] == 0.8


def test_a_phase_has_its_own_factor_on_the_learning_rate():
    class One:
        body = nn.Linear(3, 1, bias=False)

        def networks(self):
            return {"body": self.body}

        def frozen(self):
            return ()

        def phases(self):
            return [Phase(network="body", loss=lambda batch, rng: self.body(batch.x0)[:, 0], lr_factor=0.25)]

        def after_update(self, network: str, step: int) -> None:
            pass

    run = Trainer(
        One(), SOURCE, None, Training(steps=4, batch=4, lr=0.5, clip=1e6, optimizer=SGD(), precision="float32")
    )
    before = One.body.weight.detach().clone()
    run.step()
    wanted = -0.25 * run.training.lr_at(0) * SOURCE.batch(0, 4)[0].mean(0)
    torch.testing.assert_close(One.body.weight.detach() - before, wanted[None], rtol=1e-5, atol=1e-8)
