#!/usr/bin/env bash
# Builds helm and helm-unittest from their Go modules into the folder that is named. Needs Go; does nothing the second time.
set -euo pipefail
folder=${1:?the folder}
helm=v3.18.6
unittest=v1.1.2
kube=33 # the minor version of Kubernetes that this helm is made for: its own release sets it like so

mkdir -p "$folder"
if [ "$(cat "$folder/versions" 2>/dev/null)" = "$helm $unittest" ]; then exit 0; fi
flags="-s -w -X helm.sh/helm/v3/internal/version.version=$helm"
for package in pkg/chartutil pkg/lint/rules; do
    flags+=" -X helm.sh/helm/v3/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/$package.k8sVersionMinor=$kube"
done
GOBIN="$folder" go install -ldflags "$flags" "helm.sh/helm/v3/cmd/helm@$helm"

# Its module replaces another one, which `go install` refuses: it is built where its source is.
source=$(go mod download -json "github.com/helm-unittest/helm-unittest@$unittest" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
(cd "$source" && go build -mod=mod -modcacherw -o "$folder/helm-unittest" ./cmd/helm-unittest)
echo "$helm $unittest" > "$folder/versions"
