# Random operations on one file, whose contents are compared with what they should be.

suite_fsx() {
    need_tool fsx "$FSX"
    beside fsx run_fsx
}

run_fsx() {
    local operations=250000 seeds=(1 2 3 4) seed passed=0 config=$work/fsx.toml
    [[ $short ]] && operations=5000
    cp "$here/fsx.toml" "$config"
    # The reference has no holes to punch.
    [[ $1 == *.ref.mnt ]] && sed -i '/punch_hole/d' "$config"
    for seed in "${seeds[@]}"; do
        if timeout 1800 "$tools/bin/fsx" -q -f "$config" -P "$work" -N "$operations" \
            -S "$seed" "$1/fsx.$seed" >"$1.out" 2>&1; then
            passed=$((passed + 1))
        else
            tail -n 20 "$1.out" >&2
        fi
    done
    printf '%s of %s seeds x %s operations %s\n' "$passed" "${#seeds[@]}" "$operations" "$passed"
}
