"""The Ray engine: the same bytes as the local one, and no part that retries for ever."""

import time
import urllib.request

import pytest

from cluster.execution import Placement
from cluster.ray_engine import RayEngine
from cluster.store import Store
from cluster.task import Bench, StepFailed
from flows.flow import load
from flows.run import run
from operators.contract import InputError
from tests.flows.test_run import FLOW, go, table, write

pytestmark = pytest.mark.ray
BIG = FLOW.replace("rows: 200", "rows: 4000")


@pytest.fixture
def engine(monkeypatch):
    from pathlib import Path

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    made = RayEngine(workers=2)
    yield made
    made.close()


def test_ray_and_local_make_the_same_rows(tmp_path, engine):
    path = write(tmp_path, BIG)
    one, other = Store(str(tmp_path / "local")), Store(str(tmp_path / "ray"))
    go(path, one, workers=2)
    run(load(path), Bench(other, engine, 4))
    for step in ("loud", "unique", "near"):
        assert table(path, one, step).equals(table(path, other, step))


def test_a_part_that_kills_its_actor_is_named_after_three_attempts(tmp_path, engine):
    path = write(tmp_path, BIG.replace("times: 2", "kill_on: doc number 5 of words"))
    with pytest.raises(StepFailed, match=r"loud: part 0000\d-of-00004 .*its process died 3 times"):
        run(load(path), Bench(Store(str(tmp_path / "s")), engine, 4))


def test_a_gpu_that_no_machine_here_has_is_told_rather_than_waited_for(tmp_path, engine):
    path = write(tmp_path, BIG)
    placement = {"loud": Placement(gpus=64)}
    with pytest.raises(InputError, match=r"loud: none of the 1 nodes of the Ray cluster has 64 GPU; mend `steps:`"):
        run(load(path), Bench(Store(str(tmp_path / "s")), engine, 4, placement=placement))


def test_prometheus_reads_parts_and_rows_of_each_step_at_the_nodes_metrics_port(tmp_path, engine):
    path, store = write(tmp_path, BIG), Store(str(tmp_path / "s"))
    run(load(path), Bench(store, engine, 4))
    import ray  # whether it asks for a token is settled when it is first imported

    port, rows = ray.nodes()[0]["MetricsExportPort"], len(table(path, store, "loud"))
    wanted, told = {"parts": 4.0, "rows": float(rows)}, dict[str, float]()
    for _ in range(120):  # Ray reports every few seconds
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        told = {n: _counted(lines, f"ray_pithead_{n}_total", "loud") for n in wanted}
        if told == wanted:
            break
        time.sleep(0.5)
    assert told == wanted


def _counted(lines, name, step):
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{") and f'step="{step}"' in line)
