"""Each network can learn what each kind of condition says, in a few seconds."""

import pytest
import torch

from unmelt.backbone import MLP, DiT, UNet
from unmelt.condition import Condition

MAKE = {
    "mlp": lambda **knows: MLP(shape=(1, 4, 4), width=32, depth=2, **knows),
    "unet": lambda **knows: UNet(
        channels=1, width=16, multipliers=(1, 1), blocks=1, attention=(False, True), heads=2, **knows
    ),
    "dit": lambda **knows: DiT(channels=1, size=(4, 4), width=32, depth=2, heads=2, **knows),
}


def task(kind):
    """Eight pictures of noise, each called up by its name in one kind of condition; the ninth row is null.

    A sequence holds two names, the right one flagged, and padding. Pictures 2k and 2k + 1 hold the same two names, so
    that the average token does not tell them apart.
    """
    rng = torch.Generator().manual_seed(0)
    pictures = torch.randn(8, 1, 4, 4, generator=rng)
    if kind == "label":
        return {"classes": 8}, Condition(label=torch.arange(8)), pictures
    if kind == "vector":
        return {"vector_width": 6}, Condition(vector=torch.randn(8, 6, generator=rng)), pictures
    name = torch.nn.functional.one_hot(torch.arange(8), 8).float()
    flagged = torch.cat([name, torch.ones(8, 1)], 1)
    other = torch.cat([name[torch.arange(8) ^ 1], torch.zeros(8, 1)], 1)
    sequence = torch.stack([other, flagged, torch.full_like(other, 9.0)], 1)
    mask = torch.tensor([True, True, False]).expand(8, -1)
    return {"sequence_width": 9}, Condition(sequence=sequence, sequence_mask=mask), pictures


@pytest.mark.parametrize("kind", ["label", "vector", "sequence"])
@pytest.mark.parametrize("network", MAKE)
def test_learns_the_image_of_each_condition(network, kind):
    torch.manual_seed(0)
    knows, condition, pictures = task(kind)
    condition = Condition.join([condition, condition[:1].null()])
    wanted = torch.cat([pictures, torch.zeros_like(pictures[:1])])
    model = MAKE[network](**knows)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    x, level = torch.zeros_like(wanted), torch.zeros(len(wanted))
    for _ in range(300 if network == "mlp" else 100):
        optimizer.zero_grad()
        loss = (model(x, level, condition) - wanted).square().mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert (model.eval()(x, level, condition) - wanted).square().mean() < 0.05 * wanted.square().mean()
        unknown = (model(x, level) - wanted).square().mean()
    assert unknown > 0.5 * wanted.square().mean()


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_learns_to_copy_the_context(network):
    torch.manual_seed(0)
    model = MAKE[network](context_channels=1)
    beside = torch.randn(32, 1, 4, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, level = torch.randn(32, 1, 4, 4), torch.zeros(32)
    for _ in range(60):
        optimizer.zero_grad()
        (model(x, level, Condition(context=beside)) - beside).square().mean().backward()
        optimizer.step()
    fresh = torch.randn(32, 1, 4, 4)
    with torch.no_grad():
        assert (model.eval()(x, level, Condition(context=fresh)) - fresh).square().mean() < 0.3
