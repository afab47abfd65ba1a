#!/bin/sh
# Measures Pilothouse with a real API server: run.sh NAMESPACES STREAMS, from the repository's root.
# Every kind is in the mesh; KINDS= leaves pods and services alone.
# Both binaries must be built in release; the API server is built the first time, as by the tests.
set -eu
namespaces=${1:-40}
streams=${2:-50}
kinds=${KINDS---all-kinds}
. tests/load/server.sh
apiserver=$("$bin/pilothouse-load" apiserver)

"$apiserver" --dir "$dir" 2>"$dir.log" &
pids=$!
until [ -s "$dir/ready" ]; do
    kill -0 "$pids" || { cat "$dir.log" >&2; exit 1; }
    sleep 0.2
done
rm -f "$dir.log"
"$bin/pilothouse-load" fill --kubeconfig "$dir/kubeconfig" --namespaces "$namespaces" $kinds
# It is ready with its secure port, and so needs a namespace for its root: any that was filled.
serve --kubeconfig "$dir/kubeconfig" --log warn --system-namespace load-0000
if [ -n "$kinds" ]; then expect=$((namespaces * 283)); else expect=$((namespaces * 275)); fi
"$bin/pilothouse-load" sync --address 127.0.0.1:25010 --streams "$streams" --expect "$expect" --pid "$server"
for rate in 2 100; do
    "$bin/pilothouse-load" churn --kubeconfig "$dir/kubeconfig" --namespaces "$namespaces" \
        --address 127.0.0.1:25010 --streams "$streams" --change ready --rate "$rate" --duration 30 --pid "$server"
done
