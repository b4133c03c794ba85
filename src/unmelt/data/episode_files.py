"""Episodes in files: a folder of .npz, one each; one .npz with `episode_ends`; or LeRobot's folders of parquet.

    demos/0001.npz, demos/0002.npz, ...                 arrays `actions`, `observations`, `rewards`, `frames`
    demos.npz                                           the same, one episode after the other, and `episode_ends`
    demos/meta/info.json, demos/data/**/*.parquet       LeRobot: columns action, observation.state, next.reward, and the
                                                        number of each row's episode in `episode_index`

Pickled objects are refused. LeRobot's videos are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmelt.data.episodes import ARRAYS, OTHER_NAMES, Episodes
from unmelt.data.files import reason
from unmelt.data.parquet import parquet_table
from unmelt.errors import UsageError

EPISODE, MOMENT = "episode_index", "frame_index"
"""LeRobot's columns: the number of the episode, and of the moment in it."""


def read_episodes(path: str | Path) -> Episodes:
    """Read episodes.

    Args:
        path: A folder of .npz files, a .npz file, or a folder as LeRobot writes it.

    Returns:
        The episodes.

    Raises:
        UsageError: If there is nothing there, a file is damaged, or an episode cannot be used; the message names it.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return _of_one_file(path)
    if (path / "meta" / "info.json").is_file():
        return _lerobot(path)
    files = sorted(path.glob("*.npz")) if path.is_dir() else []
    if not files:
        raise UsageError(
            f"no episodes in {path}",
            "a folder of .npz files, a .npz file with episode_ends, or a folder of LeRobot",
            "um.data.save_episodes(um.data.Episodes([...]), 'demos.npz')",
        )
    return Episodes([_arrays(file) for file in files], [file.stem for file in files])


def save_episodes(episodes: Episodes, path: str | Path) -> None:
    """Write episodes to one .npz file.

    Args:
        episodes: The episodes.
        path: The file.
    """
    ends = np.cumsum([len(one) for one in episodes])
    arrays = {array: episodes.stacked(array).numpy() for array in ARRAYS if episodes.has(array)}
    names = np.array([one.name for one in episodes])
    np.savez(Path(path).with_suffix(".npz"), episode_ends=ends, episode_names=names, **arrays)  # type: ignore[arg-type]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # a damaged file can raise anything at all
        raise UsageError(
            f"{path} cannot be read ({reason(error)})",
            "a whole .npz file of numbers",
            "numpy.savez(path, observations=observations, actions=actions)",
        ) from None


def _of_one_file(path: Path) -> Episodes:
    arrays = _arrays(path)
    ends, names = arrays.pop("episode_ends", None), arrays.pop("episode_names", None)
    if ends is None:
        return Episodes([arrays], [path.stem])
    ends = np.asarray(ends).ravel()
    longest = max((len(value) for value in arrays.values()), default=0)
    if not len(ends) or ends.dtype.kind not in "iu" or (np.diff(ends, prepend=0) <= 0).any() or ends[-1] != longest:
        raise UsageError(
            f"{path} with episode_ends {ends.tolist()[:5]} for {longest} moments",
            "rising whole numbers, the last of them the number of all moments",
            "episode_ends=numpy.cumsum(lengths)",
        )
    parts = [
        {name: value[first:end] for name, value in arrays.items()}
        for first, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    known = names is not None and len(names) == len(parts)
    return Episodes(parts, [str(each) for each in names] if known and names is not None else ())


def _lerobot(path: Path) -> Episodes:
    files = sorted((path / "data").rglob("*.parquet"))
    if not files:
        raise UsageError(f"{path} has no parquet files in data/", "a whole folder of LeRobot", "a new copy")
    found: dict[int, list[dict[str, Any]]] = {}
    for file in files:
        columns, rows = parquet_table(file.read_bytes(), str(file))
        if EPISODE not in columns:
            raise UsageError(f"{file} without the column {EPISODE}", "a table of LeRobot", "a new copy")
        for row in rows:
            found.setdefault(int(row[EPISODE]), []).append(row)
    return Episodes([_columns(found[number]) for number in sorted(found)], [f"episode {n}" for n in sorted(found)])


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The columns of one episode's rows that hold arrays of an episode."""
    rows = sorted(rows, key=lambda row: row.get(MOMENT, 0))
    names = [name for array in ("actions", "observations", "rewards") for name in (array, *OTHER_NAMES[array])]
    return {name: [row[name] for row in rows] for name in names if name in rows[0]}
