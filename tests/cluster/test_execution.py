"""Cluster files: checked with a sentence, never part of the data, rendered as far as a machine without the cluster can tell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.execution import Execution, Placement, placed
from cluster.pinned import PINNED, installed, pins
from cluster.rooms import Room, capacity, fits, lacking, room_of
from cluster.submit import is_secret
from cluster.work import Work
from flows.cli import main, parser
from flows.clusters import CLUSTERS, execution_of, find_cluster, read_cluster
from flows.verbs import engine_of
from operators.contract import InputError, Needs
from tests.flows.test_run import write

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(p.stem for p in CLUSTERS.glob("*.yaml"))
WORK = Work("map", "p", "operators.embed:embed", "{}", {}, [], "h", "s", "r", gpus=0.25)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_is_sound_says_how_far_it_was_tried_and_keeps_ray_closed(name):
    one = read_cluster(find_cluster(name))
    assert one.engine == "local" or ("Tried" in one.doc and "Not tried" in one.doc)
    assert one.token
    assert one.host == "127.0.0.1"
    assert not one.jobs or one.jobs.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("text", "said"), [
    ("engin: ray", "engin: no such key; did you mean 'engine'?"),
    ("engine: ray\nsteps: {embed: {gpu: 1}}", "steps.embed.gpu: no such key; did you mean 'gpus'?"),
    ("engine: ray\nsteps: {embed: {gpus: 1.5}}", "steps.embed: gpus 1.5: above one they are whole"),
    ("engine: ray\nsteps: {embed: {memory: lots}}", "steps.embed.memory: 'lots' is no size; write such as 16Gi"),
    ("engine: ray\nsteps: {embed: {min_workers: 3, max_workers: 2}}", "min_workers 3 is above max_workers 2"),
    ("steps: {embed: {gpus: 1}}", "steps.embed.gpus does nothing with `engine: local`"),
    ("address: auto", "address does nothing with `engine: local`"),
    ("engine: ray\naddress: auto\nhost: 0.0.0.0", "host is where a Ray started here listens"),
    ("engine: ray\nslurm: {setup: [\"a\\nb\"]}", "it stands on one line of a script"),
    ("engine: ray\nsteps: {lowd: {cpus: 1}}", "steps.lowd: toy has no such step, and no operator is called so; did you mean 'loud'?"),
    ("- 1", "a cluster file is a mapping"),
    ("engine: [", "not YAML"),
])  # fmt: skip
def test_a_fault_of_a_cluster_file_is_one_sentence(tmp_path, capsys, text, said):
    flow = write(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    assert main(["run", str(flow), "--cluster", str(tmp_path / "c.yaml"), "--store", str(tmp_path / "s")]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error, error


def test_a_cluster_that_is_not_there_is_guessed(tmp_path, capsys):
    assert main(["run", str(write(tmp_path)), "--cluster", "labtop"]) == 2
    assert "--cluster labtop: no such cluster file; did you mean 'laptop'?" in capsys.readouterr().err


def test_a_cluster_file_changes_no_data_and_flags_stand_over_it(tmp_path, capsys):
    flow = write(tmp_path)
    (tmp_path / "c.yaml").write_text("workers: 3\nbuckets: 5\nsteps: {loud: {max_workers: 1}}\n")
    store = ["--store", str(tmp_path / "s")]
    assert main(["run", str(flow), *store, "--cluster", str(tmp_path / "c.yaml"), "--workers", "0", "--until", "loud"]) == 0
    homes = {p.name for p in (tmp_path / "s" / "steps").iterdir()}
    assert len(list((tmp_path / "s" / "steps").glob("shout-*/commits/*-of-00005*"))) == 5
    assert main(["run", str(flow), *store, "--cluster", "laptop", "--until", "loud"]) == 0  # all is there, however it is cut
    assert "2 steps stored, 0 run" in capsys.readouterr().out
    assert homes == {p.name for p in (tmp_path / "s" / "steps").iterdir()}


def test_placement_goes_from_all_to_operator_to_step_and_over_what_a_model_says():
    files = {"*": Placement(memory="3Gi", cpus=2), "embed": Placement(gpus=0.5, max_workers=4), "vectors": Placement(max_workers=7, labels={"zone": "a"})}
    found = placed(Needs(), files, "embed", "vectors", [WORK])
    assert (found.memory, found.cpus, found.gpus, found.max_workers, found.labels) == (3 << 30, 2, 0.5, 7, {"zone": "a"})
    assert room_of(found) == {"num_gpus": 0.5, "num_cpus": 2, "memory": 3 << 30, "label_selector": {"zone": "a"}}
    assert room_of(placed(Needs(), {}, "embed", "vectors", [WORK])) == {"num_gpus": 0.25}  # of the model's `serving`
    assert room_of(Room()) == {"num_cpus": 1}


def test_what_no_node_has_is_told_rather_than_waited_for():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}, "Labels": {"kind": "A100", "market": "spot"}},
        {"Alive": True, "Resources": {"CPU": 4.0, "large": 1.0}, "Labels": {}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}, "Labels": {}},
    ]
    assert lacking({"num_gpus": 1, "label_selector": {"kind": "in(A100,H100)"}}, nodes) == ""
    assert lacking({"num_cpus": 4, "resources": {"large": 1}}, nodes) == ""
    assert lacking({"num_gpus": 2}, nodes).startswith("none of the 2 nodes of the Ray cluster has 2 GPU; mend `steps:`")
    assert "1 GPU and market !spot" in lacking({"num_gpus": 1, "label_selector": {"market": "!spot"}}, nodes)
    assert capacity({"num_cpus": 3}, nodes) == 3 and capacity({"num_gpus": 0.25}, nodes) == 4 and capacity({"num_cpus": 1, "memory": 1}, nodes) == 0
    assert lacking({"num_cpus": 8, "resources": {"large": 1}}, nodes)  # two nodes together are none
    assert fits({"kind": "T4"}, {"kind": "!in(A100, H100)"}) and not fits({}, {"kind": "T4"})


def test_slurm_gets_a_script_that_bash_reads_and_that_holds_no_token(tmp_path, capsys):
    flow = write(tmp_path)
    command = ["submit", str(flow), "--cluster", "slurm", "--print", "--store", "/shared/my sets", "--set", "loud.times=3"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    assert "#SBATCH --nodes=4" in text and "#SBATCH --gpus-per-node=2" in text and not re.search("@[A-Z]+@", text)
    assert f"pithead run {flow} --set loud.times=3 --store '/shared/my sets' --workers 32 --cluster slurm --engine ray" in text
    assert "RAY_AUTH_MODE=token" in text and "--dashboard-host=127.0.0.1" in text and "/dev/urandom" in text


def test_kubernetes_gets_objects_with_the_token_on_and_no_root(tmp_path, capsys):
    flow = write(tmp_path)
    command = ["submit", str(flow), "--cluster", "kuberay", "--print", "--refresh", "--store", "s3://b/sets"]
    assert main(command) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    spec = made["spec"]["rayClusterSpec"]
    assert made["kind"] == "RayJob" and spec["authOptions"] == {"mode": "token"}
    assert "-m flows refresh" in made["spec"]["entrypoint"] and "--store s3://b/sets" in made["spec"]["entrypoint"]
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for pod in (p["template"]["spec"]["containers"][0] for p in pods):
        assert pod["securityContext"]["runAsNonRoot"] and pod["envFrom"] == [{"secretRef": {"name": "pithead-store"}}]
        assert pod["resources"]["limits"] == pod["resources"]["requests"]
    spot = next(g for g in spec["workerGroupSpecs"] if g["groupName"] == "gpu-spot")
    assert spot["labels"]["ray.io/market-type"] == "spot" and spot["template"]["spec"]["tolerations"]
    assert main([*command[:-1], "store"]) == 2
    assert "a pod's disk is gone when it ends" in capsys.readouterr().err
    assert main(["submit", str(flow), "--cluster", "laptop", "--print"]) == 2
    assert "the cluster file has no `kubernetes:`" in capsys.readouterr().err


def test_other_libraries_end_a_job_before_its_flow():
    def check(wanted):
        return subprocess.run([sys.executable, "-m", "cluster.pinned"], cwd=ROOT, env={**os.environ, PINNED: json.dumps(wanted)}, capture_output=True, text=True)

    assert check(pins()).returncode == 0
    other = check({**pins(), "torch": "1.0.0"})
    assert other.returncode == 2
    assert re.search(r"this cluster has torch \S+ for 1.0.0; install the same there, or submit with --environment pip", other.stderr)
    listed = installed()
    assert any(line.startswith("pyarrow==26") for line in listed) and not any(line.startswith(("ray==", "pithead==")) for line in listed)
    assert all(re.fullmatch(r"[a-z0-9-]+==[^+ ]+", line) for line in listed)


def test_keys_are_not_sent_and_modules_are():
    assert all(map(is_secret, ["server.pem", "id_rsa", "credentials.json", "hf_token", "prod.env", "my-secrets.yaml", "ID_ED25519"]))
    assert not any(map(is_secret, ["token_counts.py", "flow.yaml", "corpus.jsonl", "keywords.md", "secret_santa.py", "keys.parquet"]))


def test_the_image_runs_as_nobody_and_holds_no_key():
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 1000$", text, re.M) and text.rindex("USER 1000") > text.rindex("RUN ")
    assert not re.search(r"(?i)(secret|password|api_key|access_key)\s*=", text)
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")  # nothing but what is named


def test_an_autoscaling_cluster_of_ray_is_valid_to_ray():
    path = CLUSTERS / "ray_cluster" / "up.yaml"
    # in a process of its own: Ray reads whether a token is asked for when it is first imported
    code = ("import sys, yaml; from ray.autoscaler._private import util\n"
            "util.validate_config(util.prepare_config(yaml.safe_load(open(sys.argv[1]))))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    up = yaml.safe_load(path.read_text())
    starts = [c for key in ("head_start_ray_commands", "worker_start_ray_commands") for c in up[key] if "ray start" in c]
    assert all("RAY_AUTH_MODE=token" in c for c in starts) and "--dashboard-host=127.0.0.1" in starts[0]


def test_a_ray_started_here_listens_where_the_file_says():
    one = Execution.model_validate({"engine": "ray", "host": "10.0.0.7", "token": False})
    made = engine_of(one)
    assert (made.host, made.token, made.workers) == ("10.0.0.7", False, 2)
    args = parser().parse_args(["run", "x", "--workers", "-1"])
    with pytest.raises(InputError, match="--workers and --buckets"):
        execution_of(args)
