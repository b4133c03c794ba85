"""Adversarial distillation: the student against a discriminator that reads the teacher's features of noisy samples.

A student jumps to x0 from pure noise, or from where its own earlier jumps have led (`rollout.py`). What it makes and a
real row of the same condition are melted to the same random time r. The discriminator d is small heads on the features
of the teacher, which stays as it is (Sauer et al., 2024, "Fast High-Resolution Image Synthesis with Latent Adversarial
Diffusion Distillation"). Its loss compares the two rows (relativistic: Huang et al., 2024, "The GAN is dead; long live
the GAN!"),

    discriminator   softplus(d(made) - d(real)) + gamma / 2 (R(real) + R(made))
    student         softplus(d(real) - d(made))

with R = |data_sd * gradient of d in x0|^2: R1 for real rows, R2 for made ones. R is estimated without a second
derivative, by a difference in a random direction e ~ N(0, 1),

    R = E[ (d(x0 + delta data_sd e) - d(x0))^2 ] / delta^2      for small delta

(Lin et al., 2025, "Diffusion Adversarial Post-Training for One-Step Video Generation"). The discriminator's step
therefore needs no gradient through the teacher.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.modulation import zeroed
from unmelt.condition import Condition
from unmelt.denoiser.features import feature_widths, with_features
from unmelt.distill.discriminator import Heads
from unmelt.distill.distillation import Distillation, Setup
from unmelt.distill.rollout import student_sample
from unmelt.distill.student import flow_map_of
from unmelt.errors import UsageError
from unmelt.objective import LogNormalSigma, Stratified, Times
from unmelt.rng import Random, seeded
from unmelt.sampler import Jump, Sampler
from unmelt.train import AdamW, Phase, Training
from unmelt.train.optimizer import Optimizer
from unmelt.train.step import Batch


@final
@checked_init("um.distill.Adversarial")
@dataclass(frozen=True, kw_only=True)
class Adversarial(Distillation):
    """A student of one step or a few whose samples a discriminator on the teacher's features cannot tell from data.

    Args:
        times: Distribution of r, the times at which made and real rows are compared.
        penalty: gamma above, weight of R1 and R2.
        difference: delta above, in units of the data's standard deviation.
        heads_lr_factor: Learning rate of the discriminator's heads, relative to the student's.
        optimizer: Optimizer of both networks. None: the run's own, which may have too much momentum for a game.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say.

    Raises:
        UsageError: If the penalty is negative, or the difference is not positive.
    """

    KIND: ClassVar = "numbers"

    times: Times = Stratified(LogNormalSigma(mean=-0.4, sd=1.4))
    penalty: float = 0.3
    difference: float = 0.1
    heads_lr_factor: float = 10.0
    optimizer: Optimizer | None = AdamW(betas=(0.0, 0.99))
    training_steps: int = 200
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 <= self.penalty < float("inf"):
            raise UsageError(f"penalty={self.penalty}", "a number of at least 0", "Adversarial(penalty=0.3)")
        if not 0 < self.difference < float("inf"):
            raise UsageError(f"difference={self.difference}", "a positive number", "Adversarial(difference=0.1)")

    @property
    def needs_teacher(self) -> bool:
        return True

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        if guidance_range is not None:
            raise UsageError(
                f"guidance_range={tuple(guidance_range)} of Adversarial, which compares with data that are not guided",
                "no range, or a method that learns from a guided teacher",
                "um.distill.DistributionMatching()",
            )
        return flow_map_of(teacher, None, is_denoiser=False)

    def sampler(self) -> Sampler:
        return Jump(eta=1.0)

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, lr=self.lr)

    def train_step(self, setup: Setup) -> "AdversarialStep":
        with seeded(0):
            heads = Heads(feature_widths(setup.teacher))
        for out in heads.out:
            zeroed(out)  # the student does not move before the discriminator has seen something
        parameter = next(setup.teacher.parameters())
        return AdversarialStep(self, setup, heads.to(parameter.device, parameter.dtype))


@final
@dataclass(frozen=True, eq=False)
class AdversarialStep:
    """The training step: the student moves to what looks more real, and the discriminator follows.

    Args:
        method: The settings.
        setup: Teacher, student and grid.
        heads: The discriminator's heads, called with the features of the teacher's blocks.
    """

    method: Adversarial
    setup: Setup
    heads: nn.Module

    def networks(self) -> Mapping[str, nn.Module]:
        return {"student": self.setup.student, "heads": self.heads}

    def frozen(self) -> Sequence[nn.Module]:
        return (self.setup.teacher,)

    def phases(self) -> Sequence[Phase]:
        method = self.method
        return (
            Phase(network="student", loss=self._student_loss, optimizer=method.optimizer, held_out=False),
            Phase(
                network="heads",
                loss=self._heads_loss,
                lr_factor=method.heads_lr_factor,
                optimizer=method.optimizer,
                held_out=False,
            ),
        )

    def after_update(self, network: str, step: int) -> None:
        """Do nothing: no other network follows."""

    def _student_loss(self, batch: Batch, rng: Random) -> Tensor:
        condition, made, r = self._drawn(batch, rng)
        logit = self._logit(self._melt(made, r, rng), r, condition)
        with torch.no_grad():
            of_data = self._logit(self._melt(batch.x0, r, rng), r, condition)
        return F.softplus(of_data - logit)

    def _heads_loss(self, batch: Batch, rng: Random) -> Tensor:
        with torch.no_grad():
            condition, made, r = self._drawn(batch, rng)
        real, of_data = self._penalised(batch.x0, r, condition, rng)
        fake, of_made = self._penalised(made, r, condition, rng)
        return F.softplus(fake - real) + self.method.penalty / 2 * (of_data + of_made)

    def _drawn(self, batch: Batch, rng: Random) -> tuple[Condition | None, Tensor, Tensor]:
        """Conditions, what the student makes of them, [rows, *shape], and times r, [rows]."""
        setup = self.setup
        made, condition = student_sample(setup, self.method.sampler(), batch, rng)
        r = self.method.times.draw(len(made), setup.student.process.schedule, rng).to(made.device)
        return condition, made, r

    def _melt(self, x0: Tensor, r: Tensor, rng: Random) -> Tensor:
        x_r: Tensor = self.setup.student.process.corrupt(x0, r, rng)[0]
        return x_r

    def _logit(
        self, x_r: Float[Tensor, "rows *shape"], r: Float64[Tensor, " rows"], condition: Condition | None
    ) -> Float[Tensor, " rows"]:
        """d above, whose gradient in x_r is wanted."""
        logit: Tensor = self.heads(with_features(self.setup.teacher, x_r, r, condition).features)
        return logit

    def _penalised(
        self, x0: Tensor, r: Tensor, condition: Condition | None, rng: Random
    ) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
        """d of rows melted to r, and an unbiased estimate of R, both with gradients in the heads alone."""
        process, delta = self.setup.student.process, self.method.difference
        x_r, direction = self._melt(x0, r, rng), rng.normal(x0.shape, x0.dtype, x0.device)
        perturbed = x_r + process.mix(delta * self.setup.student.data_sd * direction, torch.zeros_like(x0), r)
        with torch.no_grad():
            one, other = (with_features(self.setup.teacher, each, r, condition).features for each in (x_r, perturbed))
        logit: Tensor = self.heads(one)
        return logit, ((self.heads(other) - logit) / delta).square()
