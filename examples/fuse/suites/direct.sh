# A program writes around the page cache and compares what every other way of reading shows.

suite_direct() {
    need_packages gcc libc6-dev
    gcc -O2 -pthread "$here/lib/direct.c" -o "$work/direct"
    # The pass-through shows old contents, as what asks for FUSE_ASYNC_DIO does.
    beside direct run_direct disk
}

run_direct() {
    local seconds=60 passed=0 seed
    [[ $short ]] && seconds=2
    for seed in 1 2 3 4; do
        if timeout 300 "$work/direct" "$1" "$seconds" "$seed" >"$1.out" 2>&1; then
            passed=$((passed + 1))
        else
            cat "$1.out" >&2
        fi
    done
    printf '%s of 4 seeds %s\n' "$passed" "$passed"
}
