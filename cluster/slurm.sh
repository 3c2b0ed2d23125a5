#!/usr/bin/env bash
# Start a Ray cluster inside a Slurm allocation, and a run on it, which resumes by itself after a pre-emption, a time
# limit, or a lost node. Arguments are those of gandist.train:
#
#   sbatch --nodes=4 cluster/slurm.sh configs/r3gan-cifar10.yaml run.dir=/shared/runs launch.workers=16
#
# IMAGE=gandist.sif runs it in the container (apptainer build gandist.sif docker-daemon:gandist/gandist:0.1.0).
# Ray's token is generated for the job, and only its processes know it.
#SBATCH --job-name=gandist
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
# Whole nodes: Ray takes their GPUs and CPUs, and its usual ports.
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# Two minutes before the time limit, and with PreemptParameters=send_user_signal before a pre-emption, Slurm signals this
# script: it waits for the last checkpoint and requeues the job under the same number.
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

container=()
[[ -n ${IMAGE:-} ]] && container=(apptainer exec --nv "$IMAGE")
cpus=${SLURM_CPUS_PER_TASK:-1}
port=${RAY_PORT:-6379}
ready_s=${READY_S:-300} # seconds for all nodes to join
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_TMPDIR=${RAY_TMPDIR:-/tmp/gandist-$SLURM_JOB_ID}
RAY_AUTH_TOKEN=$("${container[@]}" python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

driver='' requeue=''
# shellcheck disable=SC2329  # called by the traps
stop() { # the driver lets the workers write a last checkpoint, and exits with 143
  echo "signal $1: one last checkpoint"
  [[ $1 == USR1 ]] && requeue=yes
  [[ -z $driver ]] || kill -TERM "$driver" 2>/dev/null || true
}
trap 'stop USR1' USR1
trap 'stop TERM' TERM
steps=()
# shellcheck disable=SC2329
clean() {
  (( ${#steps[@]} == 0 )) || kill -TERM "${steps[@]}" 2>/dev/null || true
  wait
}
trap clean EXIT

ray_on() { # NODE ARGUMENTS...: run Ray on that node, in the background, until this script ends
  local node=$1
  shift
  srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$cpus" --nodelist="$node" --kill-on-bad-exit=0 \
    "${container[@]}" ray start --block --num-cpus="$cpus" "$@" &
  steps+=($!)
}

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_ip=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname --ip-address)
export RAY_ADDRESS=${head_ip%% *}:$port
ray_on "${nodes[0]}" --head --node-ip-address="${head_ip%% *}" --port="$port" --dashboard-host=127.0.0.1
SECONDS=0
until "${container[@]}" ray health-check --address "$RAY_ADDRESS" &>/dev/null; do
  if (( SECONDS > ready_s )) || ! kill -0 "${steps[0]}" 2>/dev/null; then
    echo "the head did not start" >&2
    exit 1
  fi
  sleep 1
done
for node in "${nodes[@]:1}"; do
  ray_on "$node" --address="$RAY_ADDRESS"
done
"${container[@]}" python - "${#nodes[@]}" $((ready_s - SECONDS)) <<'END'
import sys, time
import ray
n, left_s = map(int, sys.argv[1:])
ray.init(logging_level="ERROR", log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < n:
    left_s -= 1
    if left_s < 0:
        sys.exit(f"not all of {n} nodes have joined")
    time.sleep(1)
END

[[ -n $requeue ]] || { "${container[@]}" python -m gandist.train "$@" & driver=$!; }
status=143
while [[ -n $driver ]]; do
  status=0
  wait "$driver" || status=$? # a trapped signal ends the wait, not the driver
  kill -0 "$driver" 2>/dev/null || break
done
if [[ -n $requeue && $status != 0 ]]; then
  echo "back into the queue: the same command goes on from the last checkpoint"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
