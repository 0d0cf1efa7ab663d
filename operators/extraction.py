"""Text out of files that are made for the eye, in a process of its own: what hangs, crashes or eats memory costs one file.

Measured on the 181 pages of scrapinghub's article-extraction-benchmark (F1 of 4-grams; pages a second on one core):
trafilatura 0.960, 23/s; with ``fast`` 0.962, 42/s; resiliparse 0.898, 135/s; selectolax's body without navigation 0.795, 163/s;
justext 0.792, 33/s; what is used here, with Markdown's marks, 0.957, 33/s. Of two manuals PDFium reads what pypdf does, in a
13th and a 7th of its time.
"""

import base64
import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from operators.contract import InputError

LIBRARIES = {"pdf": "pypdfium2", "html": "trafilatura"}  # kind of file: what reads it, in the extra of the kind's name
SECONDS = 60  # of a processor, for one document
WAIT = 600  # seconds of the clock: what sleeps uses no processor
MEMORY = 3 << 30  # bytes, of the process
LONGEST = 20_000_000  # characters of a text; a longer one is a reject of every reader
Extracted = dict[str, Any]  # title and text; of Python its functions; or fault: [reason, value, perhaps the line]


def version_of(kind: str) -> str:
    """The library that reads this kind, with its version: another one may give another text. `InputError` where it is missing."""
    try:
        return f"{LIBRARIES[kind]}-{importlib.metadata.version(LIBRARIES[kind])}"
    except importlib.metadata.PackageNotFoundError:
        said = f"reading {kind.upper()} needs {LIBRARIES[kind]}, which is not installed; pip install 'pithead[{kind}]'"
        raise InputError(said) from None


def extract(kind: str, source: Path | bytes | str) -> Extracted:
    """The title and the text of a document, which is a file, its bytes or its text; or why there is none."""
    asked: dict[str, str] = {"kind": kind}
    if isinstance(source, Path):
        asked["path"] = str(source)
    elif isinstance(source, bytes):
        asked["bytes"] = base64.b64encode(source).decode()
    else:
        asked["text"] = source
    return _child(os.getpid()).ask(asked)


class Child:
    """The process, begun when it is first asked and again when a document has killed it."""

    def __init__(self) -> None:
        """Start with none."""
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()  # parts may be done at once

    def ask(self, asked: dict[str, str]) -> Extracted:
        """What it makes of one document."""
        with self._turn:
            if self._process is None:
                path = os.pathsep.join(filter(None, sys.path))
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "operators.extraction"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path},
                )  # fmt: skip
            assert self._process.stdin and self._process.stdout
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(asked).encode() + b"\n")
                self._process.stdin.flush()
            line, late = _answer(self._process)
            if line.endswith(b"\n"):  # else it died in the middle of it
                found: Extracted = json.loads(line)
                return found
            return {"fault": self._death(self._process, late)}

    def _death(self, process: "subprocess.Popen[bytes]", late: bool) -> list[str]:
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe:
                    pipe.close()
        self._process = None
        if late or -code == signal.SIGXCPU:
            return [f"its text takes more than {WAIT if late else SECONDS} s", ""]
        if -code == signal.SIGKILL:
            return ["the process that reads it was killed, as a system does that has no memory left", ""]
        return ["it crashes the library that reads it", signal.Signals(-code).name if code < 0 else f"status {code}"]


def _answer(process: "subprocess.Popen[bytes]") -> tuple[bytes, bool]:
    """A line of the child, what there is of it where it dies, and whether it took longer than `WAIT` and was killed."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    assert process.stdout
    timer = threading.Timer(WAIT, stop)
    timer.daemon = True
    timer.start()
    try:
        return process.stdout.readline(), late.is_set()
    finally:
        timer.cancel()


@lru_cache(maxsize=1)
def _child(process: int) -> Child:
    """One for each process: a fork shares no pipe."""
    return Child()


def extracted(asked: dict[str, str]) -> Extracted:
    """`extract` in this process."""
    try:
        if asked["kind"] == "pdf":
            from operators import pdf_text

            return pdf_text.read(Path(asked["path"]), LONGEST)
        if asked["kind"] == "python":
            return _functions(base64.b64decode(asked["bytes"]))
        from operators import html_text

        if "path" in asked:
            return html_text.read(Path(asked["path"]).read_bytes())
        return html_text.read(base64.b64decode(asked["bytes"]) if "bytes" in asked else asked["text"])
    except MemoryError:
        return {"fault": [f"its text needs more than {MEMORY >> 30} GB of memory", ""]}
    except RecursionError:
        return {"fault": ["it is nested too deeply", ""]}
    except Exception as error:
        return {"fault": ["the library that reads it fails", f"{type(error).__name__}: {str(error)[:100]}"]}


def _functions(raw: bytes) -> Extracted:
    """The functions of Python code as lists of `python_code.Function`, or the fault with its line."""
    from operators import python_code

    try:
        return {"functions": list(python_code.functions(raw.decode("utf-8-sig")))}
    except UnicodeDecodeError as error:
        return {"fault": ["invalid UTF-8", f"byte {error.start}"]}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"fault": ["not Python", str(error)[:200], getattr(error, "lineno", None) or 1]}


def _limit() -> None:
    """So much time from now on; memory once. Where a system knows no such limits there are none."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS, hard))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    """A line of JSON in, a line of JSON out, until there are no more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin.buffer:
        _limit()
        out.write(json.dumps(extracted(json.loads(line))).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
