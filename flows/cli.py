"""The command line. Heavy modules load in the verb that needs them: ``--help`` must be quick.

Exit status: 0 done, 1 a step failed, 2 input refused, 3 interrupted or budget spent, resumable.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

STORE = "store"


class _Version(argparse.Action):
    """Looks the version up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"pithead {version('pithead')}")
        except PackageNotFoundError:
            print("pithead, not installed")
        parser.exit()


def _sample(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--sample", type=int, metavar="N", help="only the N rows of the first input with the smallest ids")
    return sub


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

    def engine(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--engine", choices=["local", "ray"], default="local")
        sub.add_argument("--workers", type=int, default=2, help="processes; never changes the data (default: 2)")
        sub.add_argument("--buckets", type=int, help="parts a step is cut into; never changes the set (default: by size)")
        sub.add_argument("--address", default="", help="of a running Ray cluster")

    for name, text in (("run", "run what is missing of a flow"), ("refresh", "plan, run, verify, publish, move `latest`")):
        sub = verb(name, text)
        engine(_sample(sub))
        sub.add_argument("--until", metavar="STEP", help="stop behind this step")
        told = "stop before more LLM calls than this (exit status 3; 2 where not even one part fits)"
        sub.add_argument("--max-calls", type=int, metavar="N", help=told)
    _sample(verb("plan", "what is stored, what would run, how many model calls"))
    sub = _sample(verb("try", "run one step on a few stored rows and show it"))
    sub.add_argument("step")
    sub.add_argument("--rows", type=int, default=5)
    _show(_sample(verb("show", "rows, rejects or scores of a stored step; a row's way back to its file")))
    _sample(verb("verify", "check every stored part and published shard against its checksum"))
    sub = verb("submit", "run a flow as a job of a Ray cluster")
    engine(sub)
    sub.add_argument("--wait", action="store_true", help="follow the log; exit with the flow's status")
    _export(verb("export", "a published set in the files of a trainer; alone, it lists the trainers", flow=False))
    _evaluate(verb("evaluate", "train students on a published set and rank judged collections with them", flow=False), engine)
    sub = verb("schema", "the JSON schema of flow files, for editors", flow=False)
    sub = verb("init", "make a project: flow, prompts, models.yaml, operators", flow=False)
    sub.add_argument("folder", metavar="DIR")
    return top


def _export(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("found", metavar="SET_OR_FLOW", nargs="?", help="a published set's folder, or a flow that published one")
    sub.add_argument("--to", metavar="TRAINER", help="whose files; without a set, its options are listed")
    sub.add_argument("--out", metavar="DIR", help="a new folder")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as negatives=5 or positives=explode")
    sub.add_argument("--store", default=STORE, help="folder or address of the store (default: %(default)s)")


def _evaluate(sub: argparse.ArgumentParser, engine: Callable[[argparse.ArgumentParser], None]) -> None:
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
    engine(sub)


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
    from cluster.store import reason
    from cluster.task import StepFailed
    from flows import verbs
    from operators.contract import ContractError, InputError

    try:
        verbs.check_numbers(args)
        return int(getattr(verbs, f"do_{args.verb}")(args))
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
    else:
        print(message, file=sys.stderr)
    return status


def emit(args: argparse.Namespace, value: Any, text: str) -> None:
    """Print ``text`` to people, ``value`` as JSON to machines."""
    print(json.dumps(value, ensure_ascii=False, default=str) if args.json else text)
