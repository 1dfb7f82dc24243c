# Mounts: the store, and the reference beside it.

server_pid=

# Makes a new store.
new_store() {
    rm -f "$1"
    "$efscrypt" create --data-key alias/suites "$1" >/dev/null
}

# Mounts a store on a directory: STORE DIR [OPTION...].
mount_store() {
    local store=$1 dir=$2
    mkdir -p "$dir"
    # shellcheck disable=SC2086
    "$server" "$store" "$dir" --allow-other --suid --dev ${SUITES_OPTIONS:-} "${@:3}" \
        2>"$dir.log" &
    server_pid=$!
    await_mount "$dir"
}

# Waits until a file system is mounted on a directory: nothing may run on what lies below.
await_mount() {
    local turn
    for turn in {1..200}; do
        mountpoint -q "$1" && return
        sleep 0.05
    done
    cat "$1.log" >&2
    die "$1 is not mounted"
}

# Unmounts a store, as a user does, and waits for its server.
unmount_store() {
    local status=0
    mountpoint -q "$1" || die "$1 is no longer mounted"
    kill -TERM "$server_pid"
    wait "$server_pid" || status=$?
    ((status == 0)) || die "the server ended with $status: $(tail -n 3 "$1.log")"
    grep -q 'everything is committed' "$1.log" || die "the server did not say that it committed"
}

# Builds the reference: the pass-through file system of libfuse.
need_reference() {
    reference=$tools/passthrough_ll
    [[ -x $reference ]] && return
    local source
    source=$(need_source fuse3)
    # shellcheck disable=SC2046
    gcc -O2 "$source/example/passthrough_ll.c" -o "$reference" $(pkg-config fuse3 --cflags --libs)
}

# Mounts the reference over a directory: SOURCE DIR.
mount_reference() {
    mkdir -p "$1" "$2"
    # It keeps a file open for each inode that the kernel knows.
    (
        ulimit -n "$(ulimit -H -n)"
        exec "$reference" -o "allow_other,default_permissions,suid,dev,xattr,flock,source=$1" "$2"
    )
    await_mount "$2"
}

unmount_reference() {
    mountpoint -q "$1" || die "$1 is no longer mounted"
    timeout 60 umount "$1"
}

# Prints the extended attributes of files.
readonly attributes_of='
import os, sys
for path in sys.argv[1:]:
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        print(ascii((path, name, os.getxattr(path, name, follow_symlinks=False))))
'

# What there is below a directory: names, attributes, extended ones too, contents.
fingerprint() {
    local time=%T@
    # Kept by the kernel, which may have counted a change to the clock tick before.
    [[ ${SUITES_OPTIONS:-} == *--write-back* ]] && time='%TF %TH:%TM'
    (cd "$1" && {
        find . -xdev -printf "%P\0%y %m %U %G %n %s $time %l\0" | sort -z &&
            find . -xdev -type f -print0 | sort -z | xargs -0 -r sha256sum &&
            find . -xdev -print0 | sort -z | xargs -0 -r /usr/bin/python3 -c "$attributes_of"
    } | sha256sum)
}

# Checks a mounted store after a suite: contents stay as they are, and nothing is wrong.
# Each step says for itself whether it failed: where a caller asks for the status, errexit is off.
settle_store() {
    local store=$1 dir=$2 before after
    before=$(fingerprint "$dir") || { say "cannot read what is there"; return 1; }
    unmount_store "$dir" || return 1
    mount_store "$store" "$dir" --read-only || return 1
    after=$(fingerprint "$dir") || { say "cannot read what is there then"; return 1; }
    umount "$dir" || return 1
    wait "$server_pid" || { say "the server failed: $(tail -n 3 "$dir.log")"; return 1; }
    [[ $before == "$after" ]] || { say "contents differ after the next mount"; return 1; }
    timeout 600 "$efscrypt" check "$store" >"$dir.check" 2>&1 || { cat "$dir.check" >&2; return 1; }
}

# Whether at least as much passed as is known to, and nothing failed but what is known to:
# SUITE PASSED LIST, where the list of what failed may be missing. Two bad runs are no success.
as_expected() {
    local least unexpected
    least=$(sed -n "s/^least $1 //p" "$here/expected")
    (($2 >= ${least:?no least number for $1})) || { say "$1: $2 passed, not $least"; return 1; }
    [[ -s $3 ]] || return 0
    unexpected=$(grep -vxF -f <(sed -n "s/^fails $1 //p" "$here/expected") "$3") || return 0
    say "$1: failed unexpectedly: $unexpected"
    return 1
}

# Runs a function on the reference and on a new store, as `FUNCTION DIR`, which prints one line
# that ends with the number of what passed: NAME FUNCTION [disk]. The reference makes files as root
# whoever calls it; suites of other users run on the disk itself in its place.
beside() {
    local name=$1 run=$2 ours theirs settled=clean kind=pass-through
    if [[ ${3:-} == disk ]]; then
        kind=disk
        mkdir -p "$work/$name.src"
        theirs=$("$run" "$work/$name.src")
    else
        mount_reference "$work/$name.src" "$work/$name.ref.mnt"
        theirs=$("$run" "$work/$name.ref.mnt")
        unmount_reference "$work/$name.ref.mnt"
    fi
    new_store "$work/$name.efs"
    mount_store "$work/$name.efs" "$work/$name.efs.mnt"
    ours=$("$run" "$work/$name.efs.mnt")
    settle_store "$work/$name.efs" "$work/$name.efs.mnt" || settled=BROKEN
    local worse=
    ((${ours##* } >= ${theirs##* })) || worse=1
    as_expected "$name" "${ours##* }" "$work/$name.efs.mnt.failed" || worse=1
    row "$name" "${ours% *}" "$kind: ${theirs% *}" "$settled" "$worse"
    rm -rf --one-file-system "$work/$name.src" "$work/$name.efs"
}
