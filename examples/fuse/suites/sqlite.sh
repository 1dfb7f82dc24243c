# SQLite's own tests, in a database directory on the mount.

suite_sqlite() {
    need_packages tcl-dev make zlib1g-dev
    need_user tests
    local source
    source=$(need_source sqlite3)
    [[ -x $source/testfixture ]] || (
        say "building SQLite's tests"
        cd "$source"
        ./configure --with-tcl="$(dirname "$(compgen -G '/usr/lib/tcl8*/tclConfig.sh')")" >/dev/null
        make -s testfixture >/dev/null 2>&1
    )
    chmod -R go+rX "$tools"
    sqlite_source=$source
    beside sqlite run_sqlite disk
}

run_sqlite() {
    local out=$1.out
    install -d -o tests "$1/sqlite"
    # The tests are read from the tools' directory, which the user may pass through.
    (cd "$1/sqlite" && timeout 3600 setpriv --reuid tests --regid tests --clear-groups \
        "$sqlite_source/testfixture" "$sqlite_source/test/veryquick.test") >"$out" 2>&1 || true
    local errors tests
    read -r errors tests < <(sed -n 's/^\([0-9]*\) errors out of \([0-9]*\) tests.*/\1 \2/p' "$out")
    grep -E '^! ' "$out" >"$1.failed" || true
    head -n 20 "$1.failed" >&2
    printf '%s errors in %s tests %s\n' "${errors:-?}" "${tests:-0}" \
        "$((${tests:-0} - ${errors:-0}))"
}
