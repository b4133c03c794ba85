"""A text encoder is a part: one's own is used for training and sampling, saved with its weights, and loaded."""

import pytest
import torch
from systems.parts import images, process, training
from torch import nn

import unmelt as um
from unmelt import config
from unmelt.encoder import EncodedText


@config.register
class Letters(nn.Module):
    """One vector for each of the first letters of a caption."""

    def __init__(self, width: int = 6, length: int = 5) -> None:
        super().__init__()
        self.width, self.length = width, length
        self.table = nn.Embedding(128, width)

    @torch.no_grad()
    def __call__(self, captions):
        letters = [[min(ord(letter), 127) for letter in (caption or "")[: self.length]] for caption in captions]
        mask = torch.tensor([[place < len(each) for place in range(self.length)] for each in letters])
        padded = torch.tensor([each + [0] * (self.length - len(each)) for each in letters])
        return EncodedText(self.table(padded).detach(), mask)


def captioned(encoder):
    captions = [("light" if k % 2 else "dark") for k in range(12)]
    with um.rng.seeded(1):
        backbone = um.backbone.UNet(
            channels=1, width=8, multipliers=(1,), blocks=1, attention=(True,), sequence_width=encoder.width
        )
    return um.Model(
        denoiser=um.denoiser.Network(backbone, process(), um.prediction.V(), (1, 4, 4), data_sd=0.5),
        codec=um.codec.Affine.images(),
        encoder=encoder,
        grid=um.grid.uniform(4),
        objective=um.objective.Regression(drop=0.1),
        training=training(steps=20),
        source=um.data.Arrays(images(), captions=captions, encoder=encoder),
    )


def test_an_encoder_of_ones_own_is_saved_loaded_and_frozen(tmp_path):
    with um.rng.seeded(4):
        encoder = Letters()
    before = encoder.table.weight.clone()
    model = captioned(encoder).fit(tmp_path, device="cpu", quiet=True)
    assert torch.equal(encoder.table.weight, before)
    assert (tmp_path / "encoder.safetensors").is_file()
    again = um.load(tmp_path, device="cpu")
    assert torch.equal(again.encoder.table.weight, before)
    x = model.sample(2, caption=["light", "dark"], guidance=2.0, seed=1)
    assert torch.equal(again.sample(2, caption=["light", "dark"], guidance=2.0, seed=1), x)
    assert not torch.equal(again.sample(2, caption=["dark", "light"], guidance=2.0, seed=1), x)


def test_an_encoder_of_another_width_is_refused():
    model = captioned(Letters())
    with pytest.raises(um.UsageError, match="an encoder of width 9 for a network with sequence_width=6"):
        um.Model(denoiser=model.denoiser, codec=model.codec, encoder=Letters(width=9), grid=um.grid.uniform(4))
