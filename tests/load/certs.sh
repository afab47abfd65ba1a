#!/bin/sh
# How many certificates are issued over TLS: certs.sh [SECONDS], from the repository's root.
# Both binaries must be built in release. First over long-lived connections and with a token that is known, then over
# a new connection each, then with a token each time that was not seen before and is verified.
set -eu
seconds=${1:-2}
. tests/load/server.sh

serve --from examples/bookinfo --state-dir "$dir/state" --log error \
    --certificates-per-second 1000000 --handshakes-per-address 1000000 --connections-per-address 100000
token() { "$bin/pilothouse" token --state-dir "$dir/state" --namespace default --service-account "$1"; }
token one >"$dir/one"
# As many as are used, about: the next round finds them known, and one address may show 4000 and 1000 a second.
count=$((seconds * 3000))
while [ "$count" -gt 0 ]; do
    token one >>"$dir/many"
    count=$((count - 1))
done
verified() { curl -sf http://127.0.0.1:25014/metrics | grep 'tokens_accepted_total{how="local"}' | cut -d' ' -f2; }
certs="$bin/pilothouse-load certs --address 127.0.0.1:25012 --ca-file $dir/state/ca/root-cert.pem
    --server-name localhost --duration $seconds --pid $server"
$certs --token-file "$dir/one" >/dev/null
$certs --token-file "$dir/one" --new-connections --in-flight 16 >/dev/null
before=$(verified)
$certs --token-file "$dir/many" --new-connections --in-flight 16 >/dev/null
echo "tokens verified: $(($(verified) - before))" >&2
