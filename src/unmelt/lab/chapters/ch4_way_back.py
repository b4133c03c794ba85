# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""The way back.

Generating is walking from noise to data, and every step costs evaluations of the network. Here are four solvers that
start from the same noise, and the exact end points they should reach. How few evaluations can you get away with?
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="The way back")

with app.setup:
    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.lab.progress import bar, mistakes
    from unmelt.picture import vector


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("way-back"))
    return


@app.cell(hide_code=True)
def _():
    process = um.process.Gaussian(um.schedule.Cosine())
    ring = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=0.15, process=process)
    frame = vector.Axes(x=(-3.2, 3.2), y=(-3.2, 3.2), width=300, height=290)
    ROWS = 200

    def walked(sampler, grid, rows=ROWS):
        """All states of the walks, [rows, times, 2], from the same noise for every sampler."""
        states = um.trajectory(ring, rows=rows, sampler=sampler, grid=grid, seed=0, dtype=torch.float64)
        return torch.stack([state.x for state in states], 1)

    def error(ends):
        return (ends - exact_ends).square().sum(1).mean().sqrt().item()

    # Exact to float64 precision: sixth order, 400 steps.
    exact_ends = walked(um.sampler.Adams(6), um.grid.balanced(400))[:, -1]
    return ROWS, error, exact_ends, frame, process, ring, walked


@app.cell(hide_code=True)
def _():
    evaluations = mo.ui.slider(2, 40, 1, value=6, label="evaluations of the denoiser", show_value=True, full_width=True)
    grid_choice = mo.ui.dropdown(
        {
            "equal steps in t": um.grid.uniform,
            "dense at both ends": um.grid.cosine,
            "dense at low noise (Karras)": um.grid.karras,
            "equal ratios of noise": um.grid.log_snr,
            "balanced": um.grid.balanced,
        },
        value="equal steps in t",
        label="grid",
    )
    mo.vstack(
        [
            mo.md("""
            Grey dots are where the exact solution ends, coloured dots where each solver ends, and thin lines join the two: 200
            walks, the same noise for all. **Euler** follows the tangent at every step. **Heun** evaluates the network twice
            per step, so it takes half as many steps. **DPM-Solver++(2M)** also uses its previous evaluation. These three
            share the grid that you choose. The **default** sampler is what this library uses unless told otherwise, on a
            grid of its own: Adams' method, which uses up to five previous evaluations, or, for 10, 12 and 20 evaluations,
            a sampler that was learned on random mixtures, whose score is exact.
            """),
            evaluations,
            grid_choice,
        ]
    )
    return evaluations, grid_choice


@app.cell(hide_code=True)
def _(grid_choice):
    def solver(name, n):
        """The sampler and the grid for n evaluations, or one less."""
        if name == "default":
            return um.sampler.default_sampler(n)
        if name == "Heun":
            return um.sampler.Heun(), grid_choice.value(max(1, (n + 1) // 2))
        return (um.sampler.Euler() if name == "Euler" else um.sampler.DPMpp(order=2)), grid_choice.value(n)

    COLOURS = {
        "Euler": vector.BLUE,
        "Heun": vector.ORANGE,
        "DPM-Solver++(2M)": vector.GREEN,
        "default": vector.RED,
    }
    return COLOURS, solver


@app.cell(hide_code=True)
def _(COLOURS, error, evaluations, exact_ends, frame, solver, walked):
    panels, errors_now = [], {}
    for _name, _colour in COLOURS.items():
        _ends = walked(*solver(_name, evaluations.value))[:, -1]
        errors_now[_name] = error(_ends)
        panels.append(
            vector.draw(
                vector.Axes(x=frame.x, y=frame.y, width=250, height=262, title=f"{_name}: {errors_now[_name]:.4f}"),
                [
                    vector.Paths(torch.stack([_ends, exact_ends], 1), vector.INK, 1.0, 0.35),
                    vector.Dots(exact_ends, vector.INK, 4.5, 0.35),
                    vector.Dots(_ends, _colour, 3.5, 0.95),
                ],
                alt=f"{_name} with {evaluations.value} evaluations: its ends beside the exact ones, error {errors_now[_name]:.4f}",
            )
        )
    mo.Html(vector.row(*panels))
    return


@app.cell(hide_code=True)
def _(COLOURS, error, solver, walked):
    TRIED = (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40)
    errors = {name: [error(walked(*solver(name, n))[:, -1]) for n in TRIED] for name in COLOURS}
    return TRIED, errors


@app.cell(hide_code=True)
def _(COLOURS, TRIED, errors, evaluations, tuned):
    _lines = [vector.Line(TRIED, errors[name], colour, dots=True, name=name) for name, colour in COLOURS.items()]
    if tuned:
        _lines.append(
            vector.Line(
                list(tuned),
                [each["tuned"] for each in tuned.values()],
                vector.PINK,
                dots=True,
                name="tuned",
                dashed=True,
            )
        )
    mo.vstack(
        [
            mo.md("""
            ## Error against evaluations

            Root mean square distance from the exact end points. Both axes are logarithmic, so a solver's **order** is the
            slope of its line: Euler halves its error when you double the work, a second-order solver quarters it. The order
            shows only once steps are short compared with the bends of the path.
            """),
            mo.Html(
                vector.draw(
                    vector.Axes(
                        x=(1.8, 45),
                        y=(3e-5, 4),
                        width=460,
                        height=360,
                        x_log=True,
                        y_log=True,
                        x_name="evaluations",
                        y_name="error",
                    ),
                    [*_lines, vector.VerticalLine(evaluations.value)],
                    alt=f"Error of each solver against evaluations; the slider stands at {evaluations.value}",
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    tune = mo.ui.run_button(label="Tune for 3, 4, 5, 6 and 8 evaluations")
    mo.vstack(
        [
            mo.md("""
            ## A sampler that learned this model

            A grid need not have a formula. `tune` fits the times and the weights of past evaluations to accurate walks of
            this very model, on other noise than the noise shown here. The first time takes some seconds; the result is kept.
            """),
            tune,
        ]
    )
    return (tune,)


@app.cell(hide_code=True)
def _(process, ring, tune):
    def tune_for(n):
        noise = process.prior((256, 2), um.rng.RowSeeds.of(5, 256), torch.float64)
        found = um.sampler.tune(ring, n, noise, rounds=8)
        grids = {"default": um.sampler.default_sampler(n)[1], "tuned": found.sampler.grid}
        return {
            "times": {name: grid(process.schedule).tolist() for name, grid in grids.items()},
            "default": found.default_error,
            "tuned": found.tuned_error,
        }

    tuned = {}
    _kept = {n: ["cosine ring", n, 8, repr(um.sampler.default_sampler(n)[0])] for n in (3, 4, 5, 6, 8)}
    _there = all(lab.place("tuned", each).with_suffix(".json").exists() for each in _kept.values())
    if tune.value or _there or mo.app_meta().mode == "script":
        with mistakes(), bar(len(_kept), "Tuning") as _move:
            for _number, (_n, _settings) in enumerate(_kept.items()):
                if not lab.place("tuned", _settings).with_suffix(".json").exists():
                    _move(_number, f"{_n} evaluations")
                tuned[_n] = lab.kept("tuned", _settings, lambda n=_n: tune_for(n))
    return (tuned,)


@app.cell(hide_code=True)
def _(tuned):
    mo.stop(not tuned, mo.md("*Not tuned yet: press the button.*"))
    _times = vector.draw(
        vector.Axes(x=(-0.04, 1.04), y=(2, 9), width=420, height=260, x_name="times visited, t", y_name="evaluations"),
        [
            vector.Dots(
                torch.tensor([[t, n + lift] for n, each in tuned.items() for t in each["times"][name]]),
                colour,
                8.0,
                1.0,
                name=f"{name} grid",
            )
            for name, colour, lift in (("default", vector.RED, 0.15), ("tuned", vector.PINK, -0.15))
        ],
        alt="The times that the default and the tuned samplers visit, two rows for each number of evaluations",
    )
    _table = lab.beside(
        {f"error with {n} evaluations": (each["default"], each["tuned"]) for n, each in tuned.items()},
        ("default", "tuned"),
        4,
    )
    mo.Html(vector.row(_times, _table))
    return


@app.cell(hide_code=True)
def _():
    eta = mo.ui.slider(0, 1, 0.05, value=1.0, label="share of fresh noise η", show_value=True, full_width=True)
    moments = mo.ui.slider(3, 60, 1, value=25, label="steps", show_value=True, full_width=True)
    mo.vstack(
        [
            mo.md("""
            ## With or without fresh noise

            Between two noise levels a sampler can keep its noise (η = 0: the same start always ends at the same place) or
            draw some of it anew (η = 1: the true reverse of melting). Both have the same distribution at every level. Here
            is one start, walked 24 times in each way. With few steps, see which of the two misses the ring by more.
            """),
            eta,
            moments,
        ]
    )
    return eta, moments


@app.cell(hide_code=True)
def _(eta, frame, moments, process, ring):
    def fan(share):
        """(24 walks from one start, [rows, times, 2]; how many clusters they reach; 1,000 samples from the prior)."""
        rows, sampler, grid = 24, um.sampler.DDIM(eta=share), um.grid.uniform(moments.value)
        start, *stops = um.sampler.knots(grid, process.schedule, rows)
        x = torch.tensor([[0.35, 0.9]], dtype=torch.float64).expand(rows, 2)
        states = um.sampler.walk(ring, sampler, sampler.init(ring, x, start, um.rng.RowSeeds.of(3, rows)), stops)
        paths = torch.stack([x, *(state.x for state in states)], 1)
        nearest = (paths[:, -1][:, None] - ring.means).norm(dim=2).argmin(1)
        made = um.sample(ring, rows=1000, sampler=sampler, grid=grid, seed=4)
        return paths, len(nearest.unique()), made

    fans = {"no fresh noise, η = 0": fan(0.0), f"with fresh noise, η = {eta.value:g}": fan(eta.value)}
    reached = [count for _, count, _ in fans.values()]
    _pictures = [
        vector.draw(
            vector.Axes(x=frame.x, y=frame.y, width=frame.width, height=frame.height + 22, title=title),
            [
                vector.Paths(paths, colour, 1.0, 0.55),
                vector.Dots(ring.means, vector.GREEN, 9.0),
                vector.Dots(paths[:, -1], vector.RED, 5.0),
                vector.Ring(0.35, 0.9),
            ],
            alt=f"24 walks from one start, {title}; they reach {count} of the six clusters",
        )
        for (title, (paths, count, _)), colour in zip(fans.items(), (vector.BLUE, vector.ORANGE), strict=True)
    ]
    _truth = ring.sample(1000, um.rng.Stream(1))
    _apart = [um.metric.energy_distance(made, _truth) for _, _, made in fans.values()]
    _said = (
        f'<p style="max-width:24rem">The 24 walks reach <b data-what="reached without">{reached[0]}</b> of the six clusters '
        f'without fresh noise, and <b data-what="reached">{reached[1]}</b> with η = {eta.value:g}.</p>'
    )
    _table = lab.beside(
        {"energy distance of 1,000 samples to the ring": (_apart[0], _apart[1])}, ("η = 0", f"η = {eta.value:g}"), 4
    )
    mo.Html(vector.row(*_pictures, f"<div>{_said}{_table}</div>"))
    return (reached,)


if __name__ == "__main__":
    app.run()
