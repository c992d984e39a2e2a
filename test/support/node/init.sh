#!/bin/sh
# The first process of a node, in namespaces of its own for processes and mounts: what it has started and mounted goes with it.
# $1 is the node's folder, on the PATH are its programs.
cd "$1"

mount -t tmpfs run /run
mount --bind var /var
# The kubelet sets these for the whole machine, which is not its own: it finds them set.
(cd kernel && find . -type f) | while read -r parameter; do mount --bind "kernel/$parameter" "/proc/sys/$parameter"; done

dnsmasq --keep-in-foreground --conf-file=dnsmasq.conf >>dnsmasq.log 2>&1 &
containerd --config containerd.toml >>containerd.log 2>&1 &
until ctr --address containerd.sock version >/dev/null 2>&1; do sleep 0.1; done
kubelet --config=kubelet.json --kubeconfig=kubeconfig --hostname-override="$2" --node-ip="$3" >>kubelet.log 2>&1 &
kube-proxy --config=kube-proxy.json --hostname-override="$2" >>kube-proxy.log 2>&1 &
wait
