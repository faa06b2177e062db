#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two namespaces joined by a veth pair: a node of ours in one, an Avahi with its private D-Bus in the other. Prints what each
# sees of the other in sections "== name". Usage: avahi-peer.sh <node> <advertise-child.ts>. Cleans up whatever happens.
set -u
node=$1 child=$2
tag=$$
net=10.77.$((tag % 200 + 1))
a=dv-mdns-$tag-a b=dv-mdns-$tag-b
dir=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  sleep 0.2
  for ns in $a $b; do
    for pid in $(ip netns pids $ns 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
    ip netns del $ns 2>/dev/null
  done
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

ip netns add $a && ip netns add $b || exit 1
ip -n $a link add eth0 type veth peer name eth0 netns $b || exit 1
for side in "$a 1" "$b 2"; do
  set -- $side
  ip -n "$1" link set lo up
  ip -n "$1" addr add "$net.$2/24" dev eth0
  ip -n "$1" link set eth0 up
done

cat >"$dir/bus.conf" <<EOF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=$dir/bus</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
EOF
cat >"$dir/avahi.conf" <<EOF
[server]
host-name=avahipeer
use-ipv4=yes
use-ipv6=no
allow-interfaces=eth0
[publish]
publish-workstation=no
EOF
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$dir/bus
dbus-daemon --config-file="$dir/bus.conf" --nofork --nopidfile 2>"$dir/bus.log" &
pids+=($!)
for _ in $(seq 50); do [ -S "$dir/bus" ] && break; sleep 0.1; done
ip netns exec $b unshare -m -u bash -c "mkdir -p /run/avahi-daemon; mount -t tmpfs tmpfs /run/avahi-daemon; hostname avahipeer
  exec avahi-daemon -f $dir/avahi.conf --no-chroot --no-drop-root --no-rlimits" >"$dir/avahi.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do grep -q 'Server startup complete' "$dir/avahi.log" && break; sleep 0.1; done

ip netns exec $a "$node" "$child" eth0 oursaaaaaaaaaaar >"$dir/ours.log" 2>&1 &
ours=$!
pids+=($ours)
publish() {
  avahi-publish-service avahipeer2345672 _debvisor._tcp 7443 v=1 salt=0123456789abcdef tag=fedcba9876543210 \
    nid=avahipeer2345672 st=ready role=worker ver=9.9 host=avahipeer >"$dir/publish.log" 2>&1 &
  theirs=$!
  pids+=($theirs)
}
wait_for() { for _ in $(seq 80); do grep -q "$1" "$dir/ours.log" && return; sleep 0.1; done; }
browse() { timeout 8 avahi-browse -rpt _debvisor._tcp | grep '^='; }
browse_until() { for _ in 1 2 3 4 5 6; do out=$(browse); grep -q "$1" <<<"$out" && break; sleep 0.5; done; echo "$out"; }

publish
wait_for 'up avahipeer2345672'
echo "== avahi-sees-us"; browse_until 'oursaaaaaaaaaaar.*st=joining'
echo "== avahi-resolves-us"; timeout 6 avahi-resolve -4 -n oursaaaaaaaaaaar.local
kill -USR1 $ours; sleep 0.5
echo "== avahi-sees-our-update"; browse_until 'oursaaaaaaaaaaar.*st=ready' | grep oursaaaaaaaaaaar
kill $theirs
wait_for 'goodbye avahipeer2345672'
kill -TERM $ours; sleep 1.5
echo "== avahi-after-our-goodbye"; browse
echo "== we-see"; cat "$dir/ours.log"
exit 0
