"""What training minimises."""

from unmelt.objective.any_order import AnyOrder
from unmelt.objective.couplings import Coupling, Independent, OptimalTransport
from unmelt.objective.nelbo import NELBO
from unmelt.objective.next_token import NextToken
from unmelt.objective.objective import Objective
from unmelt.objective.regression import Regression
from unmelt.objective.times import LogitNormal, LogNormalSigma, PerFrame, Stratified, Times, Uniform
from unmelt.objective.weights import EDM, ELBO, Flat, MinSNR, Weight

__all__ = [
    "EDM",
    "ELBO",
    "NELBO",
    "AnyOrder",
    "Coupling",
    "Flat",
    "Independent",
    "LogNormalSigma",
    "LogitNormal",
    "MinSNR",
    "NextToken",
    "Objective",
    "OptimalTransport",
    "PerFrame",
    "Regression",
    "Stratified",
    "Times",
    "Uniform",
    "Weight",
]
