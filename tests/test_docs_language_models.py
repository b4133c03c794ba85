"""The Python of docs/language-models.md runs as written, on small random models in the places of the named ones."""

import re
from pathlib import Path

from interop.language_models import causal_model, letter_tokenizer, masked_model

import unmelt as um

GUIDE = (Path(__file__).parents[1] / "docs" / "language-models.md").read_text(encoding="utf-8")


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    masked_model(tmp_path / "models" / "modernbert", "ModernBert", spare=280, local_attention=8)
    names = {f"{name}_token": f"<|{name}|>" for name in ("cls", "sep", "mask", "pad")}
    letter_tokenizer(tmp_path / "models" / "modernbert", tuple(names.values()), **names)
    causal_model(tmp_path / "models" / "smollm2")
    (tmp_path / "books").mkdir()
    for k in range(4):
        (tmp_path / "books" / f"{k}.txt").write_text(f"The sea was calm on day {k}. " * 10, encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 3
    named = {"um": um}
    for block in blocks:
        exec(block, named)
    assert um.load("runs/modernbert").infill("The ░ was", seed=1)[0].startswith("The ")
    assert um.load("runs/books").active_adapter == "lora"
