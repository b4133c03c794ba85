"""Control that is trained here: the old model exactly before the first step, context that is learned, every verb."""

import numpy as np
import pytest
import torch
from PIL import Image

import unmelt as um
from unmelt.backbone.widened import widened
from unmelt.cli import main
from unmelt.errors import UsageError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(10):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return folder


TINY = {"size": 8, "width": 8, "blocks": 1, "batch": 2, "picture_every": 0, "precision": "float32"}


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    model = um.recipe.images(folder=photos, control="edges", steps=2, **TINY)
    model.grid = um.grid.balanced(3)
    with um.rng.seeded(0), torch.no_grad():
        for weight in model.denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model.fit(tmp_path_factory.mktemp("run") / "edges", device="cpu", quiet=True)


def test_before_training_a_started_model_is_the_old_one_whatever_the_control():
    model, old = um.recipe.control(start="digits", steps=2, batch=4), um.load("digits", device="cpu")
    settings = {"label": [3, 5], "guidance": 2.0, "steps": 3, "seed": 1}
    for control in (None, torch.rand(2, 1, 8, 8)):
        assert torch.equal(model.sample(2, **settings, control=control), old.sample(2, **settings))
    (new,) = (name for name in model.denoiser.state_dict() if name not in old.denoiser.state_dict())
    assert new == "backbone.told.null_context"


def test_a_started_model_learns_its_control(photos, tmp_path):
    um.recipe.images(folder=photos, steps=1, **TINY).fit(tmp_path / "plain", device="cpu", quiet=True)
    model = um.recipe.control(start=tmp_path / "plain", control="gray", steps=3, batch=4, lr=0.05)
    settings = {"label": "cat", "steps": 3, "seed": 1}
    plain = um.load(tmp_path / "plain", device="cpu").sample(2, **settings)
    assert torch.equal(model.sample(2, **settings, control=torch.rand(1, 8, 8)), plain)
    model.fit(device="cpu", quiet=True)
    one, other = (model.sample(2, **settings, control=each) for each in torch.rand(2, 1, 8, 8))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["UNet", "DiT", "JointDiT"])
def test_a_widened_network_computes_the_same_whatever_the_context(kind):
    settings = {"channels": 2, "width": 16, "classes": 3, "heads": 2}
    settings |= {"patch": 2} if kind == "UNet" else {"patch": 2, "depth": 1}
    settings |= {"multipliers": (1,), "attention": (True,), "blocks": 1} if kind == "UNet" else {}
    settings |= {"size": (4, 4)} if kind == "DiT" else {}
    make = getattr(um.backbone, kind)
    network, wider = make(**settings), make(**settings, context_channels=3)
    with um.rng.seeded(0), torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    wider.load_state_dict(widened(network.state_dict(), wider))
    x, level, label = torch.randn(2, 2, 4, 4), torch.zeros(2), torch.tensor([0, 2])
    with torch.no_grad():
        wanted = network(x, level, um.Condition(label=label))
        made = wider(x, level, um.Condition(label=label, context=torch.randn(2, 3, 4, 4)))
    assert wanted.abs().max() > 0.01
    assert torch.allclose(made, wanted, atol=1e-6)
    with pytest.raises(UsageError, match="differs in its context alone"):
        widened(network.state_dict(), make(**{**settings, "width": 32}, context_channels=3))


def test_training_reads_control_pictures_of_its_pictures(trained):
    source = trained.training_data(torch.device("cpu")).source
    x, known = source.batch(0, 4)
    assert torch.equal(known.context, um.control.Edges()(x))
    assert torch.equal(x, trained.source.batch(0, 4)[0])
    assert known.label is not None
    assert (trained.objective.drop, trained.objective.drop_each) == (0.1, 0.25)


def test_samples_follow_a_picture_in_any_form_and_rows_may_have_none(trained, tmp_path):
    edges = trained.control_of(torch.rand(1, 3, 8, 8))
    settings = {"label": "cat", "guidance": 2.0, "seed": 1}
    made = trained.sample(2, control=edges, **settings)
    plain = trained.sample(2, **settings)
    assert (made - plain).abs().max() > 1e-3
    rows = trained.sample(2, control=[edges[0], None], **settings)
    assert torch.allclose(rows[0], made[0], atol=1e-6)
    assert torch.allclose(rows[1], plain[1], atol=1e-6)
    (edges[0, 0] * 255).byte().numpy().tofile(tmp_path / "raw")
    image = Image.fromarray((edges[0, 0] * 255).round().byte().numpy())
    image.save(tmp_path / "edges.png")
    wanted = trained.sample(2, control=image, **settings)
    for form in (tmp_path / "edges.png", np.asarray(image), {"edges": image}, image.convert("RGB")):
        assert torch.allclose(trained.sample(2, control=form, **settings), wanted, atol=1e-5)
    assert trained.sample(1, control=image.resize((40, 20)), size=(8, 16)).shape == (1, 3, 8, 16)
    again = um.load(trained.folder, device="cpu")
    assert again.control == um.control.Edges()
    assert torch.equal(again.sample(2, control=image, **settings), wanted)


def test_every_verb_takes_control_guidance_and_an_adapter_and_each_has_its_effect(trained):
    with um.rng.seeded(0), torch.no_grad():
        for weight in trained.add_adapter("style", um.adapter.LoRA(rank=2, alpha=2.0)).parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    try:
        settings = {"label": "cat", "guidance": 3.0, "adapter": "style", "seed": 1}
        settings["control"] = trained.control_of(torch.rand(1, 3, 8, 8))
        off = {"guidance": 1.0, "control": None, "adapter": None}
        x, mask = torch.rand(1, 3, 8, 8), torch.eye(8)
        verbs = {
            "inpaint": lambda **given: trained.inpaint(x, mask, **given),
            "edit": lambda **given: trained.edit(x, strength=0.6, **given),
            "variations": lambda **given: trained.variations(x, 1, strength=0.6, **given),
            "outpaint": lambda **given: trained.outpaint(x, right=4, **given),
        }
        for name, verb in verbs.items():
            made = verb(**settings)
            for argument, value in off.items():
                assert (verb(**{**settings, argument: value}) - made).abs().max() > 1e-4, (name, argument)
        plain = trained.sample(1, **settings)
        assert torch.equal(trained.edit(x, strength=1.0, **settings), plain)
        assert torch.equal(trained.variations(x, 1, strength=1.0, **settings), plain)
        assert torch.equal(trained.inpaint(x, torch.ones(8, 8), **settings), plain)
    finally:
        trained.remove_adapter("style")


def test_evaluation_reports_agreement_with_the_edges_asked_for_beside_those_of_others(trained, monkeypatch):
    monkeypatch.setattr(trained, "held_out", trained.source)
    perfect = trained.source.all()[0]
    scores = trained.evaluate(samples=4)
    assert {"control_agreement", "control_agreement_shuffled"} <= scores.keys()

    def same(rows, **settings):
        return perfect[:rows]

    monkeypatch.setattr(trained, "sample", same, raising=False)
    scores = trained.evaluate(samples=4)
    assert scores["control_agreement"] == pytest.approx(1.0)
    assert scores["control_agreement_shuffled"] < 0.5


def test_the_command_line_takes_a_control_picture(trained, tmp_path, capsys):
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "edges.png")
    common = ["--control", str(tmp_path / "edges.png"), "--steps", "2"]
    assert main(["sample", str(trained.folder), "--rows", "2", *common, "--out", str(tmp_path / "a.npy")]) == 0
    wanted = trained.sample(2, label=[0, 1], control=tmp_path / "edges.png", steps=2)
    assert np.allclose(np.load(tmp_path / "a.npy"), wanted.numpy(), atol=1e-5)
    edit = ["edit", str(trained.folder), str(tmp_path / "edges.png"), *common, "--out", str(tmp_path / "b.png")]
    assert main(edit) == 0
    capsys.readouterr()
    assert main(["sample", str(trained.folder), *common, "--control-scale", "0.5"]) != 0
    assert "guidance" in capsys.readouterr().err


def test_mistakes_are_one_sentence(trained, photos):
    edges = torch.zeros(1, 8, 8)
    with pytest.raises(UsageError, match="a control_scale for the control that the network was trained with"):
        trained.sample(1, control=edges, control_scale=0.5)
    with pytest.raises(UsageError, match="a control and a condition with a context"):
        trained.sample(1, control=edges, condition=um.Condition(context=edges[None]))
    with pytest.raises(UsageError, match=r"a control network for a UNet"):
        trained.add_control("depth", photos)
    with pytest.raises(UsageError, match="a second control called 'edges'"):
        trained.add_control("edges", photos)
    plain = um.recipe.images(folder=photos, steps=2, **TINY)
    with pytest.raises(UsageError, match="for a model that knows no control"):
        plain.sample(1, control=edges)
    with pytest.raises(UsageError, match="was not trained with a control"):
        plain.control_of(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match=r"context_channels=0.*as many channels"):
        um.Model(denoiser=plain.denoiser, codec=plain.codec, grid=plain.grid, control=um.control.Edges())
    with pytest.raises(UsageError, match="to learn a control"):
        um.recipe.control(start="ring")
    with pytest.raises(UsageError, match="control='edge'"):
        um.recipe.images(folder=photos, control="edge", **TINY)
