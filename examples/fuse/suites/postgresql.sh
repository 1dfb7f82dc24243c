# A database: made with checksums, worked on, stopped hard, recovered, and checked page by page.

suite_postgresql() {
    need_packages postgresql postgresql-contrib
    postgres_bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
    beside postgresql run_postgresql disk
}

run_postgresql() {
    local data=$1/data passed=0 seconds=15 step
    [[ $short ]] && seconds=3
    install -d -o postgres -m 700 "$data"
    local steps=(
        "initdb --data-checksums -D $data"
        "pg_ctl -w -D $data -l $data.log -o '-k $data -h \"\" -p 5499' start"
        "createdb -h $data -p 5499 bench"
        "pgbench -h $data -p 5499 -q -i -s 5 bench"
        "pgbench -h $data -p 5499 -c 4 -j 2 -T $seconds bench"
        "pg_ctl -D $data -m immediate stop"
        "pg_ctl -w -D $data -l $data.log -o '-k $data -h \"\" -p 5499' start"
        "psql -h $data -p 5499 -c 'create extension amcheck' bench"
        "pg_amcheck -h $data -p 5499 --heapallindexed bench"
        "pg_ctl -w -D $data stop"
        "pg_checksums -c -D $data"
    )
    install -o postgres /dev/null "$data.log"
    for step in "${steps[@]}"; do
        (cd / && timeout 300 setpriv --reuid postgres --regid postgres --clear-groups \
            env PATH="$postgres_bin:$PATH" bash -c "$step") >"$1.out" 2>&1 </dev/null || {
            say "postgresql: $step"
            tail -n 20 "$1.out" >&2
            break
        }
        passed=$((passed + 1))
    done
    printf '%s of %s steps %s\n' "$passed" "${#steps[@]}" "$passed"
}
