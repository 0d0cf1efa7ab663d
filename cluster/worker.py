"""A worker process: one JSON line of work in, one JSON line of report out, until its input ends.

Standard output belongs to the protocol, so what libraries print goes to standard error. The process
dies with its driver: a zombie would make parts that the next run makes too.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

THREADS = {
    name: "1"  # bytes must not depend on how many cores a machine has; workers bring the parallelism
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
} | {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}


def main() -> None:
    """Serve work until standard input ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the driver ends its workers
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from cluster.work import decode, execute, unforeseen

    speaking = threading.Lock()

    def do(line: str) -> None:
        try:
            reply = json.dumps(asdict(execute(decode(line))))
        except BaseException as error:  # without a reply the driver waits for ever
            reply = json.dumps(asdict(unforeseen(json.loads(line)["name"], error)))
        with speaking:
            replies.write(reply + "\n")
            replies.flush()

    with ThreadPoolExecutor(8) as pool:  # the driver sends a second part only where a model wants several
        doing = [pool.submit(do, line) for line in sys.stdin]
        for one in doing:
            one.result()


if __name__ == "__main__":
    main()
