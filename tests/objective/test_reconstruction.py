"""Reconstruction: losses and perceptual distances by hand, and decoders that do or do not turn with their latents."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import unmelt as um
from unmelt.codec import Autoencoder, QuantizedAutoencoder
from unmelt.codec.autoencoder import LatentDistribution
from unmelt.denoiser.features import with_features
from unmelt.errors import UsageError
from unmelt.objective import DenoiserFeatures, Equivariance, Reconstruction, perceptual_distance
from unmelt.objective.equivariance import resized
from unmelt.rng import Part, Stream, seeded


def images(rows=4, side=8, seed=0):
    return Stream(seed).uniform((rows, 3, side, side))


def autoencoder(kind=Autoencoder):
    with seeded(0):
        codec = kind(widths=(8,), blocks=(1,))
        for parameter in codec.parameters():
            nn.init.normal_(parameter, std=0.2)
    return codec


def denoiser(**settings):
    with seeded(1):
        network = um.backbone.UNet(channels=3, width=8, multipliers=(1, 2), blocks=1, attention=(False, False))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    return um.denoiser.NetworkDenoiser(network, process, um.prediction.Preconditioned(0.5), (3, 8, 8), data_sd=0.5)


# Perceptual distance


def test_the_distance_is_that_of_unit_features_averaged_over_blocks_and_places():
    a, b = images(seed=1), images(seed=2)

    def features(x):
        return [x.flatten(2).mT, F.avg_pool2d(x, 2).flatten(2).mT * 7]

    wanted = torch.zeros(4)
    for one, other in zip(features(a), features(b), strict=True):
        cosine = F.cosine_similarity(one, other, dim=-1)
        wanted += (2 - 2 * cosine).mean(1) / 2
    assert torch.allclose(perceptual_distance(features, a, b), wanted, atol=1e-5)
    assert perceptual_distance(features, a, a).abs().max() < 1e-6


def test_features_of_a_denoiser_are_those_of_clean_images_at_their_noise_level():
    made, x = denoiser(), images()
    t = made.process.schedule.time(torch.tensor(0.1, dtype=torch.float64).log() * -2).expand(4)
    alpha, sigma = made.process.level(t[:1])
    assert (sigma / alpha).item() == pytest.approx(0.2 * 0.5)
    exact = with_features(made, alpha.float() * (2 * x - 1), t, None).features
    found = DenoiserFeatures(made, noise=0.2)(x)
    assert all(torch.equal(one, other) for one, other in zip(found, exact, strict=True))
    some = DenoiserFeatures(made, noise=0.2, blocks=(0, 3))(x)
    assert torch.equal(some[1], exact[3])
    assert len(some) == 2


def test_gradients_reach_what_was_made_and_nothing_else():
    features, a, b = DenoiserFeatures(denoiser()), images(seed=1).requires_grad_(), images(seed=2).requires_grad_()
    perceptual_distance(features, a, b).sum().backward()
    assert a.grad.abs().sum() > 0
    assert b.grad is None
    assert all(parameter.grad is None for parameter in features.parameters())


@pytest.mark.parametrize(
    ("wrong", "said"), [({"noise": 0.0}, "a positive number"), ({"blocks": (9,)}, "0 to 4"), ({"blocks": ()}, "0 to 4")]
)
def test_features_that_are_not_there_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        DenoiserFeatures(denoiser(), **wrong)


# Equivariance


class Repeats(nn.Module):
    """Latents are averages, and decoding repeats them: exact for images made of squares, and equivariant."""

    factor = 2

    def latents(self, x):
        mean = F.avg_pool2d(x, 2)
        return LatentDistribution(mean, torch.full_like(mean, -60.0))

    def reconstruct(self, z):
        return z.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Ramp(Repeats):
    """The same with a ramp added to the latents and taken away again: exact, but not when latents are turned."""

    def latents(self, x):
        mean, log_variance = super().latents(x)
        return LatentDistribution(mean + torch.linspace(0, 1, mean.shape[-1]), log_variance)

    def reconstruct(self, z):
        return super().reconstruct(z - torch.linspace(0, 1, z.shape[-1]))


def squares(rows=64):
    return Stream(3).uniform((rows, 3, 4, 4)).repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_an_equivariant_decoder_has_no_loss_and_another_is_found_out():
    x = squares()
    plain, turning = (Reconstruction(kl=0.0, equivariance=Equivariance(share=share, scales=(1.0,))) for share in (0, 1))
    assert turning(Repeats(), x, None, Stream(0)).max() < 1e-6
    assert plain(Ramp(), x, None, Stream(0)).max() < 1e-6
    found, draws = turning(Ramp(), x, None, Stream(0)), Stream(0)
    draws.normal(x[:, :, ::2, ::2].shape)  # the noise of the latents is drawn first
    still = (draws.uniform((len(x), 3))[:, 2] * 4).long() == 0
    assert found[still].max() < 1e-6
    assert found[~still].min() > 0.1
    assert 0 < still.sum() < len(x) / 2


def test_every_row_is_in_one_group_with_its_own_transformation():
    x, z = images(200), F.avg_pool2d(images(200), 2)
    chosen = Equivariance(share=0.5, scales=(0.5, 0.75, 1.0))
    groups = list(chosen.pairs(z, x, Stream(5)))
    rows = torch.cat([group.rows for group in groups])
    assert rows.sort().values.tolist() == list(range(200))
    draws = Stream(5).uniform((200, 3))
    for group in groups:
        for row, latents, image in zip(group.rows, group.z, group.x, strict=True):
            moved, scale, turns = draws[row]
            if moved >= 0.5:
                assert torch.equal(latents, z[row])
                assert torch.equal(image, x[row])
                continue
            factor, number = (0.5, 0.75, 1.0)[int(scale * 3)], int(turns * 4)
            side = round(4 * factor)
            assert torch.allclose(latents, torch.rot90(resized(z[row][None], (side, side)), number, (2, 3))[0])
            assert torch.allclose(image, torch.rot90(resized(x[row][None], (2 * side,) * 2), number, (2, 3))[0])
    shares = torch.tensor([len(group.rows) / 200 for group in groups])
    assert shares[0] == pytest.approx(0.5, abs=0.12)
    assert shares[1:].sub(1 / 6).abs().max() < 0.09


def test_images_that_are_not_square_are_turned_upside_down_at_most():
    x = Stream(0).uniform((50, 3, 4, 8))
    groups = list(Equivariance(share=1.0, scales=(1.0,)).pairs(x, x, Stream(0)))
    same = [torch.equal(image, x[row]) for group in groups for row, image in zip(group.rows, group.x, strict=True)]
    over = [
        torch.equal(image, x[row].flip(1, 2))
        for group in groups
        for row, image in zip(group.rows, group.x, strict=True)
    ]
    assert all(one or other for one, other in zip(same, over, strict=True))
    assert 10 < sum(same) < 40


def test_half_a_batch_has_the_losses_that_it_has_in_the_whole():
    codec, x = autoencoder(), images(8, side=16)
    loss = Reconstruction(equivariance=Equivariance(), features=DenoiserFeatures(denoiser()))
    whole = loss(codec, x, None, Stream(0))
    halves = [loss(codec, x[4 * part : 4 * part + 4], None, Part(Stream(0), part, 2)) for part in range(2)]
    assert torch.allclose(torch.cat(halves), whole, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"scales": ()}, {"scales": (0.5, 1.5)}])
def test_transformations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match="a share from 0 to 1"):
        Equivariance(**wrong)


# The loss


@pytest.mark.parametrize("pixels", ["l1", "l2"])
def test_the_loss_is_the_sum_of_its_terms(pixels):
    codec, x, features = autoencoder(), images(side=16), DenoiserFeatures(denoiser())
    found = codec.latents(x)
    made = codec.reconstruct(found.sample(Stream(7)))
    error = (made - x).abs() if pixels == "l1" else (made - x) ** 2
    exact = error.mean((1, 2, 3)) + 0.4 * perceptual_distance(features, made, x) + 0.01 * found.kl() / x[0].numel()
    loss = Reconstruction(pixels=pixels, kl=0.01, perceptual=0.4, features=features)
    assert torch.allclose(loss(codec, x, None, Stream(7)), exact, rtol=1e-5)


def test_tokens_have_no_kl_term():
    codec, x = autoencoder(QuantizedAutoencoder), images(side=16)
    exact = (codec.reconstruct(codec.latents(x)) - x).abs().mean((1, 2, 3))
    assert torch.allclose(Reconstruction()(codec, x, None, Stream(0)), exact, rtol=1e-6)


@pytest.mark.parametrize("name", ["kl", "perceptual"])
def test_negative_weights_are_refused(name):
    with pytest.raises(UsageError, match="a weight of at least 0"):
        Reconstruction(**{name: -1.0})
