#!/bin/sh
# What a well-behaved client feels of hostile ones: abuse.sh [SECONDS [RATE]], from the repository's root.
# Both binaries must be built in release. Prints the certificates' latency alone, then beside each attack.
set -eu
seconds=${1:-10}
rate=${2:-2000}
bin=${CARGO_TARGET_DIR:-target}/release
dir=$(mktemp -d)
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT INT TERM

"$bin/pilothouse" serve --from examples/bookinfo --state-dir "$dir/state" --log error --xds-addr 127.0.0.1:25010 \
    --secure-addr 127.0.0.1:25012 --http-addr 127.0.0.1:28080 --monitoring-addr 127.0.0.1:25014 \
    --certificates-per-second 100000 &
pids=$!
until curl -sf http://127.0.0.1:28080/ready >/dev/null; do
    kill -0 "$pids" || exit 1
    sleep 0.1
done
token() { "$bin/pilothouse" token --state-dir "$dir/state" --namespace "$1" --service-account "$2" --node local >"$3"; }
token default well-behaved "$dir/good"
token istio-system ztunnel "$dir/hostile"
common="--address 127.0.0.1:25012 --ca-file $dir/state/ca/root-cert.pem --server-name localhost --duration $seconds"
measure() { "$bin/pilothouse-load" certs $common --token-file "$dir/good" --in-flight 1 --connections 1 2>"$dir/report" >/dev/null; grep answer "$dir/report"; }
echo "alone:      $(measure)"
for attack in half-open pings settings resets unread; do
    "$bin/pilothouse-load" abuse $common --token-file "$dir/hostile" --connections 20 --rate "$rate" \
        --attack "$attack" >/dev/null 2>"$dir/attack" &
    attacker=$!
    found=$(measure)
    wait "$attacker"
    echo "$attack: $found; $(grep abuse "$dir/attack")"
done
curl -sf http://127.0.0.1:25014/metrics | grep -E '^(pilot_xds_write_timeout|pilothouse_handshakes_total)'
