#!/usr/bin/env bash
# A Kubernetes of one node on this machine: `cluster.sh up|api|down FOLDER`. As root; needs etcd and containerd (Debian's)
# and what build.sh makes. `api` starts no node: enough to validate manifests. Everything is below FOLDER, and what was
# started ends by its own number. Pods are at 10.88.0.0/16, services at 10.89.0.0/16, this machine at 10.88.0.1.
set -euo pipefail
verb=${1:?up, api or down}
folder=${2:?the folder}
bin=${KUBE_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/perdure/tools}
port=16443
token=perdure-test

spawn() { # NAME PROGRAM ARGUMENTS...
    local name=$1
    shift
    setsid "$@" >"$folder/$name.log" 2>&1 </dev/null &
    echo $! >"$folder/$name.pid"
}

control_plane() {
    mkdir -p "$folder/certs"
    [ -f "$folder/sa.key" ] || openssl genrsa -out "$folder/sa.key" 2048 2>/dev/null
    echo "$token,admin,admin,system:masters" >"$folder/tokens.csv"
    cat >"$folder/kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: here, context: {cluster: here, user: admin}}]
current-context: here
END
    rm -rf "$folder/etcd" # a new cluster each time
    spawn etcd etcd --data-dir "$folder/etcd" --unsafe-no-fsync \
        --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379 \
        --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 \
        --initial-cluster default=http://127.0.0.1:12380
    # Its own address is one that pods could reach, so that its endpoint is no loopback one, which is refused.
    spawn kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:12379 --secure-port $port \
        --bind-address 127.0.0.1 --advertise-address 10.88.0.1 --cert-dir "$folder/certs" \
        --service-cluster-ip-range 10.89.0.0/16 --token-auth-file "$folder/tokens.csv" --authorization-mode RBAC \
        --service-account-issuer https://perdure.test --service-account-key-file "$folder/sa.key" \
        --service-account-signing-key-file "$folder/sa.key" --allow-privileged=false \
        --kubelet-preferred-address-types InternalIP
    for _ in $(seq 100); do
        if "$bin/kubectl" --kubeconfig "$folder/kubeconfig" get --raw /readyz >/dev/null 2>&1; then return; fi
        sleep 0.5
    done
    echo "kube-apiserver doesn't serve: $folder/kube-apiserver.log" >&2
    exit 1
}

node() {
    mkdir -p "$folder/cni" "$folder/pods"
    ip link show perdure0 >/dev/null 2>&1 || ip link add perdure0 type bridge
    ip address replace 10.88.0.1/16 dev perdure0
    ip link set perdure0 up
    sysctl -qw net.ipv4.ip_forward=1
    cat >"$folder/cni/10-bridge.conflist" <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "perdure0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$folder/ipam", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
    cat >"$folder/containerd.toml" <<END
version = 2
root = "$folder/containerd"
state = "$folder/containerd.state"
[grpc]
address = "$folder/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:test"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$folder/cni"
END
    cat >"$folder/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 10.88.0.1
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://$folder/containerd.sock
clusterDNS: [10.88.0.1]
clusterDomain: cluster.local
enforceNodeAllocatable: []
evictionHard: {memory.available: 1Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
failSwapOn: false
oomScoreAdj: 0
syncFrequency: 10s
configMapAndSecretChangeDetectionStrategy: Watch
resolvConf: /etc/resolv.conf
readOnlyPort: 0
END
    cat >"$folder/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: "$folder/kubeconfig"}
clusterCIDR: 10.88.0.0/16
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
END
    spawn containerd containerd --config "$folder/containerd.toml"
    spawn kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$folder/kubeconfig" --leader-elect=false \
        --service-account-private-key-file "$folder/sa.key" --controllers='*,-nodeipam,-cloud-node-lifecycle'
    spawn kube-scheduler "$bin/kube-scheduler" --kubeconfig "$folder/kubeconfig" --leader-elect=false
    spawn kube-proxy "$bin/kube-proxy" --config "$folder/proxy.yaml" --hostname-override here
    spawn kubelet "$bin/kubelet" --config "$folder/kubelet.yaml" --kubeconfig "$folder/kubeconfig" \
        --hostname-override here --node-ip 10.88.0.1 --root-dir "$folder/pods" --cert-dir "$folder/certs/kubelet"
}

case $verb in
api)
    control_plane
    ;;
up)
    control_plane
    node
    ;;
down)
    [ ! -f "$folder/kubelet.pid" ] || "$bin/kubectl" --kubeconfig "$folder/kubeconfig" delete deployments,pods --all \
        --all-namespaces --grace-period 1 --timeout 30s >/dev/null 2>&1 || true
    for name in kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd containerd; do
        [ -f "$folder/$name.pid" ] || continue
        pid=$(cat "$folder/$name.pid")
        kill "$pid" 2>/dev/null || true
        timeout 10 tail --pid "$pid" -f /dev/null || kill -9 "$pid" 2>/dev/null || true
        rm -f "$folder/$name.pid"
    done
    "$bin/kube-proxy" --cleanup >/dev/null 2>&1 || true
    ip link delete perdure0 2>/dev/null || true
    ;;
esac
