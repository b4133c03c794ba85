"""What training minimises."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.objective.any_order import AnyOrder
    from unmelt.objective.attention_annealing import AttentionAnnealing
    from unmelt.objective.couplings import Coupling, Independent, OptimalTransport
    from unmelt.objective.equivariance import Equivariance
    from unmelt.objective.nelbo import NELBO
    from unmelt.objective.next_token import NextToken
    from unmelt.objective.objective import Objective
    from unmelt.objective.perceptual import DenoiserFeatures, ImageFeatures, perceptual_distance
    from unmelt.objective.reconstruction import Reconstruction
    from unmelt.objective.regression import Regression
    from unmelt.objective.spectral import SpectralLoss, spectral_distance
    from unmelt.objective.times import KnownPrefix, LogitNormal, LogNormalSigma, PerFrame, Stratified, Times, Uniform
    from unmelt.objective.weights import EDMWeight, ELBOWeight, FlatWeight, MinSNR, Weight

__all__ = [
    "NELBO",
    "AnyOrder",
    "AttentionAnnealing",
    "Coupling",
    "DenoiserFeatures",
    "EDMWeight",
    "ELBOWeight",
    "Equivariance",
    "FlatWeight",
    "ImageFeatures",
    "Independent",
    "KnownPrefix",
    "LogNormalSigma",
    "LogitNormal",
    "MinSNR",
    "NextToken",
    "Objective",
    "OptimalTransport",
    "PerFrame",
    "Reconstruction",
    "Regression",
    "SpectralLoss",
    "Stratified",
    "Times",
    "Uniform",
    "Weight",
    "perceptual_distance",
    "spectral_distance",
]

publish(__name__)
