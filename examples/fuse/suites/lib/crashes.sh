# Crashes: writers at work, something that fails under them, and what is there afterwards.

# Runs cycles of a crash: NAME STORE CRASH REPAIR CYCLES. `CRASH DIR` makes the store's server fail,
# `REPAIR` makes the store's file usable again.
crash_cycles() {
    local name=$1 store=$2 crash=$3 repair=$4 cycles=$5 cycle writer steps total=0
    local dir=$work/$name.mnt log=$work/$name.steps
    for ((cycle = 1; cycle <= cycles; cycle++)); do
        mount_store "$store" "$dir"
        rm -f "$log".*
        local writers=()
        for writer in 1 2; do
            timeout 60 python3 "$here/lib/durable.py" write "$dir/$cycle.$writer" "$log.$writer" \
                "$cycle.$writer" >/dev/null 2>&1 &
            writers+=($!)
        done
        await_steps "$log"
        sleep "0.$((RANDOM % 7 + 2))"
        "$crash" "$dir"
        wait "${writers[@]}" 2>/dev/null || true
        umount -l "$dir"
        kill -KILL "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
        "$repair"
        mount_store "$store" "$dir"
        for writer in 1 2; do
            steps=$(timeout 60 python3 "$here/lib/durable.py" check "$dir/$cycle.$writer" \
                "$log.$writer" "$cycle.$writer") || {
                say "$name: lost in cycle $cycle"
                return 1
            }
            total=$((total + steps))
        done
        rm -rf --one-file-system "${dir:?}/$((cycle - 1))".*
        unmount_store "$dir"
        timeout 300 "$efscrypt" check "$store" >"$dir.check" 2>&1 || {
            cat "$dir.check" >&2
            return 1
        }
    done
    crash_steps=$total
}

# Waits until both writers have made something durable: a crash before that shows nothing.
await_steps() {
    local turn
    for turn in {1..600}; do
        grep -q done "$1.1" 2>/dev/null && grep -q done "$1.2" 2>/dev/null && return
        sleep 0.05
    done
    die "the writers make nothing durable"
}

# As a suite with a row: NAME STORE CRASH REPAIR CYCLES.
crash_suite() {
    if crash_cycles "$@" && ((crash_steps >= 2 * $5)); then
        row "$1" "$5 cycles, $crash_steps durable steps are there" "-" clean
    else
        row "$1" "failed" "-" BROKEN
    fi
}
