"""How text is to be written, from what is asked for on the command line."""

from typing import Literal

from unmelt.errors import UsageError
from unmelt.model import TextModel
from unmelt.sampler import Ancestral, Sampler
from unmelt.sampler.tokens import (
    Bounded,
    Confidence,
    FirstHitting,
    LeftToRight,
    Margin,
    Pace,
    Random,
    Remask,
    Scheduled,
    Surety,
    Threshold,
    Unmask,
)

Order = Literal["own", "ancestral", "first-hitting", "remask", "confidence", "margin", "entropy", "random", "reading"]

ORDERS = {
    "confidence": Confidence(),
    "margin": Margin(),
    "entropy": Surety(),
    "random": Random(),
    "reading": LeftToRight(),
}


def writing(
    model: TextModel, order: Order, threshold: float | None, nats: float | None, apart: int | None
) -> Sampler | None:
    """The way that is asked for; None for the model's own."""
    given = {"threshold": threshold, "nats": nats, "apart": apart}
    paced = [name for name, value in given.items() if value is not None]
    if threshold is not None and nats is not None:
        raise UsageError("--threshold and --nats", "one of them", f"--threshold {threshold:g}")
    if paced and order == "own":
        order = "confidence"
    if order == "own":
        return None
    if order in ORDERS:
        by_blocks = hasattr(model.denoiser, "goes_on") and apart is None  # one after the other, with the exact cache
        end = model.tokenizer.special("end")
        return Unmask(
            ORDERS[order], _pace(threshold, nats), cache=by_blocks, end=end, apart=1 if apart is None else apart
        )
    if paced:
        raise UsageError(f"--{paced[0]} with --order {order}", f"one of {', '.join(ORDERS)}", "--order confidence")
    return {"ancestral": Ancestral(), "first-hitting": FirstHitting(), "remask": Remask()}[order]


def _pace(threshold: float | None, nats: float | None) -> Pace:
    if nats is not None:
        return Bounded(nats)
    return Scheduled() if threshold is None else Threshold(threshold)
