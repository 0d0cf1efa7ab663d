"""Submit a flow to a Ray cluster as a job: the package and the user's project are the job's working directory."""

import fnmatch
import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from cluster.pinned import PINNED, installed, pins
from operators.contract import InputError

ROOT = Path(__file__).parent.parent
PACKAGES = ("operators", "cluster", "flows", "configs")
SECRET = (
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "id_rsa*", "id_ed25519*", "id_ecdsa*", "*credential*", "*secret*",
    "*token", "*token.txt", "*.env", "*.netrc", "kubeconfig*", "service-account*.json", "service_account*.json",
)  # fmt: skip
LIMIT = 400 << 20  # bytes of a project; Ray takes 500 MiB


@contextmanager
def staged(project: Path | None, store: Path | None) -> Iterator[Path]:
    """A folder with the package, and below ``project`` the user's, without hidden files, keys, stores and environments."""
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
        yield from (here / n for n in names if not n.startswith(".") and not is_secret(n) and (here / n).is_file())


def is_secret(name: str) -> bool:
    """Whether a file is called as files with keys are; an operator's module may be called anything."""
    return not name.endswith((".py", ".md")) and any(fnmatch.fnmatch(name.lower(), one) for one in SECRET)


def _is_store(folder: Path) -> bool:
    return (folder / "steps").is_dir() and ((folder / "recipes").is_dir() or (folder / "datasets").is_dir())


def client_of(address: str) -> Any:
    """Ray's job client; `InputError` where nobody answers or the token is not the cluster's."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise InputError("submit: ray is not installed; pip install 'ray[data,default]'") from error
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        said = str(error).splitlines()[0]
        raise InputError(
            f"submit: no Ray cluster lets us in at {address}: {said}; mend --address, or give its token by RAY_AUTH_TOKEN"
            " or RAY_AUTH_TOKEN_PATH"
        ) from error


def submit(client: Any, verb: Sequence[str], folder: Path, python: str, environment: str) -> str:
    """Send ``python -m flows <verb>`` with the folder as working directory; the job's name.

    ``environment``: `same` ends the job where the cluster's libraries are not this machine's, `pip` has Ray install this
    machine's there, `any` takes what is there.
    """
    command = f"{shlex.quote(python)} -m flows {shlex.join(verb)}"
    env: dict[str, Any] = {"working_dir": str(folder)}
    if environment == "same":
        env["env_vars"] = {PINNED: json.dumps(pins())}
        command = f"{shlex.quote(python)} -m cluster.pinned && {command}"
    if environment == "pip":
        env["pip"] = {"packages": installed(), "pip_check": False}
    return _sent(client, command, env)


def _sent(client: Any, command: str, env: dict[str, Any], patience: float = 120) -> str:
    """The job's name. A head that has just started, or has much to do, has no agent for jobs yet, and says so by a fault."""
    started = time.monotonic()
    while True:
        try:
            return str(client.submit_job(entrypoint=command, runtime_env=env))
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            if time.monotonic() - started > patience:
                said = "submit: the cluster takes no job yet, its head has no agent for jobs; submit again later"
                raise InputError(said) from error
            time.sleep(2)


def follow(client: Any, job: str, out: TextIO, patience: float = 120) -> int:
    """Print a job's log until it ends; its exit status. The job goes on whatever becomes of us.

    Raises `InputError` where there is no such job, or the cluster did not answer for ``patience`` seconds.
    """
    shown, heard = 0, time.monotonic()
    while True:
        try:
            found, log = client.get_job_info(job), client.get_job_logs(job)
        except (RuntimeError, ConnectionError, OSError) as error:  # a head that is restarted, a forwarded port
            if "does not exist" in str(error):
                raise InputError(f"submit: the cluster knows no job {job}; it says what it has at its dashboard") from error
            if time.monotonic() - heard > patience:
                said = f"submit: the cluster does not answer; job {job} may go on: --follow {job} looks again"
                raise InputError(said) from error
            time.sleep(2)
            continue
        heard = time.monotonic()
        out.write(log[shown:])
        out.flush()
        shown = len(log)
        if found.status.is_terminal():
            code = found.driver_exit_code
            return int(code) if code is not None else (0 if found.status == "SUCCEEDED" else 1)
        time.sleep(1)
