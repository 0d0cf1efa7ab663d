"""Submit a flow to a Ray cluster as a job: the package is the job's working directory."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from operators.contract import InputError

ROOT = Path(__file__).parent.parent
EXCLUDES = ["/store", "/tests", "/notebooks", "/.git", "/.venv", "**/__pycache__", "**/*.parquet"]


def submit(verb: Sequence[str], address: str, *, wait: bool) -> int:
    """Send ``python -m flows <verb>``; with ``wait`` follow the log and return the flow's exit status."""
    if not address:
        raise InputError("submit: --address is missing; give the cluster's, such as http://127.0.0.1:8265")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        from ray.job_submission import JobStatus, JobSubmissionClient
    except ImportError as error:
        raise InputError("submit: ray is not installed; pip install 'pithead[ray]'") from error
    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise InputError(f"submit: no Ray cluster answers at {address}: {str(error).splitlines()[0]}") from error
    command = f"{shlex.quote(sys.executable)} -m flows {shlex.join(verb)}"
    job = client.submit_job(entrypoint=command, runtime_env={"working_dir": str(ROOT), "excludes": EXCLUDES})
    print(f"job {job}", flush=True)
    if not wait:
        return 0
    shown = 0
    while True:
        status, log = client.get_job_status(job), client.get_job_logs(job)
        print(log[shown:], end="", flush=True)
        shown = len(log)
        if status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED):
            code = client.get_job_info(job).driver_exit_code
            return int(code) if code is not None else (0 if status == JobStatus.SUCCEEDED else 1)
        time.sleep(1)
