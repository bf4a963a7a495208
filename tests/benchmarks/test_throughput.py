"""The benchmark runs, on the CPU too, and writes numbers that make sense."""

import json

import pytest

from tests.benchmarks.throughput import FORMAT, SIZES, main


def test_the_benchmark_writes_rates_and_shares(tmp_path, capsys):
    out = tmp_path / "throughput.json"
    main(["--device", "cpu", "--size", "small", "--out", str(out)])
    measured = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == measured
    assert measured["format"] == FORMAT
    assert measured["settings"]["n_rows"] == SIZES["small"].n_rows
    assert min(measured["ceilings"].values()) > 0
    assert [job["autocast"] for job in measured["training"]] == [False, True]
    for job in measured["training"]:
        assert job["rows"] > 0
        assert job["placement"] == "host"
        assert job["flops_per_row"] > 1e6
        shares = job["rows"] * job["flops_per_row"]
        ceiling = measured["ceilings"][
            "flops_bfloat16" if job["autocast"] else "flops_float32"
        ]
        assert job["share_of_product"] * ceiling == pytest.approx(shares)
    assert measured["crafting"]["poison_iterations"] > 0
    assert measured["scoring"]["rows"] > 0
    assert measured["machine"]["device"] == "cpu"
