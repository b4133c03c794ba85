"""Fewer network calls for the same law: tokens are drafted in blocks, and a model from left to right verifies them.

python examples/drafter.py [--prompt "import "] [--out runs/drafted.png]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script
from unmelt.drafting import AutoregressiveVerifier, LookupFirst, Marginals, NGram, decode
from unmelt.shipped import PLACE


def main(prompt: str = "import ", tokens: int = 48, out: Path = Path("runs/drafted.png")) -> dict[str, int]:
    """Write greedily with every drafter, count passes, draw.

    Args:
        prompt: What the text begins with.
        tokens: Tokens to write.
        out: The picture to write.
    """
    writer, masked = (um.load(PLACE / "lab" / name) for name in ("code_ar", "code"))
    verifier, blocks = AutoregressiveVerifier(writer.denoiser), Marginals(masked.denoiser)
    drafters = {
        "nobody": None,
        "lookup": NGram(),
        "masked diffusion": blocks,
        "lookup, then masked diffusion": LookupFirst(NGram(shortest=2), blocks),
    }
    begun, passes, texts = [writer.tokenizer.encode(prompt)], {}, []
    for name, drafter in drafters.items():
        found = decode(verifier, begun, tokens, drafter=drafter, block=6, temperature=0.0)
        passes[name] = found.passes[0]
        texts.append(writer.tokenizer.decode(found.tokens[0]))
        print(f"{name:30} {len(found.tokens[0])} tokens in {passes[name]} passes")
    print("the text is the same" if len(set(texts)) == 1 else "the texts differ, by rounding")
    um.picture.texts(texts, [f"{name}: {count} passes" for name, count in passes.items()], path=out)
    print(f"drawn in {out}")
    return passes


if __name__ == "__main__":
    sys.exit(run_script(main))
