"""Export a published set in the files of a trainer: written aside, told in a manifest, renamed into place."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from cluster.store import Store
from flows.config import as_yaml, assigned, read_config
from flows.faults import FlowError, did_you_mean, sentences
from flows.fingerprint import fingerprint
from flows.publish import published_manifest
from operators.contract import InputError
from operators.exporters.examples import Examples
from operators.exporters.files import Sink
from operators.exporters.options import Export, Exporter
from operators.exporters.registry import TRAINERS, exporter

BATCH = 1024  # rows read at once
_TAKEN = {"query_id", "query", "positives", "positive_ids", "negatives", "negative_ids", "positive_scores", "negative_scores"}


def export(found: str, trainer: str, out: str, changes: Sequence[str], store: str) -> dict[str, Any]:
    """Write the set to the new folder ``out``; returns its manifest. An equal export that is there already is left as it is."""
    trainer, made = exporter_of(trainer)
    p = params_of(made, trainer, changes)
    home, name = set_of(found, store)
    manifest = published_manifest(home, name)
    if manifest is None:
        raise InputError(f"{home.path(name)}: no published set, or its manifest was damaged; run the flow, or `pithead verify`")
    digest = fingerprint([s["sha256"] for s in manifest["shards"]], manifest["schema"], manifest["licences"])
    of = {"flow": manifest["flow"], "fingerprint": digest}
    said = {"trainer": trainer, "version": made.version, "options": json.loads(p.model_dump_json()), "set": of}
    if "://" in out:
        raise InputError(f"--out {out}: an export is written to a local folder; copy it from there")
    folder = Path(out).expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return _there(folder, said)
    if not manifest["shards"]:
        raise InputError(f"{home.path(name)}: the set has no rows")
    # Not by the process's number: in a container each has the same, and one that was killed left its folder.
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    aside.mkdir(parents=True)
    try:
        whole = said | _written(home, name, manifest, made, p, aside)
        (aside / "manifest.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            os.replace(aside, folder)  # also in place of an empty one
        except OSError:
            if not (folder.is_dir() and any(folder.iterdir())):
                raise
            return _there(folder, said)  # of another process, which was done first
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return whole


def exporter_of(trainer: str) -> tuple[str, Exporter]:
    """A trainer's name as it is written and its exporter, whatever the case that it was given in."""
    names = {name.casefold(): name for name in TRAINERS}
    if trainer.casefold() not in names:
        raise InputError(f"--to {trainer}: no such trainer{did_you_mean(trainer, TRAINERS)}")
    name = names[trainer.casefold()]
    return name, exporter(name)


def params_of(made: Exporter, trainer: str, changes: Sequence[str]) -> Export:
    """The options that ``--set`` gives."""
    given: dict[str, Any] = {}
    for change in changes:
        key, value = assigned(change)
        # A template stands as it is, as braces are YAML's own.
        given[key] = value.replace("\\n", "\n") if key == "template" else as_yaml(change, value)
    try:
        return made.params.model_validate(given)
    except ValidationError as error:
        raise FlowError(sentences(error, f"--to {trainer}", made.params.model_fields)) from error


def set_of(found: str, store: str) -> tuple[Store, str]:
    """The store and the folder in it of a set: a path, or the newest of a flow that ran in ``store``."""
    path = Path(found).expanduser()
    if (path / "manifest.json").is_file():
        return Store(str(path.parent)), path.name
    if (path / "latest").is_file():
        return Store(str(path)), (path / "latest").read_text().strip()
    if "://" in found:
        return Store(found.rstrip("/").rpartition("/")[0]), found.rstrip("/").rpartition("/")[2]
    home = Store(store)
    name = read_config(path).flow if path.suffix in (".yaml", ".yml") and path.is_file() else found
    newest = home.read_text(f"datasets/{name}/latest").strip()
    if not newest:
        flows = [one for one in home.names("datasets") if "." not in one]
        told = did_you_mean(found, flows) if flows else "; none is published there"
        raise InputError(f"{found}: no folder of a published set, and no flow that published one in {home.uri}{told}")
    return home, f"datasets/{name}/{newest}"


def _there(folder: Path, said: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an equal export whose files are whole; anything else in the folder is refused."""
    whole = Store(str(folder)).read_json("manifest.json")
    if not isinstance(whole, dict) or {k: whole.get(k) for k in said} != said:
        raise InputError(f"--out {folder}: it is not empty; give a new folder")
    for one in whole["files"]:
        path = folder / one["file"]
        if not path.is_file() or _digest(path) != one["sha256"]:
            raise InputError(f"--out {folder}: {one['file']} was changed since it was exported; give a new folder")
    return whole | {"there": True}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _written(home: Store, name: str, manifest: dict[str, Any], made: Exporter, p: Export, aside: Path) -> dict[str, Any]:
    schema = _schema(home, name, manifest)
    examples, sink = Examples(partial(tables_of, home, name, manifest), schema, p), Sink(aside)
    made.write(examples, p, sink)
    if not examples.rows_out:
        why = ", ".join(f"{n} {reason}" for reason, n in examples.dropped.items())
        raise InputError(f"no row of the set is left: {why}")
    dropped = dict(sorted(examples.dropped.items()))
    left_out = sorted(set(schema.names) - _TAKEN - made.carries - {"source", "instruction"})
    order = "the set's, in each file" + ", less what was dropped: its batches no longer hold" * bool(dropped)
    if "rank" in schema.names and not made.dealt:
        order += "; files for ranks are cut anew, so none reads its own"
    if p.positives == "explode":
        order = "the first positives of all rows, then the second ones, and so on"
    counts = {
        "rows_in": examples.rows_in, "rows_out": examples.rows_out, "dropped": dropped, "negatives": examples.count,
        "left_out": left_out, "order": order,
    }  # fmt: skip
    sink.bytes("README.md", _readme(manifest, made, p, counts, sink).encode())
    return counts | {"files": sink.finish()}


def _schema(home: Store, name: str, manifest: dict[str, Any]) -> pa.Schema:
    with home.parquet(f"{name}/{manifest['shards'][0]['file']}") as file:
        return file.schema_arrow


def tables_of(home: Store, name: str, manifest: dict[str, Any], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The set in tables of at most `BATCH` rows, shard for shard."""
    for shard in manifest["shards"]:
        rows = 0
        try:
            with home.parquet(f"{name}/{shard['file']}") as file:
                for batch in file.iter_batches(BATCH, columns=columns):
                    rows += len(batch)
                    yield pa.Table.from_batches([batch])
        except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
            where = f"{home.path(name)}/{shard['file']}"
            raise InputError(f"{where}: it is missing or damaged; `pithead verify` tells, the next run mends") from error
        if rows != shard["rows"]:
            raise InputError(f"{home.path(name)}/{shard['file']}: it has {rows} rows, its manifest says {shard['rows']}")


def _readme(manifest: dict[str, Any], made: Exporter, p: Export, counts: dict[str, Any], sink: Sink) -> str:
    """How to load the files, of what they were made, and what is not in them."""
    configs = [
        line for name, files in made.configs(p).items() if any(sink.folder.glob(files))
        for line in (f"- config_name: {name}", f"  data_files: {files}")
    ]  # fmt: skip
    lost = ", ".join(f"{n} {reason}" for reason, n in counts["dropped"].items()) or "none"
    lines = [
        "---", *(["configs:", *configs] if configs else []), "tags:", "- pithead", "---", "", f"# {manifest['flow']}", "",
        made.usage(p), *_example(sink),
        f"{counts['rows_out']} rows of {counts['rows_in']}; dropped: {lost}. Order: {counts['order']}.", "",
        "Columns of the set that this format has no place for: " + (", ".join(counts["left_out"]) or "none") + ".", "",
        "Licence of the input: " + ("; ".join(manifest["licences"]) or "none was stated") + ".",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _example(sink: Sink) -> list[str]:
    """The first row of a file, shortened: what a trainer sees."""
    found = sink.sample()
    if found is None:
        return []
    said = json.dumps(_short(found[1]), indent=1, ensure_ascii=False)
    return [f"The first row of `{found[0]}`, shortened:", "", "```json", said, "```", ""]


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= 100 else value[:100] + "…"
    if isinstance(value, list):
        return [*map(_short, value[:2]), *([f"… {len(value)} in all"] if len(value) > 2 else [])]
    return {k: _short(v) for k, v in value.items()} if isinstance(value, dict) else value
