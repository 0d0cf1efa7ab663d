"""Ctrl-C, or being told to end: one sentence, exit status 3, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOW = """
flow: toy
steps:
  docs: {op: "tests.toy_ops:count_docs", with: {path: none, rows: 9000}}
  loud: {op: "tests.toy_ops:shout", from: docs, with: {sleep: 2}}
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])  # a terminal's, and a scheduler's that takes the machine back
def test_a_signal_ends_driver_and_workers_in_one_sentence_and_the_next_run_goes_on(tmp_path, sent):
    (tmp_path / "flow.yaml").write_text(FLOW)
    command = [sys.executable, "-m", "flows", "run", str(tmp_path / "flow.yaml"), "--store", str(tmp_path / "s"), "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell lets what it runs behind ignore it
    )  # fmt: skip
    while not list((tmp_path / "s" / "steps").glob("shout-*/commits/*")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, sent)  # to the driver and to its workers
    _, said = process.communicate()
    assert process.returncode == 3
    assert said.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in said
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
