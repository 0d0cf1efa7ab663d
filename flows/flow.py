"""A flow resolved: typed steps, every column, type, file and model checked before anything runs."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from cluster.code import code_of
from cluster.versions import version_of
from flows.agree import agreement
from flows.config import CONFIGS, ROOT, FlowConfig, StepConfig, read_config
from flows.faults import FlowError, did_you_mean, sentences
from flows.fingerprint import fingerprint
from flows.lookup import find_operator, read_models, resolve
from flows.using import depth_above, resolve_using, spaces, spaces_above
from operators.contract import ARTIFACTS, InputError, Operator, Params
from operators.engines.models import PACKAGE
from operators.engines.weights import digest_of
from operators.read_corpus import source_of
from operators.split_passages import tokenizer_file


@dataclass(frozen=True)
class Step:
    """A step, resolved."""

    name: str
    op: Operator
    spec: str
    params: Params
    sources: list[str]
    against: str | None
    using: Mapping[str, str]  # name → step
    models: Mapping[str, Any]  # name → entry of models.yaml
    keep: list[str] | None
    columns: Mapping[str, pa.DataType]  # of its output; none for a build
    max_rejected: float
    absent: bool = False  # an optional source without a path
    limit: float = 0  # rows that may come and go before an artifact is fitted anew; 0: it is not held
    known: bool = True  # whether its columns can be relied on: no fault here or above


@dataclass
class Flow:
    """Steps in order, each reading only what stands above it."""

    name: str
    path: Path
    seed: int
    steps: list[Step]
    roots: list[Path]  # where prompts, models and the user's operators are looked for

    def step(self, name: str) -> Step:
        """The step of this name."""
        for step in self.steps:
            if step.name == name:
                return step
        raise InputError(f"{self.path}: no step {name!r}{did_you_mean(name, (s.name for s in self.steps))}")


@dataclass
class Checks:
    """A check under way: what was found above, and every fault so far."""

    path: Path
    roots: list[Path]
    models: Mapping[str, Any]
    all_names: list[str]
    seed: int
    steps: dict[str, Step] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def load(path: Path, changes: Sequence[str] = ()) -> Flow:
    """Read and check a flow without reading its data; `FlowError` holds every fault found."""
    return checked(read_config(path, changes), path)


def checked(config: FlowConfig, path: Path) -> Flow:
    """A flow that was read, or composed, as if it stood at ``path``."""
    # A shipped flow has no project of its own: it is where you stand. Its own prompts go before yours of the same name.
    here = [Path.cwd()] if path.is_relative_to(CONFIGS) else []
    roots = list(dict.fromkeys([path.parent, path.parent.parent, CONFIGS, ROOT, *here]))
    checks = Checks(path, roots, read_models([*here, *roots]), list(config.steps), config.seed)
    for name, written in config.steps.items():
        _check_step(checks, name, written)
    if checks.faults:
        raise FlowError(checks.faults)
    return Flow(config.flow, path, config.seed, list(checks.steps.values()), roots)


def _check_step(checks: Checks, name: str, written: StepConfig) -> None:
    at, before = f"{checks.path}: steps.{name}", len(checks.faults)
    if not name.replace("_", "").replace("-", "").isalnum():
        checks.faults.append(f"{at}: a step's name is letters, digits, '_' and '-'")
    try:
        spec, op = find_operator(written.op, checks.roots)
    except InputError as error:
        checks.faults.append(f"{at}.op: {error}")
        checks.steps[name] = _unknown(name)
        return
    params = _params(checks, at, op, written)
    sources = [written.sources] if isinstance(written.sources, str) else list(written.sources)
    _check_links(checks, at, op, sources, written.against)
    absent = written.optional and getattr(params, "path", None) == ""
    using, models = resolve_using(checks, at, op, written.using)
    columns = dict(_input_columns(checks, at, sources, written.keep, op)) if op.shape != "source" else {}
    if params is not None and len(checks.faults) == before:
        _check_columns(checks, at, op, params, sources, written, columns)
        checks.faults += [f"{at}.{f}" for f in agreement(checks, op, params, sources)]
        if op.check and not absent:
            above = {**spaces_above(checks, sources), **depth_above(checks, sources)}
            told = {**models, **above, **spaces(checks, using, models), ARTIFACTS: frozenset(using)}
            checks.faults += [f"{at}: {f}" for f in op.check(params, told)]
    if written.limit and not op.holds:
        fault = "its artifact is of the rows that it saw" if op.shape == "build" else "only a build's artifact is held"
        checks.faults.append(f"{at}.refit: {written.refit}: {op.name} cannot be held: {fault}; leave it out")
    writes = {} if params is None or op.shape == "build" else dict(op.columns_written(params))
    kept = {} if op.closed or op.shape == "build" else columns
    checks.steps[name] = Step(
        name, op, spec, params or Params(), sources, written.against, using, models, written.keep,
        {**kept, **writes}, written.max_rejected, absent, written.limit,
        known=len(checks.faults) == before and all(checks.steps[x].known for x in sources if x in checks.steps),
    )  # fmt: skip


def _unknown(name: str) -> Step:
    from dataclasses import replace

    return Step(name, replace(_NOTHING), "", Params(), [], None, {}, {}, None, {}, 1, known=False)


def _nothing(table: pa.Table, p: Params) -> pa.Table:
    return table


_NOTHING = Operator(_nothing, "map", "0", {}, {}, Params, {})


def _params(checks: Checks, at: str, op: Operator, written: StepConfig) -> Params | None:
    given = dict(written.params)
    if "seed" in op.params.model_fields:
        given.setdefault("seed", checks.seed)
    try:
        _find_files(checks, at, op, given)
        return op.params.model_validate(given, context={"roots": [r / d for r in checks.roots for d in (".", "prompts")]})
    except ValidationError as error:
        checks.faults += sentences(error, f"{at}.with", op.params.model_fields)
    except InputError as error:
        checks.faults.append(f"{at}.with: {error}")
    return None


def _find_files(checks: Checks, at: str, op: Operator, given: dict[str, Any]) -> None:
    """Make the paths of the params whole."""
    if given.get("path") and isinstance(given["path"], str) and op.shape == "source" and not given["path"].endswith(":"):
        given["path"] = resolve(given["path"], checks.roots)
    if isinstance(tokenizer := given.get("tokenizer"), str) and tokenizer:
        if not tokenizer.startswith(PACKAGE):
            given["tokenizer"] = os.path.abspath(resolve(tokenizer, checks.roots))
        if not tokenizer_file(given["tokenizer"]).is_file():
            checks.faults.append(f"{at}.with.tokenizer: {tokenizer}: no such file; give a tokenizer.json or package:NAME/FILE")


def _check_links(checks: Checks, at: str, op: Operator, sources: list[str], against: str | None) -> None:
    if op.shape == "source" and sources:
        checks.faults.append(f"{at}.from: {op.name} reads files, not steps; remove it")
        return
    for key, names in (("from", sources), ("against", [against] if against else [])):
        for source in names:
            if source not in checks.steps:
                later = source in checks.all_names
                why = "it stands at or below this step; a step reads only what stands above it" if later else ""
                hint = why or f"no step of that name stands above it{did_you_mean(source, checks.steps)}"
                checks.faults.append(f"{at}.{key}: {source!r}: {hint.removeprefix('; ')}")
            elif checks.steps[source].op.shape == "build":
                checks.faults.append(f"{at}.{key}: {source!r} is an artifact; name it under `using:`")
    if op.shape != "source" and not sources:
        checks.faults.append(f"{at}.from: this key is missing; {op.name} needs the step whose rows it takes")
    if (op.shape == "cross") != (against is not None):
        fault = "this key is missing; it names the step that is searched" if op.shape == "cross" else "only a cross has it"
        checks.faults.append(f"{at}.against: {fault}")


def _input_columns(
    checks: Checks, at: str, sources: list[str], keep: list[str] | None, op: Operator
) -> Mapping[str, pa.DataType]:
    have: dict[str, pa.DataType] | None = None
    for source in sources:
        if source not in checks.steps or not checks.steps[source].known:
            return {}
        columns = checks.steps[source].columns
        have = dict(columns) if have is None else {c: t for c, t in have.items() if columns.get(c) == t}
    for name in sorted(set(keep or []) - set(have or {})) if have is not None else ():
        checks.faults.append(f"{at}.keep: {name!r} is not a column of {', '.join(sources)}{did_you_mean(name, have or {})}")
    return {c: t for c, t in (have or {}).items() if keep is None or c in keep}


def _check_columns(
    checks: Checks, at: str, op: Operator, params: Params, sources: list[str], written: StepConfig, kept: Mapping[str, Any]
) -> None:
    have = _input_columns(checks, at, sources, None, op)
    sides = [(sources, op.columns_read(params), have)]
    if written.against in checks.steps:
        sides.append(([written.against], op.columns_against(params), checks.steps[written.against].columns))
    for names, reads, columns in sides:
        if any(not checks.steps[n].known for n in names):
            continue
        for column, kind in reads.items():
            what, whose = f"{at}: {op.name} reads {column!r}", ", ".join(names)
            if column not in columns:
                checks.faults.append(f"{what}, which {whose} lacks{did_you_mean(column, columns)}")
            elif columns[column] != kind:
                checks.faults.append(f"{what} as {kind}, {whose} has it as {columns[column]}")
    for column, kind in op.columns_written(params).items() if op.shape != "build" else ():
        if have.get(column, kind) != kind and all(checks.steps[n].known for n in sources):
            was = f"{', '.join(sources)} has it as {have[column]}"
            checks.faults.append(f"{at}: {op.name} writes {column!r} as {kind}, {was}; name another column")


def recipe_of(step: Step, prints: Mapping[str, str], without: str = "") -> str:
    """H(operator, version, params with the prompts' text, models, artifacts but those that a row's `_key` covers)."""
    params = {name: value for name, value in content_params(step).items() if name != without}
    artifacts = {name: prints[above] for name, above in step.using.items() if not by_row(step, name)}
    models = {k: m.identity() for k, m in step.models.items()}
    # Users do not count versions up, and two projects may call a module alike: their code is their version.
    own = [] if step.spec.startswith("operators.") else [code_of(step.op, step.spec.partition(":")[0])]
    own += [version_of(name) for name in step.op.libraries(step.params)] if step.op.libraries else []
    return fingerprint(step.spec, step.op.version, params, models, artifacts, *own)


def asked_of(step: Step, asked: Mapping[str, str]) -> str:
    """What a step and all above it are asked for, whatever rows are read: an artifact is held as long as this stays."""
    above = [*step.sources, *([step.against] if step.against else [])]
    used = sorted((name, asked[step.using[name]]) for name in step.using)
    return fingerprint(recipe_of(step, asked), step.keep, [asked[name] for name in above], used)


def by_row(step: Step, name: str) -> bool:
    """Whether each row's `_key` says what the row takes of this artifact; other shapes have no row reuse."""
    return (step.op.shape == "map" or bool(step.op.depth)) and getattr(step.op.uses[name], "content_addressed", False)


def content_params(step: Step) -> dict[str, Any]:
    """The params as a recipe holds them: not where files lie, but the name and the content that they give."""
    params: dict[str, Any] = json.loads(step.params.model_dump_json())
    if step.op.shape == "source" and params.pop("path", None) and "source" in params:
        params["source"] = source_of(step.params)
    tokenizer = params.get("tokenizer")
    if isinstance(tokenizer, str) and (tokenizer or params.get("unit") == "tokens"):
        params["tokenizer"] = f"sha256:{digest_of(tokenizer_file(tokenizer))}"
    return {name: _unplaced(value) for name, value in params.items()}


def _unplaced(value: Any) -> Any:
    """Without the paths of lists (`operators.list_file`), which are known by their bytes."""
    if isinstance(value, dict):
        return f"sha256:{value['sha256']}" if set(value) == {"path", "sha256"} else {k: _unplaced(v) for k, v in value.items()}
    return value
