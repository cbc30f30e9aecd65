#!/bin/busybox sh
# The first process under a kernel that is tested: mounts what a host has, runs /suites, and switches
# the machine off. The console is for people; what came of it goes to the second serial port, a word
# and its value a line.
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd
ip link set lo up

report() {
    echo "$*" >/dev/ttyS1
}

each() {
    word=$1
    [ -e "$2" ] || return 0
    while read -r line; do report "$word $line"; done <"$2"
}

# suite NAME EXECUTABLE ARGUMENT…
suite() {
    name=$1
    program=$2
    shift 2
    rm -f /tmp/skipped /tmp/rows
    echo "==> $name"
    { "/t/deps/$program" "$@" 2>&1; echo $? >/tmp/status; } | tee /tmp/output
    grep '^test result: ' /tmp/output >/tmp/closing
    each closing /tmp/closing
    each skipped /tmp/skipped
    each row /tmp/rows
    report "end $name $(cat /tmp/status)"
}

export SLUICE_BIN=/t/sluice SLUICE_SKIPPED=/tmp/skipped
report "kernel $(uname -r)"
. /suites
report "off $(cut -d' ' -f1 /proc/uptime)"
poweroff -f
