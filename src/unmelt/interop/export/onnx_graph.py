"""A module as an ONNX file, compared with the module in onnxruntime before anybody uses it.

onnxruntime has no hyperbolic functions in float64, in which schedules compute. They are written with exponentials:

    sinh a = (e^a - e^-a) / 2,    cosh a = (e^a + e^-a) / 2,    asinh a = sign(a) log(|a| + sqrt(a^2 + 1))
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmelt.errors import UsageError

TOLERANCE = 1e-4
"""Largest difference between the file and the module, in units of the largest output."""

REWRITTEN: dict[Any, Callable[[Tensor], Tensor]] = {
    torch.ops.aten.sinh.default: lambda a: (torch.exp(a) - torch.exp(-a)) / 2,
    torch.ops.aten.cosh.default: lambda a: (torch.exp(a) + torch.exp(-a)) / 2,
    torch.ops.aten.asinh.default: lambda a: torch.sign(a) * torch.log(a.abs() + torch.sqrt(a * a + 1)),
}


def onnxruntime() -> Any:
    """The onnxruntime package, imported, where the exporter's own packages are installed too.

    Raises:
        UsageError: If one of them is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter uses it
    except ImportError:
        raise UsageError(
            "onnxruntime and onnxscript are not installed", "them, to export to ONNX", "pip install 'unmelt[onnx]'"
        ) from None
    return onnxruntime


def write_graph(
    module: nn.Module, inputs: Mapping[str, Tensor], output: str, path: Path, free: Mapping[str, Mapping[int, str]]
) -> None:
    """Write a module as an ONNX file and compare the two.

    Args:
        module: Called with the inputs by position; it returns one tensor.
        inputs: An example of each input, by its name in the file, of at least two rows.
        output: Name of the output.
        path: The file.
        free: For each input, its dimensions of any size: {number: name}.

    Raises:
        UsageError: If packages are missing, the module cannot be exported, or the file gives other numbers.
    """
    runtime = onnxruntime()
    sizes = {name: torch.export.Dim(name) for dimensions in free.values() for name in dimensions.values()}
    dynamic = tuple({axis: sizes[name] for axis, name in free.get(each, {}).items()} for each in inputs)
    with (
        torch.enable_grad()
    ):  # nothing is memoized then; tables of positions are made here, not of the exporter's symbols
        expected = module(*inputs.values()).detach()
    try:
        with _quiet(), torch.enable_grad():
            example = tuple(inputs.values())
            exported = torch.export.export(_Positional(module), example, dynamic_shapes=(dynamic,), strict=False)
            exported = exported.run_decompositions(REWRITTEN)
            program = torch.onnx.export(
                exported, dynamo=True, input_names=list(inputs), output_names=[output], verbose=False
            )
        assert program is not None
        program.save(path)
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise UsageError(
            f"a {type(module).__name__} that torch cannot export to ONNX ({str(error).strip().splitlines()[0]:.200})",
            "a network made of operations that ONNX has",
            "um.interop.to_diffusers(model, folder)",
        ) from error
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    taken = {each.name for each in session.get_inputs()}  # what has no influence is no input of the file
    (made,) = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in taken})
    gap = (torch.from_numpy(made) - expected).abs().max().item() / max(expected.abs().max().item(), 1.0)
    if not gap <= TOLERANCE:
        raise UsageError(
            f"an ONNX file whose output is {gap:.1e} from the model's",
            f"at most {TOLERANCE:.0e}",
            "another version of onnxruntime",
        )


class _Positional(nn.Module):
    """A module called with any number of tensors by position, which is how their free sizes are matched to them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        output: Tensor = self.module(*inputs)
        return output


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter prints its stages, and warns of packages that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
