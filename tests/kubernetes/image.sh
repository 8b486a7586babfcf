#!/usr/bin/env bash
# The image, built through its Dockerfile on a base of Debian's packages, as an archive: `image.sh FOLDER`. As root; needs
# dockerd and debootstrap. Makes FOLDER/perdure.tar (perdure:test) and FOLDER/pause.tar, what holds a pod's network.
set -euo pipefail
folder=${1:?the folder}
root=$(cd "$(dirname "$0")/../.." && pwd)
export DOCKER_HOST=unix://$folder/docker.sock

mkdir -p "$folder"
if [ ! -f "$folder/base.tar" ]; then
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/base" >"$folder/base.log"
    rm -rf "$folder/base/var/cache/apt/archives" "$folder/base/var/lib/apt/lists"
    # Whom this machine trusts, the build has to trust as well.
    cp -L /etc/ssl/certs/ca-certificates.crt "$folder/base/etc/ssl/certs/ca-certificates.crt"
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$folder/base/etc/pip.conf"
    tar -C "$folder/base" -c . >"$folder/base.tar"
fi
setsid dockerd --iptables=false --bridge=none --data-root "$folder/docker" --exec-root "$folder/docker.exec" \
    --pidfile "$folder/docker.pid" -H "$DOCKER_HOST" >"$folder/docker.log" 2>&1 </dev/null &
pid=$!
trap 'kill $pid' EXIT
for _ in $(seq 60); do docker version >/dev/null 2>&1 && break || sleep 0.5; done
docker import "$folder/base.tar" perdure-base:test >/dev/null
docker build --quiet --network=host --build-arg BASE=perdure-base:test -f "$root/deploy/docker/Dockerfile" -t perdure:test "$root"
printf 'FROM perdure-base:test\nENTRYPOINT ["sleep", "infinity"]\n' | docker build --quiet -t localhost/pause:test -
docker save perdure:test >"$folder/perdure.tar"
docker save localhost/pause:test >"$folder/pause.tar"
