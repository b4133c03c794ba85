"""An adapter is trained while the model stays as it is; saved apart, loaded, merged, and chosen by each row."""

import copy

import pytest
import torch
from systems.parts import policy_model

import unmelt as um
from unmelt.adapter import LoRA
from unmelt.sampler import State


def moved(offset):
    """A source whose actions are elsewhere."""

    class Moved:
        shape, classes = (2,), ()

        def batch(self, step, rows):
            seen = torch.randn(rows, 3, generator=torch.Generator().manual_seed(step))
            return seen[:, :2] + offset, um.Condition(vector=seen)

    return Moved()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    policy_model().fit(folder, device="cpu", quiet=True)
    return folder


def adapted(base, out=None, steps=40, **fit):
    model = um.load(base, device="cpu")
    model.add_adapter("far", LoRA(rank=4, alpha=8.0), seed=3)
    model.source = moved(2.0)
    model.training = um.train.Training(**{**vars(model.training), "steps": steps, "save_every": 10})
    return model.fit(out, device="cpu", quiet=True, adapter="far", **fit)


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    return adapted(base, folder), folder


def seen(rows=6):
    return um.Condition(vector=torch.randn(rows, 3, generator=torch.Generator().manual_seed(9)))


def test_an_adapter_learns_and_the_base_stays_bit_for_bit(base, trained):
    model, _ = trained
    before = um.load(base, device="cpu")
    pairs = zip(model.denoiser.state_dict().items(), before.denoiser.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(one, two) for (name, one), (other, two) in pairs)
    known = seen()
    with_adapter, without = model.sample(6, condition=known), model.sample(6, condition=known, adapter=[None] * 6)
    assert torch.equal(without, before.sample(6, condition=known))
    shift = (with_adapter - without).mean()
    assert 0.5 < shift < 4  # towards data that are 2 away


def test_it_is_saved_and_loaded_with_the_model(trained):
    model, folder = trained
    assert (folder / "adapter-far.safetensors").is_file()
    again = um.load(folder, device="cpu")
    assert again.active_adapter == "far"
    assert torch.equal(again.sample(4, condition=seen(4)), model.sample(4, condition=seen(4)))


def test_it_is_saved_apart_and_loaded_into_the_base(base, trained, tmp_path):
    model, _ = trained
    model.save_adapter("far", tmp_path / "far")
    assert {path.name for path in (tmp_path / "far").iterdir()} == {"adapter.json", "adapter.safetensors"}
    other = um.load(base, device="cpu")
    other.load_adapter(tmp_path / "far", name="elsewhere")
    found = other.sample(4, condition=seen(4), adapter="elsewhere")
    assert torch.equal(found, model.sample(4, condition=seen(4), adapter="far"))
    assert torch.equal(other.sample(4, condition=seen(4)), um.load(base, device="cpu").sample(4, condition=seen(4)))
    (tmp_path / "far" / "adapter.safetensors").write_bytes(b"x")
    with pytest.raises(um.UsageError, match="cannot be read"):
        other.load_adapter(tmp_path / "far")


def test_merged_it_is_the_same_model_without_an_adapter(trained):
    model = copy.deepcopy(um.load(trained[1], device="cpu"))
    expected = model.sample(4, condition=seen(4))
    density = model.log_likelihood(expected, condition=seen(4)).value
    model.merge_adapter("far")
    assert not model.adapters
    torch.testing.assert_close(model.log_likelihood(expected, condition=seen(4)).value, density, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(model.sample(4, condition=seen(4)), expected, rtol=1e-4, atol=1e-4)


def test_rows_choose_their_adapters_in_one_batch_and_keep_them_through_split_and_join(trained):
    model, _ = trained
    model.add_adapter("other", LoRA(rank=2), seed=5)
    with torch.no_grad():
        for name, weight in model.adapters["other"].named_parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
    known, names = seen(4), ["far", None, "other", "far"]
    together = model.sample(4, condition=known, adapter=names, seed=2)
    for row, name in enumerate(names):
        one = {"condition": known[row : row + 1], "adapter": [name], "seed": [um.rng.fold(2, row)]}
        torch.testing.assert_close(model.sample(1, **one), together[row : row + 1], rtol=1e-4, atol=1e-5)
    denoiser, sampler = model.with_adapters(model.denoiser), um.sampler.DDIM()
    times = um.grid.uniform(4)(denoiser.process.schedule)
    rng = um.rng.RowSeeds.of(2, 4)
    x = denoiser.process.prior((4, 2), rng)
    condition = um.Condition(vector=known.vector, adapter=model.adapter_indices(4, names))
    with torch.no_grad():
        straight = parts = sampler.init(denoiser, x, times[0].expand(4), rng.advance(), condition)
        order = torch.tensor([2, 0, 3, 1])
        for step, s in enumerate(times[1:]):
            straight = sampler.step(denoiser, straight, s.expand(4))
            parts = State.join([parts[order[:3]], parts[order[3:]]]) if step == 2 else parts
            parts = sampler.step(denoiser, parts, s.expand(4))
    torch.testing.assert_close(parts.x, straight.x[order], rtol=1e-5, atol=1e-5)
    model.remove_adapter("other")


def test_rows_of_text_choose_their_adapters_with_a_cache():
    lm = um.recipe.sudoku(autoregressive=True, width=16, depth=1, heads=2, steps=3, batch=4)
    lm.add_adapter("loud", LoRA(rank=2), seed=5)
    with torch.no_grad():
        torch.nn.init.normal_(lm.denoiser.backbone.out.weight, std=0.5, generator=torch.Generator().manual_seed(1))
        for weight in lm.adapters["loud"].parameters():
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    together = lm.sample(3, prompt="12", adapter=["loud", None, "loud"], seed=1)
    assert together[1] == lm.sample(3, prompt="12", seed=1)[1]
    for row in (0, 2):
        assert lm.sample(1, prompt="12", adapter="loud", seed=[um.rng.fold(1, row)])[0] == together[row]
        assert together[row] != lm.sample(3, prompt="12", seed=1)[row]


def test_an_interrupted_adapter_run_resumes_bit_for_bit(base, trained, tmp_path):
    class StoppedError(Exception):
        pass

    class Once:
        def __init__(self, source):
            self.source, self.shape, self.classes = source, source.shape, source.classes

        def batch(self, step, rows):
            if step == 27:
                raise StoppedError
            return self.source.batch(step, rows)

    model = um.load(base, device="cpu")
    model.add_adapter("far", LoRA(rank=4, alpha=8.0), seed=3)
    model.training = um.train.Training(**{**vars(model.training), "steps": 40, "save_every": 10})
    model.source = Once(moved(2.0))
    with pytest.raises(StoppedError):
        model.fit(tmp_path, device="cpu", quiet=True, adapter="far")
    resumed = adapted(base, tmp_path)
    for name, weight in trained[0].adapters["far"].state_dict().items():
        assert torch.equal(resumed.adapters["far"].state_dict()[name], weight)


def test_mistakes_are_told(trained):
    model, _ = trained
    with pytest.raises(um.UsageError, match=r"adapter called 'near'.*'far'"):
        model.sample(2, condition=seen(2), adapter="near")
    with pytest.raises(um.UsageError, match="a second adapter"):
        model.add_adapter("far", LoRA())
    with pytest.raises(um.UsageError, match="letters, digits"):
        model.add_adapter("../x", LoRA())
    with pytest.raises(um.UsageError, match="1 adapters for 2 rows"):
        model.sample(2, condition=seen(2), adapter=["far"])
