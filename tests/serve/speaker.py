"""A model of speech whose weights are noise."""

import torch

import unmelt as um
from unmelt.denoiser.prediction import FlowVelocity

RATE, HOP, BANDS = 4000, 32, 16


def speaker(classes=("anna", "bert")):
    """A model whose weights are noise, so that whatever it is given counts."""
    encoder = um.encoder.CharacterEncoder(alphabet=" abcdefghijklmnopqrstuvwxyz", voices=(1.0,) * len(classes))
    mel = um.codec.Mel(sample_rate=RATE, n_fft=128, hop=HOP, bands=BANDS, iterations=2)
    sizes = {"width": 16, "depth": 1, "heads": 2, "text_width": 8, "text_depth": 1}
    with um.rng.seeded(0):
        backbone = um.backbone.SpeechDiT(bands=BANDS, sequence_width=encoder.width, classes=len(classes), **sizes)
        for parameter in backbone.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    denoiser = um.denoiser.NetworkDenoiser(
        backbone, um.process.Gaussian(um.schedule.Straight()), FlowVelocity(), (300, BANDS)
    )
    return um.SpeechModel(
        denoiser=denoiser, codec=mel, encoder=encoder, grid=um.sampler.grid.uniform(3), classes=list(classes)
    )
