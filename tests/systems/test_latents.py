"""A codec with weights belongs to the model: saved, loaded, frozen; latents have a shape of their own in every verb."""

import copy

import pytest
import torch
from systems.parts import images, latent_model

import unmelt as um


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    model = latent_model()
    before = copy.deepcopy(model.codec.state_dict())
    return model.fit(folder, device="cpu", quiet=True), folder, before


def test_the_codecs_weights_are_saved_and_loaded(fitted):
    model, folder, before = fitted
    assert (folder / "codec.safetensors").is_file()
    again = um.load(folder, device="cpu")
    assert all(torch.equal(again.codec.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(again.sample(3, label=1, seed=2), model.sample(3, label=1, seed=2))


def test_the_codec_is_frozen_while_the_denoiser_learns(fitted):
    model, _, before = fitted
    assert all(torch.equal(model.codec.state_dict()[name], value) for name, value in before.items())
    assert all(each.grad is None and not each.requires_grad for each in model.codec.parameters())
    start = latent_model()
    pairs = zip(model.denoiser.parameters(), start.denoiser.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


def test_every_verb_takes_data_and_gives_data(fitted):
    model, x = fitted[0], images(3)
    assert model.sample(2, seed=0).shape == (2, 1, 4, 4)
    frames = list(model.trajectory(2, steps=3, seed=0))
    assert all(frame.x.shape == frame.x0.shape == (2, 1, 4, 4) for frame in frames)
    edited = model.edit(x, strength=0.5, label=1, seed=1)
    assert edited.shape == x.shape
    near = model.edit(x, strength=1e-4, seed=1)
    torch.testing.assert_close(near, model.decode(model.encode(x)), rtol=0, atol=1e-2)
    found = model.log_likelihood(x, label=[0, 1, 2], space="latent")
    z = model.encode(x)
    known = um.Condition(label=torch.arange(3))
    divergence = um.likelihood.Exact()
    expected = um.likelihood.log_likelihood(model.denoiser, z, known, divergence=divergence)
    torch.testing.assert_close(found.value, expected.value)
    assert model.tune(steps=3, rows=32, rounds=1, quiet=True).sampler.steps == 3
    assert model.evaluate(samples=16, steps=2)["samples"] == 16
    assert model.picture(steps=2).size[0] > 10


def test_a_density_of_data_through_a_lossy_codec_is_refused(fitted):
    with pytest.raises(um.UsageError, match=r"Autoencoder, which is not a bijection.*space=\"latent\""):
        fitted[0].log_likelihood(images(2))


def test_pictures_of_another_size_are_edited_by_a_network_of_any_size(fitted):
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        kept = fitted[0].decode(fitted[0].encode(x))
    assert torch.allclose(fitted[0].edit(x, strength=0.001, steps=2), kept, atol=0.05)
    assert fitted[0].edit(x, strength=0.5, steps=2).shape == x.shape


def test_another_codec_in_the_folder_is_another_run(fitted, tmp_path):
    _, folder, _ = fitted
    other = latent_model()
    other.codec = um.codec.Affine()
    with pytest.raises(um.UsageError, match="holds another run"):
        other.fit(folder, device="cpu", quiet=True)


def test_damaged_codec_weights_are_refused(fitted, tmp_path):
    model = fitted[0]
    model.save(tmp_path / "copy")
    path = tmp_path / "copy" / "codec.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(um.UsageError, match=r"codec\.safetensors is not the file"):
        um.load(tmp_path / "copy")
    path.unlink()
    with pytest.raises(um.UsageError, match=r"has no codec\.safetensors"):
        um.load(tmp_path / "copy")
