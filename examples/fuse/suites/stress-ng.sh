# Abuse of every call: each stressor of stress-ng's class of file systems, for two seconds.

suite_stress_ng() {
    need_packages stress-ng
    beside stress-ng run_stress_ng
}

run_stress_ng() {
    local stressor passed=0 all=0 out=$1.out
    : >"$1.failed"
    for stressor in $(stress-ng --class 'filesystem?' | sed 's/.*stressors: //'); do
        all=$((all + 1))
        if timeout -k 10 90 stress-ng --temp-path "$1" --"$stressor" 2 -t 2s --verify \
            >"$out" 2>&1; then
            passed=$((passed + 1))
        else
            printf '%s\n' "$stressor" >>"$1.failed"
            cat "$out" >>"$work/stress-ng.log"
        fi
        rm -rf --one-file-system "$1"/tmp-stress-ng-*
    done
    printf '%s of %s; not: %s %s\n' "$passed" "$all" "$(paste -sd ' ' "$1.failed")" "$passed"
}
