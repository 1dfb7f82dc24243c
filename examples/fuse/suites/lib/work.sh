# Where the suites work, and what they need.

# Scale: how much of a suite runs.
short=${short:-}
# Tools are pinned, so that a run next year checks what a run today did.
readonly PJDFSTEST=0.2.2 FSX=0.3.2
# Networks fail now and then.
export CARGO_NET_RETRY=5
readonly RETRIES=(-o Acquire::Retries=5)

say() {
    printf 'suites: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Ends all, where something cannot be had: that says nothing of the store. What failed before does.
unavailable() {
    say "$* cannot be fetched or built"
    ((${failures:-0} == 0)) || exit 1
    exit 75
}

# Installs the Debian packages among those named that are missing.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get "${RETRIES[@]}" update -qq &&
        apt-get "${RETRIES[@]}" install -qq -y --no-install-recommends "${missing[@]}"; } \
        >/dev/null || unavailable "${missing[@]}"
}

# Installs a cargo tool at a version.
need_tool() {
    local tool=$1 version=$2
    [[ -x $tools/bin/$tool && $(<"$tools/$tool.version") == "$version" ]] 2>/dev/null && return
    say "building $tool $version"
    # Unoptimised, these tools are fast enough, and built in half the time.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install "$tool" --version "$version" --locked --debug --quiet \
        --root "$tools" || unavailable "$tool $version"
    printf '%s\n' "$version" >"$tools/$tool.version"
}

# Unpacks a Debian source package's original archive, and prints its directory.
need_source() {
    local package=$1 sources=$tools/sources
    if ! compgen -G "$sources/$package.dir/*" >/dev/null; then
        mkdir -p "$sources/lists/partial" "$sources/$package.dir"
        local list=$sources/list codename
        codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
        printf 'deb-src http://deb.debian.org/debian %s main\n' "$codename" >"$list"
        local apt=(apt-get -qq "${RETRIES[@]}" -o "Dir::Etc::sourcelist=$list"
            -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$sources/lists"
            -o APT::Sandbox::User=root)
        { "${apt[@]}" update && (cd "$sources" && "${apt[@]}" source --download-only "$package"); } \
            >&2 || unavailable "the source of $package"
        tar -xf "$(compgen -G "$sources/${package}_*.orig.tar.*z")" -C "$sources/$package.dir" >&2
    fi
    printf '%s' "$sources/$package.dir"/*
}

# A user that owns nothing, for suites that root may not run.
need_user() {
    id "$1" >/dev/null 2>&1 || useradd --no-create-home "$1"
}

prepare() {
    [[ $EUID -eq 0 ]] || die "only root can mount, and be other users"
    [[ -c /dev/fuse ]] && : 2>/dev/null <>/dev/fuse || die "/dev/fuse cannot be opened"
    need_packages gcc libc6-dev pkg-config libfuse3-dev fuse3 fio python3
    root=$(cd "$here/../../.." && pwd)
    # Suites of other users read from it.
    tools=${SUITES_TOOLS:-/var/cache/efscrypt-suites}
    mkdir -p "$tools"
    work=${SUITES_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/suites.XXXXXX")}
    mkdir -p "$work"
    chmod 755 "$work"
    trap clean_up EXIT
    build
    export EFSCRYPT_PASSPHRASE=suites EFSCRYPT_KMS=$work/kms.json
    [[ -f $EFSCRYPT_KMS ]] || {
        "$efscrypt" key init >/dev/null
        "$efscrypt" key create --alias alias/suites >/dev/null
    }
    need_reference
}

# The server and the command: a release build, unless SUITES_BINARIES says where others are.
build() {
    local binaries=${SUITES_BINARIES:-}
    if [[ -z $binaries ]]; then
        (cd "$root" && cargo build --locked --release --quiet --bins -p efscrypt-fuse -p efscrypt \
            --features efscrypt/cli)
        binaries=${CARGO_TARGET_DIR:-$root/target}/release
    fi
    binaries=$(cd "$binaries" && pwd)
    efscrypt=$binaries/efscrypt server=$binaries/efscrypt-fuse
}

clean_up() {
    local mountpoint
    for mountpoint in "$work"/*.mnt "$work"/*.disk ${speed_memory:+"$speed_memory"/*.mnt}; do
        while mountpoint -q "$mountpoint" 2>/dev/null; do umount -l "$mountpoint" || break; done
    done
    [[ -z ${speed_memory:-} ]] || rm -rf --one-file-system "$speed_memory"
    [[ ${SUITES_DIR:-} ]] || rm -rf --one-file-system "$work"
}
