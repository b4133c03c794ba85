"""What a scheduler's settings say is honoured: tables of betas, predictions, clipped beliefs; the rest is refused."""

import json

import pytest
import torch
from interop.pipelines import difference, larger, noise, walked

import unmelt as um
from unmelt.errors import UsageError
from unmelt.interop import Betas, from_diffusers
from unmelt.interop.scheduler.config import CHAINS, read_scheduler
from unmelt.interop.scheduler.times import times_of_chain

diffusers = pytest.importorskip("diffusers")

TINY = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 1,
    "block_out_channels": (8, 8),
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
}
CLASSIC = {"timestep_spacing": "trailing"}
ZERO = {**CLASSIC, "rescale_betas_zero_snr": True, "clip_sample": False}
CASES = {
    "clipped": {**CLASSIC, "clip_sample": True, "beta_end": 0.012},
    "clipped to a range": {**CLASSIC, "clip_sample_range": 0.5, "prediction_type": "sample"},
    "thresholded": {**CLASSIC, "thresholding": True, "sample_max_value": 3.0, "dynamic_thresholding_ratio": 0.9},
    "free": {**CLASSIC, "clip_sample": False},
    "scaled": {**CLASSIC, "clip_sample": False, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"},
    "cosine": {**CLASSIC, "clip_sample": True, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    "given": {**CLASSIC, "trained_betas": [0.01 * (k + 1) for k in range(20)], "num_train_timesteps": 20},
    "no signal, v": {**ZERO, "prediction_type": "v_prediction"},
    "no signal, x0": {**ZERO, "prediction_type": "sample"},
}
STEPS = 5


@pytest.fixture(scope="module")
def network():
    return larger(diffusers.UNet2DModel(**TINY), 0.6)


@pytest.mark.parametrize("name", CASES)
def test_a_pipeline_of_pixels_takes_the_steps_of_its_scheduler(name, network, tmp_path):
    """With its noise as seen from the belief within the range (`use_clipped_model_output`)."""
    scheduler = diffusers.DDIMScheduler(**CASES[name])
    diffusers.DDIMPipeline(network, scheduler).save_pretrained(tmp_path)
    model = um.load_diffusers(tmp_path, device="cpu")
    x = start = noise((3, 8, 8))
    scheduler.set_timesteps(STEPS)
    beyond = 0.0
    for t in scheduler.timesteps:
        with torch.no_grad():
            output = network(x, t).sample
        found = scheduler.step(output, t, x, use_clipped_model_output=True)
        beyond = max(beyond, found.pred_original_sample.abs().max().item())
        x = found.prev_sample
    times = um.interop.pipeline_times(tmp_path, STEPS)
    assert (times[0], times[-1]) == (1, 0)
    assert difference(walked(model, start, times, um.sampler.DDIM()), x) <= 1e-5
    if "clip" in name or "thresh" in name:
        assert isinstance(model.denoiser, um.denoiser.BoundedDenoiser)
        assert beyond <= 1
        free = um.Model(denoiser=model.denoiser.denoiser, codec=model.codec, grid=model.grid)
        assert difference(walked(free, start, times, um.sampler.DDIM()), x) > 1e-2
        model.save(tmp_path / "run")
        again = um.load(tmp_path / "run", device="cpu")
        assert torch.equal(again.sample(1, steps=2), model.sample(1, steps=2))


def test_guided_beliefs_are_clipped_after_they_are_mixed():
    """diffusers clips x0 of the guided output."""
    belief, null = torch.tensor([[3.0]]), torch.tensor([[2.5]])
    clip, Point = um.denoiser.Clip(), um.posterior.Point
    for away, towards in (
        (Point(null).within(clip), Point(belief).within(clip)),
        (Point(null), Point(belief).within(clip)),
    ):
        assert away.lerp(towards, -5.0).mean.item() == 0  # 2.5 - 5 (3 - 2.5), and not 1 - 5 (1 - 1)
        assert away.lerp(towards, 2.0).mean.item() == 1


@pytest.mark.parametrize("spacing", ["sigmoid", "laplace", "linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("zero", [False, True])
def test_every_table_of_betas_is_that_of_diffusers(spacing, zero):
    if zero and spacing == "laplace":
        pytest.skip("diffusers' laplace table has negative betas")
    scheduler = diffusers.DDPMScheduler(beta_schedule=spacing, rescale_betas_zero_snr=zero)
    betas = read_scheduler({**scheduler.config, "_class_name": "DDPMScheduler", "prediction_type": "sample"}).schedule
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert (betas.alpha(t) ** 2 - scheduler.alphas_cumprod.double()).abs().max() < 5e-6
    assert (betas.time(betas.log_snr(t)) - t).abs().max() < 1e-9


def test_betas_without_signal_at_the_end_are_a_schedule():
    betas = Betas(zero_terminal_snr=True)
    one = torch.ones((), dtype=torch.float64)
    assert (betas.alpha(one), betas.sigma(one)) == (0, 1)
    assert betas.time(torch.tensor(-torch.inf, dtype=torch.float64)) == 1
    inner = torch.tensor([0.9991, 0.9995, 0.9999, 0.5005], dtype=torch.float64)
    assert (betas.time(betas.log_snr(inner)) - inner).abs().max() < 1e-12
    h = 1e-8
    for value, slope in ((betas.alpha, betas.alpha_rate), (betas.sigma, betas.sigma_rate)):
        torch.testing.assert_close(slope(inner), (value(inner + h) - value(inner - h)) / (2 * h), rtol=1e-4, atol=1e-5)
    level = torch.tensor([2.5, 0.0], dtype=torch.float64)
    assert betas.timestep(level)[0] == 999
    assert (betas.alpha(inner) ** 2 + betas.sigma(inner) ** 2 - 1).abs().max() < 1e-12


SETTINGS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.parametrize("name", [name for name in CHAINS if not name.startswith("KDPM2")])
def test_times_are_those_that_each_scheduler_visits(name):
    scheduler = getattr(diffusers, name)(**SETTINGS, **({"skip_prk_steps": True} if name[0] == "P" else {}))
    config = read_scheduler({**scheduler.config, "_class_name": name})
    times = times_of_chain(config, 4) if name != "DDPMScheduler" else times_of_chain(config, 10)
    scheduler.set_timesteps(10 if name == "DDPMScheduler" else 4)
    visited = torch.as_tensor(scheduler.timesteps).double().unique_consecutive()
    assert (times.diff() < 0).all()
    assert len(times) == len(visited) + (name != "PNDMScheduler")  # whose last step goes nowhere
    found = 1000 * times[: len(visited)] - 1
    assert (found - visited).abs().max() < 1  # what lies between two timesteps is placed by its level
    assert times[-1] in (0, 0.001)


@pytest.mark.parametrize("option", ["use_karras_sigmas", "use_exponential_sigmas"])
def test_noise_levels_of_other_spacings_are_visited(option):
    scheduler = diffusers.EulerDiscreteScheduler(**SETTINGS, **{option: True})
    config = read_scheduler({**scheduler.config, "_class_name": "EulerDiscreteScheduler"})
    times = times_of_chain(config, 7)
    scheduler.set_timesteps(7)
    ratio = config.schedule.sigma(times) / config.schedule.alpha(times)
    torch.testing.assert_close(ratio, scheduler.sigmas.double(), rtol=1e-5, atol=1e-9)


def test_a_scheduler_that_steps_elsewhere_than_it_visits_is_refused():
    scheduler = diffusers.DDIMScheduler(**SETTINGS, timestep_spacing="linspace")
    config = read_scheduler({**scheduler.config, "_class_name": "DDIMScheduler"})
    with pytest.raises(UsageError, match="which steps to other timesteps than it visits next"):
        times_of_chain(config, 7)


REFUSED = {
    "of class LCMScheduler": {"_class_name": "LCMScheduler"},
    "of class None": {},
    "with use_flow_sigmas=True": {"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True},
    "with timestep_type='continuous'": {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
    "with strange=1": {"_class_name": "DDIMScheduler", "strange": 1},
    "prediction_type 'flow'": {"_class_name": "DDIMScheduler", "prediction_type": "flow"},
    "a prediction of the noise on betas that": {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True},
    "betas that are no numbers": {"_class_name": "DDIMScheduler", "beta_start": None},
    "betas spaced 'round'": {"_class_name": "DDIMScheduler", "beta_schedule": "round"},
    "with invert_sigmas=True": {"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_honoured_is_refused_by_its_name(message):
    with pytest.raises(UsageError, match=message):
        read_scheduler(REFUSED[message])


def test_settings_that_a_scheduler_ignores_are_ignored():
    """Files of Stable Diffusion hold settings of schedulers that they had before."""
    found = read_scheduler({"_class_name": "PNDMScheduler", "clip_sample": True, "skip_prk_steps": True, **SETTINGS})
    assert found.bound is None
    assert read_scheduler({"_class_name": "DDPMScheduler"}).bound == um.denoiser.Clip(1.0)


def test_from_diffusers_clips_too(network, tmp_path):
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    denoiser = from_diffusers(tmp_path)
    x, t = noise((3, 8, 8)), torch.full((2,), 0.9, dtype=torch.float64)
    assert denoiser(x, t).mean.abs().max() == 1
    text = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({**text, "clip_sample": False}), encoding="utf-8"
    )
    assert torch.equal(from_diffusers(tmp_path)(x, t).mean.clamp(-1, 1), denoiser(x, t).mean)


def test_a_clipped_model_is_not_exported(network, tmp_path):
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "in")
    with pytest.raises(UsageError, match="whose beliefs are held within a range"):
        um.interop.to_diffusers(um.load_diffusers(tmp_path / "in", device="cpu"), tmp_path / "out")
