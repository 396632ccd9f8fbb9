"""Rates of this machine, and what follows from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastface.cli import main
from fastface.errors import CorruptFileError, InvalidInputError, StorageError
from fastface.planning import Cluster, Job, Rates, load_rates, measure_rates, predict, save_rates
from fastface.planning.measure import people_like
from fastface.planning.rates import Growth, Work

GIB = 1 << 30
RATES = Rates(
    machine="a machine",
    dim=128,
    n_neighbors=80,
    region_rows=8_000,
    find_per_megapixel=0.1,
    embed_per_face=0.02,
    assign_per_flop=2e-11,
    visits=2.0,
    search_fixed=1e-4,
    search_per_row=4e-9,
    search_approximate=5e-4,
    approximate_rows=24_000,
    start=5.0,
    graph=Work(Growth(1.0, 1e-4), Growth(0.5, 1e-6)),
    people=Work(Growth(1.0, 5e-4), Growth(0.5, 2e-6)),
    attributes=Work(Growth(0.5, 1e-6), Growth(2.0, 1e-5)),
    memory_base=200 << 20,
    write_bytes=1e9,
    read_bytes=1e9,
)
JOB = Job(10_000_000, 128, region_rows=200_000, clusters=1000, photos=5_000_000)
CLUSTER = Cluster(10, 8, 32 * GIB, 1e9, price=2.0)


def test_a_plan() -> None:
    stages = {stage.name: stage for stage in predict(JOB, CLUSTER, RATES)}
    assert list(stages) == [
        "find faces",
        "embed",
        "start",
        "neighbour graph",
        "people",
        "attributes",
        "k-means, 1000 clusters",
    ]
    assert stages["find faces"].cpu_seconds == pytest.approx(1e6)  # 10 Mpx at 0.1 s
    assert stages["embed"].cpu_seconds == pytest.approx(2e5)
    assert stages["embed"].disk == 10_000_000 * 128 * 4
    assert stages["people"].cpu_seconds == pytest.approx(5001 + 20.5)
    for stage in stages.values():
        assert stage.seconds >= stage.cpu_seconds / 80
        assert stage.money == pytest.approx(stage.seconds / 3600 * 20)
        assert stage.memory >= stage.least_memory > 0


def test_what_more_machines_change() -> None:
    alone = predict(JOB, replace(CLUSTER, workers=5), RATES)
    double = predict(JOB, CLUSTER, RATES)
    for one, other in zip(alone, double, strict=True):
        assert other.cpu_seconds == one.cpu_seconds or one.name == "start"
        assert one.seconds / 2.2 < other.seconds
        assert (
            other.seconds < one.seconds
            or other.bound in ("scheduler", "caller")
            or (one.name == "start")
        )
        assert other.memory <= one.memory
    slow = predict(JOB, replace(CLUSTER, network=1e6), RATES)
    assert {stage.bound for stage in slow} >= {"network"}
    tight = predict(JOB, replace(CLUSTER, memory=2 * GIB), RATES)[3]
    assert tight.seconds > double[3].seconds
    assert tight.disk > double[3].disk
    assert "scheduler" in {s.bound for s in predict(replace(JOB, region_rows=1000), CLUSTER, RATES)}


def test_what_cannot_be_divided_waits() -> None:
    """One region keeps one worker busy while the others wait; the caller keeps all waiting."""
    one_region = Job(20_000, 128, region_rows=20_000, people_rows=20_000)
    two_regions = replace(one_region, region_rows=10_000, people_rows=10_000)
    there = Cluster(2, 1, 32 * GIB, 1e12)
    for name in (1, 2):
        alone, divided = (predict(job, there, RATES)[name] for job in (one_region, two_regions))
        assert alone.seconds / alone.cpu_seconds > 1.2 * divided.seconds / divided.cpu_seconds
    attributes = predict(one_region, Cluster(4, 1, 32 * GIB, 1e12), RATES)[3]
    assert attributes.bound == "caller"
    assert attributes.seconds > RATES.attributes.caller.fixed


def test_given_embeddings_need_no_photos() -> None:
    rates = replace(RATES, find_per_megapixel=None)
    names = [stage.name for stage in predict(replace(JOB, photos=0, clusters=0), CLUSTER, rates)]
    assert names == ["start", "neighbour graph", "people", "attributes"]
    with pytest.raises(InvalidInputError, match="run `fastface bench` again"):
        predict(JOB, CLUSTER, rates)


def test_a_line_through_two_runs() -> None:
    assert Growth.through((100, 200), (3.0, 5.0)) == Growth(1.0, 0.02)
    assert Growth.through((100, 200), (5.0, 4.0)) == Growth(4.0, 0.0)
    steep = Growth.through((100, 200), (1.0, 4.0))
    assert steep.fixed == 0.0
    assert steep.seconds(400) == pytest.approx(8.0)


def test_measured_rates(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    rates = measure_rates(dim=16, n_neighbors=8, sizes=(300, 600), region_rows=250, folder=tmp_path)
    save_rates(rates, tmp_path / "rates.json")
    assert load_rates(tmp_path / "rates.json") == rates
    assert 1 <= rates.visits <= 4
    assert rates.assign_per_flop > 0
    for work in (rates.graph, rates.people, rates.attributes):
        assert work.workers.seconds(600) > 0
        assert work.caller.seconds(600) > 0
    assert 0.2 < rates.start < 120
    assert rates.write_bytes > 1e5
    assert rates.memory_base > 1 << 20
    predict(Job(600, 16, 8, 250), replace(CLUSTER, workers=1), rates)


def test_rows_like_faces() -> None:
    rows = people_like(2000, 64)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    near = np.sort(rows[:200] @ rows.T, axis=1)
    assert np.sqrt(2 - 2 * np.median(near[:, -4])) < 0.36  # others of the same person
    assert np.sqrt(2 - 2 * np.median(near)) > 0.4


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"format": "fastface-rates", "version": 1, "dim": 3}']
)
def test_files_that_hold_no_rates(tmp_path: Path, content: str) -> None:
    (tmp_path / "rates.json").write_text(content)
    with pytest.raises(CorruptFileError, match="rates"):
        load_rates(tmp_path / "rates.json")
    with pytest.raises(StorageError, match="cannot read"):
        load_rates(tmp_path / "absent.json")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = str(tmp_path / "rates.json")
    save_rates(RATES, rates)
    arguments = ["plan", "--faces", "1e9", "--dim", "512", "--workers", "100", "--rates", rates]
    assert main([*arguments, "--memory", "16GiB", "--price", "1.5"]) == 0
    said = capsys.readouterr().out
    assert "neighbour graph" in said
    assert "rates of 128 features, scaled" in said
    assert main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seconds"] == sum(stage["seconds"] for stage in plan["stages"])
    assert main([*arguments, "--memory", "1GiB"]) == 0
    assert "too little memory for" in capsys.readouterr().out
    assert main([*arguments, "--memory", "much"]) == 1
    assert main([*arguments, "--network", "0"]) == 1
    with pytest.raises(SystemExit):
        main(["plan", "--faces", "1.5"])
    assert main(["bench", "--out", rates]) == 1
    assert "is there already" in capsys.readouterr().err
