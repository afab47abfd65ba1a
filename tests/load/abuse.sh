#!/bin/sh
# What well-behaved clients feel of hostile ones: abuse.sh [SECONDS [RATE]], from the repository's root.
# Both binaries must be built in release. For each attack, and for none, prints the latency of certificates over a
# long-lived connection, and over new ones that each show a token not seen before; some 100 a second each.
# The attacker has an address of its own.
set -eu
seconds=${1:-10}
rate=${2:-2000}
. tests/load/server.sh

serve --from examples/bookinfo --state-dir "$dir/state" --log error --certificates-per-second 100000
token() { "$bin/pilothouse" token --state-dir "$dir/state" --namespace "$1" --service-account "$2" --node local; }
token default well-behaved >"$dir/good"
token istio-system ztunnel >"$dir/hostile"
common="--address 127.0.0.1:25012 --ca-file $dir/state/ca/root-cert.pem --server-name localhost"
polite="certs $common --duration $seconds --in-flight 1 --connections 1 --pause 0.01"
report() { grep -E 'issued|answer' "$1" | tr -s ' \n' ' '; }
measure() {
    count=$((seconds * 100))
    : >"$dir/fresh"
    while [ "$count" -gt 0 ]; do
        token default well-behaved >>"$dir/fresh"
        count=$((count - 1))
    done
    attacker=
    if [ "$1" != alone ]; then
        "$bin/pilothouse-load" abuse $common --duration "$((seconds + 1))" --from-address 127.0.0.2 \
            --token-file "$dir/hostile" --connections 20 --rate "$rate" --attack "$1" >/dev/null 2>"$dir/attack" &
        attacker=$!
        sleep 0.5
    fi
    "$bin/pilothouse-load" $polite --new-connections --token-file "$dir/fresh" >/dev/null 2>"$dir/new" &
    other=$!
    "$bin/pilothouse-load" $polite --token-file "$dir/good" >/dev/null 2>"$dir/standing"
    wait "$other"
    if [ -n "$attacker" ]; then wait "$attacker"; fi
    echo "$1:"
    echo "  standing: $(report "$dir/standing")"
    echo "  new:      $(report "$dir/new")"
    if [ -n "$attacker" ]; then grep abuse "$dir/attack"; fi
}
for attack in alone half-open handshake no-credential garbage-tokens pings settings resets unread; do
    measure "$attack"
done
curl -sf http://127.0.0.1:25014/metrics |
    grep -E '^(pilothouse_(connections_ended|handshakes|bound_refusals|tokens_accepted)_total|citadel_server_auth)'
