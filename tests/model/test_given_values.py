"""Values as people give them to a model: taken for what they are, or refused in one sentence, and no side effects."""

import numpy as np
import pytest
import torch
from PIL import Image

import unmelt as um
from unmelt.errors import UsageError


@pytest.fixture(scope="module")
def digits():
    return um.recipe.digits(steps=2, width=8, components=1)


@pytest.fixture(scope="module")
def pixels():
    return torch.linspace(0, 1, 2 * 64).view(2, 1, 8, 8)


EDIT = {"strength": 0.05, "steps": 2, "seed": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.double(),
        lambda x: x.numpy(),
        lambda x: x.numpy().astype("float64"),
        lambda x: x.tolist(),
        lambda x: [x[0], x[1]],
        lambda x: x.clone().requires_grad_(),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: (x * 255).round().byte(),
        lambda x: [Image.fromarray((one[0] * 255).round().byte().numpy()) for one in x],
    ],
)
def test_data_of_any_number_type_are_the_same_data(digits, pixels, change):
    right, found = digits.edit(pixels, **EDIT), digits.edit(change(pixels), **EDIT)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert (found - right).abs().max() < 0.01


def test_images_of_pil_are_read_as_training_reads_files(digits):
    """Sixteen bits are scaled, and not cut to black and white; what is transparent is white."""
    half = torch.full((1, 1, 8, 8), 128 / 255)
    right = digits.edit(half, **EDIT)
    assert (digits.edit(Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)), **EDIT) - right).abs().max() < 0.01
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert torch.equal(digits.edit(clear, **EDIT), digits.edit(torch.ones(1, 1, 8, 8), **EDIT))


@pytest.mark.parametrize(
    ("change", "instead"),
    [
        (lambda x: x * 255, "x / 255"),
        (lambda x: (x * 255).int(), "x / 255"),
        (lambda x: x * 2 - 1, "(x + 1) / 2"),
        (lambda x: x.permute(0, 2, 3, 1), "x.permute(0, 3, 1, 2)"),
        (lambda x: x[0], "x[None]"),
        (lambda x: x[:, 0], "x[:, None]"),
        (lambda x: x[0, 0], "x[None, None]"),
        (lambda x: x.expand(2, 3, 8, 8), "x.mean(1, keepdim=True)"),
        (lambda x: x.expand(2, 3, 8, 8)[..., :4], "torch.rand(16, 1, 8, 8)"),
        (lambda x: [Image.new("L", (8, 8)), Image.new("L", (4, 4))], "[image.resize((64, 64)) for image in images]"),
        (lambda x: Image.fromarray(x[0, 0].numpy()), "torch.rand(1, 3, 64, 64)"),
        (lambda x: x * float("nan"), "x.nan_to_num()"),
        (lambda x: x[:0], "rows=16"),
        (lambda x: x.to(torch.complex64), "x.real"),
        (lambda x: "x.png", "torch.stack(rows)"),
        (lambda x: None, "torch.stack(rows)"),
        (lambda x: [[1, 2], [1]], "torch.stack(rows)"),
    ],
)
def test_other_data_are_refused_with_what_to_write(digits, pixels, change, instead, unchecked):
    for call in (lambda x: digits.edit(x, strength=0.5), digits.log_likelihood):
        with pytest.raises(UsageError) as caught:
            call(change(pixels))
        assert caught.value.instead == instead


@pytest.fixture
def unchecked():
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("seed", [np.int64(7), torch.tensor(7), 7 + (1 << 64)], ids=str)
def test_a_seed_is_a_seed_whatever_type_it_has(digits, seed):
    # Of a single seed, all bits count modulo 2^64.
    assert torch.equal(digits.sample(2, steps=2, seed=seed), digits.sample(2, steps=2, seed=7))


def test_seeds_of_rows_may_be_negative_huge_or_an_array(digits):
    right = digits.sample(2, steps=2, seed=[-3, 5])
    for seeds in (np.array([-3, 5]), torch.tensor([-3, 5]), [(1 << 64) - 3, 5 + (1 << 64)]):
        assert torch.equal(digits.sample(2, steps=2, seed=seeds), right)


def test_no_seed_is_a_fresh_one_that_the_request_tells(digits):
    request, other = (digits.request(2, steps=2, seed=None) for _ in range(2))
    assert isinstance(request.seed, int)
    assert request.seed != other.seed
    assert torch.equal(digits.sample(request), digits.sample(2, steps=2, seed=request.seed))
    assert not torch.equal(digits.sample(2, steps=2, seed=None), digits.sample(2, steps=2, seed=None))


@pytest.mark.parametrize(
    ("guidance", "said"),
    [
        ("2", "guidance=2.0"),
        (None, "a number"),
        (True, "a number"),
        ([1.0, 2.0, 3.0], "3 guidance scales for 2 rows"),
        (1e30, "to 10,000"),
        (float("nan"), "a finite number"),
        (um.guidance.APG, "lambda denoiser: um.guidance.APG"),
        (lambda denoiser: None, "returns a NoneType"),
    ],
)
def test_guidance_that_is_none_is_refused(digits, guidance, said, unchecked):
    with pytest.raises(UsageError, match=said):
        digits.sample(2, label=1, steps=2, guidance=guidance)


@pytest.mark.parametrize("label", [1, np.int64(1), "1", [1, 1], np.array([1, 1]), torch.tensor([1, 1]), ["1", "1"]])
def test_a_label_is_a_number_or_a_name_of_any_type(digits, label):
    assert torch.equal(digits.sample(2, label=label, steps=2), digits.sample(2, label=1, steps=2))


def test_a_guidance_function_sees_all_rows_beyond_a_chunk(digits):
    known = torch.zeros(1, 8, 8, dtype=torch.bool)
    known[:, :4] = True
    values = torch.rand(digits.CHUNK + 2, 1, 8, 8) * 2 - 1
    x = digits.sample(
        len(values), label=3, steps=1, guidance=lambda denoiser: um.inverse.Replacement(denoiser, values, known)
    )
    assert torch.allclose(digits.codec.encode(x)[:, :, :4], values[:, :, :4], atol=1e-4)


def test_a_plain_guidance_function_changes_no_row_beyond_a_chunk(digits):
    rows = digits.CHUNK + 2
    assert torch.equal(
        digits.sample(rows, label=3, steps=1, guidance=lambda denoiser: denoiser),
        digits.sample(rows, label=3, steps=1),
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.bfloat16, 0.2), (torch.float16, 0.05)], ids=str
)
def test_weights_in_another_precision_give_the_same_samples(dtype, tolerance):
    made = um.recipe.ring(steps=2)
    right = made.sample(4, label=1, steps=4)
    made.denoiser.to(dtype)
    found = made.sample(4, label=1, steps=4)
    assert found.dtype == torch.float32
    assert (found - right).abs().max() < tolerance * right.abs().max()


def test_sampling_has_no_side_effects(digits):
    digits.denoiser.backbone.train()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_default_dtype(), torch.is_grad_enabled()
    digits.sample(2, label=1, guidance=2.0, steps=2, seed=None)
    list(digits.trajectory(1, steps=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == before[2:]
    assert digits.denoiser.backbone.training
    digits.denoiser.backbone.eval()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda", "model.to"),
        ("eval", "always ready"),
        ("half", "model.denoiser.half"),
        ("generate", "model.sample"),
        ("parameters", "model.denoiser.parameters"),
        ("state_dict", "model.denoiser.state_dict"),
        ("infill", "of text"),
        ("show", "model.draw"),
        ("push", "model.push_to_hub"),
        ("smaple", "model.sample is meant"),
    ],
)
def test_methods_that_others_have_are_answered_with_ours(digits, name, said):
    assert not hasattr(digits, name)
    with pytest.raises(AttributeError, match=said):
        getattr(digits, name)
    with pytest.raises(UsageError, match=r"model\.sample"):
        digits(4)


def test_decode_refuses_what_is_no_tensor(digits, monkeypatch):
    from jaxtyping import config

    monkeypatch.setattr(config, "jaxtyping_disable", True)
    with pytest.raises(UsageError, match=r"model\.decode was given 'x'"):
        digits.decode("x")
