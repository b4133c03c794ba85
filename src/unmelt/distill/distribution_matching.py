"""Distribution matching: the student's law is moved onto the teacher's by the difference of their scores (DMD2).

A student G jumps to x0 = G(x_t, t) from pure noise, or from where its own earlier jumps have led (`rollout.py`). Melted
again to a random time r, x_r = alpha x0 + sigma noise, its law has the Kullback-Leibler divergence from the data's

    grad KL = E[ (s_fake(x_r) - s_real(x_r)) dx_r/dtheta ] = E[ (alpha / sigma)^2 (fake - real) dx0/dtheta ]

with fake and real the beliefs about x0 of denoisers of the two laws: Yin et al., 2024a, "One-step Diffusion with
Distribution Matching Distillation", equation 4. The teacher is the real one. The fake one begins as its copy and learns
by denoising regression on what the student makes. Rows are weighted, so that the student moves by

    g = (fake - real) / mean |x0 - real|        equation 8, with the mean over a row's dimensions

which is the gradient of |x0 - (x0 - g)|^2 / 2 with the bracket as a constant. Yin et al., 2024b ("Improved Distribution
Matching Distillation for Fast Image Synthesis", DMD2): the student moves in every fifth step and the fake denoiser in
every one (section 4.2), and a discriminator on the fake one's features may be added (section 4.3),

    fake      ... + c E[ softplus(-d(data melted to r)) + softplus(d(x_r)) ]
    student   ... + c E[ softplus(-d(x_r)) ]

Guidance: the real belief is guided by each row's scale, and the fake denoiser is given the scale, since the student's
law depends on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.features import feature_widths, with_features
from unmelt.distill.discriminator import Heads
from unmelt.distill.distillation import Distillation, Setup, no_grad_mean
from unmelt.distill.rollout import student_sample
from unmelt.distill.student import flow_map_of
from unmelt.errors import UsageError
from unmelt.objective import EDMWeight, LogNormalSigma, Stratified, Times
from unmelt.process.gaussian import expand_like
from unmelt.rng import Random, seeded
from unmelt.sampler import Jump, Sampler
from unmelt.train import Phase, Training
from unmelt.train.optimizer import Optimizer
from unmelt.train.step import Batch


class Judgement(NamedTuple):
    """What the fake network says of noisy data.

    Args:
        mean: [rows, *shape], the x0 that it believes, of a sample of the student's.
        logit: [rows], of real against generated data; 0 without a discriminator.
    """

    mean: Tensor
    logit: Tensor


@final
class FakeNetwork(nn.Module):
    """A denoiser of the student's law, with the heads of a discriminator.

    Args:
        denoiser: The denoiser.
        heads: The heads; None for no discriminator.
    """

    def __init__(self, denoiser: nn.Module, heads: Heads | None) -> None:
        super().__init__()
        self.denoiser, self.heads = denoiser, heads

    def forward(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Judgement:
        """Belief and logit. One network call.

        Args:
            x_t: [rows, *shape], data at time t.
            t: [rows], times.
            condition: What is known of each row.

        Returns:
            The believed x0, and the logit of real against generated data.
        """
        if self.heads is None:
            return Judgement(self.denoiser(x_t, t, condition).mean, x_t.new_zeros(len(x_t)))
        mean, features = with_features(self.denoiser, x_t, t, condition)
        return Judgement(mean, self.heads(features))


@final
@checked_init("um.distill.DistributionMatching")
@dataclass(frozen=True, kw_only=True)
class DistributionMatching(Distillation):
    """DMD2: samples of the teacher's law in one step or a few. A second network learns the student's law.

    Args:
        times: Distribution of r, the times at which the two laws are compared.
        student_every: Steps between the student's updates; the fake denoiser moves in every step.
        gan_weight: c above, weight of the discriminator's losses. 0: no discriminator.
        fake_lr_factor: Learning rate of the fake denoiser, relative to the student's.
        fake_optimizer: Optimizer of the fake denoiser. None: the run's own.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say.

    Raises:
        UsageError: If the weight is negative.
    """

    KIND: ClassVar = "numbers"

    times: Times = Stratified(LogNormalSigma(mean=-0.4, sd=1.4))
    student_every: int = 5
    gan_weight: float = 0.0
    fake_lr_factor: float = 1.0
    fake_optimizer: Optimizer | None = None
    training_steps: int = 1000
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.gan_weight < float("inf"):
            raise UsageError(
                f"gan_weight={self.gan_weight}", "a number of at least 0", "DistributionMatching(gan_weight=0.01)"
            )

    @property
    def needs_teacher(self) -> bool:
        return True

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        return flow_map_of(teacher, guidance_range, is_denoiser=False)

    def sampler(self) -> Sampler:
        return Jump(eta=1.0)

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, lr=self.lr)

    def train_step(self, setup: Setup) -> "DistributionMatchingStep":
        if self.gan_weight and setup.guidance_range is not None:
            raise UsageError(
                f"gan_weight={self.gan_weight} with guidance_range={setup.guidance_range}",
                "no discriminator for guided students: the data that it knows as real are not guided",
                "um.distill.DistributionMatching(gan_weight=0.0)",
            )
        denoiser = flow_map_of(setup.teacher, setup.guidance_range, is_denoiser=True)
        with seeded(0):
            heads = Heads(feature_widths(denoiser)) if self.gan_weight else None
        return DistributionMatchingStep(
            self, setup, FakeNetwork(denoiser, heads).to(next(denoiser.parameters()).device)
        )


@final
@dataclass(frozen=True, eq=False)
class DistributionMatchingStep:
    """The training step: the student moves towards the teacher's law, and the fake network follows the student's.

    Args:
        method: The settings.
        setup: Teacher, student and grid.
        fake: The denoiser of the student's law: a `FakeNetwork`, or what is called as one.
    """

    method: DistributionMatching
    setup: Setup
    fake: nn.Module

    def networks(self) -> Mapping[str, nn.Module]:
        return {"student": self.setup.student, "fake": self.fake}

    def frozen(self) -> Sequence[nn.Module]:
        return (self.setup.teacher,)

    def phases(self) -> Sequence[Phase]:
        method = self.method
        return (
            Phase(network="student", loss=self._student_loss, every=method.student_every, held_out=False),
            Phase(
                network="fake",
                loss=self._fake_loss,
                lr_factor=method.fake_lr_factor,
                optimizer=method.fake_optimizer,
                held_out=False,
            ),
        )

    def after_update(self, network: str, step: int) -> None:
        """Do nothing: no other network follows."""

    def _melt(self, x0: Tensor, rng: Random) -> tuple[Tensor, Tensor]:
        """(x_r, r)."""
        process = self.setup.student.process
        r = self.method.times.draw(len(x0), process.schedule, rng).to(x0.device)
        return process.corrupt(x0, r, rng)[0], r

    def _student_loss(self, batch: Batch, rng: Random) -> Tensor:
        x0, condition = student_sample(self.setup, self.method.sampler(), batch, rng)
        x_r, r = self._melt(x0, rng)
        real = no_grad_mean(self.setup.guided_teacher, x_r, r, condition)
        if not self.method.gan_weight:
            with torch.no_grad():
                fake = self.fake(x_r, r, condition).mean
            return matching_loss(x0, fake, real)
        fake, logit = self.fake(x_r, r, condition)
        return matching_loss(x0, fake, real) + self.method.gan_weight * F.softplus(-logit)

    def _fake_loss(self, batch: Batch, rng: Random) -> Tensor:
        with torch.no_grad():
            x0, condition = student_sample(self.setup, self.method.sampler(), batch, rng)
        x_r, r = self._melt(x0, rng)
        belief, logit = self.fake(x_r, r, condition)
        schedule, times = self.setup.student.process.schedule, self.method.times
        weight = EDMWeight(self.setup.student.data_sd)(r, schedule, times)
        loss = (belief - x0).square().flatten(1).mean(1) * weight.to(x0.dtype)
        if not self.method.gan_weight:
            return loss
        of_data = self.fake(self.setup.student.process.corrupt(batch.x0, r, rng)[0], r, condition).logit
        return loss + self.method.gan_weight * (F.softplus(-of_data) + F.softplus(logit))


def matching_loss(
    x0: Float[Tensor, "rows *shape"], fake: Float[Tensor, "rows *shape"], real: Float[Tensor, "rows *shape"]
) -> Float[Tensor, " rows"]:
    """A loss whose gradient in x0 is g above, over the number of dimensions.

    Args:
        x0: [rows, *shape], what the student made, with its graph.
        fake: [rows, *shape], belief of the denoiser of the student's law.
        real: [rows, *shape], belief of the denoiser of the teacher's law.

    Returns:
        [rows].
    """
    with torch.no_grad():
        size = (x0 - real).abs().flatten(1).mean(1).clamp_min(1e-8)
        target = x0 - (fake - real) / expand_like(size, x0)
    return (x0 - target).square().flatten(1).mean(1) / 2
