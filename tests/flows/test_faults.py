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


def test_all_faults_are_reported_together(tmp_path, capsys):
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD.replace("from: docs}", "from: doc}").replace("{total: total}", "{}"))
    said = refused(capsys, tmp_path, "plan", str(path)).splitlines()
    assert [line.split(": ")[1] for line in said] == ["steps.loud.from", "steps.share.using.total"]


@pytest.mark.parametrize(("args", "sentence"), [
    (["run", "quickstrat"], "quickstrat: no such flow; did you mean 'quickstart'?"),
    (["run", "nowhere/flow.yaml"], "nowhere/flow.yaml: no such file"),
    (["run", "FLOW", "--set", "loud"], "--set loud: it needs key=value"),
    (["run", "FLOW", "--set", "lod.times=2"], "--set lod.times: FLOW has no step 'lod'; did you mean 'loud'?"),
    (["run", "FLOW", "--until", "shar"], "FLOW: no step 'shar'; did you mean 'share'?"),
    (["run", "FLOW", "--sample", "0"], "--sample: give a number above 0, not 0"),
    (["run", "FLOW", "--workers", "-1"], "--workers and --buckets: give at least 1 (0 workers runs in this process)"),
    (["show", "FLOW", "loud"], "loud: it is not stored in STORE yet; run the flow --until loud"),
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
