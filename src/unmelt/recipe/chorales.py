"""Bach's chorales: four voices, any of them given."""

from unmelt.codec import Symbols
from unmelt.data.chorale_grid import LETTERS, VOICES
from unmelt.data.chorales import ChoraleWindows, chorale_windows, split_chorales
from unmelt.data.chorales import chorales as all_chorales
from unmelt.data.source import Arrays
from unmelt.errors import UsageError
from unmelt.modality import Chorales
from unmelt.model import TextModel
from unmelt.recipe.origin import recorded
from unmelt.recipe.text_model import TrainingArgs, TransformerSize, text_model


@recorded
def chorales(
    *,
    autoregressive: bool = False,
    per_quarter: int = 2,
    quarters: int = 16,
    held_out: float = 0.1,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    steps: int = 2000,
    batch: int = 32,
    lr: float = 2e-3,
    ema: float = 0.99,
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 500,
) -> TextModel:
    """Four-voice chorales by masked diffusion: new ones, and the voices that a melody lacks.

    `unmelt train chorales --out runs/chorales`. It needs `pip install 'unmelt[music]'`.

    Args:
        autoregressive: Train autoregression instead, moment by moment from soprano to bass, for comparison.
        per_quarter: Moments in a quarter: 2 for eighths, 4 for sixteenths.
        quarters: Quarters of a window.
        held_out: Share of the melodies that is held out, with all pieces on them.
        width: Features per token of the transformer.
        depth: Number of transformer layers.
        heads: Attention heads; twice their number must divide width.
        steps: Training steps.
        batch: Windows per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.

    Returns:
        The untrained model.

    Raises:
        UsageError: If music21 is not installed, or a window has not at least four quarters.
    """
    if per_quarter < 1 or quarters < 4:
        raise UsageError(f"per_quarter={per_quarter}, quarters={quarters}", "1 and 4 at least", "per_quarter=2")
    train, aside = split_chorales(all_chorales(), held_out)
    source = ChoraleWindows(train, per_quarter, quarters, seed)
    windows = chorale_windows(aside, per_quarter, quarters).flatten(1) if aside else None
    network = TransformerSize(width, depth, heads)
    training = TrainingArgs(steps, batch, lr, ema, seed, save_every, picture_every)
    moments = per_quarter * quarters
    places = [(moment, voice, moment % per_quarter) for moment in range(moments) for voice in range(VOICES)]
    model = text_model(
        "autoregressive" if autoregressive else "masked",
        Symbols(LETTERS),
        source,
        None if windows is None else Arrays(windows),
        network,
        training,
        padded=False,
        notes=f"{len(train)} pieces, {len(aside)} held out",
        coordinates=[(*place, number) for number, place in enumerate(places)] if autoregressive else places,
    )
    model.modality = Chorales(per_quarter)
    return model
