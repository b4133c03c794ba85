# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""The score.

At every noise level, every point has an arrow that shows where data are denser: the score. Follow the arrows and you
arrive at the data. On a ring of six clusters the score is known exactly, so drop a point and watch.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="The score")

with app.setup:
    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.lab.drawing_pad import Pad
    from unmelt.picture import vector


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("score"))
    return


@app.cell(hide_code=True)
def _():
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.02, 20.0))
    ring = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=0.15, process=process)
    frame = vector.Axes()

    def when(sigma, rows=1):
        """The time at which the noise has this standard deviation, for every row."""
        return process.schedule.time(-2 * torch.log(torch.tensor(sigma, dtype=torch.float64))).expand(rows)

    axis = torch.linspace(-3.75, 3.75, 16, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    return axis, frame, places, process, ring, when


@app.cell(hide_code=True)
def _():
    level = mo.ui.slider(
        steps=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0],
        value=0.8,
        label="noise σ",
        show_value=True,
        full_width=True,
    )
    walk = mo.ui.radio(
        ["straight home: the probability-flow ODE", "with fresh noise: the reverse SDE, six walkers"],
        value="straight home: the probability-flow ODE",
        label="how to walk",
    )
    return level, walk


@app.cell(hide_code=True)
def _(frame):
    pad = mo.ui.anywidget(
        Pad.on(frame, "The field of scores. Click to drop a point, or move it with the arrow keys.", point=(0.6, -3.0))
    )
    return (pad,)


@app.cell(hide_code=True)
def _(level, pad, walk):
    _text = mo.md("""
    The arrows lead to the clusters. At low noise each point belongs to its nearest cluster; at high noise all arrows point
    to the centre, because from far away the ring is one blob. So a walk home first finds the ring as a whole, and chooses
    its cluster late. **Click anywhere in the picture, or use the arrow keys.**
    """)
    mo.vstack([_text, level, walk, pad])
    return


@app.cell(hide_code=True)
def _(level, pad, ring, walk, when):
    start = torch.tensor([pad.value["point"] or [0.6, -3.0]], dtype=torch.float64)
    rows = 1 if walk.value.startswith("straight") else 6
    sampler = um.sampler.Euler() if rows == 1 else um.sampler.Ancestral()
    here = when(level.value, rows)
    stops = when(level.value).item() * torch.linspace(1, 0, 81, dtype=torch.float64)[1:]
    states = list(
        um.sampler.walk(
            ring,
            sampler,
            sampler.init(ring, start.expand(rows, 2), here, um.rng.RowSeeds.of(1, rows)),
            [stop.expand(rows) for stop in stops],
        )
    )
    paths = torch.stack([start.expand(rows, 2), *(state.x for state in states)], 1)
    home = paths[:, -1]
    nearest = (home[:, None] - ring.means).norm(dim=2).min(1)
    return home, nearest, paths, start


@app.cell(hide_code=True)
def _(frame, level, pad, paths, places, ring, when):
    score = ring.score(places, when(level.value, len(places)))
    # σ times the score has the size of a step of length σ; long arrows are cut so that they do not cross.
    arrows = level.value * score
    arrows = arrows * (0.42 / arrows.norm(dim=1, keepdim=True).clamp_min(0.42))
    pad.widget.picture = vector.draw(
        frame,
        [
            vector.Arrows(places, arrows, vector.BLUE, name="σ × score, long arrows cut"),
            vector.Dots(ring.means, vector.GREEN, 9.0, name="clusters"),
            vector.Paths(paths, vector.RED, 2.0, 0.9, name="the walk home"),
            vector.MovingDots(paths, vector.RED),
        ],
        alt=f"Arrows of the score over the ring at noise {level.value}, and a point that walks home along them",
    )
    return


@app.cell(hide_code=True)
def _(home, nearest, ring):
    _ends = ", ".join(f"({x:.2f}, {y:.2f})" for x, y in home.tolist())
    mo.md(
        f"Arrived at {_ends}: at most {nearest.values.max():.2f} from the centre of a cluster. Clusters have a standard "
        f"deviation of {ring.spread[0, 0].sqrt():.2f}."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Score, noise and belief are one thing

    A network can be trained to predict the noise in $x_t$, the clean $x_0$, or the score. One line of algebra turns each
    into the others. With $x_t = x_0 + \sigma\,\text{noise}$, as here,

    $$\nabla \log p_\sigma(x) = -\frac{\text{noise}}{\sigma} = \frac{E[x_0 \mid x] - x}{\sigma^2}.$$

    The table shows it at your point: the gradient of the exact log-density (by automatic differentiation), and the score
    computed from the belief $E[x_0 \mid x]$.
    """)
    return


@app.cell(hide_code=True)
def _(level, process, ring, start, when):
    _t = when(level.value)
    _x = start.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(ring.log_density(_x, _t).sum(), _x)
    belief = ring(start, _t)
    noise = process.noise(start, belief.mean, _t)
    from_noise = um.prediction.Score().output(belief.mean, start, _t, process)
    one_thing = {
        "score, x": (gradient[0, 0].item(), from_noise[0, 0].item()),
        "score, y": (gradient[0, 1].item(), from_noise[0, 1].item()),
        "−noise / σ, x": (gradient[0, 0].item(), (-noise / level.value)[0, 0].item()),
        "−noise / σ, y": (gradient[0, 1].item(), (-noise / level.value)[0, 1].item()),
    }
    mo.Html(lab.beside(one_thing, ("∇ log p", "from the belief")))
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Annealed Langevin, live

    Before there were solvers, samples were drawn like this: stay at one noise level, take many small steps along the
    score with a little noise added to each, then go on to the next lower level. At one level alone, points cannot reach
    the other clusters; annealing is what makes it work. Watch 400 points.
    """)
    return


@app.cell(hide_code=True)
def _():
    levels = mo.ui.slider(2, 40, 1, value=16, label="noise levels", show_value=True, full_width=True)
    walks = mo.ui.slider(1, 30, 1, value=10, label="steps at each", show_value=True, full_width=True)
    size = mo.ui.slider(0.05, 1.5, 0.05, value=0.4, label="step size, of σ²", show_value=True, full_width=True)
    again = mo.ui.run_button(label="Run again")
    mo.vstack([levels, walks, size, again])
    return again, levels, size, walks


@app.cell(hide_code=True)
def _(again, frame, levels, ring, size, walks):
    again
    ROWS = 400
    _frames = um.trajectory(
        ring,
        rows=ROWS,
        sampler=um.sampler.Langevin(walks=walks.value, size=size.value),
        grid=um.grid.log_snr(levels.value, sigma_min=0.05, sigma_max=5.0),
        seed=0,
    )
    for _number, langevin in enumerate(_frames):  # each frame is shown as it is computed
        _sigma = ring.process.level(langevin.t).sigma[0].item()
        mo.output.replace(
            mo.Html(
                vector.draw(
                    frame,
                    [vector.Dots(langevin.x, vector.ORANGE), vector.Dots(ring.means, vector.GREEN, 9.0)],
                    alt=f"Langevin walkers at level {_number} of {levels.value}, noise {_sigma:.2f}",
                )
            )
        )
    return (langevin,)


@app.cell(hide_code=True)
def _(langevin, ring):
    _distance = (langevin.x.double()[:, None] - ring.means).norm(dim=2).min(1)
    shares = torch.bincount(_distance.indices, minlength=6) / len(langevin.x)
    mo.Html(
        lab.beside(
            {
                "distance from the nearest cluster, root mean square": (
                    2**0.5 * 0.15,
                    _distance.values.square().mean().sqrt().item(),
                ),
                "smallest share of points in a cluster": (1 / 6, shares.min().item()),
                "largest share": (1 / 6, shares.max().item()),
            }
        )
    )
    return


if __name__ == "__main__":
    app.run()
