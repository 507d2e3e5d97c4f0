#!/usr/bin/env bash
# Train under Slurm, one task a GPU.
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
# GPUS (16), GPUS_PER_NODE (8), CPUS_PER_TASK (8) and SRUN_ARGS come from the environment.
# Two minutes before the time limit (STOP_SIGNAL, USR1@120) the run saves and exits with code 85;
# inside of a batch job (sbatch --requeue) the job is then queued again, and goes on by itself.
set -euo pipefail
export PYTHONPATH="$(dirname "$0")/..:${PYTHONPATH:-}"

if [ $# -lt 4 ]; then
    sed -n '2,6s/^# //p' "$0" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
GPUS=${GPUS:-16}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}

CODE=0
# SRUN_ARGS is unquoted on purpose: it holds several arguments.
# shellcheck disable=SC2086
srun --partition="$PARTITION" \
    --job-name="$JOB_NAME" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" \
    --kill-on-bad-exit=1 \
    --signal="${STOP_SIGNAL:-USR1@120}" \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$CONFIG" \
    --work-dir "$WORK_DIR" --launcher slurm "${@:5}" || CODE=$?

if [ "$CODE" = 85 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
