"""What makes a step another step: the source's name, a model's files, a tokenizer, a user's code. No result of another is taken."""

import json
import shutil
from pathlib import Path

import pytest

from cluster.store import Store
from flows.cli import main
from flows.config import find_flow
from flows.flow import load
from flows.plan import describe, plan
from operators.engines.models import packaged, place
from tests.flows.test_run import go, table

DOCS = [{"_id": str(i), "title": f"Title {i}", "text": f"Some words of document number {i}."} for i in range(3)]


def project(home: Path, name: str, steps: str) -> Path:
    """A folder with a corpus and a flow of these steps."""
    (home / name).mkdir(parents=True)
    (home / name / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in DOCS))
    path = home / name / "flow.yaml"
    path.write_text(f"flow: toy\nsteps:\n  docs: {{op: read_corpus, with: {{path: corpus.jsonl}}}}\n{steps}")
    return path


def prints(path: Path, store: Store) -> dict[str, str]:
    return {p.step.name: p.task.fingerprint for p in plan(load(path), store)}


def test_equal_files_of_two_folders_keep_the_names_of_their_folders(tmp_path):
    store = Store(str(tmp_path / "s"))
    for name in ("en", "fr"):
        path = project(tmp_path, name, "")
        assert go(path, store).made == 1
        assert set(table(path, store, "docs")["source"].to_pylist()) == {name}
    copy = project(tmp_path / "elsewhere", "en", "")
    assert go(copy, store).made == 0, "another place of the same name is the same source"


def test_a_shipped_flow_takes_a_model_of_the_folder_where_you_stand_and_keeps_its_own_prompts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = {"kind": "encoder", "backend": "static", "model": str(place(packaged("encoder").model)), "max_tokens": 128}
    (tmp_path / "models.yaml").write_text(json.dumps({"mine": entry}))
    (tmp_path / "question.md").write_text("Mine: {passage}\n")
    flow = load(find_flow("quickstart"), ["vectors.using.encoder=mine"])
    assert flow.step("vectors").models["encoder"].max_tokens == 128
    assert not flow.step("queries").params.prompts["question"].text.startswith("Mine")
    own = load(find_flow("quickstart"), ["queries.prompts={question: question.md}"])
    assert not own.step("queries").params.prompts["question"].text.startswith("Mine"), "the shipped one of this name goes first"


def test_a_model_whose_weights_changed_is_asked_again(tmp_path):
    store = Store(str(tmp_path / "s"))
    cut = "  cut: {op: split_passages, from: docs, with: {min_words: 1}}\n"
    path = project(tmp_path, "p", cut + "  vectors: {op: embed, from: cut, using: {encoder: mine}}\n")
    shutil.copytree(place(packaged("encoder").model), tmp_path / "p" / "m")
    entry = "mine: {kind: encoder, backend: static, model: ./m, max_tokens: 128}\n"
    (tmp_path / "p" / "models.yaml").write_text(entry)
    before = prints(path, store)
    shutil.copytree(tmp_path / "p", tmp_path / "moved" / "p")
    assert prints(tmp_path / "moved" / "p" / "flow.yaml", store) == before
    weights = next((tmp_path / "p" / "m").rglob("*.safetensors"))
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    after = prints(path, store)
    assert [name for name in before if before[name] != after[name]] == ["vectors"]


def test_a_tokenizer_counts_from_the_flows_folder_and_by_its_content(tmp_path):
    store = Store(str(tmp_path / "s"))
    step = "  cut: {op: split_passages, from: docs, with: {min_words: 1, unit: tokens, tokenizer: t.json}}\n"
    path = project(tmp_path, "p", step)
    with pytest.raises(ValueError, match=r"steps\.cut\.with\.tokenizer: t\.json: no such file"):
        load(path)
    tokenizer = tmp_path / "p" / "t.json"
    shutil.copyfile(place(packaged("encoder").model) / "tokenizer.json", tokenizer)
    before = prints(path, store)
    assert go(path, store).made == 2
    shutil.copytree(tmp_path / "p", tmp_path / "q" / "p")
    assert prints(tmp_path / "q" / "p" / "flow.yaml", store) == before
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert prints(path, store)["cut"] != before["cut"]


@pytest.mark.parametrize("given", ["", ", tokenizer: 'package:tokenizer_of_a_test/t.json'"])
def test_a_packaged_tokenizer_is_its_bytes(given, tmp_path, monkeypatch):
    """White space of a tokenizer.json, then another rule in it: the rows of the old one are not taken for the new one's."""
    from operators import split_passages

    store = Store(str(tmp_path / "s"))
    (tmp_path / "tokenizer_of_a_test").mkdir()
    (tmp_path / "tokenizer_of_a_test" / "__init__.py").touch()
    tokenizer = tmp_path / "tokenizer_of_a_test" / "t.json"
    shutil.copyfile(place(packaged("encoder").model) / "tokenizer.json", tokenizer)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(split_passages, "_MINILM", "package:tokenizer_of_a_test/t.json")
    path = project(tmp_path, "p", f"  cut: {{op: split_passages, from: docs, with: {{min_words: 1, max_words: 6, unit: tokens{given}}}}}\n")
    before = prints(path, store)
    go(path, store)
    rows = len(table(path, store, "cut"))
    said = json.loads(tokenizer.read_text())
    said["model"]["vocab"] = {k: v for k, v in said["model"]["vocab"].items() if len(k) == 1 or k.startswith(("[", "##"))}
    tokenizer.write_text(json.dumps(said))
    assert prints(path, store)["cut"] != before["cut"]
    go(path, store)
    assert len(table(path, store, "cut")) > rows, "words are cut into letters now"
    tokenizer.unlink()
    if given:
        with pytest.raises(ValueError, match=r"steps\.cut\.with\.tokenizer: package:tokenizer_of_a_test/t\.json: no such file"):
            load(path)


OPERATOR = '''"""Of a test."""
from operators.contract import Params, operator, text
from operators.columns import put
import pyarrow as pa
@operator("map", version="1", reads={"text": text}, writes={"text": text}, rows="same")
def mark(table, p: Params):
    """Mark."""
    return put(table, "text", pa.array(["MARK " + v for v in table["text"].to_pylist()], text))
'''


def test_two_projects_may_call_their_modules_alike(tmp_path):
    """In two processes, as two projects are; the second is a map of other code and of the same name and version."""
    import subprocess
    import sys

    found = []
    for name in ("one", "two"):
        path = project(tmp_path / name, "p", '  marked: {op: "my_same_ops:mark", from: docs}\n')
        (tmp_path / name / "p" / "my_same_ops.py").write_text(OPERATOR.replace("MARK", name))
        command = [sys.executable, "-m", "flows", "run", str(path), "--store", str(tmp_path / "s"), "--workers", "0"]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True)
        shown = subprocess.run([*command[:3], "show", str(path), "marked", "--store", str(tmp_path / "s"), "--json"],
            cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)  # fmt: skip
        found.append({row["text"].split()[0] for row in json.loads(shown.stdout)["rows"]})
    assert found == [{"one"}, {"two"}]


def test_a_helper_of_a_users_operator_is_its_code(tmp_path):
    """Wherever it is imported: by a package, by a name, within a function, relative, in a folder above."""
    store = Store(str(tmp_path / "s"))
    path = project(tmp_path, "p", '  marked: {op: "my_helped.ops:mark", from: docs}\n')
    files = {
        "p/my_helped/__init__.py": "", "p/my_helped/words.py": "from .deep import word\n", "p/my_helped/deep.py": "word = 'a'\n",
        "p/my_helper_one.py": "import my_helper_two as two\n", "my_helper_two.py": "x = 1\n", "p/my_stranger.py": "x = 1\n",
        "p/my_space/late.py": "y = 2\n", "p/my_helped/star.py": "z = 1\n",
    }  # fmt: skip
    code = OPERATOR.replace("import pyarrow as pa", "import pyarrow as pa, my_helper_one\nfrom my_helped.star import *")
    files["p/my_helped/ops.py"] = code.replace('"MARK " + v', "word() + v").replace('    """Mark."""', "    from my_space import late") + (
        "def word():\n    from my_helped import words\n    return words.word\n"
    )
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = prints(path, store)
    for name, text in files.items():
        (tmp_path / name).write_text(text + "# changed\n")
        moved = prints(path, store)["marked"] != before["marked"]
        assert moved == (name != "p/my_stranger.py"), name
        (tmp_path / name).write_text(text)
    assert prints(path, store) == before


def test_code_that_moved_without_its_version_is_said(tmp_path, capsys):
    store = Store(str(tmp_path / "s"))
    path = project(tmp_path, "p", "  cut: {op: split_passages, from: docs, with: {min_words: 1}}\n")
    go(path, store)
    planned = plan(load(path), store)
    record = store.read_json(f"{planned[1].task.home}/run.json")
    assert len(record["code"]) == 16
    assert [s["code_moved"] for s in describe(planned)] == [False, False]
    store.write_json(f"{planned[1].task.home}/run.json", {**record, "code": "0" * 16})
    assert main(["plan", str(path), "--store", store.uri]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("its code moved, its version did not") for line in lines] == [False, True]


def test_another_version_of_the_library_that_decides_makes_every_row_anew(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "s"))
    path = project(tmp_path, "p", "  clean: {op: redact_pii, from: docs}\n  cut: {op: split_passages, from: docs, with: {min_words: 1}}\n")
    before = prints(path, store)
    monkeypatch.setattr("flows.flow.version_of", lambda name: f"{name} of tomorrow")
    after = prints(path, store)
    assert [name for name in before if before[name] != after[name]] == ["clean"]
