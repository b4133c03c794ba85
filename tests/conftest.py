"""Arguments that run a test once for every public schedule, prediction, sampler, ... (see conformance/subjects).

The package is imported inside the hook, not here: shapes are checked only in what is imported after pytest's start.

diffusers imports torchvision where there is one, for models that are not ours: one that is broken is hidden.
"""

import sys

import pytest
import shape_checks
import torch

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):
    sys.modules["torchvision"] = None

shape_checks.install()
torch.set_num_threads(1)  # the tensors are tiny: on a busy machine a second thread costs more than it brings


@pytest.fixture(scope="session")
def browser():
    """One browser for all tests of a process that visit a page."""
    from lab import chromium

    if chromium.MISSING:
        pytest.skip(chromium.MISSING)
    with chromium.browser() as opened:
        yield opened


def pytest_terminal_summary(terminalreporter) -> None:
    """Where there is no browser, say so loudly."""
    chromium = sys.modules.get("lab.chromium")
    if chromium is not None and chromium.MISSING:
        terminalreporter.write_sep("!", chromium.MISSING, red=True, bold=True)


def pytest_runtest_setup() -> None:
    shape_checks.begin_test()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not any(name in metafunc.fixturenames for name in ARGUMENTS):
        return
    from conformance import subjects

    for argument, found in ARGUMENTS.items():
        if argument in metafunc.fixturenames:
            values = getattr(subjects, found)
            if isinstance(values, dict):
                metafunc.parametrize(argument, list(values.values()), ids=list(values))
            else:
                metafunc.parametrize(argument, values, ids=subjects.name)


ARGUMENTS = {
    "any_schedule": "SCHEDULES",
    "plain_schedule": "PLAIN",
    "any_prediction": "PREDICTIONS",
    "any_sampler": "SAMPLERS",
    "deterministic_sampler": "DETERMINISTIC",
    "stepped_sampler": "STEPPED",
    "finer_sampler": "FINER",
    "stochastic_sampler": "STOCHASTIC",
    "any_times": "TIMES",
    "any_weight": "WEIGHTS",
    "any_grid": "SPACINGS",
}
