"""Episodes, their windows and their files, against indexing by hand."""

import json

import numpy as np
import pytest
import torch

from unmelt import codec, data
from unmelt.errors import UsageError

LENGTHS = (5, 3, 7)


def raw(**changes):
    """Observation k of episode e is (e, k); action k is 100 e + k."""
    made = []
    for e, length in enumerate(LENGTHS):
        k = np.arange(length)
        pixels = np.broadcast_to((10 * e + k)[:, None, None, None], (length, 1, 2, 2)).astype(np.uint8)
        observations = np.stack([np.full(length, e), k], 1).astype(np.float32)
        made.append({"observations": observations, "actions": 100.0 * e + k, "rewards": k * 1.0, "frames": pixels})
    for name, change in changes.items():
        made[1][name] = change(made[1][name])
    return made


def test_a_chunk_is_padded_at_the_end_and_its_observations_at_the_beginning():
    chunks = data.ActionChunks(data.Episodes(raw()), horizon=3, observed=2)
    assert len(chunks) == sum(LENGTHS)
    assert chunks.shape == (3, 1)
    x, condition = chunks.rows_of(torch.arange(len(chunks)))
    at = 0
    for e, length in enumerate(LENGTHS):
        for k in range(length):
            assert x[at, :, 0].tolist() == [100 * e + min(k + i, length - 1) for i in range(3)]
            assert condition.vector[at].tolist() == [e, max(k - 1, 0), e, k]
            at += 1
    whole = data.ActionChunks(data.Episodes(raw()), horizon=4, stride=0)
    assert whole.rows_of(torch.arange(3))[0][:, 0, 0].tolist() == [0, 100, 200]


def test_batches_are_permutations_of_all_windows():
    chunks = data.ActionChunks(data.Episodes(raw()), horizon=1, seed=3)
    drawn = torch.cat([chunks.batch(step, 5)[0][:, 0, 0] for step in range(3)]).tolist()
    assert sorted(drawn) == sorted(100 * e + k for e, n in enumerate(LENGTHS) for k in range(n))
    assert drawn != sorted(drawn)
    assert torch.equal(chunks.batch(7, 4)[0], chunks.batch(7, 4)[0])


def test_frames_come_with_the_action_before_them():
    windows = data.FrameWindows(data.Episodes(raw()), frames=4)
    assert len(windows) == 2 + 0 + 4
    x, condition = windows.rows_of(torch.arange(len(windows)))
    for row, (e, k) in enumerate([(0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (2, 3)]):
        assert (255 * x[row, :, 0, 0, 0]).round().tolist() == [10 * e + k + i for i in range(4)]
        before = [100 * e + k + i - 1 if k + i else 0 for i in range(4)]
        assert condition.vector[row, :, 0].tolist() == before


def test_one_observation_more_is_cut_and_classes_become_one_hot():
    more = data.Episodes(raw(observations=lambda x: np.concatenate([x, x[-1:] + 9])))
    assert len(more[1].observations) == LENGTHS[1]
    classes = data.Episodes([{"actions": [0, 2, 1]}, {"action": [1]}])
    assert classes[0].actions.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert classes[1].actions.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": lambda x: np.where(x == 2, np.nan, x)}, r"lift has NaN.*observations, first at moment 2"),
        ({"actions": lambda x: np.where(x == 101, np.inf, x)}, r"lift has NaN.*actions, first at moment 1"),
        ({"observations": lambda x: x[:-1]}, "lift has 2 observations and 3 actions"),
        ({"rewards": lambda x: np.append(x, 1)}, "lift has 4 rewards and 3 actions"),
        ({"actions": lambda x: None}, "lift has no actions; it has observations"),
        ({"observations": lambda x: None}, "lift has no observations, which reach has"),
        ({"observations": lambda x: np.concatenate([x, x], 1)}, r"lift has observations of \(4,\) numbers"),
        ({"frames": lambda x: x[:, 0]}, r"lift has frames of shape \(3, 2, 2\)"),
        ({"actions": lambda x: x[:0]}, "lift has no moments"),
        ({"actions": lambda x: ["a", "b", "c"]}, "lift has actions that are not numbers"),
    ],
)
def test_a_bad_episode_is_refused_by_its_name(change, message):
    with pytest.raises(UsageError, match=message):
        data.Episodes(raw(**change), names=["reach", "lift", "push"])


def test_files_hold_what_was_written(tmp_path):
    made = data.Episodes(raw(), names=["a", "b", "c"])
    data.save_episodes(made, tmp_path / "all.npz")
    folder = tmp_path / "folder"
    folder.mkdir()
    for one, name in zip(raw(), "abc", strict=True):
        np.savez(folder / f"{name}.npz", **one)
    for path in (tmp_path / "all.npz", folder):
        again = data.read_episodes(path)
        assert [one.name for one in again] == ["a", "b", "c"]
        assert torch.equal(again.keys(), made.keys())
    (folder / "d.npz").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"d\.npz cannot be read"):
        data.read_episodes(folder)
    np.savez(folder / "d.npz", actions=np.array([{}], dtype=object))
    with pytest.raises(UsageError, match=r"d\.npz cannot be read"):
        data.read_episodes(folder)
    with pytest.raises(UsageError, match="no episodes in"):
        data.read_episodes(tmp_path / "nowhere")
    np.savez(tmp_path / "ends.npz", actions=np.zeros((5, 1)), episode_ends=np.array([2, 4]))
    with pytest.raises(UsageError, match="the last of them the number of all moments"):
        data.read_episodes(tmp_path / "ends.npz")


def test_lerobot_s_folders_are_read(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(json.dumps({"codebase_version": "v2.1"}), encoding="utf-8")
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    for e, one in enumerate(raw()):
        length = LENGTHS[e]
        columns = {
            "observation.state": one["observations"].tolist()[::-1],
            "action": [[a] for a in one["actions"][::-1]],
            "next.reward": one["rewards"][::-1].tolist(),
            "episode_index": [e] * length,
            "frame_index": list(range(length))[::-1],
        }
        parquet.write_table(pa.table(columns), tmp_path / f"data/chunk-000/episode_{e:06d}.parquet")
    plain = data.Episodes([{name: v for name, v in one.items() if name != "frames"} for one in raw()])
    assert torch.equal(data.read_episodes(tmp_path).keys(), plain.keys())


def test_a_split_keeps_episodes_whole_and_is_by_content():
    many = data.Episodes([{"actions": np.full((3, 1), k)} for k in range(200)])
    train, held_out = many.split(0.2)
    assert len(train) + len(held_out) == 200
    assert 20 <= len(held_out) <= 60
    other = data.Episodes(list(many)[::-1]).split(0.2)[1]
    assert {float(one.actions[0]) for one in other} == {float(one.actions[0]) for one in held_out}


def test_the_codec_standardises_each_number():
    x = torch.randn(50, 4, 3, dtype=torch.float64) * torch.tensor([2.0, 0.1, 0.0]) + torch.tensor([5.0, -1.0, 7.0])
    made = codec.Standardize.of(x)
    z = made.encode(x).flatten(0, 1)
    torch.testing.assert_close(z.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(made.decode(made.encode(x)), x)
    jacobian = torch.autograd.functional.jacobian(lambda row: made.encode(row), x[0]).view(12, 12)
    assert abs(torch.linalg.slogdet(jacobian).logabsdet.item() - made.log_det(12)) < 1e-9
    with pytest.raises(UsageError, match="positive standard deviations"):
        codec.Standardize((0.0,), (0.0,))


def test_windows_that_cannot_be_are_refused():
    made = data.Episodes(raw())
    with pytest.raises(UsageError, match="at most 7"):
        data.FrameWindows(made, frames=8)
    with pytest.raises(UsageError, match="horizon=0"):
        data.ActionChunks(made, horizon=0)
    with pytest.raises(UsageError, match="episodes without observations"):
        data.ActionChunks(data.Episodes([{"actions": [[1.0]]}]))
