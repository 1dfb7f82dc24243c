# The table of what came out.

rows=()
failures=0

# Adds a row: SUITE STORE REFERENCE AFTERWARDS [WORSE].
row() {
    local verdict=ok
    if [[ ${5:-} || $4 == BROKEN ]]; then
        verdict=WORSE
        failures=$((failures + 1))
    fi
    rows+=("$(printf '| %s | %s | %s | %s | %s |' "$1" "$2" "$3" "$4" "$verdict")")
    printf '%s\n' "${rows[-1]}" >&2
}

print_table() {
    printf '| suite | store | reference | afterwards | |\n|---|---|---|---|---|\n'
    printf '%s\n' "${rows[@]}"
}
