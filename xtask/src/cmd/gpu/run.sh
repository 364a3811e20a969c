#!/usr/bin/env bash
# Runs what `cargo xtask gpu package` made, on a machine with an NVIDIA GPU and a driver of CUDA 13 or newer:
#
#     ./run.sh RESULTS [PYTHON]
#
# Parts follow one another, each with its own limit (9 minutes in all); one that fails is told and stops no other.
# RESULTS gets machine.txt, a log a part, JSON files and table.md.
#
# SMALL=1 ./run.sh ... tries all of it with small sizes, an hour for each part, and PyTorch on the CPU.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?the folder for results}
python=${2:-python3}
mkdir -p "$out"
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
program=$unpacked/skewbench
gunzip -c "$here/skewbench.gz" >"$program" && chmod +x "$program"

# CUDA's libraries: a toolkit's, or those inside PyTorch's packages. Without them the program does not start.
folders=$(ls -d /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib 2>/dev/null)
folders+=" $("$python" -c '
import glob, os, site, sys
for root in site.getsitepackages() + [site.getusersitepackages()] + sys.path:
    print(*glob.glob(os.path.join(root, "nvidia", "*", "lib")), *glob.glob(os.path.join(root, "torch", "lib")), sep="\n")
' 2>/dev/null)"
path=$(printf '%s\n' $folders | sort -u | paste -sd:)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$path
export CANDLE_NUM_THREADS=1 MIMALLOC_PURGE_DELAY=-1

{ nvidia-smi; "$python" -c 'import torch; print("torch", torch.__version__, "cuda", torch.version.cuda)'; ldd "$program" | grep "not found"; } >"$out/machine.txt" 2>&1

small=${SMALL:+--small}
failed=0
part() { # name, seconds, command ...
    local name=$1 seconds=$2 start=$SECONDS
    shift 2
    [ -z "$small" ] || seconds=3600
    if timeout "$seconds" "$@" >"$out/$name.log" 2>&1; then
        echo "done    $name ($((SECONDS - start)) s)"
    else
        echo "FAILED  $name, exit status $? after $((SECONDS - start)) s: $(tail -n 1 "$out/$name.log")"
        failed=1
    fi
}

part operations 35 "$program" gpu operations $small --out "$out/operations.json" --keep "$unpacked/operations"
part torch-operations 20 "$python" "$here/gpu_operations.py" "$unpacked/operations" --out "$out/torch-operations.json"
part trajectories 20 "$program" gpu trajectories $small --out "$out/trajectories.json"
part views 15 "$program" gpu views $small --out "$out/views.json"
part steps 65 "$program" gpu steps $small --out "$out/steps.json"
part torch-steps 95 "$python" "$here/gpu_steps.py" ${SMALL:+--device cpu --images 4 --side 64} --out "$out/torch-steps.json" --seconds 75
part losses 40 "$program" gpu losses $small --out "$out/losses.json"
[ -n "$small" ] || part torch-losses 70 "$python" "$here/gpu_losses.py" --out "$out/torch-losses.json" --seconds 50
part end-to-end 45 "$program" gpu end-to-end $small --out "$out/end-to-end.json"
part study 60 "$program" reproduce --gpu --mixed-precision --shares 45% ${SMALL:+--only simclr --side 32 --epochs 1} --out "$out/study"
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -n 1)
if [ -n "$sanitizer" ]; then
    for tool in memcheck racecheck; do
        for what in losses views operations; do
            part "$tool-$what" 10 "$sanitizer" --tool "$tool" --error-exitcode 1 "$program" gpu "$what" --small
        done
    done
else
    echo "SKIPPED compute-sanitizer: not found"
fi
part table 10 "$python" "$here/gpu_table.py" "$out"
cat "$out/table.md" 2>/dev/null
exit $failed
