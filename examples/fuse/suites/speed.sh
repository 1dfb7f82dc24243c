# Speed beside gocryptfs, which encrypts too, and beside the pass-through file system, which shows
# what FUSE itself costs; the store once more with --write-back. All work on the same disk, in turns:
# the best turn of each counts.

suite_speed() {
    need_packages gocryptfs fio
    local turns=5 turn name measure work=$work server_pid back_pid SUITES_OPTIONS=
    [[ $short ]] && turns=2
    declare -A best=()
    # In memory, where there is room: how fast the disk is does not matter here.
    if (($(df --output=avail -BG /dev/shm 2>/dev/null | tail -n 1 | tr -dc 0-9) >= 6)); then
        work=$(mktemp -d /dev/shm/suites.XXXXXX)
        speed_memory=$work
    fi
    mkdir -p "$work/go.src" "$work/go.mnt"
    printf 'suites\n' >"$work/go.pass"
    gocryptfs -init -q -passfile "$work/go.pass" "$work/go.src"
    gocryptfs -q -passfile "$work/go.pass" "$work/go.src" "$work/go.mnt" 2>/dev/null
    await_mount "$work/go.mnt"
    mount_reference "$work/ref.src" "$work/ref.mnt"
    new_store "$work/efs.efs"
    new_store "$work/back.efs"
    mount_store "$work/back.efs" "$work/back.mnt" --write-back
    back_pid=$server_pid
    mount_store "$work/efs.efs" "$work/efs.mnt"
    for ((turn = 0; turn < turns; turn++)); do
        for name in go ref efs back; do
            for measure in write read random create; do
                speed_of "$measure" "$work/$name.mnt" "$name.$measure"
            done
        done
    done
    speed_row write 200 "sequential write, MiB/s"
    speed_row read 130 "sequential read, MiB/s"
    speed_row random 300 "random 4 KiB write, per second"
    speed_row create 300 "files of 1 KiB made, per second"
    timeout 60 umount "$work/go.mnt"
    unmount_reference "$work/ref.mnt"
    unmount_store "$work/efs.mnt"
    server_pid=$back_pid
    unmount_store "$work/back.mnt"
    rm -rf --one-file-system "$work/go.src" "$work/ref.src" "$work"/{efs,back}.efs ${speed_memory:-}
}

# Takes a measure in a directory, and keeps the best: MEASURE DIR KEY.
speed_of() {
    local figure
    sync
    figure=$("speed_$1" "$2")
    ((figure > ${best[$3]:-0})) && best[$3]=$figure
    return 0
}

fio_figure() {
    timeout 300 fio --output-format=terse --directory="$1" --name=speed --size=256m "${@:3}" \
        2>/dev/null | awk -F';' -v field="$2" '{ sum += $field } END { printf "%d", sum }'
}

# Fields of fio's terse form: 7 and 48 are KiB/s of reads and writes, 49 is writes a second.
speed_write() {
    printf '%d' $(($(fio_figure "$1" 48 --rw=write --bs=1m --end_fsync=1) / 1024))
}

speed_read() {
    # Not from the page cache.
    sync "$1" && echo 3 >/proc/sys/vm/drop_caches
    printf '%d' $(($(fio_figure "$1" 7 --rw=read --bs=1m) / 1024))
}

speed_random() {
    fio_figure "$1" 49 --rw=randwrite --bs=4k --time_based --runtime=3 --end_fsync=1
}

speed_create() {
    python3 - "$1" <<-'PYTHON'
		import os, shutil, sys, time
		directory, files, data = sys.argv[1] + "/many", 3000, b"x" * 1024
		os.mkdir(directory)
		start = time.monotonic()
		for number in range(files):
		    # Without what Python's own files ask of the terminal.
		    file = os.open(f"{directory}/{number}", os.O_CREAT | os.O_WRONLY, 0o644)
		    os.write(file, data)
		    os.close(file)
		print(int(files / (time.monotonic() - start)))
		shutil.rmtree(directory)
	PYTHON
}

# Adds a row: MEASURE PERCENT TITLE. PERCENT of gocryptfs's figure is what is wanted.
speed_row() {
    local ours=${best[efs.$1]} theirs=${best[go.$1]} percent worse=
    percent=$((ours * 100 / (theirs ? theirs : 1)))
    ((percent >= $2)) || worse=1
    row "$3" "$ours, ${best[back.$1]} with --write-back" "gocryptfs $theirs, pass-through ${best[ref.$1]}" \
        "$((percent / 100)).$(printf '%02d' $((percent % 100))) x" "$worse"
}
