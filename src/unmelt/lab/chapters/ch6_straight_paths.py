# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Straight paths.

A path that is a straight line needs only one step. Flow matching is said to have straight paths and diffusion curved
ones, and yet they are the same until you choose which noise is paired with which data.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Straight paths")

with app.setup:
    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.lab.progress import trained
    from unmelt.picture import vector


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("straight-paths"))
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## One flow, three speeds

    Three schedules, three pictures: the same 80 starts, walked home by the exact score. The schedule of flow matching
    ($\alpha = 1 - t$, $\sigma = t$), the cosine schedule of diffusion, and variance exploding look different. Now divide
    by $\alpha + \sigma$: **all three are the same curves.** A schedule is a speed and a scale, nothing more. So the
    schedule is not what bends the paths.
    """)
    return


@app.cell(hide_code=True)
def _():
    straightened = mo.ui.switch(label="divide by α + σ", value=False)
    straightened
    return (straightened,)


@app.cell(hide_code=True)
def _():
    SCHEDULES = {
        "flow matching": um.schedule.Straight(),
        "cosine": um.schedule.Cosine(),
        "variance exploding": um.schedule.VarianceExploding(0.02, 2000.0),
    }
    ROWS = 80

    def walks(schedule):
        process = um.process.Gaussian(schedule)
        ring = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=0.15, process=process)
        states = list(
            um.trajectory(
                ring, rows=ROWS, sampler=um.sampler.Adams(6), grid=um.grid.cosine(150), seed=2, dtype=torch.float64
            )
        )
        plain = torch.stack([state.x for state in states], 1)
        straight = torch.stack([process.straight_coordinates(state.x, state.t)[0] for state in states], 1)
        return plain, straight, um.metric.straightness(states, process)

    walked = {name: walks(schedule) for name, schedule in SCHEDULES.items()}
    return (walked,)


@app.cell(hide_code=True)
def _(straightened, walked):
    panels = []
    for _name, (_plain, _straight, _) in walked.items():
        _paths = _straight if straightened.value else _plain
        _half = 3.2 if straightened.value or _name != "variance exploding" else 5000.0
        panels.append(
            vector.draw(
                vector.Axes(x=(-_half, _half), y=(-_half, _half), width=340, height=350, title=_name),
                [
                    vector.Paths(_paths, vector.BLUE, 1.0, 0.6),
                    vector.Dots(_paths[:, 0], vector.INK, 4.0),
                    vector.Dots(_paths[:, -1], vector.RED, 5.0, 0.9),
                ],
                alt=f"80 paths from noise to the ring on the schedule {_name}"
                + (", divided by alpha plus sigma" if straightened.value else ""),
            )
        )
    _flow = walked["flow matching"]
    same = {f"straightness S of {name} (0 is straight)": (_flow[2].s, found[2].s) for name, found in walked.items()} | {
        f"ends of {name}, mean distance from the middle": (
            _flow[0][:, -1].norm(dim=1).mean().item(),
            found[0][:, -1].norm(dim=1).mean().item(),
        )
        for name, found in walked.items()
    }
    mo.vstack([mo.Html(vector.row(*panels)), mo.Html(lab.beside(same, ("flow matching", "this one")))])
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Who goes with whom

    Paths bend because pairs are drawn at random: lines from noise to data cross, and where they cross the network can
    only predict their mean. Pair noise with *near* data instead, by **optimal transport** within each batch, and the lines
    hardly cross. Two small networks learn the ring here, one with each coupling; nothing else differs. (About ten seconds
    each, once.)
    """)
    return


@app.cell(hide_code=True)
def _():
    _x0, _ = um.data.Ring().sample(128, um.rng.Stream(3))
    _noise = um.rng.Stream(4).normal(_x0.shape)
    _paired = um.objective.OptimalTransport().pair(_x0, _noise)

    def length(noise):
        return (_x0 - noise).square().sum(1).mean().item()

    _pictures = [
        vector.draw(
            vector.Axes(x=(-3.2, 3.2), y=(-3.2, 3.2), width=330, height=340, title=title),
            [
                vector.Paths(torch.stack([noise, _x0], 1), colour, 1.0, 0.55),
                vector.Dots(noise, vector.INK, 4.0),
                vector.Dots(_x0, vector.RED, 4.5, 0.9),
            ],
            alt=f"128 pairs of noise and data, {title}; mean squared length {length(noise):.2f}",
        )
        for title, noise, colour in (
            ("paired at random", _noise, vector.BLUE),
            ("paired by optimal transport", _paired, vector.GREEN),
        )
    ]
    # E |x0 - noise|^2 of independent pairs: radius^2 + 2 sd^2 + 2.
    _table = lab.beside(
        {"mean squared length, paired at random": (4 + 2 * 0.15**2 + 2, length(_noise))}, ("closed form", "measured")
    ) + lab.beside(
        {"mean squared length, 128 pairs": (length(_noise), length(_paired))}, ("at random", "optimal transport")
    )
    mo.Html(vector.row(*_pictures, f"<div>{_table}</div>"))
    return


@app.cell(hide_code=True)
def _():
    learn = mo.ui.run_button(label="Learn both ways here")
    learn
    return (learn,)


@app.cell(hide_code=True)
def _(learn):
    def flow(coupling, steps):
        """A network to be trained on velocities between data and noise, paired by this coupling."""
        process = um.process.Gaussian(um.schedule.Straight())
        with um.rng.seeded(0):
            backbone = um.backbone.MLP(shape=(2,), width=64, depth=3)
        return um.Model(
            denoiser=um.denoiser.NetworkDenoiser(backbone, process, um.prediction.FlowVelocity(), (2,), data_sd=1.5),
            codec=um.codec.Affine(),
            sampler=um.sampler.Euler(),
            grid=um.grid.uniform(20),
            objective=um.objective.Regression(
                weight=um.objective.FlatWeight(um.prediction.FlowVelocity()), coupling=coupling
            ),
            training=um.train.Training(steps=steps, batch=256, lr=4e-3, ema=0.99, picture_every=0),
            source=um.data.Arrays(um.data.Ring().sample(20_000, um.rng.Stream(5))[0]),
        )

    _steps = int(mo.cli_args().get("steps") or 2000)
    flows = {
        name: trained(
            short,
            lambda coupling=coupling: flow(coupling, _steps),
            f"Learning with pairs {words}",
            learn,
            shipped=f"lab/{short}",
        )
        for name, short, words, coupling in (
            ("at random", "flow_random", "drawn at random", um.objective.Independent()),
            ("optimal transport", "flow_transport", "by optimal transport", um.objective.OptimalTransport()),
        )
    }
    return (flows,)


@app.cell(hide_code=True)
def _():
    steps = mo.ui.slider(1, 20, 1, value=1, label="Euler steps", show_value=True, full_width=True)
    steps
    return (steps,)


@app.cell(hide_code=True)
def _(flows, steps):
    truth = um.data.Ring().sample(1000, um.rng.Stream(6))[0]
    floor = um.metric.energy_distance(um.data.Ring().sample(1000, um.rng.Stream(7))[0], truth)
    _panels, quality, bent = [], {}, {}
    steps_word = "step" if steps.value == 1 else "steps"
    for (_name, _model), _colour in zip(flows.items(), (vector.BLUE, vector.GREEN), strict=True):
        _made = _model.sample(1000, grid=um.grid.uniform(steps.value), seed=0)
        _states = list(
            um.trajectory(_model.denoiser, rows=300, sampler=um.sampler.Heun(), grid=um.grid.uniform(60), seed=1)
        )
        _paths = torch.stack([state.x for state in _states], 1)
        quality[f"energy distance, {_name}"] = (floor, um.metric.energy_distance(_made, truth))
        bent[f"straightness S, {_name} (0 is straight)"] = um.metric.straightness(_states, _model.denoiser.process).s
        _panels += [
            vector.draw(
                vector.Axes(x=(-3.2, 3.2), y=(-3.2, 3.2), width=250, height=262, title=f"{_name}: paths"),
                [vector.Paths(_paths[:80], _colour, 1.0, 0.7), vector.Dots(_paths[:80, -1], vector.RED, 5.0)],
                alt=f"Learned paths from noise to the ring, pairs {_name}",
            ),
            vector.draw(
                vector.Axes(
                    x=(-3.2, 3.2), y=(-3.2, 3.2), width=250, height=262, title=f"{_name}: {steps.value} {steps_word}"
                ),
                [vector.Dots(_made, _colour)],
                alt=f"1,000 samples in {steps.value} Euler steps, pairs {_name}",
            ),
        ]
    _s = list(bent.values())
    mo.vstack(
        [
            mo.Html(vector.row(*_panels)),
            mo.Html(lab.beside(quality, ("of the ring itself", "made"))),
            mo.Html(lab.beside({"straightness S (0 is straight)": (_s[0], _s[1])}, ("at random", "optimal transport"))),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    In one step, the network trained on random pairs can only go to the mean of all data that a noise might be paired with:
    the centre of the ring, or near it. With optimal transport there is little to average over, and one step lands almost
    where it should. With 20 steps both arrive: a coupling saves steps, it does not improve quality.
    """)
    return


if __name__ == "__main__":
    app.run()
