"""What this machine's processor can do, told without loading torch, which takes three seconds."""

from functools import cache
from pathlib import Path

_GPUS = ("nvidia[0-9]*", "kfd", "dxg")  # Nvidia's, AMD's, and what Windows lends to its Linux


@cache
def flags() -> frozenset[str]:
    """The words of ``/proc/cpuinfo``, ``amx_bf16`` say; none where there is no such file."""
    path = Path("/proc/cpuinfo")
    return frozenset(path.read_text().split()) if path.exists() else frozenset()


@cache
def may_have_gpu() -> bool:
    """Whether there is the device file of one; only then is it worth asking torch."""
    return any(next(Path("/dev").glob(name), None) for name in _GPUS)
