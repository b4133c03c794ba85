"""What training minimises."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.objective.any_order import AnyOrder
    from unmelt.objective.couplings import Coupling, Independent, OptimalTransport
    from unmelt.objective.nelbo import NELBO
    from unmelt.objective.next_token import NextToken
    from unmelt.objective.objective import Objective
    from unmelt.objective.regression import Regression
    from unmelt.objective.times import LogitNormal, LogNormalSigma, PerFrame, Stratified, Times, Uniform
    from unmelt.objective.weights import EDMWeight, ELBOWeight, FlatWeight, MinSNR, Weight

__all__ = [
    "NELBO",
    "AnyOrder",
    "Coupling",
    "EDMWeight",
    "ELBOWeight",
    "FlatWeight",
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

publish(__name__)
