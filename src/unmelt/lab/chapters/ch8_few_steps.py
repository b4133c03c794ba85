# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Few steps.

A sampler follows a curve by small steps. A student is a network that knows where the curve ends, and jumps there. For
words the difficulty is another one: tokens that are drawn in one pass do not know of each other.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Few steps")

with app.setup:
    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.lab.progress import distilled, trained
    from unmelt.picture import vector


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("few-steps"))
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Where one step goes

    The belief at pure noise is the mean of all data, so a single Euler step takes every start to the centre of the ring,
    where there are no data. The curve itself ends in a cluster. On the left, Euler steps along the exact belief, as many as
    you like; on the right, where the curves of the same starts end: one jump of the **flow map**. A colour is a start.
    """)
    return


@app.cell(hide_code=True)
def _():
    euler_steps = mo.ui.slider(1, 50, 1, value=1, label="Euler steps", show_value=True, full_width=True)
    euler_steps
    return (euler_steps,)


@app.cell(hide_code=True)
def _():
    process = um.process.Gaussian(um.schedule.Straight())
    exact = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=0.15, process=process)
    ROWS = 600
    how = {"rows": ROWS, "seed": 2, "dtype": torch.float64}
    starts = next(um.trajectory(exact, sampler=um.sampler.Euler(), grid=um.grid.uniform(1), **how)).x
    ends = um.sample(exact, sampler=um.sampler.Adams(6), grid=um.grid.cosine(150), **how)
    truth = um.data.Ring().sample(ROWS, um.rng.Stream(6))[0]
    floor = um.metric.energy_distance(um.data.Ring().sample(ROWS, um.rng.Stream(7))[0], truth)
    sixth = ((torch.atan2(starts[:, 1], starts[:, 0]) / (2 * torch.pi) * 6).floor() % 6).long()
    COLOURS = (vector.BLUE, vector.ORANGE, vector.GREEN, vector.RED, vector.PINK, vector.INK)
    return COLOURS, ROWS, ends, exact, floor, how, process, sixth, starts, truth


@app.cell(hide_code=True)
def _(COLOURS, ends, euler_steps, exact, floor, how, sixth, starts, truth):
    def coloured(points, title, alt):
        layers = [
            vector.Dots(points[sixth == k], colour, 4.0, 0.8) for k, colour in enumerate(COLOURS) if (sixth == k).any()
        ]
        return vector.draw(
            vector.Axes(x=(-3.2, 3.2), y=(-3.2, 3.2), width=300, height=310, title=title), layers, alt=alt
        )

    stepped = um.sample(exact, sampler=um.sampler.Euler(), grid=um.grid.uniform(euler_steps.value), **how)
    steps_word = "step" if euler_steps.value == 1 else "steps"
    one_jump = {
        f"energy distance, {euler_steps.value} Euler {steps_word}": (floor, um.metric.energy_distance(stepped, truth)),
        "energy distance, one exact jump": (floor, um.metric.energy_distance(ends, truth)),
        "mean distance from where the curve ends": (0.0, (stepped - ends).norm(dim=1).mean().item()),
    }
    mo.vstack(
        [
            mo.Html(
                vector.row(
                    coloured(starts, "pure noise", "600 starts in pure noise, coloured by their direction"),
                    coloured(
                        stepped,
                        f"{euler_steps.value} Euler {steps_word}",
                        f"The same starts after {euler_steps.value} Euler {steps_word}",
                    ),
                    coloured(ends, "one exact jump", "The same starts where their curves end: in six clusters"),
                )
            ),
            mo.Html(lab.beside(one_jump, ("the ring itself", "made"))),
        ]
    )
    return (one_jump,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## What a jump must satisfy

    Write a jump from $u_t$ to $u_s$ by its **average velocity** $V$: $\;w_s = w_t - (u_t - u_s)\,V$. Move the start a
    little along the curve. The end stays where it is, and that fixes how $V$ changes:

    $$V + (u_t - u_s)\,\frac{dV}{du_t} = v .$$

    On the left there is only the network and its derivative along the path, on the right the velocity that the teacher knows.
    No sample of the curve is needed. This is what MeanFlow trains; consistency models are the case $u_s = 0$. Here
    both sides are computed from the exact flow of the ring, the derivative by a small difference.
    """)
    return


@app.cell(hide_code=True)
def _():
    jump_from = mo.ui.slider(0.15, 0.95, 0.05, value=0.7, label="jump from u_t", show_value=True, full_width=True)
    jump_to = mo.ui.slider(0.0, 0.9, 0.05, value=0.2, label="to u_s", show_value=True, full_width=True)
    mo.vstack([jump_from, jump_to])
    return jump_from, jump_to


@app.cell(hide_code=True)
def _(exact, jump_from, jump_to, process, starts):
    def moved(x, begin, end):
        """x along the exact flow from one time to another, by a fine solver."""
        times = torch.linspace(begin, end, 81, dtype=torch.float64)
        state = um.sampler.RK4().init(
            exact, x, torch.full((len(x),), begin, dtype=torch.float64), um.rng.RowSeeds.of(0, len(x))
        )
        for time in times[1:]:
            state = um.sampler.RK4().step(exact, state, torch.full((len(x),), float(time), dtype=torch.float64))
        return state.x

    def identity(u_t, u_s, h=1e-3):
        """The two sides of the identity at one point of one curve."""
        x = moved(starts[:1], 1.0, u_t)
        arrived = moved(x, u_t, u_s)

        def average(u):
            near = moved(x, u_t, u) if u < u_t else moved(starts[:1], 1.0, u)
            return (near - arrived) / (u - u_s)

        slope = (average(u_t + h) - average(u_t - h)) / (2 * h)
        at = torch.full((1,), u_t, dtype=torch.float64)
        velocity = (x - exact(x, at).mean) / u_t
        return average(u_t) + (u_t - u_s) * slope, velocity

    _u_s = min(jump_to.value, jump_from.value - 0.1)
    _left, _right = identity(jump_from.value, _u_s)
    sides = {f"coordinate {k + 1}": (_right[0, k].item(), _left[0, k].item()) for k in range(2)}
    mo.Html(lab.beside(sides, ("v", f"V + ({jump_from.value:.2f} − {_u_s:.2f}) dV/du")))
    return (sides,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A network that jumps

    A teacher learns the ring, and a student learns to jump from the teacher, by the identity above. Both have the same
    network; the student is told where to go as well. Compare them at the same number of network calls. Both come with
    unmelt; the button makes new ones here, in about a minute.
    """)
    return


@app.cell(hide_code=True)
def _():
    learn = mo.ui.run_button(label="Learn to jump here")
    learn
    return (learn,)


@app.cell(hide_code=True)
def _(learn):
    def on_the_ring(steps):
        """An untrained model of the ring, without classes."""
        process = um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
        with um.rng.seeded(0):
            backbone = um.backbone.MLP(shape=(2,), width=96, depth=3)
        return um.Model(
            denoiser=um.denoiser.NetworkDenoiser(
                backbone, process, um.prediction.Preconditioned(1.0), (2,), data_sd=1.0
            ),
            codec=um.codec.Affine(scale=1.5),
            grid=um.grid.balanced(20),
            objective=um.objective.Regression(
                times=um.objective.Stratified(um.objective.LogNormalSigma(mean=-1.0, sd=1.4)),
                weight=um.objective.EDMWeight(1.0),
            ),
            training=um.train.Training(steps=steps, batch=256, lr=4e-3, ema=0.995, picture_every=0),
            source=um.data.Arrays(um.data.Ring().sample(20_000, um.rng.Stream(5))[0]),
        )

    _steps = int(mo.cli_args().get("steps") or 2000)
    teacher = trained(
        "jump_teacher", lambda: on_the_ring(_steps), "The teacher learns the ring", learn, shipped="lab/jump_teacher"
    )
    student = distilled(
        "jump_student",
        teacher,
        um.distill.MeanFlow(),
        "The student learns to jump",
        learn,
        shipped="lab/jump_student",
        steps=1,
        training_steps=_steps,
    )
    return student, teacher


@app.cell(hide_code=True)
def _():
    calls = mo.ui.slider(1, 16, 1, value=1, label="network calls", show_value=True, full_width=True)
    calls
    return (calls,)


@app.cell(hide_code=True)
def _(ROWS, calls, floor, student, teacher, truth):
    def shown(points, title, colour, alt):
        axes = vector.Axes(x=(-3.2, 3.2), y=(-3.2, 3.2), width=300, height=310, title=title)
        return vector.draw(axes, [vector.Dots(points, colour, 4.0)], alt=alt)

    _made = {
        f"the teacher, {calls.value}": (teacher.sample(ROWS, steps=calls.value, seed=1), vector.BLUE),
        f"the student, {calls.value}": (student.sample(ROWS, steps=calls.value, seed=1), vector.GREEN),
        "the teacher, 50": (teacher.sample(ROWS, steps=50, seed=1), vector.INK),
    }
    jumped = {
        f"energy distance, {name}": (floor, um.metric.energy_distance(x, truth)) for name, (x, _) in _made.items()
    }
    mo.vstack(
        [
            mo.Html(
                vector.row(
                    *(
                        shown(x, name, colour, f"600 samples of {name} network calls")
                        for name, (x, colour) in _made.items()
                    )
                )
            ),
            mo.Html(lab.beside(jumped, ("the ring itself", "made"))),
        ]
    )
    return (jumped,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Two words that must agree

    Half of the texts say *New York*, half say *San Diego*. At two masks the exact belief is one half *New*, one half *San*
    for the first word, and likewise for the second. Drawn **in one pass** they are independent, and half of what comes
    out is *New Diego* or *San York*. In two passes the second word sees the first. No better network can mend this: it is
    the law of one pass that is too simple.
    """)
    return


@app.cell(hide_code=True)
def _():
    passes = mo.ui.slider(1, 2, 1, value=1, label="passes", show_value=True)
    passes
    return (passes,)


@app.cell(hide_code=True)
def _(passes):
    FIRST, SECOND = ("New", "San"), ("York", "Diego")
    cities = um.denoiser.ExactTokenDenoiser(torch.eye(2) / 2, um.process.Mask(2))
    drawn = um.sample(cities, rows=4000, sampler=um.sampler.tokens.Unmask(), grid=um.grid.uniform(passes.value), seed=0)
    _expected = {True: 0.5, False: 0.0} if passes.value == 2 else {True: 0.25, False: 0.25}
    named = {
        f"{FIRST[a]} {SECOND[b]}": (_expected[a == b], ((drawn[:, 0] == a) & (drawn[:, 1] == b)).double().mean().item())
        for a in range(2)
        for b in range(2)
    }
    mo.Html(lab.beside(named))
    return cities, named


if __name__ == "__main__":
    app.run()
