#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command beside a systemd-journald of its own and prints what is in that journal with the word debvisor, one JSON a line.
# Needs a mount namespace of its own: unshare --mount --propagation private journald.sh COMMAND…
set -eu
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
if [ -d /var/log/journal ]; then mount -t tmpfs tmpfs /var/log/journal; fi
/lib/systemd/systemd-journald &
journald=$!
trap 'kill "$journald"; wait "$journald" || true' EXIT
for _ in $(seq 100); do
  if [ -S /run/systemd/journal/socket ]; then break; fi
  sleep 0.05
done
"$@" >&2
journalctl --sync
journalctl --grep debvisor -o json
