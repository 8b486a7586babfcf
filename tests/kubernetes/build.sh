#!/usr/bin/env bash
# Builds Kubernetes' own programs from its Go module into the folder that is named: ten minutes, the first time.
set -euo pipefail
folder=${1:?the folder}
version=1.34.4
parts="kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl"

mkdir -p "$folder/kube.build"
if [ "$(cat "$folder/kube.version" 2>/dev/null)" = "$version" ]; then exit 0; fi
cd "$folder/kube.build"
source=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')

# Its module replaces its parts by folders that it doesn't ship: they are modules of their own, of the same version.
staged=$(sed -n 's/^\t\(\S*\) => .\/staging.*/\1/p' "$source/go.mod")
{
    sed -e 's/^module .*/module kubernetes.build/' -e '/^replace (/,/^)/d' -e '/^godebug /d' "$source/go.mod"
    echo "require k8s.io/kubernetes v$version"
    for module in $staged; do echo "replace $module => $module v0.${version#1.}"; done
} > go.mod
printf '//go:build tools\npackage build\nimport _ "k8s.io/kubernetes/cmd/kube-apiserver"\n' > tools.go
go mod tidy

stamp=k8s.io/component-base/version
flags="-s -w -X $stamp.gitVersion=v$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${version:2:2}"
for part in $parts; do
    nice -n 19 go build -mod=mod -trimpath -ldflags "$flags" -o "$folder/$part" "k8s.io/kubernetes/cmd/$part"
done
echo "$version" > "$folder/kube.version"
