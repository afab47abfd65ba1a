# Read by the scripts beside it, from the repository's root: a server of a release build, and its end.
# `serve ARGUMENTS` starts one and waits until it is ready; it and all of $pids end with the script.
bin=${CARGO_TARGET_DIR:-target}/release
dir=$(mktemp -d)
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT INT TERM

serve() {
    "$bin/pilothouse" serve --xds-addr 127.0.0.1:25010 --secure-addr 127.0.0.1:25012 --webhook-addr 127.0.0.1:25017 \
        --http-addr 127.0.0.1:28080 --monitoring-addr 127.0.0.1:25014 "$@" &
    server=$!
    pids="$pids $server"
    until curl -sf http://127.0.0.1:28080/ready >/dev/null; do
        kill -0 "$server" || exit 1
        sleep 0.1
    done
}
