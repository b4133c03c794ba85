# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Guidance.

Ask for a class and you get its distribution; ask louder and you get its caricature. Guidance exaggerates the difference
that a condition makes: samples become more typical and less diverse. Turn it up and see what is lost.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Guidance")

with app.setup:
    import math

    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.lab.progress import trained
    from unmelt.picture import inline, tiles, vector


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("guidance"))
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    A denoiser that knows the class believes $D(x, c)$; one that does not believes $D(x)$. Classifier-free guidance
    extrapolates along the line through both: $D(x) + w\,(D(x, c) - D(x))$. At $w = 1$ this is the class as it is, at $w = 0$
    all classes, and above 1 it moves away from what the *other* classes would have done.
    """)
    return


@app.cell(hide_code=True)
def _():
    process = um.process.Gaussian(um.schedule.Cosine())
    SD = 0.35
    _angle = 2 * math.pi * (torch.arange(6, dtype=torch.float64) + 0.5) / 6
    means = 2 * torch.stack([_angle.cos(), _angle.sin()], 1)
    sides = torch.where(means[:, 0] > 0.5, 0, 1)
    sides[means[:, 0].abs() < 0.5] = torch.where(means[means[:, 0].abs() < 0.5, 1] > 0, 0, 1)
    ring = um.denoiser.Mixture(
        means, (SD**2 * torch.eye(2, dtype=torch.float64)).expand(6, 2, 2), process, labels=sides
    )
    own = (sides == 0).nonzero()[:, 0]
    frame = vector.Axes(x=(-3.6, 3.6), y=(-3.6, 3.6))
    ROWS = 800
    return ROWS, SD, frame, means, own, process, ring, sides


@app.cell(hide_code=True)
def _():
    scale = mo.ui.slider(0, 8, 0.25, value=1, label="guidance scale w", show_value=True, full_width=True)
    interval = mo.ui.range_slider(
        0, 1, 0.05, value=[0, 1], label="only while t is between", show_value=False, full_width=True
    )
    mo.vstack(
        [
            mo.md("""
            ## Two classes on a ring

            Three clusters belong to one class (large rings), three to the other (small rings). We ask for the first, with the
            exact denoiser, so that whatever goes wrong is due to guidance itself and not to a network.
            """),
            scale,
            interval,
        ]
    )
    return interval, scale


@app.cell(hide_code=True)
def _(ROWS, SD, frame, interval, means, own, ring, scale, sides):
    _low, _high = interval.value
    # An empty interval is no guidance.
    guided = um.guidance.CFG(ring, scale.value, (_low, _high)) if _low < _high else ring
    _sampler, _grid = um.sampler.default_sampler(30)
    x = um.sample(guided, rows=ROWS, label=0, sampler=_sampler, grid=_grid, seed=0, dtype=torch.float64)
    nearest = (x[:, None] - means).norm(dim=2).min(1)
    _share = torch.bincount(nearest.indices, minlength=6) / ROWS
    _p = _share[_share > 0]
    kinds = (-(_p * _p.log()).sum()).exp().item()
    mine = torch.isin(nearest.indices, own)
    _width = torch.stack(
        [
            (x[nearest.indices == k] - x[nearest.indices == k].mean(0)).square().mean()
            for k in own.tolist()
            if (nearest.indices == k).sum() > 5
        ]
    )
    _when = f"<p>Guided with w = {scale.value:g} while t is between {_low:g} and {_high:g}.</p>"
    _picture = vector.draw(
        frame,
        [
            vector.Dots(x[mine], vector.BLUE, name="made, in the class"),
            vector.Dots(x[~mine], vector.ORANGE, name="made, in the other"),
            *[vector.Ring(*means[k].tolist(), radius=12.0 if sides[k] == 0 else 5.0) for k in range(6)],
        ],
        alt=f"{ROWS} samples of one class with guidance {scale.value:g} from t = {_low:g} to {_high:g}",
    )
    _table = lab.beside(
        {
            "kinds of sample (exp of the entropy over clusters)": (3.0, kinds),
            "standard deviation within a cluster": (SD, _width.mean().sqrt().item() if len(_width) else float("nan")),
            "mean distance from the middle": (ring_radius(means, own, SD), x.norm(dim=1).mean().item()),
            "share in the class": (1.0, mine.double().mean().item()),
        },
        ("the class itself", "guided"),
    )
    mo.Html(vector.row(_picture, f"<div>{_when}{_table}</div>"))
    return (kinds,)


@app.function(hide_code=True)
def ring_radius(means, own, sd):
    """Mean distance of the class itself from the centre: of a two-dimensional Gaussian off the centre (Rice distribution)."""
    from scipy.special import ive

    half = means[own].norm(dim=1).mean().item() ** 2 / (4 * sd**2)
    return sd * math.sqrt(math.pi / 2) * ((1 + 2 * half) * ive(0, half) + 2 * half * ive(1, half))


@app.cell(hide_code=True)
def _():
    mo.md("""
    Things to try: at 6, four fifths of the samples are in the one cluster that is farthest from the other class, and they
    lie further out than the class itself does. Then guide only while t is below 0.4: all three clusters are back, a little
    narrower. Early in the walk guidance decides *which* cluster; late in the walk, only how sharp it is.

    ## On digits

    The same with a network that has learned the ten digits; it comes with unmelt, and the button makes a new one here (about
    a minute on two cores). Forty generated digits and forty real ones are compared with all other real digits. Up to w = 2, guided digits are closer to real ones than
    unguided digits are. Beyond, there are fewer and fewer kinds, some real digits have nothing near them, and the contrast
    is too strong. Guide only while t is below 0.5, and the kinds are back.
    """)
    return


@app.cell(hide_code=True)
def _():
    learn = mo.ui.run_button(label="Learn the digits here")
    learn
    return (learn,)


@app.cell(hide_code=True)
def _(learn):
    _steps = int(mo.cli_args().get("steps") or 720)
    model = trained("digits", lambda: um.recipe.digits(steps=_steps), "Learning the digits", learn, shipped="digits")
    images, labels = um.data.digits().all()
    classifier = um.metric.Classifier.fit(images, labels)
    return classifier, images, labels, model


@app.cell(hide_code=True)
def _():
    digit = mo.ui.dropdown([str(k) for k in range(10)], value="3", label="digit")
    digit_scale = mo.ui.slider(0, 8, 0.5, value=1, label="guidance scale w", show_value=True, full_width=True)
    digit_interval = mo.ui.range_slider(
        0, 1, 0.05, value=[0, 1], label="only while t is between", show_value=False, full_width=True
    )
    mo.vstack([digit, digit_scale, digit_interval])
    return digit, digit_interval, digit_scale


@app.cell(hide_code=True)
def _(
    classifier,
    digit,
    digit_interval,
    digit_scale,
    images,
    labels,
    model,
):
    _low, _high = digit_interval.value
    _label = int(digit.value)
    made = model.sample(
        40,
        label=_label,
        guidance=digit_scale.value if _low < _high else 1.0,
        interval=(_low, _high) if _low < _high else (0.0, 1.0),
        steps=12,
        seed=0,
    )
    real = images[labels == _label]
    some, others = real[:40], real[40:]

    def beside_others(forty):
        """Of the other real digits: how many are a nearest one; mean distance from the forty to them, and from them."""
        to, back = um.metric.nearest_neighbour(forty, others), um.metric.nearest_neighbour(others, forty)
        # A distance of 1 means black instead of white in every pixel.
        return len(to.row.unique()), to.distance.mean().item() / 8, back.distance.mean().item() / 8

    digit_numbers = {
        name: tuple(pair)
        for name, *pair in zip(
            (
                "kinds: different real digits that come nearest to the forty",
                "from one of the forty to the nearest real digit, on average",
                "from a real digit to the nearest of the forty, on average",
            ),
            beside_others(some),
            beside_others(made),
            strict=True,
        )
    }
    accuracies = {
        "classified as this digit": (
            classifier.accuracy(some, torch.full((40,), _label)),
            classifier.accuracy(made, torch.full((40,), _label)),
        )
    }
    _when = f"<p>Guided with w = {digit_scale.value:g} while t is between {_low:g} and {_high:g}.</p>"
    mo.Html(
        vector.row(
            inline(
                tiles(made, columns=10, transparent=True),
                f"Forty digits made with guidance {digit_scale.value:g}, asked for a {_label}",
                560,
            ),
            f"<div>{_when}{lab.beside(accuracies | digit_numbers, ('forty real', 'made'))}</div>",
        )
    )
    return


if __name__ == "__main__":
    app.run()
