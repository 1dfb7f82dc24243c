# What POSIX says of system calls, case by case, as root and as others.

suite_pjdfstest() {
    need_tool pjdfstest "$PJDFSTEST"
    need_user tests
    cat >"$work/pjdfstest.toml" <<-'TOML'
		[features]
		posix_fallocate = {}
		rename_ctime = {}
		utimensat = {}
		utime_now = {}
		[settings]
		naptime = 0.02
		allow_remount = false
		[dummy_auth]
		entries = [["nobody", "nogroup"], ["tests", "tests"]]
	TOML
    beside pjdfstest run_pjdfstest
}

run_pjdfstest() {
    local out=$1.out
    timeout 600 "$tools/bin/pjdfstest" -c "$work/pjdfstest.toml" -p "$1" >"$out" 2>&1 || true
    { grep ' FAILED$' "$out" || true; } | tee "$1.failed" >&2
    local passed
    passed=$(sed -n 's/.*Summary:.* \([0-9]*\) passed.*/\1/p' "$out")
    printf '%s %s\n' "$(sed -n 's/.*Summary: //p' "$out")" "${passed:-0}"
}
