"""What people are shown of a set: a row's way back to its files, and the licences of all that it holds."""

import json

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.cli import main
from flows.config import find_flow
from flows.flow import load
from flows.run import run
from flows.show import reasons

TEXTS = {
    "a": "Ice melts in the sun because warmth loosens its molecules.", "b": "Iron rusts where water and air reach it.",
    "c": "Snow melts in spring when the days grow warm and long.", "d": "Owls hunt at night and hear mice below the snow.",
}  # fmt: skip


def beir(folder):
    """A small BEIR folder; each query has one judged document."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": k, "title": "", "text": t}) + "\n" for k, t in TEXTS.items()))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "when does ice melt"}) + "\n")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    return folder


def test_a_published_row_and_each_of_its_texts_is_walked_to_its_file_and_every_licence_is_stated(tmp_path, capsys):
    home, store = beir(tmp_path / "small"), Store(str(tmp_path / "s"))
    sets = [f"{step}.path={home}" for step in ("corpus", "queries", "qrels")]
    sets += ["corpus.licence=CC-BY-SA-4.0", "negatives.max_rejected=1", "centroids.clusters=1"]
    ran = run(load(find_flow("beir"), sets), Bench(store, LocalEngine(0), 2))
    assert "CC-BY-SA-4.0" in store.read_text(f"{ran.published}/README.md")
    again = run(load(find_flow("beir"), [*sets, "corpus.licence=MIT"]), Bench(store, LocalEngine(0), 2))
    assert again.published != ran.published, "what may be done with a set is part of it"
    flags = ["--store", store.uri, "--json", *(x for s in sets for x in ("--set", s))]

    def said(*args):
        assert main([*args, *flags]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]

    row = said("show", "beir", "set")[0]
    trail = said("show", "beir", "set", "--row", row["query_id"])
    assert {r["source_id"] for r in trail if r["step"] == "corpus"} > {"a"}
    assert {r["source_id"] for r in trail if r["step"] == "queries"} == {"q1"}
    assert trail[0]["step"] == "set"
    assert len([r for r in trail if r["step"] == "passages"]) == 1 + len(row["negative_ids"]), "no sibling of theirs"
    negative = said("show", "beir", "set", "--row", row["negative_ids"][0])
    assert [r["source_id"] for r in negative if r["step"] == "corpus"][0] in "bcd"
    assert negative[-1]["step"] == "corpus"
    assert main(["show", "beir", "set", "--row", row["query_id"], *(f for f in flags if f != "--json")]) == 0
    lines = capsys.readouterr().out
    assert lines.count("when does ice melt") == 1 < len([r for r in trail if r.get("query") == "when does ice melt"])
    assert lines.count('"step": "passages"') == 1 + len(row["negative_ids"])


def test_the_counts_of_reasons_add_up():
    assert reasons({"a": 1, "b": 9}) == "9 b, 1 a"
    assert reasons({k: 1 for k in "abcdefg"}) == "1 a, 1 b, 1 c, 1 d, 1 e, 2 of 2 other reasons"
