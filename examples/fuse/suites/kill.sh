# The server is killed while writers are at work: what they made durable is there.

source "$here/lib/crashes.sh"

suite_kill() {
    local cycles=100
    [[ $short ]] && cycles=5
    new_store "$work/kill.efs"
    crash_suite kill "$work/kill.efs" kill_server : "$cycles"
    rm -f "$work/kill.efs"
}

kill_server() {
    kill -KILL "$server_pid"
}
