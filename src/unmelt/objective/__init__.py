"""What training minimises."""

from unmelt.objective.couplings import Coupling, Independent, OptimalTransport
from unmelt.objective.objective import Objective
from unmelt.objective.regression import Regression
from unmelt.objective.times import LogitNormal, LogNormalSigma, Stratified, Times, Uniform
from unmelt.objective.weights import EDM, ELBO, Flat, MinSNR, Weight

__all__ = [
    "EDM",
    "ELBO",
    "Coupling",
    "Flat",
    "Independent",
    "LogNormalSigma",
    "LogitNormal",
    "MinSNR",
    "Objective",
    "OptimalTransport",
    "Regression",
    "Stratified",
    "Times",
    "Uniform",
    "Weight",
]
