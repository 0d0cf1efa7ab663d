"""A flow as written: YAML read safely, ``--set`` applied, ``${env:NAME}`` filled in."""

import os
import re
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.faults import FlowError, did_you_mean, sentences
from operators.contract import InputError

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
NODES = 100_000  # values that a file may unfold to: the longest shipped recipe has a few thousand
FLOW_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_ENV = re.compile(r"^\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}$")


class StepConfig(BaseModel):
    """One step, as written."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    op: str = Field(description="an operator of the package, or module:function of your own")
    sources: str | list[str] = Field([], alias="from", description="the step or steps whose rows it takes")
    against: str | None = Field(None, description="crosses: the step whose rows are searched")
    using: dict[str, str] = Field({}, description="models (keys of models.yaml) and built artifacts (steps)")
    params: dict[str, Any] = Field({}, alias="with", description="the operator's params")
    keep: list[str] | None = Field(None, description="columns of the input that pass through; all, if not given")
    max_rejected: float = Field(0.01, ge=0, le=1, description="share of rows that may be rejected")
    optional: bool = Field(False, description="sources: without a path it holds no rows, which is no fault")
    refit: str = Field(
        "always", pattern=r"^(always|never|drift>(0?\.\d+|0|1))$", description="builds: whether new rows fit it anew"
    )
    doc: str = Field("", description="for readers")

    @property
    def limit(self) -> float:
        """The share of rows that may come and go before an artifact is fitted anew: 0 for always."""
        _, drift, share = self.refit.partition("drift>")
        return float(share) if drift else inf if self.refit == "never" else 0.0


class FlowConfig(BaseModel):
    """A flow, as written."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    flow: str = Field(pattern=FLOW_NAME, description="its name; also the data set's")
    doc: str = ""
    seed: int = Field(0, ge=0)
    steps: dict[str, StepConfig] = Field(min_length=1)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, which YAML would silently keep the last of, and aliases that unfold without end."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()  # type: ignore[no-untyped-call]
        if node is not None and _unfolded(node, {}) > NODES:
            said = f"its aliases (*name) unfold to more than {NODES:,} values; write fewer"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return node


def _unfolded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values the node holds, each alias as often as it stands there; a thousand characters count as one more."""
    if id(node) not in known:
        known[id(node)] = 0  # of a node within itself, which the constructor refuses
        if isinstance(node, yaml.ScalarNode):
            known[id(node)] = 1 + len(node.value) // 1000
        else:
            inner = [n for pair in node.value for n in (pair if isinstance(pair, tuple) else [pair])]
            known[id(node)] = 1 + sum(_unfolded(n, known) for n in inner)
    return known[id(node)]


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        name = loader.construct_object(key, deep=True)  # type: ignore[no-untyped-call]
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is a word, not a list or a mapping", key.start_mark)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is there twice", key.start_mark)
        seen.add(name)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> Any:
    """Read a YAML file safely; `InputError` says the line where it is broken."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: it cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML: {_said(error)}") from error
    except ValueError as error:  # such as the date 2024-13-01
        raise InputError(f"{path}: not YAML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path}: not YAML: it is nested too deeply") from error


def _said(error: Exception) -> str:
    return str(getattr(error, "problem", None) or " ".join(str(error).split()))


def find_flow(name: str) -> Path:
    """A flow's file: a path, or the name of a shipped flow, then of a recipe."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:  # else a folder named as a flow would hide it
        if not path.exists():
            raise InputError(f"{name}: no such file")
        return path.resolve()
    shipped = {p.stem: p for folder in ("recipes", "flows") for p in sorted((CONFIGS / folder).glob("*.yaml"))}
    if name not in shipped:
        raise InputError(f"{name}: no such flow{did_you_mean(name, shipped)}")
    return shipped[name]


def name_of(flow: str) -> str:
    """The name of a flow that is given by its file or by a shipped one's name; what is neither is taken for a name."""
    try:
        raw = read_yaml(find_flow(flow))
    except InputError:
        return Path(flow).stem
    name = raw.get("flow") if isinstance(raw, dict) else None
    return name if isinstance(name, str) and re.match(FLOW_NAME, name) else Path(flow).stem


def read_config(path: Path, changes: Sequence[str] = ()) -> FlowConfig:
    """Read a flow; ``changes`` are ``steps.queries.with.per_passage=2`` and so on."""
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise FlowError([f"{path}: a flow is a mapping with `flow:` and `steps:`"])
    for change in changes:
        _set(raw, change, path)
    faults: list[str] = []
    raw = _fill(raw, str(path), faults)
    try:
        config = FlowConfig.model_validate(raw)
    except ValidationError as error:
        names = {*FlowConfig.model_fields, *(f.alias or n for n, f in StepConfig.model_fields.items())}
        raise FlowError([*faults, *sentences(error, str(path), names)]) from error
    if faults:
        raise FlowError(faults)
    return config


def assigned(change: str) -> tuple[str, str]:
    """The key and the text behind it of one ``--set``."""
    key, equals, value = change.partition("=")
    if not equals:
        raise InputError(f"--set {change}: it needs key=value")
    return key, value


def as_yaml(change: str, value: str) -> Any:
    """The value of an option that is set by itself, outside a flow."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {change}: the value is not YAML; put double quotes around it") from error


def _set(raw: dict[str, Any], change: str, path: Path) -> None:
    key, value = assigned(change)
    *folders, last = key.split(".")
    if folders and folders[0] not in FlowConfig.model_fields:
        folders = ["steps", folders[0], *([] if folders[1:] or last in _STEP_KEYS else ["with"]), *folders[1:]]
    node: Any = raw
    for i, name in enumerate(folders):
        if name not in node and i and folders[i - 1] == "steps":
            raise InputError(f"--set {key}: {path} has no step {name!r}{did_you_mean(name, node)}")
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {key}: {name} is a value, not a mapping")
    try:
        node[last] = yaml.load(value, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"--set {change}: the value is not YAML: {_said(error)}; put double quotes around it") from error


_STEP_KEYS = {f.alias or n for n, f in StepConfig.model_fields.items()}


def _fill(value: Any, where: str, faults: list[str]) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, f"{where}.{k}", faults) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, f"{where}.{i}", faults) for i, v in enumerate(value)]
    if isinstance(value, str) and (match := _ENV.match(value)):
        if match[1] not in os.environ:
            faults.append(f"{where}: the environment has no {match[1]}; set it with `export {match[1]}=...`")
        return os.environ.get(match[1], "")
    return value
