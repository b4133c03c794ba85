# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Learning it.

The score of real data is not known, but a network can learn it from examples alone: melt a point, ask where it came
from, and take the average of the answers. Train one here, on the ring and then on whatever you draw.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Learning it")

with app.setup:
    import math

    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.denoiser import Mixture, Network
    from unmelt.lab.drawing_pad import Pad
    from unmelt.picture import vector


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("learning"))
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Training fits into one sentence. Draw a clean point $x_0$, a time $t$ and some noise; show the network
    $x_t = x_0 + \sigma(t)\,\text{noise}$; let it guess $x_0$; make the square of its error small. Many clean points could
    have become the same $x_t$, so the best guess is their mean, $E[x_0 \mid x_t]$, and that mean gives the score
    (chapter 2).
    """)
    return


@app.cell(hide_code=True)
def _():
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.02, 20.0))
    frame = vector.Axes()
    axis = torch.linspace(-3.6, 3.6, 13, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)

    def when(sigma, rows):
        """The time at which the noise has this standard deviation, for every row."""
        return process.schedule.time(-2 * torch.log(torch.tensor(sigma, dtype=torch.float64))).expand(rows)

    def learn(points, steps, width, every):
        """Train on these points; yield (steps done, all losses, the denoiser with its averaged weights)."""
        with um.rng.seeded(0):
            backbone = um.backbone.MLP(shape=(2,), width=width, depth=3)
        denoiser = Network(backbone, process, um.prediction.Preconditioned(1.5), (2,), data_sd=1.5)
        objective = um.objective.Regression(
            times=um.objective.Stratified(um.objective.LogNormalSigma(mean=-0.6, sd=1.3)),
            weight=um.objective.EDMWeight(1.5),
        )
        training = um.train.Training(steps=steps, batch=256, lr=5e-3, ema=0.98)
        trainer = um.train.Trainer(um.train.ObjectiveStep(denoiser, objective), um.data.Arrays(points), None, training)
        losses = []
        while trainer.done < steps:
            losses.append(trainer.step().item())
            if trainer.done % every == 0 or trainer.done == steps:
                with trainer.averaged():
                    yield trainer.done, losses, denoiser
        trainer.ema.swap()
        denoiser.eval()

    @torch.no_grad()
    def fields(denoiser, truth, sigma):
        """Arrows from each place to the believed x_0, in units of σ: learned, exact; and their root mean square distance."""
        t = when(sigma, len(places))
        both = [(each(places.float(), t).mean.double() - places) / sigma for each in (denoiser, truth)]
        x0 = truth.sample(2000, um.rng.Stream(7), torch.float64)
        x_t, _ = process.corrupt(x0, when(sigma, 2000), um.rng.Stream(8))
        gaps = (
            (denoiser(x_t.float(), when(sigma, 2000)).mean.double() - truth(x_t, when(sigma, 2000)).mean)
            .square()
            .sum(1)
            .mean()
            .sqrt()
        )
        return (*both, gaps.item() / sigma)

    def arrows(vectors):
        """The arrows, shortened so that they do not cross."""
        return vectors * (0.5 / vectors.norm(dim=1, keepdim=True).clamp_min(0.5))

    def shown(done, losses, denoiser, truth, sigma):
        """The loss so far, and the learned field over the exact one."""
        smooth = [sum(losses[max(0, k - 25) : k + 1]) / len(losses[max(0, k - 25) : k + 1]) for k in range(len(losses))]
        learned, exact, apart = fields(denoiser, truth, sigma)
        loss_picture = vector.draw(
            vector.Axes(x=(0, max(100, len(losses))), y=(0, 1.2), height=396, x_name="step", y_name="loss"),
            [
                vector.Line(range(len(losses)), losses, vector.BLUE, 0.7, name="each step"),
                vector.Line(range(len(smooth)), smooth, vector.RED, 2.2, name="mean of 25"),
            ],
            alt=f"The loss over {done} steps, now {smooth[-1]:.3f}",
        )
        field_picture = vector.draw(
            frame,
            [
                vector.Arrows(places, arrows(exact), vector.INK, width=3.2, opacity=0.25, name="exact"),
                vector.Arrows(places, arrows(learned), vector.RED, name="learned"),
            ],
            alt=f"Learned and exact arrows at noise {sigma:g} after {done} steps, apart by {apart:.3f}",
        )
        return mo.vstack(
            [
                mo.Html(vector.row(loss_picture, field_picture)),
                mo.Html(
                    f'<p>Step <b data-what="steps">{done}</b>: the learned belief is <b data-what="apart">{apart:.3f}</b> '
                    f"σ from the exact one (root mean square, at σ = {sigma:g}).</p>"
                ),
            ]
        )

    return fields, frame, learn, process, shown


@app.cell(hide_code=True)
def _(process):
    ring = Mixture.ring(modes=6, radius=2.0, sd=0.15, process=process)
    ring_points = ring.sample(8000, um.rng.Stream(0))
    ring_steps = mo.ui.slider(100, 2000, 100, value=800, label="training steps", show_value=True, full_width=True)
    ring_width = mo.ui.slider(
        steps=[4, 8, 16, 32, 64, 128], value=64, label="width of the network", show_value=True, full_width=True
    )
    ring_train = mo.ui.run_button(label="Train on the ring")
    mo.vstack(
        [
            mo.md("""
            ## The ring

            Grey arrows are exact, red ones are what the network has learned so far. Try a narrow network, or few steps:
            the arrows become right far from the data first, where the field is simple, and between the clusters last.
            """),
            ring_steps,
            ring_width,
            ring_train,
        ]
    )
    return ring, ring_points, ring_steps, ring_train, ring_width


@app.cell(hide_code=True)
def _(learn, ring, ring_points, ring_steps, ring_train, ring_width, shown):
    mo.stop(not ring_train.value and mo.app_meta().mode != "script", mo.md("*Not trained yet: press the button.*"))
    _steps = int(mo.cli_args().get("steps") or ring_steps.value)
    for _done, _losses, ring_learned in learn(ring_points, _steps, ring_width.value, 50):
        mo.output.replace(shown(_done, _losses, ring_learned, ring, 0.6))
    return (ring_learned,)


@app.cell(hide_code=True)
def _(ring_learned):
    assert ring_learned is not None
    sigma = mo.ui.slider(
        steps=[0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0],
        value=0.3,
        label="noise σ at which to compare",
        show_value=True,
        full_width=True,
    )
    sigma
    return (sigma,)


@app.cell(hide_code=True)
def _(fields, frame, ring, ring_learned, ring_points, sigma):
    _, _, ring_apart = fields(ring_learned, ring, sigma.value)
    _sampler, _grid = um.sampler.default_sampler(20)
    ring_made = um.sample(ring_learned, rows=1000, sampler=_sampler, grid=_grid, seed=0)
    ring_energy = um.metric.energy_distance(ring_made, ring.sample(1000, um.rng.Stream(1)))
    ring_floor = um.metric.energy_distance(ring_points[:1000], ring.sample(1000, um.rng.Stream(1)))
    mo.vstack(
        [
            mo.Html(
                vector.row(
                    *[
                        vector.draw(
                            vector.Axes(title=title),
                            [vector.Dots(dots, colour)],
                            alt=f"1,000 points: {title}",
                        )
                        for title, dots, colour in (
                            ("data", ring_points[:1000], vector.BLUE),
                            ("drawn from the network in 20 steps", ring_made, vector.RED),
                        )
                    ]
                )
            ),
            mo.Html(
                lab.beside(
                    {
                        f"error of the belief at σ = {sigma.value:g}, in σ": (0.0, ring_apart),
                    }
                )
                + lab.beside(
                    {"energy distance of 1,000 points to the ring": (ring_floor, ring_energy)},
                    ("of the data", "of the network"),
                )
            ),
        ]
    )
    return (ring_energy,)


@app.cell(hide_code=True)
def _(frame):
    # The canvas starts with a spiral.
    _turns = [0.14 * k for k in range(100)]
    spiral = [[(0.4 + 0.18 * a) * math.cos(a), (0.4 + 0.18 * a) * math.sin(a)] for a in _turns]
    drawing = Pad.on(frame, "A canvas. Draw with the mouse, or move with the arrow keys and press space.", mode="draw")
    drawing.picture = vector.draw(frame, [], alt="What you drew")
    drawing.trace = spiral
    pad = mo.ui.anywidget(drawing)
    own_steps = mo.ui.slider(200, 3000, 100, value=1200, label="training steps", show_value=True, full_width=True)
    own_train = mo.ui.run_button(label="Train on the drawing")
    mo.vstack(
        [
            mo.md("""
            ## Your own density

            Clear the spiral and draw with the mouse, a finger or the keyboard. The data are points near your line. Because
            the line is known, the exact field is known here too.
            """),
            pad,
            own_steps,
            own_train,
        ]
    )
    return own_steps, own_train, pad


@app.cell(hide_code=True)
def _(learn, own_steps, own_train, pad, process, shown):
    mo.stop(not own_train.value and mo.app_meta().mode != "script", mo.md("*Not trained yet: press the button.*"))
    mo.stop(len(pad.value["trace"]) < 3, mo.md("*There is nothing on the canvas: draw something first.*"))
    own = Mixture.isotropic(torch.tensor(pad.value["trace"], dtype=torch.float64), 0.1, process)
    own_points = own.sample(8000, um.rng.Stream(2))
    _steps = int(mo.cli_args().get("steps") or own_steps.value)
    for _done, _losses, own_learned in learn(own_points, _steps, 64, 100):
        mo.output.replace(shown(_done, _losses, own_learned, own, 0.4))
    return own_learned, own_points


@app.cell(hide_code=True)
def _(own_learned, own_points):
    _sampler, _grid = um.sampler.default_sampler(20)
    own_made = um.sample(own_learned, rows=1000, sampler=_sampler, grid=_grid, seed=0)
    mo.Html(
        vector.row(
            *[
                vector.draw(
                    vector.Axes(title=title), [vector.Dots(dots, colour)], alt=f"1,000 points of the drawing: {title}"
                )
                for title, dots, colour in (
                    ("data", own_points[:1000], vector.BLUE),
                    ("drawn from the network in 20 steps", own_made, vector.RED),
                )
            ]
        )
    )
    return


if __name__ == "__main__":
    app.run()
