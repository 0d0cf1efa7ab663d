"""The command line. Heavy modules load in the verb that needs them: ``--help`` must be quick.

Exit status: 0 done, 1 a step failed, 2 input refused, 3 interrupted or budget spent, resumable.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

STORE = "store"


class _Version(argparse.Action):
    """Looks the version up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from cluster.versions import version_of

        version = version_of("pithead")
        print(f"pithead {version}" if version else "pithead, not installed")
        parser.exit()


def _sample(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--sample", type=int, metavar="N", help="only the N rows of the first input with the smallest ids")
    return sub


def _engine(sub: argparse.ArgumentParser) -> None:
    told = "where it runs: a file, or laptop, gpu_box, ray_cluster, kuberay, slurm; never changes the data"
    sub.add_argument("--cluster", metavar="NAME_OR_FILE", help=told)
    sub.add_argument("--engine", choices=["local", "ray"], help="default: local")
    sub.add_argument("--workers", type=int, help="processes; never changes the data (default: 2)")
    sub.add_argument("--buckets", type=int, help="parts a step is cut into; never changes the set (default: by size)")
    sub.add_argument("--address", help="of a running Ray cluster")


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(prog="pithead", description="Make the training data of embedding and retrieval models.")
    top.add_argument("--version", action=_Version, nargs=0, help="the version that runs")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, *, flow: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        if flow:
            sub.add_argument("flow", metavar="FLOW", help="a flow's file, or a shipped one (quickstart, mine, ...)")
            sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as queries.per_passage=2")
            sub.add_argument("--store", default=STORE, help="folder or address of the store (default: %(default)s)")
        sub.add_argument("--json", action="store_true", help="answer in JSON")
        return sub

    for name, text in (("run", "run what is missing of a flow"), ("refresh", "tell the change, run, verify, move `latest`")):
        sub = verb(name, text)
        _engine(_sample(sub))
        sub.add_argument("--until", metavar="STEP", help="stop behind this step")
        told = "stop before more LLM calls than this (exit status 3; 2 where not even one part fits)"
        sub.add_argument("--max-calls", type=int, metavar="N", help=told)
        if name == "refresh":
            _refresh(sub)
    _upkeep(verb)
    _sample(verb("plan", "what is stored, what would run, how many model calls"))
    sub = _sample(verb("try", "run one step on a few stored rows and show it"))
    sub.add_argument("step")
    sub.add_argument("--rows", type=int, default=5)
    _show(_sample(verb("show", "rows, rejects or scores of a stored step; a row's way back to its file")))
    _sample(verb("verify", "check every stored part and published shard against its checksum"))
    _elsewhere(verb)
    _status(verb("status", "what runs now and how the last runs ended", flow=False))
    _export(verb("export", "a published set in the files of a trainer; alone, it lists the trainers", flow=False))
    _report(verb("report", "one page of HTML that shows what a published set holds", flow=False))
    _evaluate(verb("evaluate", "train students on a published set and rank judged collections with them", flow=False))
    sub = verb("schema", "the JSON schema of flow files, for editors", flow=False)
    sub = verb("init", "make a project: flow, prompts, models.yaml, operators", flow=False)
    sub.add_argument("folder", metavar="DIR")
    return top


def _refresh(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--dry-run", action="store_true", help="read the inputs, say what changed and what it will cost, and end")
    told = "keep the old version where a statistic's PSI is above this (0.1: a change, 0.25: a large one)"
    sub.add_argument("--max-drift", type=float, metavar="PSI", help=told)


def _upkeep(verb: Callable[[str, str], argparse.ArgumentParser]) -> None:
    sub = _sample(verb("diff", "what changed between two versions, by row, and why"))
    sub.add_argument("a", metavar="A", nargs="?", help="a version or the hash that it ends in (default: the one before B)")
    sub.add_argument("b", metavar="B", nargs="?", help="(default: latest)")
    sub.add_argument("--rows", type=int, default=5, help="examples of each kind (default: 5)")
    sub = _sample(verb("rollback", "move `latest` back"))
    sub.add_argument("version", metavar="VERSION", nargs="?", help="(default: the one that was published before)")
    sub = _sample(verb("gc", "remove old versions and what only they needed; a list, unless --yes"))
    sub.add_argument("--keep", type=int, default=5, metavar="N", help="versions to keep (default: 5)")
    told = "leave what is younger: a run may be writing it (default: 24)"
    sub.add_argument("--older-than", type=float, default=24, metavar="HOURS", help=told)
    sub.add_argument("--orphans", action="store_true", help="also steps of no version of any flow, such as of runs --until")
    sub.add_argument("--yes", action="store_true", help="remove them")
    sub = verb("purge", "what holds a document; with --yes it is taken out of the store")
    sub.add_argument("--document", required=True, metavar="SOURCE_ID", help="your own id of it")
    sub.add_argument("--source", default="", help="where two sources use the same ids")
    sub.add_argument("--yes", action="store_true", help="take it out")


def _elsewhere(verb: Callable[[str, str], argparse.ArgumentParser]) -> None:
    sub = verb("submit", "run a flow as a job of a Ray cluster")
    _engine(sub)
    _submit(sub)
    sub = verb("schedule", "refresh a flow at the times of a cron expression, or print the Kubernetes object that does")
    _engine(sub)
    _schedule(sub)


def _status(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("flow", metavar="FLOW", nargs="?", help="of this flow alone")
    sub.add_argument("--last", type=int, default=10, metavar="N", help="runs that are told of (default: 10)")
    sub.add_argument("--store", default=STORE, help="folder or address of the store (default: %(default)s)")


def _submit(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--wait", action="store_true", help="follow the log; exit with the flow's status")
    sub.add_argument("--follow", metavar="JOB", help="send nothing; follow a job that was sent before")
    sub.add_argument("--refresh", action="store_true", help="let the job `refresh`, not `run`")
    told = "same: end where the cluster's libraries are others than here; pip: install these there; any: take what is there"
    sub.add_argument("--environment", choices=["same", "pip", "any"], default="same", help=told)
    sub.add_argument("--print", action="store_true", help="print a RayJob or a Slurm script, as the cluster file has it")


def _schedule(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--cron", required=True, metavar="EXPR", help="minute hour day month weekday, such as '0 3 * * *'")
    sub.add_argument("--timezone", default="UTC", metavar="ZONE", help="such as Europe/Berlin (default: UTC)")
    told = "times that passed while nobody was there: skip them, or make up for all of them once (default)"
    sub.add_argument("--missed", choices=["skip", "once"], default="once", help=told)
    sub.add_argument("--webhook", default="", metavar="URL", help="told of a failing run; env:NAME keeps it out of sight")
    sub.add_argument("--logs", default="logs", metavar="DIR", help="a file a run (default: %(default)s)")
    sub.add_argument("--runs", type=int, metavar="N", help="end after so many, with the last one's status")
    sub.add_argument("--kubernetes", action="store_true", help="print a RayCronJob, or for the local engine a CronJob")


def _export(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("found", metavar="SET_OR_FLOW", nargs="?", help="a published set's folder, or a flow that published one")
    sub.add_argument("--to", metavar="TRAINER", help="whose files; without a set, its options are listed")
    sub.add_argument("--out", metavar="DIR", help="a new folder")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as negatives=5 or positives=explode")
    sub.add_argument("--store", default=STORE, help="folder or address of the store (default: %(default)s)")


def _report(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("found", metavar="SET_OR_FLOW", help="a published set's folder, or a flow that published one")
    sub.add_argument("--out", metavar="FILE", default="", help="the page (default: the flow's name and .html, here)")
    told = "people's queries, in any form that read_queries knows, to compare the set's with"
    sub.add_argument("--queries", metavar="FILE", default="", help=told)
    sub.add_argument("--store", default=STORE, help="folder or address of the store (default: %(default)s)")


def _evaluate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("found", metavar="SET_OR_FLOW", help="a published set's folder, or a flow that published one")
    told = "with corpus, queries and qrels, BEIR's or parquet; several with commas; or a file of judgements in one"
    sub.add_argument("--on", metavar="FOLDER[,..]", required=True, help=told)
    told = "an encoder of models.yaml, such as minilm or static (default: %(default)s)"
    sub.add_argument("--student", metavar="KEY", default="static", help=told)
    sub.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings, pooled (default: %(default)s)")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the training, such as loss=listwise")
    told = "what becomes of training rows that repeat a judged query (default: %(default)s)"
    sub.add_argument("--contaminated", choices=["refuse", "drop", "keep"], default="refuse", help=told)
    sub.add_argument("--store", default=STORE, help="folder or address of the store (default: %(default)s)")
    sub.add_argument("--out", metavar="FILE", help="write everything as JSON, too")
    _engine(sub)


def _show(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("step")
    sub.add_argument("--rejects", action="store_true")
    sub.add_argument("--rows", type=int, default=3)
    sub.add_argument("--row", metavar="ID", help="walk this id back through the steps")
    told = "how its scores lie and what each margin would keep of them; teacher's, else dense ones, if no COLUMN is said"
    sub.add_argument("--scores", nargs="?", const="", metavar="COLUMN", help=told)
    sub.add_argument("--negatives", type=int, default=5, metavar="N", help="with --scores: how many a query shall keep")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    args = parser().parse_args(argv)
    from cluster.lease import Taken
    from cluster.store import reason
    from cluster.task import StepFailed
    from flows import upkeep, verbs
    from operators.contract import ContractError, InputError

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a machine that is taken back says so first
    try:
        verbs.check_numbers(args)
        module = upkeep if hasattr(upkeep, f"do_{args.verb}") else verbs
        with verbs.turn_of(args):
            return int(getattr(module, f"do_{args.verb}")(args))
    except Taken as error:
        return _fail(args, 3, str(error))
    except InputError as error:
        return _fail(args, 2, str(error))
    except BrokenPipeError:  # the reader of our output, such as head, has enough
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(args, 2, f"{error.filename or getattr(args, 'store', '')}: {reason(error)}")
    except (StepFailed, ContractError) as error:
        return _fail(args, 3 if "--max-calls" in str(error) else 1, str(error))
    except KeyboardInterrupt:
        return _fail(args, 3, "interrupted; the same command goes on from here")
    except Exception as error:
        if os.environ.get("PITHEAD_DEBUG"):
            raise
        return _fail(args, 1, _unforeseen(error))


def _unforeseen(error: Exception) -> str:
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    words = " ".join(str(error).split())[:300]
    return (
        f"{type(error).__name__} at {os.path.basename(last.filename)}:{last.lineno}: {words}; nobody foresaw this:"
        " PITHEAD_DEBUG=1 shows where it comes from"
    )


def _fail(args: argparse.Namespace, status: int, message: str) -> int:
    if args.json:
        print(json.dumps({"status": status, "faults": message.split("\n")}, ensure_ascii=False))
    elif os.environ.get("PITHEAD_LOG", "") == "json":
        told = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "level": "error", "event": "ended", "status": status}
        print(json.dumps({**told, "verb": args.verb, "faults": message.split("\n")}, ensure_ascii=False), file=sys.stderr)
    else:
        print(message, file=sys.stderr)
    return status


def emit(args: argparse.Namespace, value: Any, text: str) -> None:
    """Print ``text`` to people, ``value`` as JSON to machines."""
    print(json.dumps(value, ensure_ascii=False, default=str) if args.json else text)
