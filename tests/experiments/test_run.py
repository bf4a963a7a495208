"""A run: its protocols, its settings, and how it goes on when it was interrupted."""

import dataclasses

import pytest

import sklgm
from sklgm._running import stage_key
from sklgm.experiments import get_protocol, run
from sklgm.results import RunResult
from tests.experiments.conftest import tiny, tiny_settings


def test_a_run_is_saved_with_its_settings(transfer_run, tmp_path):
    transfer_run[0].save(tmp_path)
    loaded = RunResult.load(tmp_path)
    assert loaded.table.equals(transfer_run[0].table)
    assert set(loaded.settings) == {"run", "transfer"}
    assert loaded.settings["transfer"]["n_targets"] == 4
    of_run = loaded.settings["run"]
    assert (of_run["n_refit_used"], of_run["n_test_used"]) == (90, 120)
    assert loaded.command == "c"


def test_protocols_run_in_the_order_of_the_registry(tiny_npz, monkeypatch):
    seen = []

    def stub(name):
        def measure(context, settings):
            seen.append((name, settings.n_targets))
            return iter(())

        return measure

    chosen = {"contamination": tiny("contamination"), "transfer": tiny("transfer")}
    for name in chosen:
        stubbed = dataclasses.replace(get_protocol(name), measure=stub(name))
        module = f"sklgm.experiments.{name}.PROTOCOL"
        monkeypatch.setattr(module, stubbed)
    run(tiny_settings(tiny_npz), chosen)
    assert seen == [("transfer", 4), ("contamination", 4)]
    seen.clear()
    run(tiny_settings(tiny_npz, preset="full"), ["transfer"])
    assert seen == [("transfer", 100)]


@pytest.mark.parametrize(
    ("protocols", "error", "message"),
    [
        (["black-box"], ValueError, "protocol must be one of .*'black-box'"),
        ([], ValueError, "at least one protocol"),
        ("transfer", TypeError, "protocols must be a sequence of names"),
        (
            {"transfer": tiny("frontier")},
            TypeError,
            r"protocols\['transfer'\] must be a TransferSettings, got Frontier",
        ),
    ],
)
def test_protocols_that_are_none_are_an_error(tiny_npz, protocols, error, message):
    with pytest.raises(error, match=message):
        run(tiny_settings(tiny_npz), protocols)


def test_a_device_that_does_not_exist_is_an_error_before_the_work(tiny_npz):
    with pytest.raises(ValueError, match="device='quantum'"):
        run(tiny_settings(tiny_npz, device="quantum"), ["transfer"])


@pytest.mark.parametrize("n_jobs", [0, 1.5, "two"])
def test_a_number_of_processes_that_is_none_is_an_error(tiny_npz, n_jobs):
    with pytest.raises(ValueError, match="n_jobs must be an int but 0"):
        run(tiny_settings(tiny_npz), n_jobs=n_jobs)


def test_networks_are_trained_once_and_every_stage_is_shown_to_its_end(tiny_npz):
    calls, last = [], {}

    def progress(stage, n_done, n):
        calls.append((stage, n_done))
        last[stage] = n_done, n

    run(
        tiny_settings(tiny_npz),
        {name: tiny(name, n_targets=2) for name in ("transfer", "end-to-end")},
        progress=progress,
        n_jobs=1,
    )
    assert calls.count(("train lgm", 1)) == calls.count(("train softmax", 1)) == 1
    assert all(n_done == n for n_done, n in last.values())


# Interrupted runs


@pytest.mark.parametrize(
    ("protocol", "interrupted", "finished"),
    [
        (
            "transfer",
            "train heads on lgm, feature_collision",
            {
                "train lgm",
                "transfer, control arm",
                "craft feature_collision on lgm",
                "train heads on softmax, feature_collision",
            },
        ),
        pytest.param(
            "end-to-end",
            "train lgm on lgm, feature_collision",
            {"end-to-end, control arm", "craft feature_collision on lgm"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "white-box",
            "two-feature network",
            {"white-box, feature_collision on lgm"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_interrupted_run_goes_on_where_it_stopped(
    tiny_npz, tmp_path, protocol, interrupted, finished
):
    settings = tiny_settings(tiny_npz)
    own = tiny(protocol)
    if protocol != "white-box":
        own = own.model_copy(update={"n_targets": 2})
    seen = set()

    def interrupt(stage, n_done, n_steps):
        seen.add(stage)
        if stage == interrupted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            settings,
            {protocol: own},
            progress=interrupt,
            n_jobs=1,
            resume_from=tmp_path,
        )
    assert finished < seen

    stages = set()
    resumed, _ = run(
        settings,
        {protocol: own},
        progress=lambda stage, n_done, n: stages.add(stage),
        n_jobs=1,
        resume_from=tmp_path,
    )
    expected, _ = run(settings, {protocol: own}, n_jobs=1)
    assert resumed.table.equals(expected.table)
    assert resumed.trials.equals(expected.trials)
    assert interrupted in stages
    assert not stages & finished


@pytest.mark.slow
def test_a_damaged_stage_is_carried_out_again(tiny_npz, tmp_path):
    settings, own = tiny_settings(tiny_npz), {"transfer": tiny("transfer")}
    expected, _ = run(settings, own, n_jobs=1, resume_from=tmp_path)
    kept = list(tmp_path.rglob("*.sklgm"))
    assert len(kept) > 3
    for stage in kept:
        stage.write_bytes(stage.read_bytes()[:100])
    with pytest.warns(UserWarning, match="is not taken, it is done again"):
        again, _ = run(settings, own, n_jobs=1, resume_from=tmp_path)
    assert again.table.equals(expected.table)


def test_other_rows_do_not_take_what_is_unfinished(tiny_context):
    settings, partition = tiny_context.settings, tiny_context.partition
    X = partition.X_test.copy()
    X[0, 0, 0, 0] += 0.5
    other = dataclasses.replace(partition, X_test=X)
    keys = {
        stage_key(settings, partition, "cpu"),
        stage_key(settings, other, "cpu"),
        stage_key(settings, partition, "cuda:0 (one)"),
    }
    assert len(keys) == 3
    assert stage_key(settings, partition, "cpu") in keys


@pytest.mark.parametrize("changed", ["seed", "max_iter"])
def test_other_settings_do_not_take_what_is_unfinished(tiny_npz, tmp_path, changed):
    stages = set()

    def interrupt(stage, n_done, n_steps):
        stages.add(stage)
        if stage == "transfer, control arm":
            raise KeyboardInterrupt

    of_run = {"seed": 1} if changed == "seed" else {}
    own = {"max_iter": 11} if changed == "max_iter" else {}
    for settings, protocol in (
        (tiny_settings(tiny_npz), tiny("transfer")),
        (tiny_settings(tiny_npz, **of_run), tiny("transfer", **own)),
    ):
        stages.clear()
        with pytest.raises(KeyboardInterrupt):
            run(
                settings, {"transfer": protocol}, progress=interrupt, n_jobs=1,
                resume_from=tmp_path,
            )  # fmt: skip
    assert "train lgm" in stages


def test_versions_are_those_at_the_start_of_the_run(tiny_npz, monkeypatch):
    # Another version installed while it runs is not what computed.
    def progress(stage, n_done, n_steps):
        if stage == "train lgm":
            monkeypatch.setattr(
                "sklgm._running._environment.installed_version", lambda name: "9.9"
            )

    result, _ = run(
        tiny_settings(tiny_npz),
        {"transfer": tiny("transfer", n_targets=1)},
        progress=progress,
        n_jobs=1,
    )
    assert result.sklgm_version == sklgm.__version__
    assert result.environment["packages"]["sklgm"] == sklgm.__version__
