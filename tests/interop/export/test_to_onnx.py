"""Exported files sample in onnxruntime, with numpy alone, what the model samples."""

import json

import numpy as np
import pytest
import torch
from jaxtyping import config

import unmelt as um
from unmelt.cli import main
from unmelt.denoiser import FlowMap, NetworkDenoiser
from unmelt.errors import UsageError
from unmelt.interop import to_onnx
from unmelt.rng import RowSeeds

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(autouse=True)
def _no_shape_checks(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # the exporter's sizes are symbols


def moved(model):
    """Weights moved away from their initial values, many of which are zero."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in model.denoiser.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def points(schedule=um.schedule.Cosine(), classes=3):
    body = um.backbone.MLP(shape=(2,), width=16, depth=1, classes=classes)
    denoiser = NetworkDenoiser(body, um.process.Gaussian(schedule), um.prediction.X0(), (2,))
    return moved(
        um.Model(
            denoiser=denoiser, codec=um.codec.Affine(2.0, 3.0), grid=um.grid.balanced(5), classes=tuple("abc"[:classes])
        )
    )


def transformer():
    body = um.backbone.DiT(channels=3, size=(8, 8), patch=2, width=16, depth=2, heads=2, sequence_width=6)
    process = um.process.Gaussian(um.schedule.Straight(3.0))
    denoiser = NetworkDenoiser(body, process, um.prediction.FlowVelocity(), (3, 8, 8))
    return moved(um.Model(denoiser=denoiser, codec=um.codec.Affine.images(), grid=um.grid.balanced(5)))


def unet(schedule=um.schedule.VarianceExploding(0.01, 20.0)):
    body = um.backbone.UNet(channels=1, width=8, context_channels=2, classes=2)
    denoiser = NetworkDenoiser(body, um.process.Gaussian(schedule), um.prediction.Preconditioned(), (1, 8, 8))
    return moved(
        um.Model(denoiser=denoiser, codec=um.codec.Affine.images(), grid=um.grid.balanced(5), classes=("a", "b"))
    )


def latents():
    body = um.backbone.UNet(channels=4, width=8)
    denoiser = NetworkDenoiser(body, um.process.Gaussian(um.schedule.Cosine()), um.prediction.V(), (4, 4, 4))
    codec = um.codec.Autoencoder(channels=3, widths=(8, 8), blocks=(1, 1))
    return moved(um.Model(denoiser=denoiser, codec=codec, modality=um.modality.Images(), grid=um.grid.balanced(5)))


def student():
    body = um.backbone.MLP(shape=(2,), width=16, depth=1, classes=2, with_arrival=True, with_guidance=True)
    process = um.process.Gaussian(um.schedule.Straight())
    denoiser = FlowMap(body, process, um.prediction.FlowVelocity(), (2,), guidance_range=(1.0, 4.0))
    settings = {"sampler": um.sampler.Jump(), "grid": um.grid.uniform(2), "classes": ("a", "b")}
    return moved(um.Model(denoiser=denoiser, codec=um.codec.Affine(), **settings))


def sampled(folder, noise, known, scale=1.0):
    """Samples by nothing but onnxruntime and numpy, as docs/sharing.md does it."""
    about = json.loads((folder / "sampling.json").read_text(encoding="utf-8"))
    run = {name: onnxruntime.InferenceSession(folder / f"{name}.onnx").run for name in ("denoiser", "decoder")}
    times, alpha, sigma = (np.array(about[name]) for name in ("times", "alpha", "sigma"))
    x = (sigma[0] * noise).astype(np.float32)
    null = known | {name: np.zeros_like(value) for name, value in known.items() if value.dtype == bool}
    for k in range(len(times) - 1):
        at = {"x_t": x, "t": np.full(len(x), times[k])}
        if "s" in about["inputs"]:
            at["s"] = np.full(len(x), times[k + 1])
        (x0,) = run["denoiser"](None, at | known)
        if scale != 1:
            (without,) = run["denoiser"](None, at | null)
            x0 = without + np.float32(scale) * (x0 - without)
        x = alpha[k + 1] * x0 + sigma[k + 1] / sigma[k] * (x - alpha[k] * x0)
        x = x.astype(np.float32)
    return run["decoder"](None, {"z": x})[0], about


def noise_of(model, rows, seed):
    return RowSeeds.of(seed, rows).normal((rows, *model.denoiser.shape)).numpy()


def compared(model, folder, rows, known, condition, scale=1.0, sampler=um.sampler.DDIM()):
    to_onnx(model, folder, steps=5)
    made, about = sampled(folder, noise_of(model, rows, 7), known, scale)
    grid = um.grid.fixed(about["times"])
    with torch.no_grad():
        ours = model.sample(rows, condition=condition, guidance=scale, sampler=sampler, grid=grid, seed=7)
    assert np.abs(made - ours.numpy()).max() < 1e-4
    assert ours.std() > 0.05
    return about


def test_points_of_a_class_with_guidance(tmp_path):
    label = torch.tensor([0, 2, 1, 1, 2])
    known = {"label": label.numpy(), "label_given": np.ones(5, bool)}
    about = compared(points(), tmp_path / "onnx", 5, known, um.Condition(label=label), scale=2.5)
    assert about["classes"] == ["a", "b", "c"]
    assert about["inputs"] == ["x_t", "t", "label", "label_given"]
    encode = onnxruntime.InferenceSession(tmp_path / "onnx" / "encoder.onnx").run
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    assert np.allclose(encode(None, {"x": x})[0], (x - 2) / 3, atol=1e-6)


@pytest.mark.slow
def test_captions_of_any_length(tmp_path):
    sequence, mask = (
        torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0)),
        torch.ones(3, 5, dtype=torch.bool),
    )
    mask[1, 2:] = False
    known = {"sequence": sequence.numpy(), "sequence_mask": mask.numpy()}
    compared(transformer(), tmp_path / "onnx", 3, known, um.Condition(sequence=sequence, sequence_mask=mask), 1.5)


@pytest.mark.slow
def test_a_context_and_a_class_on_a_schedule_with_hyperbolic_functions(tmp_path):
    context = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([1, 0, 1])
    known = {"label": label.numpy(), "label_given": np.ones(3, bool)}
    known |= {"context": context.numpy(), "context_given": np.ones(3, bool)}
    compared(unet(), tmp_path / "onnx", 3, known, um.Condition(label=label, context=context))


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule",
    [um.schedule.Cosine(), um.schedule.Straight(2.0), um.schedule.LinearBeta(), um.interop.Betas()],
    ids=lambda schedule: type(schedule).__name__,
)
def test_every_schedule(tmp_path, schedule):
    model = points(schedule, classes=0)
    to_onnx(model, tmp_path / "onnx", steps=4)
    made, about = sampled(tmp_path / "onnx", noise_of(model, 3, 0), {})
    ours = model.sample(3, sampler=um.sampler.DDIM(), grid=um.grid.fixed(about["times"]), seed=0)
    assert np.abs(made - ours.numpy()).max() < 1e-4


@pytest.mark.slow
def test_latents_through_an_autoencoder(tmp_path):
    model = latents()
    compared(model, tmp_path / "onnx", 3, {}, None)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    encode = onnxruntime.InferenceSession(tmp_path / "onnx" / "encoder.onnx").run
    assert np.allclose(encode(None, {"x": x.numpy()})[0], model.encode(x).detach().numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_student_with_its_guidance_scale(tmp_path):
    scale, label = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 1, 1])
    known = {"label": label.numpy(), "label_given": np.ones(3, bool), "guidance_scale": scale.numpy()}
    model = student()
    to_onnx(model, tmp_path / "onnx")
    made, about = sampled(tmp_path / "onnx", noise_of(model, 3, 7), known)
    assert (len(about["times"]), "s" in about["inputs"]) == (3, True)
    ours = model.sample(3, label=label, guidance=scale, seed=7)
    assert np.abs(made - ours.numpy()).max() < 1e-4


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, capsys):
    points().save(tmp_path / "run")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    assert main(["export", str(tmp_path / "run"), "--to", "onnx", "--out", str(tmp_path / "out")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_network_that_cannot_be_exported_leaves_nothing(tmp_path):
    class Counts(torch.nn.Module):
        def forward(self, x, level, condition=None):
            return torch.from_numpy(x.detach().numpy() + 1)

    denoiser = NetworkDenoiser(Counts(), um.process.Gaussian(um.schedule.Cosine()), um.prediction.X0(), (2,))
    with pytest.raises(UsageError, match="cannot export"):
        to_onnx(um.Model(denoiser=denoiser, codec=um.codec.Affine(), grid=um.grid.uniform(3)), tmp_path / "onnx")
    assert not any(tmp_path.iterdir())


def test_models_of_tokens_are_refused(tmp_path):
    body = um.backbone.Transformer(input_vocabulary=17, vocabulary=16, length=16, width=16, depth=1, heads=2)
    denoiser = um.denoiser.TokenDenoiser(body, um.process.Mask(16), (4, 4))
    codec = um.codec.QuantizedAutoencoder(channels=1, levels=(4, 4), widths=(8, 8), blocks=(1, 1))
    model = um.Model(denoiser=denoiser, codec=codec, modality=um.modality.Images(), grid=um.grid.uniform(3))
    with pytest.raises(UsageError, match="a model of tokens"):
        to_onnx(model, tmp_path / "tokens")
    assert not any(tmp_path.iterdir())
