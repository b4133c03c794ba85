# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Drafts.

A model that writes from left to right makes one network call for each token. A masked model drafts a block at once; the
other verifies the block in one call, keeps a beginning of it and cuts the rest. The text is written in fewer calls, and
its law does not change.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Drafts")

with app.setup:
    from html import escape

    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.drafting import acceptance_by_place, best_block, pass_milliseconds, passes, residual, verify
    from unmelt.drafting.pass_text import pass_texts
    from unmelt.picture import vector
    from unmelt.shipped import PLACE

    TOKENS, LONGEST = 32, 12


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("drafts"))
    return


@app.cell(hide_code=True)
def _():
    writer, masked = (um.load(PLACE / "lab" / name, "cpu") for name in ("code_ar", "code"))
    verifier = um.drafting.AutoregressiveVerifier(writer.denoiser)
    mo.md(f"""
    Both models learned Python from the same text and are of the same size: {sum(p.numel() for p in writer.denoiser.parameters()):,}
    weights. The one that writes from left to right is asked for the text, and the masked one helps. A third helper needs no
    network: it looks up what followed the same words before.
    """)
    return masked, verifier, writer


@app.cell(hide_code=True)
def _():
    prompt = mo.ui.text(value="def test_get(self):\n", label="it begins with", max_length=60)
    helper = mo.ui.dropdown(
        ["masked model, one pass", "masked model, two passes", "lookup", "lookup first, then masked model"],
        value="masked model, one pass",
        label="who drafts",
    )
    block = mo.ui.slider(1, LONGEST, 1, value=4, label="tokens of a block, k", show_value=True, full_width=True)
    heat = mo.ui.slider(0.0, 1.5, 0.1, value=0.0, label="temperature", show_value=True)
    seed = mo.ui.number(0, 99, value=0, label="seed")
    mo.vstack(
        [
            mo.md("""
            ## Proposed, accepted, cut

            **Drag the pass.** A block is proposed. From left to right, a drafted token $x$ is accepted with probability
            $\\min(1, p(x) / q(x))$, where $p$ is the writer's law and $q$ the drafter's. At the first one that is not, the
            rest is cut and the writer puts a token of its own there. At temperature 0 a token is accepted if it is the
            writer's likeliest.
            """),
            mo.hstack([prompt, helper, heat, seed], justify="start", wrap=True),
            block,
        ]
    )
    return block, heat, helper, prompt, seed


@app.cell(hide_code=True)
def _(block, heat, helper, masked, prompt, seed, verifier, writer):
    def drafter_of(name, temperature):
        network = um.drafting.Marginals(masked.denoiser, passes=2 if "two" in name else 1, temperature=temperature)
        lookup = um.drafting.NGram(shortest=2 if "first" in name else 1)
        if "lookup first" in name:
            return um.drafting.LookupFirst(lookup, network)
        return lookup if name == "lookup" else network

    def written(name, size, temperature, number):
        """All passes of one text."""
        how = um.drafting.Speculative(drafter_of(name, temperature), size, temperature)
        return list(passes(how, verifier, writer.tokenizer.encode(prompt.value), TOKENS, number))

    found = written(helper.value, block.value, heat.value, seed.value)
    texts = list(pass_texts(writer.tokenizer.decode, writer.tokenizer.encode(prompt.value), found))[: len(found)]
    return found, texts, written


@app.cell(hide_code=True)
def _(found):
    at = mo.ui.slider(1, len(found), 1, value=min(2, len(found)), label="pass", show_value=True, full_width=True)
    at
    return (at,)


@app.cell(hide_code=True)
def _(at, found, prompt, texts):
    STYLES = {
        "given": "text-decoration:underline;text-decoration-color:#e69f00;text-decoration-thickness:2px",
        "accepted": "background:#009e7355;font-weight:700;border-radius:3px",
        "cut": "color:#d55e00;text-decoration:line-through",
        "own": "background:#56b4e955;border-radius:3px",
        "before": "",
    }

    def spans(*pieces):
        return "".join(
            f'<span data-kind="{kind}" style="{STYLES[kind]}">{escape(text)}</span>' for kind, text in pieces if text
        )

    _now, _count = texts[at.value - 1], found[at.value - 1]
    _before = "".join(each.accepted + each.own for each in texts[: at.value - 1])
    _line = spans(
        ("given", prompt.value),
        ("before", _before),
        ("accepted", _now.accepted),
        ("cut", _now.rejected),
        ("own", _now.own),
    )
    _said = f"{prompt.value}{_before}; accepted {_now.accepted}; cut {_now.rejected}; the writer's own {_now.own}"
    _style = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font-size:.85rem;line-height:1.45"
    _tokens = sum(len(each.written) for each in found[: at.value])
    mo.Html(
        f'<p style="margin:0 0 .5rem">Pass {at.value}: <b data-what="drafted">{len(_count.drafted)}</b> drafted, '
        f'<b data-what="accepted">{_count.accepted}</b> {spans(("accepted", "accepted"))}, the others '
        f"{spans(('cut', 'cut'))}, and one token {spans(('own', 'of the writer itself'))}. So far "
        f'<b data-what="tokens">{_tokens}</b> tokens in {at.value} passes.</p>'
        f'<pre role="img" aria-label="The text after {at.value} passes: {escape(_said)}" style="{_style}">{_line}</pre>'
    )
    return


@app.cell(hide_code=True)
def _():
    tilt = mo.ui.slider(0.0, 3.0, 0.1, value=1.0, label="how wrong the drafter is", show_value=True, full_width=True)
    mo.vstack(
        [
            mo.md("""
            ## Why the law stays

            Three tokens, a writer's law $p$ and a drafter's law $q$. A token is written either since it was drafted and
            accepted, with probability $\\min(p, q)$, or in the place of a rejected one. Drawn from what $q$ gives too little
            of, $(p - q)_+$ normalised, the two add up to $p$, however wrong the drafter is. Drawn from $p$ itself they do
            not: what the drafter likes is then written too often.
            """),
            tilt,
        ]
    )
    return (tilt,)


@app.cell(hide_code=True)
def _(tilt):
    _rows = 20_000
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = (p.log() + tilt.value * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)).softmax(-1)
    _both = torch.minimum(p, q)
    law = {
        "right": _both + (1 - _both.sum()) * residual(p, q),
        "wrong": _both + (1 - _both.sum()) * p,
    }
    _draws = torch.Generator().manual_seed(0)
    _u = torch.rand(3, _rows, dtype=torch.float64, generator=_draws)
    _drafted = torch.bucketize(_u[0], q.cumsum(0), right=True).clamp_max(2)[:, None]
    _draft = um.drafting.Draft(_drafted, torch.ones(_rows, dtype=torch.int64), q.log().expand(_rows, 1, 3))
    _verdict = verify(p.expand(_rows, 2, 3), _draft, _u[1, :, None], _u[2])
    _first = torch.where(_verdict.accepted == 1, _drafted[:, 0], _verdict.token)
    shares = torch.bincount(_first, minlength=3) / _rows
    _table = {f"token {name}": (p[k].item(), shares[k].item()) for k, name in enumerate("abc")}
    _table["accepted, sum of min(p, q)"] = (_both.sum().item(), _verdict.accepted.double().mean().item())
    _wrong = {f"token {name}": (p[k].item(), law["wrong"][k].item()) for k, name in enumerate("abc")}
    mo.Html(
        vector.row(
            f'<section><h3 style="font-size:1rem">Verified, {_rows:,} times</h3>{lab.beside(_table)}</section>',
            f'<section><h3 style="font-size:1rem">Redrawn from p instead</h3>'
            f"{lab.beside(_wrong, ('p', 'what is written'))}</section>",
        )
    )
    return law, p, shares


@app.cell(hide_code=True)
def _(heat, helper, seed, verifier, written):
    SIZES = (1, 2, 4, 8, LONGEST)
    counted = {size: written(helper.value, size, heat.value, seed.value) for size in SIZES}
    accepted = acceptance_by_place(counted[LONGEST], LONGEST)
    tokens_a_pass = {size: sum(len(each.written) for each in some) / len(some) for size, some in counted.items()}
    chosen = best_block(pass_milliseconds(verifier, LONGEST + 1, 24), accepted)
    expected = [1.0]
    _reached = 1.0
    for _share in accepted:
        _reached *= _share
        expected.append(expected[-1] + _reached)
    mo.vstack(
        [
            mo.md(r"""
            ## How long a block should be

            A pass over more tokens costs more, and a later token counts only where all before it are accepted. With $a_i$
            the share of $i$-th tokens that are accepted where they are reached, and $m_n$ the milliseconds of a pass over
            $n$ tokens, measured on your machine, blocks of $b$ tokens write

            $$\frac{1 + a_1 + a_1 a_2 + \dots + a_1 \cdots a_b}{d + m_{b+1}}$$

            tokens a millisecond, where $d$ is what drafting costs. The line is the sum above, the dots are passes that were
            counted.
            """),
            mo.Html(
                vector.draw(
                    vector.Axes(
                        x=(0, LONGEST + 0.5),
                        y=(0, 1.15 * max([*expected, *tokens_a_pass.values()])),
                        x_name="tokens of a block",
                        y_name="tokens a pass",
                        height=300,
                    ),
                    [
                        vector.Line(list(range(LONGEST + 1)), expected, vector.BLUE, name="by the formula"),
                        vector.Dots(
                            torch.tensor([[float(k), v] for k, v in tokens_a_pass.items()]),
                            vector.ORANGE,
                            9.0,
                            1.0,
                            name="counted",
                        ),
                    ],
                    alt="Tokens a pass against tokens of a block, by the formula and counted",
                )
            ),
            mo.md(
                f"Were drafting free, blocks of **{chosen.block}** tokens would be the best here: "
                f"{chosen.tokens_a_pass:.2f} tokens a pass, {chosen.times_faster:.2f} times as fast as none. A masked model as large "
                "as the writer is not free: it pays where the writer is much larger than the drafter, or has few tokens to "
                "verify at a time. That is why a drafter is small, or reads what the writer has computed anyway."
            ),
        ]
    )
    return chosen, counted, expected, tokens_a_pass


if __name__ == "__main__":
    app.run()
