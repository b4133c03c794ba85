"""What a model is judged by: whether the data at hand are those that its run kept apart from training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unmelt import run_folder
from unmelt.data.identity import identity
from unmelt.errors import UsageError
from unmelt.terminal import notify

if TYPE_CHECKING:
    from unmelt.model.stored import Stored


def note_other_data(model: Stored) -> None:
    """Say so if a model is about to be judged by other held-out data than its run recorded.

    Args:
        model: The model. One whose run recorded no data is not noted.
    """
    if model.data is None or model.held_out is None:
        return
    if others := run_folder.other_data(model.data, {"held_out": identity(model.held_out)}):
        notify(f"judged by other data than this run held out ({'; '.join(others)}): it may have learned from some")


def check_data(model: Stored, allow_other_data: bool = False) -> None:
    """Refuse to judge a model by other data than its run was trained with.

    Args:
        model: The model, with data. One whose run recorded no data is not refused.
        allow_other_data: Whether to note differences instead.

    Raises:
        UsageError: If training data or held-out data differ from those recorded; names the differences.
    """
    now = {"training": identity(model.source), "held_out": identity(model.held_out)}
    others = run_folder.other_data(model.data, now)
    if others and not allow_other_data:
        raise UsageError(
            f"{model.folder} learned from other data, and may have learned from what it would be judged by: "
            f"{'; '.join(others)}",
            "the data it was trained with; or to say that these are meant",
            "allow_other_data=True",
        )
