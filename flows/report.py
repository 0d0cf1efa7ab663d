"""`pithead report`: a published set as one page of HTML that needs nothing else."""

from pathlib import Path
from typing import Any

from cluster.store import Store
from flows.export import set_of
from flows.publish import published_manifest
from operators.contract import InputError


def report(found: str, out: str, store: str, queries: str = "") -> dict[str, Any]:
    """Write the page of the set that ``found`` names to the file ``out``; returns its figures.

    ``queries`` is a file of people's queries to compare the set's with. Raises `InputError` where there is no whole set,
    where the queries cannot be read, and where ``out`` is a file that is no such page.
    """
    home, name = set_of(found, store)
    manifest = published_manifest(home, name)
    if manifest is None:
        raise InputError(f"{home.path(name)}: no published set, or its manifest was damaged; run the flow, or `pithead verify`")
    target = _target(out or f"{manifest['flow']}.html")
    real = (Path(queries).name, _queries(queries)) if queries else None
    from flows.reporting.gather import gather
    from flows.reporting.page import render

    gathered = gather(home, name, manifest, real)
    page = render(gathered, manifest)
    target.parent.mkdir(parents=True, exist_ok=True)
    Store(str(target.parent)).write(target.name, page)
    return {"out": str(target), "bytes": len(page), "figures": gathered.figures}


def _target(out: str) -> Path:
    """The file to write: a new one, or a page that an earlier report wrote."""
    from flows.reporting.page import MARK

    if "://" in out:
        raise InputError(f"--out {out}: a page is written to a local file; copy it from there")
    path = Path(out).expanduser()
    if path.is_dir():
        raise InputError(f"--out {path}: it is a folder; give a file, such as {path / 'report.html'}")
    if path.exists():
        with path.open("rb") as file:
            if MARK.encode() not in file.read(1000):
                raise InputError(f"--out {path}: it is there and no report; give a new file")
    return path


def _queries(path: str) -> list[str]:
    """A draw of the queries of a file, in any form that `read_queries` knows."""
    from flows.reporting.gather import SAMPLE
    from flows.reporting.sample import RowSample
    from operators.read_queries import ReadQueries, read_queries

    if not Path(path).expanduser().exists():
        raise InputError(f"--queries {path}: no such file")
    p = ReadQueries(path=str(Path(path).expanduser()))
    if faults := (read_queries.check(p, {}) if read_queries.check else []):
        raise InputError("\n".join(faults))
    drawn = RowSample(SAMPLE)
    for item in read_queries.items(p) if read_queries.items else ():
        for outcome in read_queries(item, p):
            drawn.add(outcome.table.select(["query"]))
    rows = drawn.finish()
    if rows is None or not len(rows):
        raise InputError(f"--queries {path}: it holds no query")
    found: list[str] = rows["query"].to_pylist()
    return found
