# Everyday use: a large repository is made and cloned, and a real crate is built, on the mount.

suite_git() {
    need_packages git
    beside git run_git
}

run_git() {
    local passed=0 step files
    local registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
    mkdir "$1/tree"
    local steps=(
        "cp -a '$registry'/*/* '$1/tree/'"
        "cd '$1/tree' && git init -q . && git add -A . && git commit -q -m all"
        "cd '$1' && git clone -q --no-local tree clone"
        "cd '$1/clone' && git fsck --full --strict 2>/dev/null"
        "cd '$1/clone' && git status --porcelain | (! grep .)"
        "cargo install fsx --version $FSX --locked --quiet --root '$1/fsx' --target-dir '$1/target'"
        "'$1/fsx/bin/fsx' -N 100 -q '$1/fsx.file'"
        "rm -rf '$1/target' '$1/tree'"
    )
    for step in "${steps[@]}"; do
        timeout 1800 bash -c "set -o pipefail; export GIT_CONFIG_COUNT=3 \
            GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=suites \
            GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=suites@localhost \
            GIT_CONFIG_KEY_2=safe.directory GIT_CONFIG_VALUE_2='*'; $step" >"$1.out" 2>&1 || {
            say "git: $step"
            tail -n 5 "$1.out" >&2
            break
        }
        passed=$((passed + 1))
    done
    files=$(find "$1/clone" -xdev -type f 2>/dev/null | wc -l)
    printf '%s of %s steps, %s files %s\n' "$passed" "${#steps[@]}" "$files" "$passed"
}
