# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Words.

Text need not be written from left to right. A masked model starts from masks alone and fills many places at once, the
most confident ones first; the autoregressive model beside it writes one token after the other. Same data, same network,
same training: only the order is different.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Words")

with app.setup:
    import itertools

    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.lab.progress import bar, mistakes, trained
    from unmelt.picture import text_html, vector
    from unmelt.shipped import PLACE


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("words"))
    return


@app.cell(hide_code=True)
def _():
    learn = mo.ui.run_button(label="Learn both here")
    learn
    return (learn,)


@app.cell(hide_code=True)
def _(learn):
    _steps = int(mo.cli_args().get("steps") or 600)
    settings = {
        "length": 64,
        "vocabulary": 512,
        "width": 96,
        "depth": 2,
        "heads": 3,
        "batch": 32,
        "steps": _steps,
        "save_every": 200,
        "picture_every": 0,
    }
    masked = trained(
        "code", lambda: um.recipe.code(**settings), "Learning Python with masks", learn, shipped="lab/code"
    )
    autoregressive = trained(
        "code_ar",
        lambda: um.recipe.code_ar(**settings),
        "Learning Python from left to right",
        learn,
        shipped="lab/code_ar",
    )
    mo.md(f"""
    Both models have {sum(p.numel() for p in masked.denoiser.parameters()):,} weights and saw {_steps * 32 * 64:,} tokens
    of the source of Python's standard library. It is enough to learn what code looks like, but not what it means. They come
    with unmelt; the button makes new ones here, in a minute each on two cores.
    """)
    return autoregressive, masked, settings


@app.cell(hide_code=True)
def _():
    prompt = mo.ui.text(value="def ", label="it begins with", max_length=60)
    passes = mo.ui.slider(1, 64, 1, value=16, label="passes of the network, K", show_value=True, full_width=True)
    order = mo.ui.dropdown(
        ["random order", "most confident first", "left to right"], value="most confident first", label="order"
    )
    seed = mo.ui.number(0, 99, value=0, label="seed")
    mo.vstack(
        [
            mo.md("""
            ## Many at once

            Sixty-four tokens in K passes: with K = 64 one at a time, with K = 4 sixteen at a time. Tokens written in the
            same pass cannot see each other, so few passes are fast and the text is muddled. **Drag the pass** and watch the
            text appear: new tokens have a blue background, given ones are underlined.
            """),
            mo.hstack([prompt, order, seed], justify="start", wrap=True),
            passes,
        ]
    )
    return order, passes, prompt, seed


@app.cell(hide_code=True)
def _(autoregressive, masked, order, passes, prompt, seed):
    SAMPLERS = {
        "random order": um.sampler.tokens.Unmask(um.sampler.tokens.Random()),
        "most confident first": um.sampler.tokens.Unmask(um.sampler.tokens.Confidence()),
        "left to right": um.sampler.tokens.Unmask(um.sampler.tokens.LeftToRight()),
    }
    sampling = {"temperature": 0.7, "top_p": 0.95}
    frames = [
        frame.x[0].tolist()
        for frame in masked.trajectory(
            1, prompt=prompt.value, steps=passes.value, sampler=SAMPLERS[order.value], seed=seed.value, **sampling
        )
    ]
    beside = [
        frame.x[0].tolist() for frame in autoregressive.trajectory(1, prompt=prompt.value, seed=seed.value, **sampling)
    ]
    prompt_length = len(masked.tokenizer.encode(prompt.value))
    # Of the autoregressive model, only frames with a new token count as passes.
    beside = [beside[0], *[row for before, row in itertools.pairwise(beside) if row != before]]
    return beside, frames, prompt_length


@app.cell(hide_code=True)
def _(frames):
    at = mo.ui.slider(
        0, len(frames) - 1, 1, value=(len(frames) - 1) // 2, label="pass", show_value=True, full_width=True
    )
    at
    return (at,)


@app.cell(hide_code=True)
def _(at, autoregressive, beside, frames, masked, prompt_length):
    def seen(model, rows, now, alt):
        """The row after this many passes, as HTML."""
        now = min(now, len(rows) - 1)
        mask = model.denoiser.process.vocabulary
        row, before = rows[now], rows[max(0, now - 1)]
        return text_html(
            [model.tokenizer.decode([token]) if token < mask else "" for token in row],
            masked=[token == mask for token in row],
            new=[token != old for token, old in zip(row, before, strict=True)],
            given=[place < prompt_length for place in range(len(row))],
            alt=alt,
        )

    def written(model, rows, now):
        return sum(token != model.denoiser.process.vocabulary for token in rows[min(now, len(rows) - 1)])

    _columns = [
        f'<section style="flex:1 1 20rem;min-width:0"><h3 style="font-size:1rem">{name}: <span data-what="{key}">'
        f"{written(model, rows, at.value)}</span> of {len(rows[0])} tokens after {at.value} passes</h3>"
        f"{seen(model, rows, at.value, name)}</section>"
        for name, key, model, rows in (
            ("Masked", "masked", masked, frames),
            ("Autoregressive", "autoregressive", autoregressive, beside),
        )
    ]
    mo.Html(vector.row(*_columns))
    return


@app.cell(hide_code=True)
def _():
    gapped = mo.ui.text_area(
        value="def area(self, width, height):\n    if width is [gap]:\n        return None\n    return self.",
        label="text with a [gap]",
        rows=5,
        full_width=True,
    )
    gap_tokens = mo.ui.slider(1, 12, 1, value=2, label="tokens in the gap", show_value=True, full_width=True)
    mo.vstack(
        [
            mo.md("""
            ## A gap in the middle

            The text *after* a gap says as much about it as the text before. The masked model sees both; the autoregressive
            model sees only what it has read so far. Edit the text, move the gap.
            """),
            gapped,
            gap_tokens,
        ]
    )
    return gap_tokens, gapped


@app.cell(hide_code=True)
def _(autoregressive, gap_tokens, gapped, masked):
    def filled():
        """(text before, [fillings by the masked model], [continuations by the autoregressive one], text after)."""
        before, _, after = gapped.value.partition("[gap]")
        inside = [
            text[len(before) : len(text) - len(after)]
            for text in masked.infill(
                [gapped.value] * 4,
                marker="[gap]",
                tokens=gap_tokens.value,
                sampler=masked.greedy_sampler,
                temperature=0.7,
            )
        ]
        length = len(autoregressive.tokenizer.encode(before)) + gap_tokens.value
        going_on = autoregressive.sample(4, prompt=before, length=length, temperature=0.7)
        return before, inside, [text[len(before) :] for text in going_on], after

    try:
        _before, _masked, _going_on, _after = filled()
        _shown = mo.Html(
            vector.row(
                *[
                    f'<section style="flex:1 1 20rem;min-width:0"><h3 style="font-size:1rem">{name}</h3>'
                    + "<hr style='opacity:.2'>".join(
                        text_html([_before, made, _after], [False] * 3, new=[False, True, False], alt=name)
                        for made in some
                    )
                    + "</section>"
                    for name, some in (
                        ("Masked: sees both sides", _masked),
                        ("Autoregressive: sees what is before", _going_on),
                    )
                ]
            )
        )
    except um.UsageError as mistake:
        _shown = mo.callout(mo.md(f"{mistake.given}. Needed: {mistake.needed}."), kind="warn")
    _shown
    return


@app.cell(hide_code=True)
def _():
    measure = mo.ui.run_button(label="Measure both models")
    mo.vstack(
        [
            mo.md("""
            ## The comparison

            What does each decoding mode cost, and how good is its text? Everything here is measured on your machine, as
            `unmelt compare` does it, on held-out modules. (Half a minute the first time; then it is kept.)
            """),
            measure,
        ]
    )
    return (measure,)


@app.cell(hide_code=True)
def _(autoregressive, masked, measure, settings):
    _place = lab.place("compare", settings).with_suffix(".json")
    mo.stop(
        not measure.value and not _place.exists() and mo.app_meta().mode != "script",
        mo.md("*Not measured yet: press the button.*"),
    )

    def held_out_of(model, name):
        """The model with a part of its held-out text; one that came with unmelt has none yet."""
        model = um.recipe.with_data(PLACE / "lab" / name) if model.held_out is None else model
        model.held_out = model.held_out.only(torch.arange(128))
        return model

    def measured():
        return um.compare.compare(
            {"autoregressive": held_out_of(autoregressive, "code_ar"), "masked": held_out_of(masked, "code")},
            tokens=48,
            steps=(4, 8, 16, 32),
            rows=8,
            questions=60,
            gap=2,
            batches=(1,),
            quiet=True,
        ).plain()

    with mistakes(), bar(1, "Measuring") as _move:
        if not _place.exists():
            _move(0, "both models, a dozen decoding modes")
        page = lab.kept("compare", settings, measured)
    return (page,)


@app.cell(hide_code=True)
def _(page):
    _colours = {"autoregressive": vector.ORANGE, "masked": vector.BLUE}

    def series(value):
        """(passes, value) of every decoding mode by model; of the masked model, those with K passes separately."""
        found = {"masked, K passes": [], "masked, one token per pass or by confidence": [], "autoregressive": []}
        for name, speeds in page["speed"].items():
            for mode, runs in speeds.items():
                each = value(name, mode)
                if name == "masked":
                    name_here = "masked, K passes" if mode.endswith(" steps") else list(found)[1]
                else:
                    name_here = name
                if each is not None:
                    found[name_here].append((runs[0]["passes"], each))
        return {name: sorted(pairs) for name, pairs in found.items()}

    def judged(name, mode):
        return page["quality"].get(name, {}).get(mode, {}).get("judge")

    def chart(found, y_name, alt):
        every = [value for pairs in found.values() for _, value in pairs]
        steps, other, left_to_right = found.items()
        return vector.draw(
            vector.Axes(
                x=(3, 60),
                y=(0, 1.1 * max(every)),
                x_log=True,
                x_name="passes of the network",
                y_name=y_name,
                height=340,
            ),
            [
                vector.Line(*zip(*steps[1], strict=True), vector.BLUE, dots=True, name=steps[0]),
                vector.Dots(torch.tensor(other[1]), vector.GREEN, 9.0, 0.8, name=other[0]),
                vector.Dots(torch.tensor(left_to_right[1]), vector.ORANGE, 9.0, 1.0, name=left_to_right[0]),
            ],
            alt=alt,
        )

    _quality = series(judged)
    _speed = series(lambda name, mode: page["speed"][name][mode][0]["tokens_per_second"])
    _gaps = [(name, each) for name, found in page["gaps"].items() for each in found]
    _gap_chart = vector.draw(
        vector.Axes(
            x=(0, max(0.1, 1.15 * max(each["exact"][2] for _, each in _gaps))),
            y=(-0.6, len(_gaps) - 0.4),
            height=130,
            x_name="share of gaps of two tokens filled exactly, 95 % interval",
            y_words=tuple(name for name, _ in _gaps),
        ),
        [
            layer
            for row, (name, each) in enumerate(_gaps)
            for layer in (
                vector.Line(each["exact"][1:], [row, row], _colours[name], 3.0),
                vector.Dots(torch.tensor([[each["exact"][0], float(row)]]), _colours[name], 11.0, 1.0),
            )
        ],
        alt="Share of gaps filled exactly: "
        + ", ".join(f"{name} {each['exact'][0]:.2f}, which sees {each['sees']}" for name, each in _gaps),
    )
    _bits = {name: (found["bits_per_byte"], found["parameters"]) for name, found in page["bits"].items()}
    mo.vstack(
        [
            mo.Html(
                vector.row(
                    chart(_quality, "nats per token, by the judge", "Nats per token by the judge against passes"),
                    chart(_speed, "tokens per second, batch of 1", "Tokens per second against passes"),
                )
            ),
            mo.Html(_gap_chart),
            mo.Html(
                lab.beside(
                    {
                        "bits per byte of held-out code (for the masked model, an upper bound)": (
                            _bits["autoregressive"][0],
                            _bits["masked"][0],
                        )
                    },
                    ("autoregressive", "masked"),
                )
            ),
            mo.md("""
            Each dot is one decoding mode of one model. The judge is the autoregressive model, which favours its own text. Low
            numbers mean likely text, and repetition lowers them cheaply. Autoregression with a cache does less work in each
            pass, so compare tokens per second, not passes. No mode wins everywhere, which is why all of them are shown.
            """),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
