"""Start one vLLM engine in this process, and leave nothing of it behind.

The engine runs in a process of its own. It outlives a parent that is killed (seen with 0.32), and
Pithead ends its workers by a kill: a small guard process ends it with them.
"""

import asyncio
import contextlib
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from operators.contract import EngineDead, InputError
from operators.engines.encoder import revision, source
from operators.engines.models import ModelEntry

CPU_CACHE = 2 << 30  # bytes of keys and values; vLLM's own default on a CPU is nine tenths of the memory
_OF_THE_ENTRY = (  # what decides the answers is in the entry's own keys, so that it is in every recipe
    "model", "revision", "dtype", "max_model_len", "trust_remote_code", "tensor_parallel_size", "tokenizer",
    "tokenizer_revision", "code_revision", "seed",
)  # fmt: skip
_ENVIRONMENT = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork of a process with threads may hang
}  # fmt: skip
# A handle, not a number: the number of an engine that died may be another's by then.
_GUARD = """
import os, signal, sys, time
parent, engines = int(sys.argv[1]), []
for number in sys.argv[2:]:
    try:
        engines.append(os.pidfd_open(int(number)))
    except OSError:
        pass
while os.getppid() == parent:
    time.sleep(0.5)
for engine in engines:
    try:
        signal.pidfd_send_signal(engine, signal.SIGKILL)
    except OSError:
        pass
"""


@dataclass(frozen=True)
class Life:
    """A running engine, the loop that drives it, and what ends with both."""

    engine: Any  # vLLM's AsyncLLM; used on the loop alone
    loop: asyncio.AbstractEventLoop
    guard: "subprocess.Popen[bytes]"

    def end(self) -> None:
        """Leave no process behind."""
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(_shut(self.engine), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.guard.kill()
        self.guard.wait()


def start(entry: ModelEntry) -> Life:
    """Start the engine of an entry; an `InputError` says what it cannot be started with."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError("models.yaml: backend vllm needs vLLM, which is not installed; pip install 'pithead[vllm]'")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    given = _arguments(entry)
    loop, before = asyncio.new_event_loop(), set(multiprocessing.active_children())
    threading.Thread(target=loop.run_forever, name="vllm", daemon=True).start()
    try:
        engine = asyncio.run_coroutine_threadsafe(_start(given), loop).result()
    except (ValueError, OSError) as error:  # arguments that do not fit, a model that is not there
        loop.call_soon_threadsafe(loop.stop)
        raise InputError(f"models.yaml: vLLM cannot run {entry.model!r}: {first_line(error)}; mend the entry") from error
    except RuntimeError as error:
        loop.call_soon_threadsafe(loop.stop)
        raise EngineDead(f"vLLM's engine for {entry.model!r} did not start: {first_line(error)}") from error
    born = [str(p.pid) for p in set(multiprocessing.active_children()) - before]
    guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *born]
    return Life(engine, loop, subprocess.Popen(guard, start_new_session=True))


def _arguments(entry: ModelEntry) -> dict[str, Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    serving, known = entry.serving, {f.name for f in fields(AsyncEngineArgs)}
    for key in serving.options:
        if key in _OF_THE_ENTRY or key not in known:
            why = "is set by the entry's own keys" if key in _OF_THE_ENTRY else "is no argument of vLLM's engine"
            raise InputError(f"models.yaml: serving.options.{key} of {entry.model!r} {why}; take it out")
    given: dict[str, Any] = {
        "model": source(entry), "revision": revision(entry), "trust_remote_code": entry.trust_remote_code, "dtype": entry.dtype,
        "max_model_len": entry.max_tokens, "tensor_parallel_size": serving.tensor_parallel, "enable_prefix_caching": True,
        "disable_log_stats": True,
        # One backend for all schemas: an engine keeps the first that it needs. This one refuses what it cannot enforce.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }  # fmt: skip
    if serving.tensor_parallel > 1:
        given["distributed_executor_backend"] = "mp"  # in a Ray actor vLLM would start actors of its own
    if 0 < serving.gpus < 1:
        given["gpu_memory_utilization"] = round(0.9 * serving.gpus, 3)
    if current_platform.is_cpu():
        # A seeded request read in two steps ends the engine ("CPU Generator does not use offset", 0.32): read prompts whole.
        given |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, entry.max_tokens)}
        if not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            given["kv_cache_memory_bytes"] = CPU_CACHE
    return {**given, **serving.options}


async def _start(given: Mapping[str, Any]) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    # The batch sizes of vLLM's `LLM`, twice those of its server.
    return AsyncLLM.from_engine_args(AsyncEngineArgs(**given), usage_context=UsageContext.LLM_CLASS)


async def _shut(engine: Any) -> None:
    engine.shutdown()
    engine.shutdown = lambda *_, **__: None  # it is called once more when Python is half gone, and then it fails


def first_line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if line and "validation error" not in line and " " in line), type(error).__name__)
    return said.rstrip(".")[:200]
