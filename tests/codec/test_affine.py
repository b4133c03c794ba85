import pytest
import torch

from unmelt.codec import Affine, Codec
from unmelt.errors import UsageError


def test_images_map_zero_to_one_onto_minus_one_to_one():
    codec = Affine.images()
    x = torch.linspace(0, 1, 256, dtype=torch.float64)
    z = codec.encode(x)
    assert (z[0], z[-1]) == (-1, 1)
    assert torch.allclose(codec.decode(z), x, atol=1e-15)
    assert isinstance(codec, Codec)


def test_only_decoding_clamps():
    codec = Affine.images()
    assert codec.decode(torch.tensor([-1.5, 1.2])).tolist() == [0, 1]
    assert codec.encode(torch.tensor([2.0])).item() == 3.0


def test_decode_inverts_encode_and_the_default_is_the_identity():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    codec = Affine(shift=-3.0, scale=7.0)
    assert torch.allclose(codec.decode(codec.encode(x)), x, atol=1e-14)
    assert torch.equal(Affine().encode(x), x)
    assert torch.equal(Affine().decode(x), x)


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": -1.0}, {"shift": float("nan")}, {"clamp": (1.0, 0.0)}])
def test_invalid_settings_are_refused(wrong):
    with pytest.raises(UsageError):
        Affine(**wrong)
