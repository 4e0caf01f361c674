# The first process of a node, in new mount, process and UTS namespaces (and a
# network of its own, except for a lone containerd). Environment:
#   NODE_DIR, NODE_NAME        its folder on this machine, its host name
#   NODE_CGROUP, HIERARCHIES   the cgroup's name, where cgroups are mounted
#   NODE_DISK                  how many bytes containerd may store; 0: any
#   NODE_V2                    not empty: cgroup version 2 alone
# shellcheck shell=sh
set -eu

if [ "${1:-}" != inside ]; then
  # Nothing that is mounted from here on is seen by the machine.
  mount --make-rprivate /
  for h in $HIERARCHIES; do echo 0 > "$h/$NODE_CGROUP/cgroup.procs"; done
  exec unshare --cgroup /bin/sh "$0" inside
fi

# Containers' mounts have to reach the namespaces that start from this one.
mount --make-rshared /
mount -t proc proc /proc
hostname "$NODE_NAME"

# The node sees its own cgroup as the root of each hierarchy.
for h in $HIERARCHIES; do mount --bind "$h/$NODE_CGROUP" "$h"; done
if [ -n "$NODE_V2" ]; then
  # Version 2: a cgroup that hands controllers on holds no processes itself.
  mkdir -p "$HIERARCHIES/init"
  echo 0 > "$HIERARCHIES/init/cgroup.procs"
  for c in $(cat "$HIERARCHIES/cgroup.controllers"); do echo "+$c" > "$HIERARCHIES/cgroup.subtree_control"; done
fi

# The kubelet sets these for the whole machine: here it writes to a copy.
for f in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  [ -e "/proc/sys/$f" ] || continue
  mkdir -p "$NODE_DIR/sysctl/$(dirname $f)"
  cat "/proc/sys/$f" > "$NODE_DIR/sysctl/$f"
  mount --bind "$NODE_DIR/sysctl/$f" "/proc/sys/$f"
done

# What programs write outside their own folders: shims' sockets, network
# namespaces, CNI's cache, links to logs.
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$NODE_DIR/lib" /var/lib
mount --bind "$NODE_DIR/log" /var/log
[ "$NODE_DISK" = 0 ] || mount -t tmpfs -o "size=$NODE_DISK" tmpfs "$NODE_DIR/containerd"
mkdir -p /run/containerd /run/lock
ln -s "$NODE_DIR/containerd.sock" /run/containerd/containerd.sock

# resolv.conf is often a link into /run, which is empty now.
for f in resolv.conf hosts; do
  at=$(readlink -m /etc/$f)
  mkdir -p "$(dirname "$at")"
  [ -e "$at" ] || : > "$at"
  mount --bind "$NODE_DIR/etc/$f" "$at"
done

: > "$NODE_DIR/ready"
exec "$NODE_DIR/pause"
