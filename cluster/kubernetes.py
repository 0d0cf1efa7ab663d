"""The objects for Kubernetes: a RayJob, a RayCronJob, or for the local engine a CronJob of one pod."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.execution import Execution, Group, Kubernetes, size_of

SAFE = {
    "allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 1000, "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def name_of(flow: str) -> str:
    """A name that Kubernetes takes: of a RayCronJob it leaves room for what KubeRay adds."""
    return f"pithead-{re.sub('[^a-z0-9-]+', '-', flow.lower())}"[:36].rstrip("-")


def rayjob(flow: str, execution: Execution, verb: Sequence[str]) -> dict[str, Any]:
    """A RayJob: KubeRay starts a cluster, runs ``pithead <verb>`` on its head, and takes the cluster away."""
    return _object("ray.io/v1", "RayJob", flow, execution, _rayjob_spec(execution, verb))


def scheduled(flow: str, execution: Execution, verb: Sequence[str], cron: str, zone: str, missed: str) -> dict[str, Any]:
    """A RayCronJob, or with the local engine a CronJob. Two refreshes at once are refused by the store's lease."""
    kube = execution.kubernetes
    assert kube is not None
    if execution.engine == "ray":
        spec: dict[str, Any] = {"schedule": cron, "timeZone": zone, "jobTemplate": _rayjob_spec(execution, verb)}
        return _object("ray.io/v1", "RayCronJob", flow, execution, spec)
    pod = _pod(kube, "pithead", kube.head_cpu, kube.head_memory, {"command": [execution.python, "-m", "flows", *verb]})
    job = {
        "backoffLimit": 0, "activeDeadlineSeconds": int(kube.deadline_hours * 3600),
        "ttlSecondsAfterFinished": int(kube.keep_hours * 3600),
        "template": {"spec": {**pod, "restartPolicy": "Never"}},
    }  # fmt: skip
    spec = {
        "schedule": cron, "timeZone": zone, "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3, "startingDeadlineSeconds": 60 if missed == "skip" else 24 * 3600,
        "jobTemplate": {"spec": job},
    }  # fmt: skip
    return _object("batch/v1", "CronJob", flow, execution, spec)


def _object(version: str, kind: str, flow: str, execution: Execution, spec: Mapping[str, Any]) -> dict[str, Any]:
    assert execution.kubernetes is not None
    labels = {"app.kubernetes.io/name": "pithead", "app.kubernetes.io/instance": name_of(flow)}
    about = {"name": name_of(flow), "namespace": execution.kubernetes.namespace, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": about, "spec": dict(spec)}


def _rayjob_spec(execution: Execution, verb: Sequence[str]) -> dict[str, Any]:
    from importlib.metadata import version

    kube = execution.kubernetes
    assert kube is not None
    ports = [{"containerPort": p, "name": n} for p, n in ((6379, "gcs-server"), (8265, "dashboard"), (10001, "client"))]
    head = _pod(kube, "ray-head", kube.head_cpu, kube.head_memory, {"ports": ports})
    if execution.autoscaling:  # the autoscaler beside Ray's head asks Kubernetes for pods
        head.pop("automountServiceAccountToken")
    return {
        "entrypoint": f"{execution.python} -m flows {shlex.join(verb)}",
        "submissionMode": "K8sJobMode", "backoffLimit": 0, "shutdownAfterJobFinishes": True,
        "activeDeadlineSeconds": int(kube.deadline_hours * 3600), "ttlSecondsAfterFinished": int(kube.keep_hours * 3600),
        "rayClusterSpec": {
            "rayVersion": version("ray"),
            "authOptions": {"mode": "token" if execution.token else "disabled"},
            "enableInTreeAutoscaling": execution.autoscaling,
            "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": {"spec": head}},  # parts go to workers
            "workerGroupSpecs": [_group(kube, g) for g in kube.groups],
        },
    }  # fmt: skip


def _group(kube: Kubernetes, group: Group) -> dict[str, Any]:
    pod = _pod(kube, "ray-worker", group.cpu, group.memory, {}, group.gpus)
    pod |= {"nodeSelector": dict(group.node_selector)} if group.node_selector else {}
    pod |= {"tolerations": list(group.tolerations)} if group.tolerations else {}
    labels = {**group.labels, "ray.io/market-type": "spot" if group.spot else "on-demand"}
    own = {"resources": {k: f"{v:g}" for k, v in group.resources.items()}} if group.resources else {}
    return {
        "groupName": group.name, "replicas": group.min, "minReplicas": group.min, "maxReplicas": group.max,
        "rayStartParams": {}, "labels": labels, **own, "template": {"spec": pod},
    }  # fmt: skip


def _pod(kube: Kubernetes, name: str, cpu: str, memory: str, more: Mapping[str, Any], gpus: int = 0) -> dict[str, Any]:
    room = {"cpu": cpu, "memory": str(size_of(memory)), **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    env = [{"name": "HF_HUB_OFFLINE", "value": "1"}, {"name": "TOKENIZERS_PARALLELISM", "value": "false"}]
    container: dict[str, Any] = {
        "name": name, "image": kube.image, "env": env, "securityContext": SAFE,
        "resources": {"limits": room, "requests": room}, **more,
    }  # fmt: skip
    pod: dict[str, Any] = {"containers": [container], "automountServiceAccountToken": bool(kube.service_account)}
    if kube.secrets:
        container["envFrom"] = [{"secretRef": {"name": s}} for s in kube.secrets]
    if kube.claims:
        container["volumeMounts"] = [{"name": c, "mountPath": at} for c, at in kube.claims.items()]
        pod["volumes"] = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in kube.claims]
    return pod | ({"serviceAccountName": kube.service_account} if kube.service_account else {})
