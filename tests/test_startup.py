"""What is imported when: large packages where they are used, and nothing that only Unix has."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import unmelt
from unmelt.cli import COMMANDS

ROOT = Path(__file__).parent.parent
SOURCES = [
    p for folder in ("src", "tests", "examples", "bench", "tools") for p in sorted((ROOT / folder).rglob("*.py"))
]

LARGE = ("numpy", "scipy", "matplotlib", "PIL", "torch", "rich", "jaxtyping", "safetensors")
OPTIONAL = ("sklearn", "diffusers", "transformers", "datasets", "pyarrow", "huggingface_hub", "tokenizers", "marimo")
SLOW = ("scipy", "matplotlib", "sympy", "torch.distributed.tensor", "torch.distributed.fsdp", "rich", *OPTIONAL)
UNIX = ("resource", "fcntl", "termios", "pwd", "grp", "tty", "pty", "posix", "syslog", "curses", "readline")


def run(code, *args, code_expected=0):
    """Run code in a fresh interpreter; its last line of output."""
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == code_expected, done.stderr
    return done.stdout + done.stderr


def imported_by(code, among):
    """Which of these modules the code imports."""
    listed = run(f"import sys\n{code}\nprint('imported:', *[name for name in {among!r} if name in sys.modules])")
    return listed.split("imported:")[1].split()


def test_importing_unmelt_imports_nothing_large():
    assert imported_by("import unmelt", (*LARGE, *OPTIONAL)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import unmelt as um; um.sampler; um.grid.karras(10); um.sampler.DPMpp(order=2)",
        "from unmelt import sampler; from unmelt.sampler import DPMpp; DPMpp(order=2)",
        "import unmelt as um; um.Model; um.TextModel; um.load; um.config; um.train.Training",
        "import unmelt as um; um.recipe.two_modes().sample(4, steps=2, seed=0)",
    ],
)
def test_parts_import_no_package_that_they_do_not_use(code):
    assert imported_by(code, SLOW) == []


@pytest.mark.parametrize(
    ("args", "exit_code", "says"),
    [
        ([], 0, "usage: unmelt COMMAND"),
        (["--help"], 0, "usage: unmelt COMMAND"),
        (["--version"], 0, f"unmelt {unmelt.__version__}"),
        (["smaple"], 2, "unmelt sample --help"),
        (["train", "digist", "--out", "x"], 2, "unmelt train digits"),
    ],
    ids=lambda value: " ".join(value) or "alone" if isinstance(value, list) else "",
)
def test_help_the_version_and_wrong_commands_import_nothing_large(args, exit_code, says):
    code = (
        "import sys\nfrom unmelt.cli import main\ncode = main(sys.argv[1:])\n"
        f"print('imported:', [name for name in {LARGE!r} if name in sys.modules])\nsys.exit(code)"
    )
    output = run(code, *args, code_expected=exit_code)
    assert says in output
    assert "imported: []" in output


def test_help_of_commands_and_mistakes_in_their_options_do_not_import_torch():
    code = """
import sys
from unmelt.cli import COMMANDS, main
for name in COMMANDS:
    if name not in ("train", "adapter"):  # the help of the one describes every recipe, the other has verbs
        try:
            main([name, "--help"])
        except SystemExit as end:
            assert end.code == 0
        assert main([name, "--no-such-option", "3"]) == 2
        assert name in ("recipes", "lab") or main([name]) == 2
print("torch:", "torch" in sys.modules)
"""
    output = run(code)
    commands = len(COMMANDS) - 2
    assert output.count("usage: unmelt ") == output.count("there is no option --no-such-option") == commands
    assert "torch: False" in output


def test_every_command_is_found():
    from unmelt.cli import COMMANDS, HELP, command

    for name in COMMANDS:
        assert callable(command(name))
        assert f"\n  {name} " in HELP


def test_every_module_is_imported_without_what_only_unix_has():
    skipped = ("unmelt.lab.chapters", "unmelt.cli.__main__", "unmelt.interop.export.diffusers_", "unmelt.lab.")
    names = [module.name for module in pkgutil.walk_packages(unmelt.__path__, "unmelt.")]
    wanted = [name for name in names if not name.startswith(skipped)]
    assert len(wanted) > 200
    code = f"""
import sys
import torch, numpy, scipy.optimize, matplotlib.figure, rich.console, PIL.Image, safetensors.torch, jaxtyping
import subprocess, multiprocessing, filelock
sys.modules.update(dict.fromkeys({UNIX!r}))
from importlib import import_module
for name in {wanted!r}:
    import_module(name)
from unmelt.device import device_named, peak_memory
assert peak_memory(device_named("cpu")) == 0
"""
    run(code)


def test_no_module_imports_what_only_unix_has_before_it_is_used():
    for path in SOURCES:
        if path.is_relative_to(ROOT / "src"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                assert not set(names) & set(UNIX), path


def without_encoding(call):
    """Whether a call opens a text file and leaves the encoding to the system, which Windows answers with cp1252."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    modes = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return name == "open" and isinstance(call.func, ast.Name) and not any("b" in ast.unparse(mode) for mode in modes)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_files_are_opened_as_utf_8(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [f"{path.name}:{call.lineno}" for call in calls if without_encoding(call)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_may_be_imported_by_processes_that_they_start(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loose = [each for each in tree.body if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call)]
    assert loose == []
    assert any(isinstance(each, ast.If) and "__name__" in ast.unparse(each.test) for each in tree.body)
