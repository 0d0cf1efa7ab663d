"""Submit a flow to a Ray cluster as a job: the package and the user's project are the job's working directory."""

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from operators.contract import InputError

ROOT = Path(__file__).parent.parent
PACKAGES = ("operators", "cluster", "flows", "configs")
LIMIT = 400 << 20  # bytes of a project; Ray takes 500 MiB


@contextmanager
def staged(project: Path | None, store: Path | None) -> Iterator[Path]:
    """A folder with the package, and below ``project`` the user's, without hidden files, stores and environments."""
    with tempfile.TemporaryDirectory(prefix="pithead-submit-") as name:
        for package in PACKAGES:
            shutil.copytree(ROOT / package, Path(name, package), ignore=shutil.ignore_patterns("__pycache__"))
        for path in _small_enough(project, store) if project else ():
            target = Path(name, "project", path.relative_to(project or path))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        yield Path(name)


def _small_enough(project: Path, store: Path | None) -> list[Path]:
    found, left = [], LIMIT
    for path in _files(project, store):
        found.append(path)
        left -= path.stat().st_size
        if left < 0:
            raise InputError(
                f"submit: {project} holds more than {LIMIT >> 20} MiB, which is too much to send;"
                " keep data and weights outside of it and name them by their absolute paths"
            )
    return found


def _files(project: Path, store: Path | None) -> Iterator[Path]:
    for folder, below, names in os.walk(project):
        here = Path(folder)
        below[:] = [n for n in below if not n.startswith(".") and n not in ("__pycache__", "node_modules") and here / n != store
                    and not (here / n / "pyvenv.cfg").exists() and not _is_store(here / n)]  # fmt: skip
        yield from (here / n for n in names if not n.startswith(".") and (here / n).is_file())


def _is_store(folder: Path) -> bool:
    return (folder / "steps").is_dir() and ((folder / "recipes").is_dir() or (folder / "datasets").is_dir())


def submit(verb: Sequence[str], address: str, folder: Path, *, wait: bool) -> int:
    """Send ``python -m flows <verb>``; with ``wait`` follow the log and return the flow's exit status."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        from ray.job_submission import JobStatus, JobSubmissionClient
    except ImportError as error:
        raise InputError("submit: ray is not installed; pip install 'ray[data,default]'") from error
    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise InputError(f"submit: no Ray cluster answers at {address}: {str(error).splitlines()[0]}") from error
    command = f"{shlex.quote(sys.executable)} -m flows {shlex.join(verb)}"
    job = client.submit_job(entrypoint=command, runtime_env={"working_dir": str(folder)})
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
