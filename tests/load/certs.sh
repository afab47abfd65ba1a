#!/bin/sh
# How many certificates are issued over TLS: certs.sh [SECONDS], from the repository's root.
# Both binaries must be built in release. First over long-lived connections and with a token that is known, then over
# a new connection each, then with a token each time that was not seen before and is verified. Last, over connections
# under an RSA root as istiod makes it: with an intermediate, and without one.
set -eu
seconds=${1:-2}
. tests/load/server.sh

state=$dir/state
start() {
    serve --from examples/bookinfo --state-dir "$state" --log error \
        --certificates-per-second 1000000 --handshakes-per-address 1000000 --connections-per-address 100000 "$@"
    certs="$bin/pilothouse-load certs --address 127.0.0.1:25012 --ca-file $state/ca/root-cert.pem
        --server-name localhost --duration $seconds --pid $server"
    token one >"$dir/one"
}
token() { "$bin/pilothouse" token --state-dir "$state" --namespace default --service-account "$1"; }
start
# As many as are used, about: the next round finds them known, and one address may show 4000 and 1000 a second.
count=$((seconds * 3000))
while [ "$count" -gt 0 ]; do
    token one >>"$dir/many"
    count=$((count - 1))
done
verified() { curl -sf http://127.0.0.1:25014/metrics | grep 'tokens_accepted_total{how="local"}' | cut -d' ' -f2; }
$certs --token-file "$dir/one" >/dev/null
$certs --token-file "$dir/one" --new-connections --in-flight 16 >/dev/null
before=$(verified)
$certs --token-file "$dir/many" --new-connections --in-flight 16 >/dev/null
echo "tokens verified: $(($(verified) - before))" >&2

state=$dir/rsa
mkdir -m 700 "$state" "$state/ca"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$state/ca/ca-key.pem" -out "$state/ca/ca-cert.pem" \
    -subj /O=cluster.local -days 3650 -addext keyUsage=critical,keyCertSign 2>/dev/null
cp "$state/ca/ca-cert.pem" "$state/ca/root-cert.pem"
chmod 600 "$state"/ca/*
for intermediate in self-signed never; do
    kill "$server"
    wait "$server" || true
    start --signing-intermediate "$intermediate"
    echo "RSA root, --signing-intermediate=$intermediate" >&2
    $certs --token-file "$dir/one" >/dev/null
done
