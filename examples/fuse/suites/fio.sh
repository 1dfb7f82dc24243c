# Random writes of four jobs with fsync, each block with a checksum that is verified afterwards.

suite_fio() {
    need_packages fio
    beside fio run_fio
}

run_fio() {
    local size=256m passed=0 job
    [[ $short ]] && size=24m
    local options=(--directory="$1" --size="$size" --numjobs=4 --group_reporting --verify=crc32c
        --do_verify=1 --verify_fatal=1 --verify_state_save=0 --output="$1.out")
    local jobs=("randwrite 4k-4k 16" "randwrite 4k-256k 64" "randrw 1k-64k 0" "write 1m-1m 4")
    for job in "${jobs[@]}"; do
        # shellcheck disable=SC2086
        set -- $1 $job
        if timeout 900 fio "${options[@]}" --name="$2-$3" --rw="$2" --bsrange="$3" --fsync="$4" \
            >/dev/null 2>&1; then
            passed=$((passed + 1))
        else
            tail -n 20 "$1.out" >&2
        fi
    done
    printf '%s of %s jobs verified %s\n' "$passed" "${#jobs[@]}" "$passed"
}
