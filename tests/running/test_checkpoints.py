"""Finished stages are taken again, and nothing else is."""

import os
import pickle
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from sklgm import audit
from sklgm._running import Runner
from sklgm._running._checkpoints import Checkpoints
from sklgm.persistence import pack

VALUE = {"scores": np.linspace(0.0, 1.0, 50), "label": "ç"}


@pytest.fixture
def kept(tmp_path):
    """A folder with one finished stage, and its file."""
    Runner(folder=tmp_path, key="key").once("stage", lambda: VALUE)
    (path,) = tmp_path.rglob("*.sklgm")
    return tmp_path, path


def carried_out(folder, stage="stage", key="key"):
    """Whether the stage is done again."""
    done = []
    value = Runner(folder=folder, key=key).once(stage, lambda: done.append(1) or VALUE)
    np.testing.assert_array_equal(value["scores"], VALUE["scores"])
    return bool(done)


def test_a_finished_stage_is_taken(kept):
    assert not carried_out(kept[0])


@pytest.mark.parametrize("changed", [{"stage": "other"}, {"key": "other"}])
def test_a_stage_of_something_else_is_not_taken(kept, changed):
    assert carried_out(kept[0], **changed)


def test_a_file_under_the_name_of_another_stage_is_told(kept):
    folder, path = kept
    Runner(folder=folder, key="key").once("other", lambda: VALUE)
    (other,) = set(path.parent.iterdir()) - {path}
    other.replace(path)
    with pytest.warns(UserWarning, match="'stage' is not taken.*is of another stage"):
        assert carried_out(folder)


@pytest.mark.parametrize(
    "content", [{"stage": "stage", "key": "key"}, [1, 2], np.arange(3), "text"]
)
def test_a_file_of_the_format_that_is_no_stage_is_told(kept, content):
    folder, path = kept
    path.write_bytes(pack(content))
    with pytest.warns(
        UserWarning, match="'stage' is not taken.*is not a stage of a run"
    ):
        assert carried_out(folder)


class Planted:
    """Tells when it is unpickled."""

    executed = False

    def __reduce__(self):
        return (setattr, (Planted, "executed", True))


def test_a_planted_pickle_is_told_and_not_executed(kept):
    folder, path = kept
    path.write_bytes(pickle.dumps(Planted()))
    with pytest.warns(UserWarning, match="'stage' is not taken, it is done again"):
        assert carried_out(folder)
    assert not Planted.executed
    assert not carried_out(folder)  # it was replaced


@pytest.mark.parametrize("n_files", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_told_and_the_stage_done_again(kept, n_files):
    folder, path = kept
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(n_files):
        changed = bytearray(content)
        at = int(rng.integers(0, len(changed)))
        changed[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(changed)
        with pytest.warns(UserWarning, match="is not taken, it is done again"):
            is_found, _ = Checkpoints(folder, "key").get("stage")
        assert not is_found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_or_a_large_file_in_its_place_is_not_waited_for(kept):
    folder, path = kept
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(UserWarning, match="is not a regular file"):
        assert carried_out(folder)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no modes here")
def test_a_folder_that_others_may_write_to_is_not_trusted(kept):
    folder, path = kept
    path.parent.chmod(0o777)
    with pytest.warns(UserWarning, match="others may write to .*chmod go-w"):
        assert carried_out(folder)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners here")
def test_a_folder_of_another_user_is_not_trusted(kept, monkeypatch):
    folder, _ = kept
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.warns(UserWarning, match="belongs to another user"):
        assert carried_out(folder)


def test_a_folder_that_is_a_link_is_not_trusted(kept, tmp_path):
    folder, path = kept
    own = path.parent
    own.rename(tmp_path / "elsewhere")
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="is not a folder"):
        assert carried_out(folder)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no modes here")
def test_folders_are_the_users_own(kept):
    _, path = kept
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_written_switches_resuming_off(tmp_path, monkeypatch):
    X, y = load_iris(return_X_y=True)
    settings = {"estimator": LogisticRegression(max_iter=1000), "cv": 2}
    expected = audit(X, y, random_state=0, **settings)
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be continued if it is interrupted"):
        result = audit(
            X, y, random_state=0, resume_from=tmp_path / "file" / "in it", **settings
        )
    np.testing.assert_array_equal(result.p_values, expected.p_values)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device") as told:
        audit(X, y, random_state=0, resume_from=tmp_path / "full", **settings)
    assert len(told) == 1  # and not for each fold
    assert list((tmp_path / "full").rglob("*.sklgm")) == []


def test_what_cannot_be_kept_is_told(tmp_path):
    runner = Runner(folder=tmp_path)
    with pytest.warns(UserWarning, match="'stage' cannot be kept: .*print"):
        assert callable(runner.once("stage", lambda: print))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner.once("another", lambda: [1, 2.5, None])


def test_checkpoints_are_files_of_the_model_format(kept):
    content = kept[1].read_bytes()
    again = pack({"stage": "stage", "key": "key", "value": VALUE})
    assert len(content) == len(again)
