#!/bin/sh
# Looks for growth: soak.sh MINUTES NAMESPACES STREAMS, from the repository's root. A mesh of every kind on a real API server is
# changed all the time: pods come and go and flip their readiness, streams end and come again, routes and policies of waypoints
# are edited. Prints the memory of the control plane at the end of each round. The server is `$BIN/pilothouse`
# (target/release without it); kubectl is needed.
set -eu
minutes=${1:-30}
namespaces=${2:-40}
streams=${3:-20}
. tests/load/server.sh
bin=${BIN:-$bin}
apiserver=$("$bin/pilothouse-load" apiserver)

"$apiserver" --dir "$dir" 2>"$dir.log" &
pids=$!
until [ -s "$dir/ready" ]; do
    kill -0 "$pids" || { cat "$dir.log" >&2; exit 1; }
    sleep 0.2
done
rm -f "$dir.log"
"$bin/pilothouse-load" fill --kubeconfig "$dir/kubeconfig" --namespaces "$namespaces" --all-kinds
serve --kubeconfig "$dir/kubeconfig" --log warn --system-namespace load-0000

# A route and a policy of the waypoint of a namespace, another each time.
edit() {
    cat <<EOF | kubectl --kubeconfig "$dir/kubeconfig" apply --server-side --force-conflicts -f - >/dev/null
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: soak, namespace: $1}
spec:
  parentRefs: [{group: "", kind: Service, name: svc-00}]
  rules: [{matches: [{path: {value: /$2}}], backendRefs: [{name: svc-00, port: 80}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: soak, namespace: $1}
spec:
  action: DENY
  rules: [{to: [{operation: {ports: ["$((10000 + $2 % 1000))"]}}]}]
EOF
}

metric() {
    curl -s http://127.0.0.1:25014/metrics | sed -n "s/^$1 //p"
}

echo "| minutes | resident MB | heap MB | heap held MB | commits | streams opened |"
echo "|---|---|---|---|---|---|"
begin=$(date +%s)
round=0
while [ $(($(date +%s) - begin)) -lt $((minutes * 60)) ]; do
    for change in ready replace; do
        # Each run opens its streams anew, and ends them.
        "$bin/pilothouse-load" churn --kubeconfig "$dir/kubeconfig" --namespaces "$namespaces" --json /dev/null \
            --address 127.0.0.1:25010 --streams "$streams" --change "$change" --rate 20 --duration 20 --pid "$server" 2>/dev/null
    done
    for namespace in $(seq 0 $((namespaces < 20 ? namespaces - 1 : 19))); do
        round=$((round + 1))
        edit "$(printf 'load-%04d' "$namespace")" "$round"
    done
    echo "$(($(date +%s) - begin)) $(metric process_resident_memory_bytes) $(metric pilothouse_heap_allocated_bytes)" \
        "$(metric pilothouse_heap_resident_bytes) $(metric pilothouse_commits_total) $(metric pilothouse_xds_streams_total)" |
        awk '{ printf "| %.1f | %.1f | %.1f | %.1f | %d | %d |\n", $1 / 60, $2 / 1e6, $3 / 1e6, $4 / 1e6, $5, $6 }'
done
