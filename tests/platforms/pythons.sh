#!/usr/bin/env bash
# Run the tests on Pythons that this machine lacks, in a Debian unstable made by debootstrap:
#
#   tests/platforms/pythons.sh [PYTHON...] [-- PYTEST-ARGUMENT...]
#
# A PYTHON is a version such as 3.14 and 3.15, the default, or the free-threaded 3.14t, which is
# built from Debian's source. Each runs all tests, the long ones too; 3.14t those of the tox
# environment free-threaded. Needs root, debootstrap, and the registries of Debian and of Python
# packages. The system stays in /var/tmp/echo-unstable for the next run (ECHO_PLATFORM_ROOT names
# another folder); its mounts are gone when the run ends.
set -euo pipefail

main() {
    local root=${ECHO_PLATFORM_ROOT:-/var/tmp/echo-unstable}
    cd "$(dirname "$0")/../.."
    if [[ ! -e $root/made ]]; then
        debootstrap --variant=minbase --include=ca-certificates,git,g++,libc6-dev unstable "$root"
        touch "$root/made"
    fi
    cp /etc/resolv.conf "$root/etc/"
    # Where a proxy has an authority of its own, pip has to know it, too.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    rm -rf "$root/src/echo" && mkdir -p "$root/src/echo"
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --files-from=- | tar --extract --directory="$root/src/echo"
    # Not chroot: a process in one may make no user namespace, which some tests do.
    exec unshare --mount --pid --fork --kill-child bash -c '
        mount --bind "$0" "$0"
        mount --rbind /dev "$0/dev"
        mount --rbind /sys "$0/sys"
        cd "$0"
        mkdir -p old
        pivot_root . old
        mount -t proc proc /proc
        umount -l /old
        exec bash /src/echo/tests/platforms/pythons.sh --inside "$@"
    ' "$root" "$@"
}

inside() {
    local python pythons=() failed=()
    export DEBIAN_FRONTEND=noninteractive HOME=/root ECHO_TEST_INSTALL=1
    unset PYTHONPATH PIP_FIND_LINKS PYENV_ROOT
    cd /src/echo
    git init -q && git add --all # some tests ask git which files there are
    # A mirror may be weeks behind, and its list of packages out of date by its own word.
    echo 'Acquire::Check-Valid-Until "false";' >/etc/apt/apt.conf.d/mirror
    apt-get update -qq
    while (($#)) && [[ $1 != -- ]]; do
        pythons+=("$1")
        shift
    done
    shift $(($# > 0))
    ((${#pythons[@]})) || pythons=(3.14 3.15)
    for python in "${pythons[@]}"; do
        echo "== Python $python"
        if run "$python" "$@"; then continue; fi
        failed+=("$python")
    done
    echo "== failed: ${failed[*]:-none}"
    ((${#failed[@]} == 0))
}

run() {
    local venv=/venv/$1
    install "$1" || return
    rm -rf "$venv"
    "$command" -m venv "$venv" || return
    if [[ $1 == *t ]]; then
        "$venv/bin/pip" install -q --root-user-action ignore tox || return
        shift
        if (($#)); then set -- -- "$@"; fi
        "$venv/bin/tox" run -e free-threaded "$@"
        return
    fi
    "$venv/bin/pip" install -q --root-user-action ignore --editable '.[test]' || return
    shift
    "$venv/bin/python" -m pytest "$@"
}

# Set `command` to an interpreter of a version, after it has been installed or built.
install() {
    local version=${1%t}
    command=python$1
    if [[ $1 == "$version" ]]; then
        apt-get install -y -qq --no-install-recommends "python$1-venv" "python$1-dev" >/dev/null
        return
    fi
    command=/opt/python$1/bin/python$1
    if [[ ! -x $command ]]; then
        build "$1" "$version" >"/var/log/python$1" 2>&1
    fi
}

build() {
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >/etc/apt/sources.list.d/source.list
    apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends dpkg-dev make pkg-config libbz2-dev \
            cargo libffi-dev liblzma-dev libncurses-dev libreadline-dev libsqlite3-dev libssl-dev \
            uuid-dev zlib1g-dev &&
        cd /opt && apt-get source -qq "python$2" && cd "python$2"-*/ &&
        ./configure -q --disable-gil --prefix="/opt/python$1" &&
        make -s -j "$(nproc)" && make -s install && cd /src/echo
}

if [[ ${1-} == --inside ]]; then
    shift
    inside "$@"
else
    main "$@"
fi
