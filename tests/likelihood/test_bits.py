import math

import pytest
import torch
from conformance.subjects import full

from unmelt import schedule
from unmelt.codec import Affine
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.likelihood import bits_per_dim
from unmelt.process import Gaussian
from unmelt.rng import Stream


def test_256_equal_values_are_8_bits():
    """Uniform on [-1, 1 + 1 / 127.5): pixels x + u of 256 bins as the model sees them."""
    nats = 3072 * math.log(2 + 1 / 127.5)
    assert bits_per_dim(nats, 3072, scale=127.5) == pytest.approx(math.log2(256), abs=0.001)
    assert bits_per_dim(3072 * math.log(256), 3072) == pytest.approx(8, abs=1e-12)
    torch.testing.assert_close(bits_per_dim(torch.tensor([nats]), 3072, 127.5), torch.tensor([8.0]), rtol=1e-3, atol=0)


def test_units_are_those_of_the_data():
    """A density in model space and the same density in data space have the same bits per dimension in data space."""
    codec, process = Affine(shift=3.0, scale=2.5), Gaussian(schedule.Cosine())
    there = Mixture.isotropic(torch.zeros(1, 4).double(), 0.4, process)
    here = Mixture.isotropic(torch.full((1, 4), 3.0).double(), 0.4 * 2.5, process)
    x = here.sample(5, Stream(0), torch.float64)
    t = full(5, 0.0)
    told = bits_per_dim(-there.log_density(codec.encode(x), t), 4, scale=codec.scale)
    torch.testing.assert_close(told, bits_per_dim(-here.log_density(x, t), 4))


@pytest.mark.parametrize(("dim", "scale"), [(0, 1.0), (3, 0.0), (3, math.nan), (3, -1.0)])
def test_mistakes_in_units(dim, scale):
    with pytest.raises(UsageError, match="scale"):
        bits_per_dim(1.0, dim, scale)
