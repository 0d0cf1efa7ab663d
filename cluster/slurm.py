"""The batch script of a flow: a Ray cluster in an allocation, whose token lives as long as the job."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from cluster.execution import Slurm, size_of

SCRIPT = Path(__file__).parent / "slurm.sh"


def script(name: str, slurm: Slurm, verb: Sequence[str]) -> str:
    """The text for sbatch; ``verb`` is what follows `pithead`, without the address, which the script finds."""
    options = [
        f"--job-name=pithead-{name}", f"--nodes={slurm.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={slurm.cpus}",
        f"--mem={size_of(slurm.memory) >> 20}M", f"--time={slurm.time}", "--signal=B:INT@120",
        *([f"--gpus-per-node={slurm.gpus}"] if slurm.gpus else []),
        *([f"--partition={slurm.partition}"] if slurm.partition else []),
        *([f"--account={slurm.account}"] if slurm.account else []), *slurm.options,
    ]  # fmt: skip
    text = SCRIPT.read_text(encoding="utf-8")
    given = {
        "@OPTIONS@": "\n".join(f"#SBATCH {o}" for o in options), "@SETUP@": "\n".join(slurm.setup),
        "@CPUS@": str(slurm.cpus), "@GPUS@": str(slurm.gpus), "@VERB@": shlex.join(verb),
    }  # fmt: skip
    for place, value in given.items():
        text = text.replace(place, value)
    return text
