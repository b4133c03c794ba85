# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Melting.

Take any data and mix it with noise, a little more at every moment. At t = 0 it is data, at t = 1 it is noise, and
everything a generative model does happens in between. Drag t and watch four kinds of data melt together.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Melting")

with app.setup:
    import marimo as mo
    import torch

    import unmelt as um
    from unmelt import lab
    from unmelt.picture import inline, text_html, tiles, vector


@app.cell(hide_code=True)
def _():
    mo.Html(lab.opening("melting"))
    return


@app.cell(hide_code=True)
def _():
    SCHEDULES = {
        "exponential": um.schedule.Exponential(6.0),
        "linear beta (DDPM)": um.schedule.LinearBeta(),
        "cosine": um.schedule.Cosine(),
        "straight lines (flow matching)": um.schedule.Straight(),
        "variance exploding (EDM)": um.schedule.VarianceExploding(0.02, 20.0),
    }
    time = mo.ui.slider(0, 1, 0.01, value=0.25, label="time t", show_value=True, full_width=True)
    choice = mo.ui.dropdown(SCHEDULES, value="cosine", label="schedule")
    mo.Html(lab.stays(time, choice))
    return choice, time


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Everything on this page is one line: $x_t = \alpha(t)\,x_0 + \sigma(t)\,\text{noise}$. A **schedule** says how fast
    the signal $\alpha$ fades and the noise $\sigma$ grows. It sets the pace and nothing else: up to a scale, two schedules
    pass through the same mixtures at different times. (Variance exploding keeps the signal and lets the noise grow. Where
    $\alpha^2 + \sigma^2 = 1$, DDPM writes $\bar\alpha$ for $\alpha^2$: then $\alpha = \sqrt{\bar\alpha}$ and
    $\sigma = \sqrt{1 - \bar\alpha}$.)
    """)
    return


@app.cell(hide_code=True)
def _(choice):
    process = um.process.Gaussian(choice.value)

    def at(t, rows=1):
        """The same time for every row."""
        return torch.full((rows,), t, dtype=torch.float64)

    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    signal, noise_level = choice.value.alpha(times), choice.value.sigma(times)
    highest = max(1.05, 1.05 * noise_level.max().item())
    return at, highest, noise_level, process, signal, times


@app.cell(hide_code=True)
def _(highest, noise_level, signal, time, times):
    schedule_picture = vector.draw(
        vector.Axes(x=(0, 1), y=(0, highest), height=220, x_name="t"),
        [
            vector.Line(times, signal, vector.BLUE, name="signal α"),
            vector.Line(times, noise_level, vector.ORANGE, dashed=True, name="noise σ"),
            vector.VerticalLine(time.value),
        ],
        alt=f"Signal and noise against time; the slider stands at t = {time.value}",
    )
    mo.Html(schedule_picture)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Two modes on a line

    Half of these points started near −2, half near +2. As they melt, the two modes move together and blur into one.
    The curve is the exact density, not a fit.
    """)
    return


@app.cell(hide_code=True)
def _():
    POINTS = 2000
    two = um.data.TwoModes()
    line_x0, line_labels = two.sample(POINTS, um.rng.Stream(0))
    line_noise = um.rng.Stream(1).normal(line_x0.shape)
    return POINTS, line_labels, line_noise, line_x0, two


@app.cell(hide_code=True)
def _(POINTS, at, line_labels, line_noise, line_x0, process, time, two):
    line_x = process.mix(line_x0, line_noise, at(time.value, POINTS))
    line_alpha, line_sigma = (part.item() for part in process.level(at(time.value)))
    reach = max(4.0, 3.2 * line_sigma + 2)
    grid_x = torch.linspace(-reach, reach, 161, dtype=torch.float64)
    truth = um.denoiser.Mixture.isotropic(two.means, two.sd, process)
    density = truth.log_density(grid_x[:, None], at(max(time.value, 1e-9), 161)).exp()
    edges = torch.linspace(-reach, reach, 61, dtype=torch.float64)
    counts = torch.histogram(line_x[:, 0].double(), edges).hist / (POINTS * (edges[1] - edges[0]))
    # ᾱ where the variance is preserved, as DDPM writes it.
    preserved = abs(line_alpha**2 + line_sigma**2 - 1) < 1e-9
    measured = {
        "distance between the modes, 4α" + " = 4√ᾱ" * preserved: (
            4 * line_alpha,
            (line_x[line_labels == 1].mean() - line_x[line_labels == 0].mean()).item(),
        ),
        "standard deviation of the noise, σ" + " = √(1 − ᾱ)" * preserved: (
            line_sigma,
            (line_x - line_alpha * line_x0).std().item(),
        ),
    }
    line_picture = vector.draw(
        vector.Axes(x=(-reach, reach), y=(0, 1.15 * max(density.max().item(), counts.max().item())), height=260),
        [
            vector.Histogram(edges, counts, vector.BLUE, name="2,000 points"),
            vector.Line(grid_x, density, vector.INK, name="exact density"),
        ],
        alt=f"Histogram of two melting modes at t = {time.value}, and their exact density",
    )
    mo.Html(vector.row(line_picture, lab.beside(measured)))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A ring of six clusters

    The same in the plane: 2,000 points, one colour for each cluster. The colours still show the clusters when their
    shapes can no longer be told apart.
    """)
    return


@app.cell(hide_code=True)
def _(POINTS):
    ring = um.data.Ring()
    ring_x0, ring_labels = ring.sample(POINTS, um.rng.Stream(2))
    ring_noise = um.rng.Stream(3).normal(ring_x0.shape)
    return ring, ring_labels, ring_noise, ring_x0


@app.cell(hide_code=True)
def _(POINTS, at, process, ring, ring_labels, ring_noise, ring_x0, time):
    ring_x = process.mix(ring_x0, ring_noise, at(time.value, POINTS))
    ring_alpha, ring_sigma = (part.item() for part in process.level(at(time.value)))
    half = max(4.0, 3 * ring_sigma)
    ring_picture = vector.draw(
        vector.Axes(x=(-half, half), y=(-half, half)),
        [
            vector.Dots(ring_x[ring_labels == mode], colour)
            for mode, colour in enumerate(um.picture.style.colours(ring.modes))
        ],
        alt=f"Six clusters of points on a ring, melted to t = {time.value}",
    )
    ring_measured = {
        "radius of the ring of means, 2α": (
            2 * ring_alpha,
            torch.stack([ring_x[ring_labels == mode].mean(0) for mode in range(ring.modes)]).norm(dim=1).mean().item(),
        ),
        "standard deviation within a cluster": (
            (ring_alpha**2 * ring.sd**2 + ring_sigma**2) ** 0.5,
            torch.cat([ring_x[ring_labels == mode] - ring_x[ring_labels == mode].mean(0) for mode in range(ring.modes)])
            .std()
            .item(),
        ),
    }
    mo.Html(vector.row(ring_picture, lab.beside(ring_measured)))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Real digits

    An image is a point too, here in 64 dimensions. The noise is the same at every t, only stronger, so that you can
    follow one digit all the way. (Each picture is rescaled to the size of the data, whatever the schedule.)
    """)
    return


@app.cell(hide_code=True)
def _():
    digits, digit_labels = um.data.digits().all()
    chosen = torch.stack([(digit_labels == digit).nonzero()[0, 0] for digit in range(10)])
    codec = um.codec.Affine.images()
    digits_x0 = codec.encode(digits[chosen])
    digits_noise = um.rng.Stream(4).normal(digits_x0.shape)
    return codec, digits_noise, digits_x0


@app.cell(hide_code=True)
def _(at, codec, digits_noise, digits_x0, process, time):
    digits_t = at(time.value, 10)
    digits_alpha, digits_sigma = (part[0].item() for part in process.level(digits_t))
    size = (digits_alpha**2 + (digits_sigma / 0.75) ** 2) ** 0.5
    digits_x = codec.decode(process.mix(digits_x0, digits_noise, digits_t) / size)
    mo.Html(inline(tiles(digits_x, columns=10, transparent=True), f"The ten digits, melted to t = {time.value}", 560))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Text

    There is nothing halfway between two letters, so text melts differently: at some moment each letter is replaced by a
    mask. At time t a share α(t) of the letters is left. The way back, from masks to text, is chapter 7.
    """)
    return


@app.cell(hide_code=True)
def _():
    TEXT = (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
        "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
        "Darkness, it was the spring of hope, it was the winter of despair."
    )
    TOKEN_SCHEDULES = {
        "linear": um.schedule.TokenLinear(),
        "few at first (quadratic)": um.schedule.TokenPolynomial(2.0),
        "cosine": um.schedule.TokenCosine(),
        "geometric": um.schedule.TokenGeometric(),
    }
    text_choice = mo.ui.dropdown(TOKEN_SCHEDULES, value="linear", label="schedule of masks")
    text_choice
    return TEXT, text_choice


@app.cell(hide_code=True)
def _(TEXT, at, text_choice, time):
    letters = um.codec.Bytes()
    masks = um.process.Mask(letters.vocabulary, text_choice.value)
    text_x0 = torch.tensor([letters.encode(TEXT)])
    # The same draws at every t, so that a letter that has melted stays melted.
    _, melted = masks.corrupt(text_x0, at(time.value), um.rng.Stream(5))
    left = text_choice.value.alpha(at(time.value)).item()
    mo.Html(
        text_html(list(TEXT), melted[0].tolist(), alt=f"Text melted to t = {time.value}")
        + lab.beside({"share of letters left, α": (left, 1 - melted.double().mean().item())})
    )
    return


if __name__ == "__main__":
    app.run()
