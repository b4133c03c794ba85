"""Every part has a call under every name that it is known by, and each of those calls makes a part of its kind."""

import inspect
from types import SimpleNamespace

import pytest
import torch

import unmelt as um
from unmelt.arguments.parts import PARTS, call_of
from unmelt.denoiser import Denoiser
from unmelt.inverse import Operator
from unmelt.objective import times, weights
from unmelt.objective.couplings import Coupling
from unmelt.objective.objective import Objective
from unmelt.process.tokens import Tokens
from unmelt.sampler.grid import Spacing
from unmelt.sampler.tokens.order import Order
from unmelt.sampler.tokens.pace import Pace
from unmelt.schedule.gaussian import Schedule
from unmelt.schedule.tokens import TokenSchedule
from unmelt.train import optimizer
from unmelt.train.lr_schedule import LRSchedule

KINDS = {
    "Sampler": um.sampler.Sampler,
    "Grid": um.Grid,
    "Spacing": Spacing,
    "Schedule": Schedule,
    "TokenSchedule": TokenSchedule,
    "Gaussian": um.process.Gaussian,
    "Tokens": Tokens,
    "Mask": um.process.Mask,
    "Prediction": um.prediction.Prediction,
    "Codec": um.codec.Codec,
    "Tokenizer": um.codec.Tokenizer,
    "TextEncoder": um.encoder.TextEncoder,
    "Planner": um.planner.Planner,
    "Modality": um.modality.Modality,
    "Objective": Objective,
    "Times": times.Times,
    "Weight": weights.Weight,
    "Coupling": Coupling,
    "Order": Order,
    "Pace": Pace,
    "Training": um.train.Training,
    "Optimizer": optimizer.Optimizer,
    "LRSchedule": LRSchedule,
    "Execution": um.train.Execution,
    "Condition": um.Condition,
    "Operator": Operator,
    "Distillation": um.distill.Distillation,
    "LoRA": um.adapter.LoRA,
    "SampleRequest": um.SampleRequest,
    "Source": um.data.Source,
    "Denoiser": Denoiser,
    "Random": um.rng.Random,
}
NEEDS_FILES = ("um.data.images", "um.encoder.LanguageModelEncoder", "um.planner.LanguageModelPlanner", "um.codec.BPE")
CALLS = sorted({(kind, call) for kind, calls in PARTS.items() for call in calls.values()})


def test_every_kind_of_part_is_listed_with_its_class():
    assert KINDS.keys() == PARTS.keys()


@pytest.mark.parametrize(("kind", "call"), CALLS, ids=str)
def test_every_call_makes_a_part_of_its_kind(kind, call):
    if call.startswith(NEEDS_FILES):
        pytest.skip("needs files, or a package that may not be there")
    ring = um.denoiser.Mixture.ring(
        modes=2, radius=1.0, sd=0.1, process=um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    )
    model = SimpleNamespace(denoiser=ring, request=lambda rows: um.SampleRequest(rows=rows))
    names = {"um": um, "torch": torch, "model": model, "known": torch.ones(2, dtype=torch.bool), "x": torch.zeros(3, 2)}
    assert isinstance(eval(call, names), KINDS[kind])


@pytest.mark.parametrize(
    "kind", ["Sampler", "Schedule", "Prediction", "Order", "Pace", "Tokens", "Times", "Weight", "Distillation"]
)
def test_every_exported_part_is_found_by_its_own_name(kind):
    modules = (um.sampler, um.sampler.tokens, um.schedule, um.prediction, um.process, um.objective, um.distill)
    every = {
        getattr(module, name)
        for module in modules
        for name in getattr(module, "__all__", dir(module))
        if inspect.isclass(getattr(module, name))
    }
    parts = [cls for cls in every if issubclass(cls, KINDS[kind]) and not inspect.isabstract(cls)]
    assert parts
    for cls in parts:
        if cls in (um.schedule.TokenLinear, um.schedule.TokenCosine) and kind == "Schedule":
            continue
        assert cls.__name__ in call_of(kind, cls.__name__), cls


@pytest.mark.parametrize(
    ("kind", "word", "call"),
    [
        ("Sampler", "ddim", "um.sampler.DDIM()"),
        ("Sampler", "DDIMScheduler", "um.sampler.DDIM()"),
        ("Sampler", "ddpm", "um.sampler.Ancestral()"),
        ("Sampler", "dpm++", "um.sampler.DPMpp(order=2)"),
        ("Sampler", "DPM++ 2M Karras", "um.sampler.DPMpp(order=2)"),
        ("Sampler", "dpmpp_2m", "um.sampler.DPMpp(order=2)"),
        ("Sampler", "dpmpp_3m", "um.sampler.DPMpp(order=3)"),
        ("Sampler", "euler_a", "um.sampler.Ancestral()"),
        ("Sampler", "k_euler", "um.sampler.Euler()"),
        ("Sampler", "UniPCMultistepScheduler", "um.sampler.UniPC(order=3)"),
        ("Sampler", "huen", "um.sampler.Heun()"),
        ("Grid", "karras", "um.grid.karras(20)"),
        ("Grid", "use_karras_sigmas", "um.grid.karras(20)"),
        ("Schedule", "flow_matching", "um.schedule.Straight()"),
        ("Schedule", "rectified flow", "um.schedule.Straight()"),
        ("Schedule", "squaredcos_cap_v2", "um.schedule.Cosine()"),
        ("Schedule", "VP", "um.schedule.LinearBeta()"),
        ("Prediction", "v_prediction", "um.prediction.V()"),
        ("Prediction", "epsilon", "um.prediction.Noise()"),
        ("Prediction", "sample", "um.prediction.X0()"),
        ("Tokens", "absorbing", "um.process.Mask(vocabulary=256)"),
        ("Objective", "mse", "um.objective.Regression()"),
        ("Optimizer", "adam", "um.train.AdamW()"),
    ],
)
def test_a_part_is_found_by_the_name_that_others_have_for_it(kind, word, call):
    assert call_of(kind, word) == call


def test_an_unknown_word_gives_a_part_and_an_unknown_kind_nothing():
    assert call_of("Sampler", "zzzz") == call_of("Sampler") is not None
    assert call_of("Banana") is None
