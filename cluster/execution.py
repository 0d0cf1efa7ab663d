"""Where and how a flow runs: what a file of ``configs/cluster/`` may say. It never changes the data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cluster.rooms import Room
from cluster.work import Work
from operators.contract import Needs

UNITS = {"": 1, "K": 1000, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(K|M|G|Ki|Mi|Gi|Ti|)B?$")
LOOPBACK = "127.0.0.1"


def _size(value: str) -> str:
    if not _SIZE.match(value):
        raise ValueError(f"{value!r} is no size; write such as 16Gi or 500Mi")
    return value


def _line(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError("it stands on one line of a script; leave out line breaks")
    return value


Size = Annotated[str, AfterValidator(_size)]
Line = Annotated[str, AfterValidator(_line)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]


def size_of(said: str) -> int:
    """Bytes."""
    match = _SIZE.match(said)
    assert match
    return int(float(match[1]) * UNITS[match[2]])


class Model(BaseModel):
    """Frozen, and no key that does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Placement(Model):
    """What a worker of a step has, how many there are, and on which nodes."""

    cpus: float | None = Field(None, gt=0, description="processors of a worker; a fraction shares one")
    gpus: float | None = Field(None, ge=0, description="GPUs of a worker; a fraction below 1 shares one")
    memory: Size | None = Field(None, description="of a worker, such as 16Gi; Ray places by it and kills nobody")
    min_workers: int | None = Field(None, ge=1, description="that are started at once; fewer where there is less work")
    max_workers: int | None = Field(None, ge=1, description="at most, instead of `workers`")
    resources: dict[str, float] = Field({}, description="Ray's custom resources that a worker takes, such as {a100: 0.5}")
    labels: dict[str, str] = Field({}, description="of the nodes, such as {ray.io/accelerator-type: 'in(A100,H100)'}")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus {self.gpus}: above one they are whole")
        if self.min_workers and self.max_workers and self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is above max_workers {self.max_workers}")
        return self


class Group(Model):
    """Worker pods of one kind."""

    name: Name
    min: int = Field(0, ge=0)
    max: int = Field(1, ge=1)
    cpu: str = "4"
    memory: Size = "16Gi"
    gpus: int = Field(0, ge=0)
    spot: bool = Field(False, description="they may be taken away: their nodes' label ray.io/market-type is spot")
    node_selector: dict[str, str] = Field({}, description="labels of Kubernetes nodes, such as a kind of GPU")
    tolerations: list[dict[str, Any]] = []
    resources: dict[str, float] = Field({}, description="Ray's custom resources that a pod of it brings")
    labels: dict[str, str] = Field({}, description="Ray's labels of it")


class Kubernetes(Model):
    """The pods of a RayJob, or of a CronJob where the engine is local."""

    image: Line
    namespace: Name = "default"
    service_account: str = Field("", description="whose rights reach the store")
    head_cpu: str = "2"
    head_memory: Size = "8Gi"
    groups: list[Group] = []
    secrets: list[Name] = Field([], description="names of secrets whose keys become environment variables")
    claims: dict[Name, str] = Field({}, description="persistent volume claims and where they are mounted")
    deadline_hours: float = Field(24, gt=0, description="after which a job is stopped; the next one goes on from there")
    keep_hours: float = Field(1, ge=0, description="that an ended job's pods stay to be looked at")


class Slurm(Model):
    """An allocation, in which a Ray cluster is started for the flow."""

    nodes: int = Field(2, ge=1)
    cpus: int = Field(8, ge=1, description="of a node")
    gpus: int = Field(0, ge=0, description="of a node")
    memory: Size = "32Gi"
    time: str = Field("24:00:00", pattern=r"^(\d+-)?\d{1,2}:\d{2}(:\d{2})?$")
    partition: Line = ""
    account: Line = ""
    options: list[Line] = Field([], description="further lines of #SBATCH, such as --constraint=a100")
    setup: list[Line] = Field([], description="shell lines that make `pithead` and `ray` be found")


class Execution(Model):
    """A cluster file."""

    doc: str = Field("", description="for readers: what it is for, and how far it was tried")
    engine: Literal["local", "ray"] = "local"
    address: str = Field("", description="of a running Ray, as `auto` or HOST:PORT; without one, a Ray is started here")
    jobs: str = Field("", description="of its job server, which `pithead submit` asks, such as http://127.0.0.1:8265")
    python: Line = Field("python", description="the interpreter on its nodes")
    workers: int | None = Field(None, ge=0, description="of a step, at most")
    buckets: int | None = Field(None, ge=1, description="parts a step is cut into")
    host: str = Field(LOOPBACK, description="the address that a Ray started here listens at")
    token: bool = Field(True, description="whether whoever talks to Ray must know its token")
    autoscaling: bool = Field(False, description="whether nodes that a step asks for may come later")
    steps: dict[str, Placement] = Field({}, description="by a step's or an operator's name, or '*' for all")
    kubernetes: Kubernetes | None = None
    slurm: Slurm | None = None

    @model_validator(mode="after")
    def _acts(self) -> Self:
        """Refuse what the engine does not do."""
        if self.engine == "local":
            said = [n for n in ("address", "jobs", "host", "token", "autoscaling", "slurm") if n in self.model_fields_set]
            if said:
                raise ValueError(f"{said[0]} does nothing with `engine: local`; leave it out or say `engine: ray`")
            for name, placed in self.steps.items():
                if placed.model_fields_set - {"max_workers"}:
                    what = sorted(placed.model_fields_set - {"max_workers"})[0]
                    raise ValueError(f"steps.{name}.{what} does nothing with `engine: local`, which only knows max_workers")
        if self.address and {"host"} & self.model_fields_set:
            raise ValueError("host is where a Ray started here listens; with an address none is started")
        return self


def placed(needs: Needs, placement: Mapping[str, Placement], op: str, step: str, work: Sequence[Work]) -> Room:
    """What a worker of the step gets: the operator's needs, its models', and over them what the cluster file says."""
    room = Room(needs.cpus, max(needs.gpus, work[0].gpus), needs.batch_rows)
    for name in ("*", op, step):
        if said := placement.get(name):
            given = {k: getattr(said, k) for k in said.model_fields_set if getattr(said, k) is not None}
            if "memory" in given:
                given["memory"] = size_of(given["memory"])
            room = replace(room, **given, said=room.said | given.keys())
    return room
