"""What may go wrong with an export: rows that no trainer should see, and folders, disks and processes in its way."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.contract import score
from tests.exporting import ROOT, exported, files, publish


def changed(folder: Path, table: pa.Table, change) -> Path:
    """The set of this table with three negatives in every row, after ``change`` of its rows."""
    rows = [r for r in table.to_pylist() if len(r["negatives"]) >= 3]
    change(rows)
    return publish(folder, pa.Table.from_pylist(rows, schema=table.schema), shards=1)


@pytest.mark.parametrize("trainer", ["PyLate", "Tevatron"])
def test_a_row_with_too_few_scores_hides_no_other_row_without_one(capsys, table, tmp_path, trainer):
    def change(rows):
        rows[0]["positive_scores"], rows[1]["negative_scores"][0], rows[2]["negative_scores"] = [], float("nan"), [1.0]
        rows[3]["positive_scores"][0], rows[4]["negative_scores"][2] = float("inf"), None

    told = exported(capsys, changed(tmp_path, table, change), trainer, tmp_path / "out", "scores=true", "positives=first")
    assert told["dropped"] == {"positive without a score": 2, "negative without a score": 3}


def test_a_negative_that_says_its_query_or_a_positive_and_texts_that_say_nothing_are_dropped(capsys, table, tmp_path):
    def change(rows):
        rows[0]["negatives"][0] = "  " + rows[0]["positives"][-1].upper().replace(" ", "  ")
        rows[1]["negatives"][2] = rows[1]["query"]
        rows[2]["negatives"][2] = rows[2]["negatives"][0] + "\n"
        rows[3]["negatives"][0], rows[4]["positives"][0], rows[5]["query"] = "", " \u2028", "\t"
        rows[6]["negatives"][0] = rows[7]["positives"][0]  # of another row: that is a batch's matter

    made = changed(tmp_path, table, change)
    for trainer in ("FlagEmbedding", "BEIR", "sentence-transformers"):
        told = exported(capsys, made, trainer, tmp_path / trainer, "negatives=3")
        assert told["dropped"] == {"a negative is its query, a positive of it or there twice": 3, "an empty text": 3}
    bare = publish(tmp_path / "bare", table.set_column(3, "query", pa.array([""] + table["query"].to_pylist()[1:])), shards=1)
    assert exported(capsys, bare, "BEIR", tmp_path / "x", "negatives=0")["dropped"] == {"an empty text": 1}


@pytest.mark.parametrize("trainer", ["datasets", "WebDataset", "MosaicML"])
def test_a_score_that_is_no_number_is_a_null_where_all_rows_are_kept(capsys, table, tmp_path, trainer):
    def change(rows):
        rows[0]["positive_scores"][0], rows[1]["negative_scores"][:2] = float("nan"), [float("inf"), None]

    made = changed(tmp_path, table.append_column("weight", pa.array([float("nan"), *[1.0] * 39], score)), change)
    told = exported(capsys, made, trainer, tmp_path / "out")
    assert not told["dropped"]
    if trainer == "datasets":
        first, second = pq.read_table(tmp_path / "out" / "data").slice(0, 2).to_pylist()
        assert first["positive_scores"][0] is None and second["negative_scores"][:2] == [None, None]
        assert second["negative_scores"][2] is not None


def test_the_plan_of_a_set_is_not_told_to_be_left_out_where_it_is_written(capsys, table, tmp_path):
    planned = table
    for name in ("stage", "epoch", "rank"):
        planned = planned.append_column(name, pa.array([0] * len(table), pa.int32()))
    told = exported(capsys, publish(tmp_path, planned), "datasets", tmp_path / "out")
    assert told["left_out"] == []
    assert pq.read_schema(next((tmp_path / "out" / "data").iterdir())).names == planned.column_names


def test_what_a_killed_export_left_and_links_are_in_no_ones_way(capsys, made, tmp_path):
    left = tmp_path / f".out.{os.getpid()}.tmp"  # in a container each process may have the same number
    left.mkdir()
    exported(capsys, made, "BEIR", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    exported(capsys, made, "BEIR", tmp_path / "link")
    assert files(tmp_path / "empty") == files(tmp_path / "out")
    exported(capsys, made, "BEIR", tmp_path / "no" / ".." / "such")
    assert {p.name for p in tmp_path.iterdir()} == {left.name, "out", "empty", "link", "such"}


def test_of_two_exports_to_one_folder_the_second_finds_the_first(capsys, made, tmp_path, monkeypatch):
    from flows import export as module

    written = module._written

    def slow(*given):
        monkeypatch.setattr(module, "_written", written)
        exported(capsys, made, "BEIR", tmp_path / "out")  # another one, while this is under way
        return written(*given)

    monkeypatch.setattr(module, "_written", slow)
    assert exported(capsys, made, "BEIR", tmp_path / "out")["there"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(made, tmp_path):
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); from flows.cli import main; sys.exit(main(sys.argv[1:]))"
    args = ["export", str(made), "--to", "BEIR", "--out", str(tmp_path / "out"), "--set", "negatives=1"]
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not [*tmp_path.iterdir()]
