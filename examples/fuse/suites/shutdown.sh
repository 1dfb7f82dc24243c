# The file system that holds the store's file is shut down under it, as a power cut would: what is
# not on its disk is gone. A shutdown does not come at one moment: ext4 and xfs answer an fdatasync
# that it meets with success and lose the data (a dozen lines of Python that write, sync and count
# show it without any of this). So what counts is what was durable when it began.

source "$here/lib/crashes.sh"

suite_shutdown() {
    need_packages xfsprogs e2fsprogs
    local cycles=100
    [[ $short ]] && cycles=3
    shutdown_on ext4 "$cycles"
    shutdown_on xfs "$cycles"
}

shutdown_on() {
    disk=$work/$1.disk
    mkdir -p "$disk"
    truncate -s 4G "$disk.img"
    "mkfs.$1" -q "$disk.img" >/dev/null
    mount -o loop "$disk.img" "$disk"
    new_store "$disk/store"
    crash_suite "shutdown-$1" "$disk/store" shut_down mount_again "$2"
    umount "$disk"
    rm -f "$disk.img"
}

shut_down() {
    local log
    for log in "${1%.mnt}".steps.?; do
        [[ ! -f $log ]] || cp "$log" "$log.before"
    done
    xfs_io -x -c shutdown "$disk"
}

mount_again() {
    local turn
    for turn in {1..100}; do
        umount "$disk" 2>/dev/null && break
        sleep 0.1
    done
    mount -o loop "$disk.img" "$disk"
}
