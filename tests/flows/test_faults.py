"""Bad input: one clear sentence each, exit status 2, nothing published. Faults that stand in the flow itself."""

from pathlib import Path

import pytest

from flows.cli import main

GOOD = """\
flow: toy
steps:
  docs: {op: "tests.toy_ops:count_docs", with: {path: none, rows: 50}}
  loud: {op: "tests.toy_ops:shout", from: docs}
  total: {op: "tests.toy_ops:count_letters", from: loud}
  share: {op: "tests.toy_ops:letter_share", from: loud, using: {total: total}}
  near: {op: "tests.toy_ops:longest", from: share, against: docs}
"""

# name: (what stands in the good flow, what stands there instead, the sentence; {f} is the flow's file)
FAULTS = {
    "not yaml": (GOOD, "flow: [", "{f}, line 1: not YAML: expected the node content, but found '<stream end>'"),
    "a list": (GOOD, "- flow", "{f}: a flow is a mapping with `flow:` and `steps:`"),
    "empty file": (GOOD, "", "{f}: a flow is a mapping with `flow:` and `steps:`"),
    "no steps": (GOOD, "flow: toy\n", "{f}.steps: this key is missing"),
    "no name": ("flow: toy\n", "", "{f}.flow: this key is missing"),
    "a name that leaves the store": ("flow: toy", "flow: ../../etc",
        "{f}.flow: string should match pattern '^[A-Za-z0-9][A-Za-z0-9_-]*$', not '../../etc'"),
    "a key twice": ("  total:", "  loud:", "{f}, line 5: not YAML: the key 'loud' is there twice"),
    "a key that is a list": ("flow: toy", "flow: toy\n? [a, b]\n: 3", "{f}, line 2: not YAML: a key is a word, not a list or a mapping"),
    "a day that no month has": ("flow: toy", "flow: toy\ndoc: 2024-13-01", "{f}: not YAML: month must be in 1..12"),
    "a value inside of itself": ("flow: toy", "flow: toy\ndoc: &a [*a]", "{f}, line 2: not YAML: found unconstructable recursive node"),
    "a character that YAML has not": ("flow: toy", "flow: toy\ndoc: \x01",
        '{f}: not YAML: unacceptable character #x0001: special characters are not allowed in "<unicode string>", position 15'),
    "unknown key of the flow": ("flow: toy", "flow: toy\nsed: 3", "{f}.sed: no such key; did you mean 'seed'?"),
    "unknown key of a step": ("from: docs}", "form: docs}", "{f}.steps.loud.form: no such key; did you mean 'from'?"),
    "unknown param": ("from: docs}", "from: docs, with: {time: 2}}",
        "{f}: steps.loud.with.time: no such key; did you mean 'times'?"),
    "wrong type": ("from: docs}", "from: docs, with: {times: many}}",
        "{f}: steps.loud.with.times: input should be a valid integer, unable to parse string as an integer, not 'many'"),
    "a param that is missing": ("with: {path: none, rows: 50}", "with: {rows: 50}",
        "{f}: steps.docs.with.path: this key is missing"),
    "not a number": ("from: docs}", "from: docs, with: {sleep: .nan}}",
        "{f}: steps.loud.with.sleep: input should be a finite number, not nan"),
    "a share above one": ("from: docs}", "from: docs, max_rejected: 7}",
        "{f}.steps.loud.max_rejected: input should be less than or equal to 1, not 7"),
    "unknown operator": ('op: "tests.toy_ops:shout"', "op: drop_duplicate",
        "{f}: steps.loud.op: no operator 'drop_duplicate'; did you mean 'drop_duplicates'?"),
    "unknown module": ("tests.toy_ops:shout", "tests.no_ops:shout",
        "{f}: steps.loud.op: operator 'tests.no_ops:shout' cannot be imported: No module named 'tests.no_ops'"),
    "no module": ("tests.toy_ops:shout", ":shout",
        "{f}: steps.loud.op: ':shout' names no operator; write an operator of the package, or module:function"),
    "a module by its dots": ("tests.toy_ops:shout", ".toy_ops:shout",
        "{f}: steps.loud.op: '.toy_ops:shout' names no operator; write an operator of the package, or module:function"),
    "no function": ("tests.toy_ops:shout", "tests.toy_ops:",
        "{f}: steps.loud.op: 'tests.toy_ops:' names no operator; write an operator of the package, or module:function"),
    "not an operator": ("tests.toy_ops:shout", "tests.toy_ops:Shout",
        "{f}: steps.loud.op: 'tests.toy_ops:Shout' is not an operator: tests.toy_ops has no @operator function 'Shout'"),
    "a step that reads a later one": ("loud: {op: \"tests.toy_ops:shout\", from: docs}",
        "loud: {op: \"tests.toy_ops:shout\", from: share}",
        "{f}: steps.loud.from: 'share': it stands at or below this step; a step reads only what stands above it"),
    "a step that reads itself": ("from: docs}", "from: loud}",
        "{f}: steps.loud.from: 'loud': it stands at or below this step; a step reads only what stands above it"),
    "a step that is not there": ("from: docs}", "from: doc}",
        "{f}: steps.loud.from: 'doc': no step of that name stands above it; did you mean 'docs'?"),
    "rows of an artifact": ("from: share, against", "from: total, against",
        "{f}: steps.near.from: 'total' is an artifact; name it under `using:`"),
    "an artifact of rows": ("{total: total}", "{total: loud}", "{f}: steps.share.using.total: 'loud' makes rows, not a Total"),
    "an artifact that is missing": (", using: {total: total}", "",
        "{f}: steps.share.using.total: this key is missing; letter_share uses a Total"),
    "an artifact too many": ("{total: total}", "{total: total, texts: total}",
        "{f}: steps.share.using.texts: letter_share uses no 'texts'; there is total"),
    "a source with rows": ("op: \"tests.toy_ops:count_docs\",", "op: \"tests.toy_ops:count_docs\", from: [x],",
        "{f}: steps.docs.from: count_docs reads files, not steps; remove it"),
    "a map without rows": (", from: docs}", "}",
        "{f}: steps.loud.from: this key is missing; shout needs the step whose rows it takes"),
    "a cross without its right": (", against: docs", "",
        "{f}: steps.near.against: this key is missing; it names the step that is searched"),
    "a map with a right": ("from: docs}", "from: docs, against: docs}", "{f}: steps.loud.against: only a cross has it"),
    "a column that is missing": ("from: docs}", "from: docs, keep: [doc_id]}\n"
        "  again: {op: \"tests.toy_ops:letter_share\", from: loud, using: {total: loud}}", None),
    "a column that is not kept": ("from: docs}", "from: docs, keep: [doc_idd]}",
        "{f}: steps.loud.keep: 'doc_idd' is not a column of docs; did you mean 'doc_id'?"),
    "a column above": ("from: share, against: docs", "from: share, against: share2",
        "{f}: steps.near.against: 'share2': no step of that name stands above it; did you mean 'share'?"),
    "a secret that is not set": ("path: none", "path: \"${env:PITHEAD_NO_SUCH}\"",
        "{f}.steps.docs.with.path: the environment has no PITHEAD_NO_SUCH; set it with `export PITHEAD_NO_SUCH=...`"),
}  # fmt: skip


def refused(capsys, tmp_path: Path, *args: str) -> str:
    status = main([*args, "--store", str(tmp_path / "store")])
    assert status == 2
    assert not (tmp_path / "store" / "datasets").exists()
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_flow_is_one_sentence(name, tmp_path, capsys):
    old, new, sentence = FAULTS[name]
    assert old in GOOD
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    said = refused(capsys, tmp_path, "run", str(path), "--workers", "0")
    if sentence is not None:
        assert said == sentence.replace("{f}", str(path))
    assert "Traceback" not in said
    assert not (tmp_path / "store" / "steps").exists()


LAUGHS = "flow: bomb\nsteps:\n  a: {op: read_corpus, with: {a: &a0 [x, x, x, x, x, x, x, x, x]" + "".join(
    f", b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(9)) + "}}\n"  # fmt: skip


@pytest.mark.parametrize(("text", "words"), [
    (LAUGHS, "{f}, line 1: not YAML: its aliases (*name) unfold to more than 100,000 values; write fewer"),
    ("flow: x\nsteps: {a: &x {op: read_corpus, with: {columns: *x}}}\n", "{f}, line 2: not YAML: found unconstructable recursive node"),
    ("flow: x\nx: &a " + "y" * 2_000_000 + "\ny: [" + "*a, " * 100 + "]\n",
        "{f}, line 1: not YAML: its aliases (*name) unfold to more than 100,000 values; write fewer"),
])  # fmt: skip
def test_aliases_that_unfold_without_end_are_refused(text, words, tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(text)
    assert refused(capsys, tmp_path, "plan", str(path)) == words.replace("{f}", str(path))


def test_every_shipped_flow_unfolds_to_far_fewer_values():
    import yaml

    from flows import config

    files = sorted(config.CONFIGS.glob("*/*.yaml"))
    assert any("&" in f.read_text() for f in files)
    assert all(config._unfolded(yaml.compose(f.read_text(), config._Loader), {}) < config.NODES // 20 for f in files)


def test_all_faults_are_reported_together(tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD.replace("from: docs}", "from: doc}").replace("{total: total}", "{}"))
    said = refused(capsys, tmp_path, "plan", str(path)).splitlines()
    assert [line.split(": ")[1] for line in said] == ["steps.loud.from", "steps.share.using.total"]


def test_a_column_of_another_type_is_not_written_over(tmp_path, capsys):
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "why does iron rust"}\n')
    path = tmp_path / "flow.yaml"
    path.write_text(
        "flow: over\nsteps:\n  asked: {op: read_queries, with: {path: queries.jsonl}}\n"
        "  sought: {op: embed, from: asked, using: {encoder: static}, with: {column: query, into: query_id}}\n"
    )
    said = refused(capsys, tmp_path, "plan", str(path))
    was = "asked has it as fixed_size_binary[16]; name another column"
    assert said == f"{path}: steps.sought: embed writes 'query_id' as list<item: float>, {was}"


@pytest.mark.parametrize(("code", "words"), [
    ("def f(:\n", "SyntaxError: invalid syntax (FILE, line 1)"),
    ("x = 1\n1 / 0\n", "ZeroDivisionError: division by zero (FILE, line 2)"),
    ("raise SystemExit(3)\n", "SystemExit: 3 (FILE, line 1)"),
    ("import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"),
])  # fmt: skip
def test_an_operator_that_cannot_be_imported_is_one_sentence(code, words, tmp_path, capsys):
    module = f"ops_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(code)
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD.replace("tests.toy_ops:shout", f"{module}:shout"))
    said = refused(capsys, tmp_path, "run", str(path))
    assert said == f"{path}: steps.loud.op: operator '{module}:shout' cannot be imported: " \
        + words.replace("FILE", str(tmp_path / f"{module}.py"))  # fmt: skip


@pytest.mark.parametrize(("text", "words"), [
    ("- smollm2\n", "it is a list; write one `key: {kind: …, backend: …}` a model"),
    ("smollm2\n", "it is a str; write one `key: {kind: …, backend: …}` a model"),
    ("mine: 3\n", "mine: input should be a valid dictionary or instance of ModelEntry, not 3"),
])  # fmt: skip
def test_a_models_yaml_of_another_kind_is_one_sentence(text, words, tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD)
    (tmp_path / "models.yaml").write_text(text)
    assert refused(capsys, tmp_path, "run", str(path)) == f"{tmp_path / 'models.yaml'}: {words.strip()}"


def test_a_pattern_that_is_none_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text("flow: toy\nsteps:\n  docs: {op: read_corpus, with: {path: 'a**.jsonl'}}\n")
    said = refused(capsys, tmp_path, "run", str(path))
    assert said == f"{path}: steps.docs.with: a**.jsonl: ** stands for folders alone; write **/ before the pattern of the name"


def test_a_fault_that_nobody_foresaw_is_one_line_and_a_traceback_only_where_asked_for(tmp_path, capsys, monkeypatch):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD)
    store = str(tmp_path / "s")
    assert main(["run", str(path), "--store", store, "--workers", "0", "--until", "docs"]) == 0
    for part in (tmp_path / "s").rglob("parts/*.parquet"):
        part.write_bytes(b"no parquet")
    capsys.readouterr()
    assert main(["show", str(path), "docs", "--store", store]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("ArrowInvalid at ") and said.endswith("PITHEAD_DEBUG=1 shows where it comes from")
    assert len(said.splitlines()) == 1
    monkeypatch.setenv("PITHEAD_DEBUG", "1")
    with pytest.raises(ValueError, match="Parquet"):
        main(["show", str(path), "docs", "--store", store])


def test_what_is_tried_without_its_artifact_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD)
    assert main(["run", str(path), "--store", str(tmp_path / "store"), "--workers", "0", "--until", "loud"]) == 0
    capsys.readouterr()
    said = refused(capsys, tmp_path, "try", str(path), "share")
    assert said == "share: the artifact total is not stored; run the flow --until total"


def test_a_sample_that_no_step_draws_from_is_refused(tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD.replace("steps:", "steps:\n  aside: {op: \"tests.toy_ops:count_docs\", with: {path: none, rows: 5}}"))
    said = refused(capsys, tmp_path, "run", str(path), "--sample", "5")
    assert said == "--sample 5: no step reads aside, the first, whose rows it draws; leave it out"


@pytest.mark.parametrize(("args", "sentence"), [
    (["run", "quickstrat"], "quickstrat: no such flow; did you mean 'quickstart'?"),
    (["run", "nowhere/flow.yaml"], "nowhere/flow.yaml: no such file"),
    (["run", "FLOW", "--set", "loud"], "--set loud: it needs key=value"),
    (["run", "FLOW", "--set", "docs.path=@x"], "--set docs.path=@x: the value is not YAML: found character '@' that cannot"
        " start any token; put double quotes around it"),
    (["run", "FLOW", "--set", "docs.path=[1"], "--set docs.path=[1: the value is not YAML: expected ',' or ']', but got"
        " '<stream end>'; put double quotes around it"),
    (["run", "FLOW", "--set", "docs.path=%x"], "--set docs.path=%x: the value is not YAML: expected '<document start>',"
        " but found '<stream end>'; put double quotes around it"),
    (["run", "FLOW", "--set", "docs.path=2024-13-01"], "--set docs.path=2024-13-01: the value is not YAML: month must be in"
        " 1..12; put double quotes around it"),
    (["show", "FLOW", "loud", "--row", "g" * 32], f"--row {'g' * 32}: an id is 32 hex digits; ids are shown by `pithead show`"),
    (["show", "FLOW", "loud", "--rows", "0"], "--rows: give a number above 0, not 0"),
    (["try", "FLOW", "loud", "--rows", "-1"], "--rows: give a number above 0, not -1"),
    (["show", "FLOW", "loud", "--rejects"], "loud: with these settings it is not stored in STORE; repeat the --set of its run, or run the flow --until loud"),
    (["run", "FLOW", "--set", "lod.times=2"], "--set lod.times: FLOW has no step 'lod'; did you mean 'loud'?"),
    (["run", "FLOW", "--until", "shar"], "FLOW: no step 'shar'; did you mean 'share'?"),
    (["run", "FLOW", "--sample", "0"], "--sample: give a number above 0, not 0"),
    (["run", "FLOW", "--workers", "-1"], "--workers and --buckets: give at least 1 (0 workers runs in this process)"),
    (["show", "FLOW", "loud"], "loud: with these settings it is not stored in STORE; repeat the --set of its run, or run the flow --until loud"),
    (["try", "FLOW", "loud"], "loud: its input is not stored; run the flow --until docs"),
    (["try", "FLOW", "near"], "near: a cross needs its whole input; try a map or a group"),
    (["submit", "FLOW"], "submit: --address is missing; give the cluster's, such as http://127.0.0.1:8265"),
])  # fmt: skip
def test_a_fault_of_the_command_is_one_sentence(args, sentence, tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD)
    said = refused(capsys, tmp_path, *[str(path) if a == "FLOW" else a for a in args])
    assert said == sentence.replace("FLOW", str(path)).replace("STORE", str(tmp_path / "store"))


def test_a_store_that_cannot_be_written_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD)
    assert main(["run", str(path), "--store", str(tmp_path / "file" / "store")]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"store {tmp_path}/file/store: it cannot be used")
    assert said.endswith("give another with --store")


def test_a_store_address_of_an_unknown_kind_is_said(tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD)
    assert main(["run", str(path), "--store", "nosuch://bucket/x"]) == 2
    assert capsys.readouterr().err.startswith("store nosuch://bucket/x: Protocol not known: nosuch")


def test_a_full_disk_publishes_nothing_and_the_next_run_goes_on(tmp_path):
    """A file-size limit stands in for a full disk: the same OSError on the same write, without root."""
    import subprocess
    import sys

    path = tmp_path / "flow.yaml"
    path.write_text(GOOD.replace("rows: 50", "rows: 20000"))
    command = [sys.executable, "-m", "flows", "run", str(path), "--store", str(tmp_path / "s"), "--workers", "0"]
    root = Path(__file__).parents[2]
    limited = f"import resource,signal,runpy,sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " \
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000)); sys.argv={command[2:]!r}; " \
        "runpy.run_module('flows', run_name='__main__')"  # fmt: skip
    full = subprocess.run([sys.executable, "-c", limited], cwd=root, capture_output=True, text=True)
    assert full.returncode == 2, full.stderr
    assert "store " in full.stderr
    assert "Traceback" not in full.stderr
    assert subprocess.run(command, cwd=root, capture_output=True).returncode == 0
