# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Words into pictures.

A sentence steers every step from noise to a picture. Write what you want to see, watch when objects, colours and places are
decided, and let a program read from the pixels whether you got it.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Words into pictures")

with app.setup:
    from html import escape

    import marimo as mo

    import unmelt as um
    from unmelt import lab
    from unmelt.lab.progress import mistakes
    from unmelt.picture import inline, tiles, vector

    STEPS, ROWS = 16, 12


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("pictures"))
    return


@app.cell(hide_code=True)
def _():
    model = um.load("emoji")
    mo.md(rf"""
    The denoiser believes $D(x_t, c)$: the clean picture, given the noisy one and a caption. Its
    {sum(p.numel() for p in model.denoiser.parameters()):,} weights come with unmelt. They learned from pictures of up to
    three things of twelve kinds ({", ".join(um.scene.OBJECTS)}) in six colours ({", ".join(um.scene.COLOURS)}), which may
    stand on the left, on the right, at the top or at the bottom.
    """)
    return (model,)


@app.cell(hide_code=True)
def _():
    prompt = mo.ui.text(value="a red star above a blue cat", label="a picture of", max_length=80, full_width=True)
    planned = mo.ui.checkbox(label="plan first: what there is, and where each thing stands", value=True)
    scale = mo.ui.slider(1, 6, 0.5, value=2, label="guidance scale w", show_value=True, full_width=True)
    seed = mo.ui.number(0, 99, value=0, label="seed")
    mo.vstack([prompt, planned, scale, seed])
    return planned, prompt, scale, seed


@app.cell(hide_code=True)
def _(model, planned, prompt, scale, seed):
    with mistakes():
        scene = um.planner.VocabularyPlanner().plan(prompt.value)
    plan = str(scene) if planned.value else None
    frames = list(
        model.trajectory(ROWS, prompt=prompt.value, plan=plan, guidance=scale.value, steps=STEPS, seed=int(seed.value))
    )
    moment = mo.ui.slider(0, len(frames) - 1, 1, value=len(frames) - 1, label="step", show_value=True, full_width=True)
    moment
    return frames, moment, plan, scene


@app.cell(hide_code=True)
def _(frames, model, moment, plan, prompt, scene, seed):
    _frame = frames[moment.value]
    found = um.scene.read(frames[-1].x)
    right = [um.scene.check(scene, things) for things in found]
    shares = {part: sum(each[part] for each in right) / ROWS for part in right[0]}
    _table = lab.beside({part: (1.0, share) for part, share in shares.items()}, ("asked for", "read in the pictures"))
    _caption = prompt.value
    if plan is not None:
        _first = um.rng.seed_of_rows(int(seed.value), ROWS)[0]
        _caption = f"{prompt.value} | {model.planner.lay_out(scene, _first)}"
    mo.Html(
        vector.row(
            inline(
                tiles(_frame.x.clamp(0, 1), columns=4),
                f"{ROWS} pictures of {prompt.value} at step {moment.value}",
                420,
            ),
            f"<div><p>The caption of the first is <code>{escape(_caption)}</code>, the noise level t = {_frame.t:.2f}. "
            f"The program matches every thing in every colour at every place.</p>{_table}</div>",
        )
    )
    return (shares,)


@app.cell(hide_code=True)
def _():
    thing = mo.ui.dropdown(list(um.scene.OBJECTS), value="car", label="object")
    mo.vstack(
        [
            mo.md("""
            ## One noise, six words

            Without a plan the network has to find out from the sentence which colour goes with which thing and where each
            stands, and a network as small as this one often does not: take the plan away, and count. The plan says it in
            cells, columns a to f and rows 1 to 6, which are drawn at random for each picture.

            Drag the step above: where things stand is decided while there is much noise, then what they are, and their
            colour with it. Here the noise is the same six times, and only the word for the colour changes. Some pairs of
            object and colour were kept out of training: their picture is put together from what was seen elsewhere.
            """),
            thing,
        ]
    )
    return (thing,)


@app.cell(hide_code=True)
def _(model, thing):
    _captions = [f"1 {colour} {thing.value}" for colour in um.scene.COLOURS]
    six = model.sample(len(_captions), plan=_captions, guidance=2.0, steps=STEPS, seed=[0] * len(_captions))
    read_back = [
        any((one.object, one.colour) == (thing.value, colour) for one in things)
        for colour, things in zip(um.scene.COLOURS, um.scene.read(six), strict=True)
    ]
    _cell = "style='padding:.15rem .9rem .15rem 0;text-align:left'"
    _rows = "".join(
        f"<tr><th scope='row' {_cell}>{colour} {thing.value}</th>"
        f"<td {_cell}>{'never seen' if (thing.value, colour) in um.scene.HELD_OUT_COLOURED else 'seen'}</td>"
        f"<td {_cell}>{'yes' if ok else 'no'}</td></tr>"
        for colour, ok in zip(um.scene.COLOURS, read_back, strict=True)
    )
    mo.Html(
        vector.row(
            inline(tiles(six, columns=6), f"{thing.value}s in six colours from the same noise", 420),
            f"<table><tr><th scope='col' {_cell}>asked for</th><th scope='col' {_cell}>in training</th>"
            f"<th scope='col' {_cell}>read in the picture</th></tr>{_rows}</table>",
        )
    )
    return (read_back,)


if __name__ == "__main__":
    app.run()
