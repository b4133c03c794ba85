"""An autoregressive head: tokens of one call depend on each other, as if each had been drawn in a call of its own.

A step of the student unmasks the positions A of x_t. Its head draws them in turn and is given what has been drawn. It
aims at what the teacher believes after reading the same tokens in a call of its own:

    x_r = x_t with x0_D written in,      D = any k of A,      k uniform below |A|
    loss = mean over the masks i of x_r of KL(teacher(x_r)_i || student(x_i | x_t, x0_D))

D is any subset of its size, so that the tokens of a call may be drawn in any order. The network itself, which is the
teacher's, draws the first token, and stays as it is: only the head learns. Where both sides are equal for all D, a step
of the student draws from the same joint law as the teacher does in one call for each token: nothing is lost by drawing
many at once. That no product over positions can do, whatever its marginals (`sdtt.py`). Without a teacher, x0_i is in
the place of its belief, and the network learns too. The head is that of `backbone/token_head.py`; there are the papers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, ClassVar, final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone import TokenHead
from unmelt.denoiser import JointTokenDenoiser
from unmelt.distill.distillation import Distillation, Setup
from unmelt.distill.student_step import StudentStep
from unmelt.distill.token_student import check_teacher, copied, corrupted, grid_step, row_divergence, row_mean
from unmelt.errors import UsageError
from unmelt.process import Mask
from unmelt.process.broadcast import expand_like
from unmelt.rng import Random, seeded
from unmelt.sampler import Ancestral, Sampler
from unmelt.train import AdamW, Training
from unmelt.train.step import Batch


@final
@checked_init("um.distill.AutoregressiveHead")
@dataclass(frozen=True, kw_only=True)
class AutoregressiveHead(Distillation):
    """A head that draws the tokens of one call in turn, for masked diffusion.

    It learns for the numbers of tokens that a step of its grid draws. More steps draw fewer, which it knows too.

    Args:
        from_scratch: Learn from data alone; the teacher gives its network, but neither weights nor beliefs.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say.
    """

    KIND: ClassVar = "tokens"

    from_scratch: bool = False
    training_steps: int = 3600
    lr: float = 2e-3

    @property
    def needs_teacher(self) -> bool:
        return not self.from_scratch

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        return joint_student_of(check_teacher("AutoregressiveHead", teacher, guidance_range), self.from_scratch)

    def sampler(self) -> Sampler:
        return Ancestral()

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, lr=self.lr, optimizer=AdamW())

    def train_step(self, setup: Setup) -> StudentStep:
        def loss(batch: Batch, rng: Random, _: Any) -> Tensor:
            x0, student = batch.x0, setup.student
            condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
            t, s = grid_step(setup.grid, 1, student.process, len(x0), rng, x0.device)
            x_t, masked = corrupted(student, x0, t, condition, setup.padding, rng)
            drawn = drawn_within_a_step(student.process, masked, t, s, rng, least=0 if self.from_scratch else 1)
            where = masked & ~drawn
            belief = student.logits_given(x_t, x0, drawn, where, t, condition).log_probabilities
            if self.from_scratch:
                return row_mean(-belief.gather(-1, x0[where][:, None])[:, 0], where)
            with torch.no_grad():
                x_r = torch.where(drawn, x0, x_t)
                target = setup.teacher.logits_at(x_r, where, t, condition).log_probabilities
            return row_divergence(target, belief, where)

        if self.from_scratch:
            return StudentStep(setup.student, loss)
        return StudentStep(setup.student, loss, setup.teacher, part=setup.student.head)


def joint_student_of(teacher: Any, fresh: bool) -> JointTokenDenoiser:
    """A denoiser with a head, which begins as its teacher.

    Args:
        teacher: The teacher's denoiser.
        fresh: Whether the network begins with initial weights in place of the teacher's.

    Returns:
        The student.

    Raises:
        UsageError: If the teacher does not mask, or its network gives no features.
    """
    backbone, process = teacher.backbone, teacher.process
    if not isinstance(process, Mask):
        raise UsageError(
            f"AutoregressiveHead on {type(process).__name__}, where no token is ever certain",
            "a teacher on masks",
            "um.distill.SDTT()",
        )
    sizes = ("vocabulary", "width", "heads", "mlp_ratio", "coordinates")
    if missing := [name for name in (*sizes, "into", "out") if not hasattr(backbone, name)]:
        raise UsageError(
            f"AutoregressiveHead with a {type(backbone).__name__}, which has no {missing[0]}",
            "a network that gives the features of its positions",
            "um.backbone.Transformer(...)",
        )
    with seeded(0):
        arguments = {each: getattr(backbone, each) for each in signature(type(backbone)).parameters}
        backbone = type(backbone)(**arguments) if fresh else copied(backbone)
        head = TokenHead(**{name: getattr(backbone, name) for name in sizes})
    with torch.no_grad():
        head.out.weight.copy_(backbone.out.weight)
        embedding = backbone.into.weight[: head.vocabulary]  # tokens that the network embeds alike begin alike
        head.tokens.weight.copy_((embedding / embedding.std()).repeat(1, 3))
    made = JointTokenDenoiser(backbone, head, process, teacher.shape)
    return made.to(next(teacher.parameters()))


def drawn_within_a_step(
    process: Mask,
    masked: Bool[Tensor, "rows *shape"],
    t: Float64[Tensor, " rows"],
    s: Float64[Tensor, " rows"],
    rng: Random,
    least: int = 0,
) -> Bool[Tensor, "rows *shape"]:
    """What has been drawn at a random moment of a step: any k of the positions A that the step unmasks.

    Args:
        process: The masks.
        masked: [rows, *shape], the masks.
        t: [rows], beginning of the step.
        s: [rows], its end.
        rng: Source of randomness.
        least: Smallest k, 0 or 1. 1 is also taken where A has fewer than two positions, or none.

    Returns:
        [rows, *shape], True at k positions; k is uniform from `least` to below the number of A.
    """
    alpha_t, alpha_s = (expand_like(process.schedule.alpha(each), masked) for each in (t, s))
    whether, turn = rng.uniform((*masked.shape, 2), torch.float64, masked.device).unbind(-1)
    unmasked = masked & (whether < (alpha_s - alpha_t) / (1 - alpha_t))
    numbers = (unmasked.flatten(1).sum(1, keepdim=True) - least).clamp_min(1)
    k = least + (rng.uniform((len(masked), 1), torch.float64, masked.device) * numbers).floor()
    turn = torch.where(unmasked, turn, torch.where(masked, 1 + turn, 2.0)).flatten(1)
    return masked & (turn.argsort(1).argsort(1) < k).view(masked.shape)
