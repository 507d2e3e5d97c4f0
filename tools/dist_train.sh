#!/usr/bin/env bash
# Train with one process a GPU (or a CPU core or two, where there is no GPU).
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Several machines: run it on each, with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR and PORT set.
# MAX_RESTARTS (0): how often a job that failed goes on from its last checkpoint by itself.
# SIGTERM or SIGUSR1 to this script: save after the next step, and exit with code 85.
set -euo pipefail
export PYTHONPATH="$(dirname "$0")/..:${PYTHONPATH:-}"

if [ $# -lt 2 ]; then
    sed -n '2,6s/^# //p' "$0" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2

"${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    --max-restarts="${MAX_RESTARTS:-0}" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}" &
LAUNCHER=$!

# torchrun hands on SIGTERM alone, and its own exit code is 1 whatever the ranks' are.
STOPPED=
trap 'STOPPED=1; kill -TERM $LAUNCHER 2>/dev/null || true' TERM USR1
while true; do
    CODE=0
    wait $LAUNCHER || CODE=$?
    # A signal ends the waiting before torchrun ends.
    kill -0 $LAUNCHER 2>/dev/null || break
done
if [ -n "$STOPPED" ] && [ "$CODE" != 0 ]; then
    CODE=85
fi
exit $CODE
