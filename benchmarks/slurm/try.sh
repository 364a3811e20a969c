#!/usr/bin/env bash
# Tries `submit --slurm` on a Slurm of its own, on this machine: a job array trains a small study while its node's daemon is
# killed, a task is requeued as preemption does it, one runs into its time limit, and everything is cancelled and submitted
# again. In the end every record must be there, and logits equal to those of a run that nothing disturbed, to the bit.
#
# usage: try.sh PROGRAM [FOLDER]
# Needs root and Debian's slurm-wlm and munge. Takes about ten minutes, most of which Slurm waits.
set -euo pipefail
program=$(readlink -f "$1"); work=${2:-$(mktemp -d)}; mkdir -p "$work"; work=$(readlink -f "$work")
for tool in slurmctld slurmd munged sbatch squeue scontrol scancel; do
  command -v "$tool" >/dev/null || { echo "SKIPPED: $tool is not here; apt-get install slurm-wlm munge"; exit 77; }
done
# A copy: what is killed below is known by its path, and nobody else's processes may have it.
cp "$program" "$work/skewbench"; program=$work/skewbench
export SLURM_CONF=$work/slurm.conf
host=$(hostname -s)
pids=()
end() { scancel --user=root 2>/dev/null || true; sleep 1; kill "${pids[@]}" 2>/dev/null || true; pkill -F "$work/slurmd.pid" 2>/dev/null || true; }
trap end EXIT

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }

start_munge() {
  dd if=/dev/urandom of="$work/munge.key" bs=1024 count=1 status=none
  chmod 400 "$work/munge.key"; chmod 755 "$work"
  munged --force --foreground --socket="$work/munge.socket" --key-file="$work/munge.key" --log-file="$work/munge.log" \
    --pid-file="$work/munge.pid" --seed-file="$work/munge.seed" --num-threads=2 &
  pids+=($!)
}

configure() {
  mkdir -p "$work/state" "$work/spool"
  cat >"$SLURM_CONF" <<CONF
ClusterName=try
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmctldPort=17817
SlurmdPort=17818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=15
JobRequeue=1
SchedulerParameters=bf_interval=5,sched_min_interval=1000000
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
CONF
  printf 'CgroupPlugin=autodetect\nIgnoreSystemd=yes\n' >"$work/cgroup.conf"
}

start_node() { slurmd -D -f "$SLURM_CONF" >"$work/slurmd.out" 2>&1 & pids+=($!); }

start_slurm() {
  slurmctld -D -f "$SLURM_CONF" >"$work/slurmctld.out" 2>&1 & pids+=($!)
  start_node
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && return
    sleep 1
  done
  echo "FAILED: the node does not come up"; tail "$work"/slurm*.log; exit 1
}

# Few cells that take some seconds each.
study=(--study table1 --only supervised,simclr-resnet18 --shares 45%,5% --side 32 --width 8 --batch-size 16 --epochs "${EPOCHS:-20}")
cells() { find "$1" -name '*.logits.csv' | wc -l; }
# Logits of all cells, by name.
bits() { (cd "$1" && find . -name '*.logits.csv' | sort | xargs sha256sum); }
queued() { squeue --noheader --array --user=root --name=skewbench | wc -l; }
until_some() { for _ in $(seq 300); do [ "$(cells "$1")" -ge "$2" ] && return; sleep 1; done; echo "FAILED: no $2 cells in $1"; exit 1; }

say "undisturbed"
"$program" reproduce "${study[@]}" --out "$work/whole" >"$work/whole.txt" 2>&1
wanted=$(cells "$work/whole")
say "$wanted cells"

start_munge; configure; start_slurm
say "$(sinfo --version): node $host is up"
out=$work/array
submit() { "$program" submit --slurm --tasks 3 --option=--cpus-per-task=1 "$@" -- "${study[@]}" --out "$out"; }
# A minute after it began each task is asked to stop: two before its limit.
submit --time 3 | tee "$work/submit.txt"
job=$(sed -n 's/^submitted: .* as job \([0-9]*\);.*/\1/p' "$work/submit.txt")
until_some "$out" 1
"$program" status "$out" | sed 's/^/    /'

for _ in $(seq 120); do grep -q 'stopped after' "$out"/slurm/*.txt && break; sleep 1; done
grep -h -o 'stopped after .*' "$out"/slurm/*.txt | sed 's/^/    /' || { echo "FAILED: no task was asked to stop"; exit 1; }
say "the limit: $(squeue --noheader --array --format='%i %T' | tr '\n' ' ')"
say "preempted: task 1 is requeued while it trains"
scontrol requeue "${job}_1" || true
sleep 5
say "the node's daemon is killed with all that it runs"
pkill -KILL -F "$work/slurmd.pid" || true
pkill -KILL -f "^$program reproduce" || true
sleep 30
start_node
say "the node is back: $(sinfo --noheader --format=%t)"
scontrol update NodeName="$host" State=RESUME 2>/dev/null || true
until_some "$out" 2

say "cancelled and submitted again"
scancel "$job"; sleep 3
submit | tee "$work/submit2.txt"
for _ in $(seq 900); do
  [ "$(queued)" = 0 ] && break
  sleep 1
done
say "the queue is empty: $(cells "$out") of $wanted cells"

# The job after the array writes the page.
for _ in $(seq 60); do [ -s "$out/report.html" ] && [ -z "$(squeue --noheader --name=skewbench-report)" ] && break; sleep 1; done
if [ "$(bits "$work/whole")" = "$(bits "$out")" ] && [ -s "$out/report.html" ] && [ -z "$(find "$out" -name '*.checkpoint' -o -name '*.lock')" ]; then
  say "PASSED: all $wanted cells equal to the bit, the page written, nothing left over"
else
  echo "FAILED: cells differ, or something is left over"; diff <(bits "$work/whole") <(bits "$out") || true; exit 1
fi
