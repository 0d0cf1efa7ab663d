#!/bin/bash
@OPTIONS@
# Written by `pithead submit --print`. A first node runs Ray's head and the flow, the others workers.
set -euo pipefail
umask 077
@SETUP@

export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')  # in no file; other users cannot read an environment
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))
room=(--num-cpus=@CPUS@ --num-gpus=@GPUS@)

# only what this job started: another one of yours may have a Ray on the same node
trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" ray start --head --block --node-ip-address="$ip" --port="$port" \
  --dashboard-host=127.0.0.1 --disable-usage-stats "${room[@]}" > "ray-head-$SLURM_JOB_ID.log" 2>&1 &
heading=$!
until ray health-check --address "$ip:$port" > /dev/null 2>&1; do
  kill -0 "$heading" 2> /dev/null || { echo "Ray's head did not start: ray-head-$SLURM_JOB_ID.log says why" >&2; exit 1; }
  sleep 2
done
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
  srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head" ray start --block --address="$ip:$port" \
    --disable-usage-stats "${room[@]}" > "ray-workers-$SLURM_JOB_ID.log" 2>&1 &
fi

pithead @VERB@ --address "$ip:$port" &
flow=$!
trap 'kill -INT "$flow"' INT TERM # two minutes before its time is over the flow is told, and what is finished stays
status=0
wait "$flow" || status=$?
if kill -0 "$flow" 2> /dev/null; then status=0 && wait "$flow" || status=$?; fi
exit "$status"
