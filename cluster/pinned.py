"""Whether the libraries of a cluster are those of the machine that submitted: others may make other bytes.

Run as ``python -m cluster.pinned`` before a job's flow; it ends with 2 and a sentence where they are not.
"""

import importlib.metadata
import json
import os
import re
import sys

from cluster.versions import LIBRARIES, version_of

PINNED = "PITHEAD_PINNED"  # the environment variable that says the submitter's


def pins() -> dict[str, str]:
    """The versions that decide what a run makes: of Python, and of every main library that is installed."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in LIBRARIES:
        if version := version_of(name):
            found[name] = version.partition("+")[0]  # 2.13.0+cpu is 2.13.0, for another device
    found.pop("pithead", None)  # it is sent
    return found


def installed() -> list[str]:
    """Pithead's requirements and all that they require, each at the version that is installed here."""
    seen: dict[str, str] = {}
    waiting = ["pithead"]
    while waiting:
        name = waiting.pop()
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # of an extra, or for another platform
            continue
        key = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        if key in seen:
            continue
        seen[key] = found.version.partition("+")[0]
        waiting += [re.split(r"[\s;<>=!~\[(]", r, maxsplit=1)[0] for r in found.requires or () if "extra ==" not in r]
    seen.pop("pithead", None)
    seen.pop("ray", None)  # the cluster's own; Ray refuses to replace itself
    return [f"{name}=={version}" for name, version in sorted(seen.items())]


def unlike(wanted: dict[str, str], here: dict[str, str]) -> str:
    """What of this machine is another version than wanted, in one sentence; empty where nothing is."""
    off = [f"{name} {here.get(name, 'none')} for {version}" for name, version in wanted.items() if here.get(name) != version]
    if not off:
        return ""
    return (
        f"this cluster has {', '.join(off)}; install the same there, or submit with --environment pip, or with --environment"
        " any where other bytes are fine"
    )


def main() -> int:
    """Compare; 0 or 2."""
    if said := unlike(json.loads(os.environ[PINNED]), pins()):
        print(said, file=sys.stderr)
    return 2 if said else 0


if __name__ == "__main__":
    sys.exit(main())
