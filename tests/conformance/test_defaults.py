"""Defaults are the numbers of the papers and of the documentation: what is not set is as if it were set to them."""

import inspect
import math

import pytest

from unmelt import schedule
from unmelt.denoiser import GaussianMixtureDenoiser, NetworkDenoiser, ResidualDenoiser
from unmelt.denoiser.prediction import Preconditioned
from unmelt.guidance import APG, Rescale, ZeroInit
from unmelt.inverse import DPS, MMPS, PiGDM
from unmelt.likelihood import SIGMA_MIN, Hutchinson, bound, bound_on_tokens, log_likelihood
from unmelt.model import Model, TextModel
from unmelt.objective import NELBO, AnyOrder, EDMWeight, LogitNormal, LogNormalSigma, MinSNR, NextToken, Regression
from unmelt.process import Blend
from unmelt.sampler import (
    DDIM,
    DEIS,
    LMS,
    Adams,
    Adaptive,
    Churn,
    DPMpp,
    DPMppSingle,
    Jump,
    Langevin,
    PredictorCorrector,
    Restart,
    SASolver,
    UniPC,
    grid,
)
from unmelt.sampler import tokens as way
from unmelt.train import AdamW, Execution, Muon, Phase, Training
from unmelt.train.lr_schedule import Cosine, CosineRestarts, InverseRoot, Trapezoid

WHOLE = (0.0, 1.0)

DEFAULTS = {
    # Karras et al., 2022, tables 1 and 5, and equation 5
    grid.karras: {"rho": 7.0, "sigma_min": 0.002, "sigma_max": 80.0},
    grid.log_snr: {"sigma_min": 0.002, "sigma_max": 80.0},
    grid.balanced: {"pivot": 0.63},
    schedule.VarianceExploding: {"sigma_min": 0.002, "sigma_max": 80.0},
    LogNormalSigma: {"mean": -1.2, "sd": 1.2},
    EDMWeight: {"data_sd": 0.5},
    Preconditioned: {"data_sd": 0.5},
    Churn: {"amount": 0.2, "interval": (0.05, 50.0)},
    # Esser et al., 2024; Hang et al., 2023; Lin et al., 2024; Fan et al., 2025; Song et al., 2021
    LogitNormal: {"mean": 0.0, "sd": 1.0},
    MinSNR: {"gamma": 5.0},
    Rescale: {"share": 0.7},
    ZeroInit: {"after": 0.96},
    APG: {"eta": 0.0, "limit": math.inf, "interval": WHOLE},
    PredictorCorrector: {"corrector_steps": 1, "snr": 0.16},
    # solvers
    Adams: {"order": 3},
    DEIS: {"order": 3},
    LMS: {"order": 4},
    DPMpp: {"order": 2, "eta": 0.0},
    DPMppSingle: {"eta": 0.0},
    SASolver: {"order": 3, "eta": 1.0},
    UniPC: {"order": 3},
    DDIM: {"eta": 0.0},
    Jump: {"eta": 0.0},
    Langevin: {"walks": 20, "size": 0.5},
    Restart: {"times": 1, "interval": WHOLE},
    Adaptive: {"tolerance": 1e-3},
    way.Remask: {"strength": 2.0},
    way.PredictorCorrector: {"corrector_steps": 1, "size": 0.25},
    way.Threshold: {"least": 0.9},
    way.EntropyBound: {"entropy_budget": 0.1},
    way.Unmask: {"block": None, "cache": False, "end_token": None, "min_distance": 1},
    # objectives
    Regression: {"drop": 0.0},
    NELBO: {"drop": 0.0, "padding": None},
    NextToken: {"padding": None},
    AnyOrder: {
        "equal_token_weights": False,
        "drop": 0.0,
        "padding": None,
        "bidirectional_row_fraction": 0.0,
        "antithetic_masks": False,
    },
    Blend: {"masks": 0.9},
    # denoisers and measurements
    NetworkDenoiser: {"data_sd": 1.0},
    ResidualDenoiser: {"data_sd": 1.0, "residual_sd": 0.5},
    GaussianMixtureDenoiser: {"classes": 0, "components": 1, "shrink": 0.5, "floor": 1e-4},
    DPS: {"strength": 1.0, "covariance_sigma_max": 10.0},
    PiGDM: {"data_sd": 1.0, "covariance_sigma_max": 10.0},
    MMPS: {"solves": 4, "covariance_sigma_max": 10.0},
    # likelihood
    bound: {"strata": 32, "sigma_min": SIGMA_MIN},
    log_likelihood: {"sigma_min": SIGMA_MIN, "tolerance": 1e-5, "prior": None},
    bound_on_tokens: {"draws": 32, "seed": 0},
    Hutchinson: {"probes": 8},
    # training
    AdamW: {"betas": (0.9, 0.99), "weight_decay": 0.0},
    Muon: {"momentum": 0.95, "betas": (0.9, 0.99), "weight_decay": 0.0},
    Cosine: {"warmup": 100},
    CosineRestarts: {"cycles": 5, "growth": 1.0, "warmup": 20},
    Trapezoid: {"warmup": 100, "fall": 0.2},
    InverseRoot: {"warmup": 100, "hold": 10_000},
    Execution: {"gradient_accumulation": 1, "activation_checkpointing": False, "compile": False, "shard": False},
    Phase: {"every": 1, "lr_factor": 1.0, "optimizer": None, "held_out": True},
    Training: {
        "batch": 128,
        "lr": 1e-3,
        "clip": 1.0,
        "ema": 0.999,
        "precision": "auto",
        "seed": 0,
        "save_every": 1000,
        "picture_every": 1000,
        "snapshot_every": 0,
    },
    # the facades
    Model.sample: {"rows": 16, "guidance": 1.0, "interval": WHOLE, "steps": None, "seed": 0},
    Model.edit: {"guidance": 1.0, "steps": None, "seed": 0},
    Model.tune: {"steps": 5, "guidance": 1.0, "rows": 512, "rounds": 12, "seed": 0},
    Model.evaluate: {"samples": None, "steps": None, "guidance": 1.0, "seed": 0},
    Model.log_likelihood: {"space": "data", "probes": 8, "seed": 0},
    TextModel.sample: {"rows": 4, "temperature": 1.0, "top_p": 1.0, "cache_block": 0, "seed": 0},
    TextModel.infill: {"tokens": 1, "temperature": 1.0, "top_p": 1.0, "text_is_complete": False, "seed": 0},
    TextModel.log_likelihood: {"draws": 32, "seed": 0},
    TextModel.evaluate: {"rows": None, "draws": 4, "seed": 0},
}


@pytest.mark.parametrize("part", DEFAULTS, ids=lambda part: part.__qualname__)
def test_what_is_not_set_is_the_documented_number(part):
    parameters = inspect.signature(part).parameters
    assert {name: parameters[name].default for name in DEFAULTS[part]} == DEFAULTS[part]
