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


def test_256_equally_likely_values_are_8_bits():
    """Dequantised pixels of 256 bins are uniform on [-1, 1 + 1 / 127.5) in model space."""
    nats = 3072 * math.log(2 + 1 / 127.5)
    assert bits_per_dim(nats, 3072, scale=127.5) == pytest.approx(math.log2(256), abs=0.001)
    assert bits_per_dim(3072 * math.log(256), 3072) == pytest.approx(8, abs=1e-12)
    torch.testing.assert_close(bits_per_dim(torch.tensor([nats]), 3072, 127.5), torch.tensor([8.0]), rtol=1e-3, atol=0)


def test_bits_per_dim_are_in_the_units_of_the_data():
    """A density in model space and the same density in data space have the same bits per dimension in data space."""
    codec, process = Affine(shift=3.0, scale=2.5), Gaussian(schedule.Cosine())
    in_model_space = Mixture.isotropic(torch.zeros(1, 4).double(), 0.4, process)
    in_data_space = Mixture.isotropic(torch.full((1, 4), 3.0).double(), 0.4 * 2.5, process)
    x = in_data_space.sample(5, Stream(0), torch.float64)
    t = full(5, 0.0)
    bits = bits_per_dim(-in_model_space.log_density(codec.encode(x), t), 4, scale=codec.scale)
    torch.testing.assert_close(bits, bits_per_dim(-in_data_space.log_density(x, t), 4))


@pytest.mark.parametrize(("dim", "scale"), [(0, 1.0), (3, 0.0), (3, math.nan), (3, -1.0)])
def test_no_dimensions_and_scales_that_are_not_positive_are_refused(dim, scale):
    with pytest.raises(UsageError, match="scale"):
        bits_per_dim(1.0, dim, scale)
