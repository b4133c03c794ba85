"""Public names are listed, documented and imported when they are first used."""

import ast
import copy
import importlib
import inspect
import pickle
import pydoc
from pathlib import Path
from types import ModuleType

import pytest

import unmelt as um
from unmelt import aliases


def public_modules() -> dict[str, ModuleType]:
    """unmelt and every module that is reached from it by public names."""
    found, ahead = {}, [um]
    while ahead:
        module = ahead.pop()
        found[module.__name__] = module
        values = [getattr(module, name) for name in module.__all__]
        ahead += [value for value in values if isinstance(value, ModuleType) and value.__name__ not in found]
    return found


MODULES = public_modules()
PACKAGES = [name for name, module in MODULES.items() if hasattr(module, "__path__")]


def deferred(module: ModuleType) -> set[str]:
    """Names that a package imports under `if TYPE_CHECKING:`."""
    blocks = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.If)]
    return {alias.name for block in blocks for each in block.body for alias in each.names}


def test_the_modules_that_users_reach_are_among_those_checked():
    names = (
        "sampler",
        "sampler.grid",
        "sampler.tokens",
        "denoiser.prediction",
        "rng",
        "posterior",
        "config",
        "picture",
    )
    assert {f"unmelt.{name}" for name in names} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_dir_lists_public_names_and_each_exists(name):
    module = MODULES[name]
    listed = [each for each in dir(module) if not each.startswith("__")]
    assert listed == sorted(module.__all__)
    assert len(set(listed)) == len(module.__all__)
    for each in listed:
        value = getattr(module, each)
        outside = isinstance(value, ModuleType) and not value.__name__.startswith("unmelt.")
        assert not outside, f"{name}.{each} is a module that {name} imports"


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_package_defers_is_what_it_lists(name):
    module = MODULES[name]
    assert deferred(module) == {each for each in module.__all__ if not each.startswith("__")}


@pytest.mark.parametrize("name", MODULES)
def test_help_shows_no_imports(name):
    text = pydoc.plain(pydoc.render_doc(MODULES[name]))
    assert "publish" not in text.split("\nFILE")[0].replace("push_to_hub", "")
    assert not any(line.strip() == "TYPE_CHECKING = False" for line in text.splitlines())


def test_names_of_modules_do_not_hide_the_functions_in_them():
    importlib.import_module("unmelt.recipe.digits")
    importlib.import_module("unmelt.picture.tiles")
    importlib.import_module("unmelt.inverse.exact")
    importlib.import_module("unmelt.model.load")
    for function in (um.recipe.digits, um.picture.tiles, um.inverse.exact, um.load):
        assert inspect.isfunction(function)


def test_star_imports_bring_the_public_names():
    names: dict[str, object] = {}
    exec("from unmelt.sampler import *", names)
    assert set(names) - {"__builtins__"} == set(um.sampler.__all__)


def test_submodules_are_attributes_without_an_import():
    assert um.errors.UsageError is um.UsageError
    assert um.train.loop.Trainer is um.train.Trainer


@pytest.mark.parametrize("part", [um.sampler.DPMpp(order=2), um.grid.karras(10), um.schedule.Cosine()], ids=repr)
def test_parts_and_modules_can_be_pickled_and_copied(part):
    assert pickle.loads(pickle.dumps(part)) == copy.deepcopy(part) == part
    assert pickle.loads(pickle.dumps(um.sampler)) is copy.deepcopy(um.sampler) is um.sampler


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(
        AttributeError, match=r"module 'unmelt.sampler' has no attribute 'Eulr'; um.sampler.Euler\(\) is meant$"
    ) as caught:
        um.sampler.Eulr  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("Eulr", um.sampler)  # from which Python suggests "Euler"
    assert "torch" not in dir(um.grid)
    with pytest.raises(ImportError, match="cannot import name 'Eulr'"):
        exec("from unmelt.sampler import Eulr")


def test_an_earlier_name_says_its_present_name():
    with pytest.raises(AttributeError, match=r"'Hold'; it is now called unmelt\.inverse\.Replacement$"):
        um.inverse.Hold  # noqa: B018
    with pytest.raises(AttributeError, match=r"it is now called unmelt\.sampler\.PredictorCorrector$"):
        um.sampler.Corrected  # noqa: B018
    with pytest.raises(AttributeError, match=r"it is now called unmelt\.compare$"):
        um.ledger  # noqa: B018


@pytest.mark.parametrize(
    ("module", "name", "meant"),
    [
        (um.sampler, "DPMSolverMultistep", "um.sampler.DPMpp(order=2)"),
        (um.sampler, "EulerAncestral", "um.sampler.Ancestral()"),
        (um.sampler, "dpmpp_2m", "um.sampler.DPMpp(order=2)"),
        (um.sampler, "DPMPP", "um.sampler.DPMpp"),
        (um.backbone, "Unet", "um.backbone.UNet"),
        (um.backbone, "UNet2DModel", "um.backbone.UNet"),
        (um.schedule, "DDPM", "um.schedule.LinearBeta()"),
        (um.schedule, "cosine", "um.schedule.Cosine"),
        (um.schedule, "Linear", "unmelt.schedule.TokenLinear; or um.schedule.LinearBeta()"),
        (um.grid, "linear", "um.grid.uniform(20)"),
        (um.recipe, "mnist", "um.recipe.digits()"),
        (um.recipe, "cifar10", "um.recipe.images(folder=...)"),
        (um.recipe, "Digits", "um.recipe.digits"),
        (um, "DDPMPipeline", "um.load(folder)"),
        (um, "pipeline", "um.load(folder)"),
        (um, "DDIM", "um.sampler.DDIM()"),
        (um.metric, "FID", "um.metric.frechet_distance"),
        (um.rng, "Generator", "um.rng.Stream(0)"),
        (um, "fit", "model.fit(out=folder)"),
    ],
)
def test_a_wrong_name_says_what_is_meant(module, name, meant):
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    assert meant in str(caught.value)
    assert not hasattr(module, f"_{name}")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (lambda: um.recipe("digits"), "um.recipe.digits is meant"),
        (lambda: um.recipe["digits"], "um.recipe.digits is meant"),
        (lambda: um.train(3), "it has "),
        (lambda: um.sampler.ddim(), "um.sampler.DDIM is meant"),
    ],
)
def test_a_module_that_is_called_or_indexed_says_what_is_meant(wrong, meant):
    with pytest.raises(TypeError, match="is a module, which cannot be") as caught:
        wrong()
    assert meant in str(caught.value)


@pytest.mark.parametrize(("earlier", "present"), sorted((aliases.NAMES | aliases.PARTS).items()))
def test_every_present_name_exists_and_every_earlier_one_is_gone(earlier, present):
    found = {module.__name__.rpartition(".")[2]: module for module in (*MODULES.values(), um.model)}
    for name, exists in ((earlier, False), (present, True)):
        module, _, attribute = name.rpartition(".")
        if module in found or not module:
            assert hasattr(found[module] if module else um, attribute) == exists, name


def test_the_names_under_type_checking_are_read_from_source_alone():
    text = Path(um.sampler.__file__).read_text(encoding="utf-8")
    assert "if TYPE_CHECKING:" in text
    assert "from unmelt.sampler.dpmpp import DPMpp" in text
