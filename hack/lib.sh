# What the scripts in hack/ share: steps with their time, the virtual environment, Debian packages.
#
# Source it, do not run it:
#
#     set -euo pipefail
#     . "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
#     step "environment ready (.venv)" ensure_venv
#     step "mosquitto" ensure_debian mosquitto mosquitto
#     step "loopback answers" ping -c 1 127.0.0.1
#
# ROOT is the checkout. Every `ensure_...` does nothing where there is nothing to do, so call it
# each time. None asks anything but sudo's password.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
CACHE=$ROOT/.cache
PATH=$PATH:/usr/sbin:/sbin # where Debian puts servers, and ordinary users do not look
export PIP_DISABLE_PIP_VERSION_CHECK=1

FAILED=() # names of the steps that have failed
STEPS=0
STEP_WIDTH=${STEP_WIDTH:-34} # columns for a step's name
_logs=$(mktemp -d)
_running="" # name of the step that runs, for the one who interrupts it
_ticker=""

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    _green=$'\e[32m' _red=$'\e[31m' _dim=$'\e[2m' _plain=$'\e[0m' _line=$'\r\e[K'
else
    _green="" _red="" _dim="" _plain="" _line=""
fi

trap _leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- Steps -----------------------------------------------------------------------------------------

# step NAME COMMAND...: runs a command or function (in a subshell) and tells how long it took; what
# it says is shown only where it fails. Returns the command's status. In a function, end commands
# with `|| return`: bash's errexit does not hold in `step ... || ...`.
# STEP_NOTE: a command that reads what was said, and prints a few words for the line of success.
step() {
    local name=$1 log status begun seconds note=""
    shift
    STEPS=$((STEPS + 1))
    log=$_logs/step
    begun=$EPOCHREALTIME
    _running=$name
    _tick "$name"
    status=0
    (
        trap - EXIT INT TERM
        "$@"
    ) >"$log" 2>&1 </dev/null || status=$?
    _stop_ticking
    _running=""
    seconds=$(_seconds_since "$begun")
    if ((status == 0)); then
        [[ -z ${STEP_NOTE:-} ]] || note=$("$STEP_NOTE" <"$log")
        _told "$_green✔$_plain" "$name" "$seconds" "$note"
    else
        FAILED+=("$name")
        _told "$_red✘$_plain" "$name" "$seconds" "ended with $status"
        _shown "$log"
    fi
    return "$status"
}

# must NAME COMMAND...: a step that the rest needs.
must() {
    step "$@" || exit 1
}

# die MESSAGE...: ends the script.
die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# become COMMAND...: ends the script and runs the command as its process: signals reach it.
become() {
    rm -rf -- "$_logs"
    exec "$@"
}

_told() {
    local padding=$((STEP_WIDTH - ${#2}))
    printf '%s %s %s%*s%6s s%s\n' "$_line" "$1" "$2" "$((padding > 0 ? padding : 0))" "" "$3" \
        "${4:+  $_dim$4$_plain}"
}

_shown() {
    sed 's/^/   │ /' <"$1"
}

_seconds_since() {
    local micros=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
    if ((micros < 9950000)); then
        printf '%d.%d' $(((micros + 50000) / 1000000)) $(((micros + 50000) % 1000000 / 100000))
    else
        printf '%d' $(((micros + 500000) / 1000000))
    fi
}

_tick() {
    [[ -n $_line ]] || return 0
    (
        trap - EXIT INT TERM
        for ((passed = 0; ; passed++)); do
            printf '%s   %s%s  %d s%s' "$_line" "$_dim" "$1" "$passed" "$_plain"
            sleep 1
        done
    ) &
    _ticker=$!
}

_stop_ticking() {
    [[ -n $_ticker ]] || return 0
    kill "$_ticker" 2>/dev/null || true
    wait "$_ticker" 2>/dev/null || true
    _ticker=""
}

_leave() {
    local status=$?
    _stop_ticking
    if [[ -n $_running ]]; then
        _told "$_red✘$_plain" "$_running" "-" "interrupted"
        _shown "$_logs/step"
    fi
    rm -rf -- "$_logs"
    return "$status"
}

# --- Debian packages -------------------------------------------------------------------------------

# ensure_debian PROGRAM PACKAGE...: installs the packages where the program is missing. A service
# that comes with a package is neither started nor enabled; one that is here already is left alone.
ensure_debian() {
    local program=$1
    shift
    command -v "$program" >/dev/null && return 0
    install_debian "$@" || return
    hash -r
    command -v "$program" >/dev/null || die "$program is still missing after installing $*"
}

# Names those of PROGRAM:PACKAGE... whose program is missing, package by package.
missing_packages() {
    local pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
    done
}

# as_root COMMAND...: by sudo where we are somebody else.
as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

_POLICY=/usr/sbin/policy-rc.d
_POLICY_MARK="# Written by hack/lib.sh of Isthmus while it installs packages; may be deleted."

# install_debian PACKAGE...: installs, whatever is here already; services as in ensure_debian.
install_debian() {
    local status=0 unit
    local -a units=()
    command -v apt-get >/dev/null || die "Missing, with no apt-get to install it: $*"
    if ((EUID != 0)) && ! command -v sudo >/dev/null; then
        die "Installing needs root, and there is no sudo. As root:" \
            "    apt-get install --no-install-recommends $*"
    fi
    # `apt-get` asks this file whether it may start a service. One that is here already is not ours.
    if [[ ! -e $_POLICY ]] || grep -qxF "$_POLICY_MARK" "$_POLICY"; then
        printf '%s\n' '#!/bin/sh' "$_POLICY_MARK" 'exit 101' | as_root tee "$_POLICY" >/dev/null ||
            return
        as_root chmod 755 "$_POLICY" || return
    fi
    for unit in "$@"; do
        _knows_unit "$unit" || units+=("$unit")
    done
    _apt_get_install "$@" || status=$?
    if grep -qsxF "$_POLICY_MARK" "$_POLICY"; then
        as_root rm -f "$_POLICY"
    fi
    # Not at the next boot either: it would take the port of somebody's broker.
    for unit in "${units[@]}"; do
        if _knows_unit "$unit"; then
            as_root systemctl disable --now "$unit.service" || status=$?
        fi
    done
    return "$status"
}

_knows_unit() {
    [[ -d /run/systemd/system ]] && systemctl cat "$1.service" >/dev/null 2>&1
}

_apt_get_install() {
    local -a install=(
        env DEBIAN_FRONTEND=noninteractive
        apt-get install --yes --quiet --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
    )
    # The package lists are often missing (images) or old; look them up once, only when needed.
    as_root apt-get update --quiet -o DPkg::Lock::Timeout=300 || true
    as_root "${install[@]}"
}

# --- Python ----------------------------------------------------------------------------------------

# ensure_venv [broker]: .venv with everything in requirements/dev.txt, or at least with what the
# broker needs (a quarter of it), and this checkout, editable. Debian's own interpreter is preferred:
# it is an optimised build, which others on a machine may not be.
ensure_venv() {
    local python wanted=${1:-dev} pins=$ROOT/requirements
    _venv_is_ready "$wanted" && return 0 # where we may not write, too
    mkdir -p "$CACHE" || return
    exec 9>"$CACHE/setup.lock"
    flock 9 || return # two scripts at once
    if ! _runs_recent "$VENV/bin/python"; then
        python=$(_find_python) || return
        rm -rf -- "$VENV"
        "$python" -m venv "$VENV" || return
    fi
    _has_pins "$wanted" ||
        _once "$VENV/.$wanted" "$pins/$wanted.txt" "$pins/build.txt" -- _install "$wanted" || return
    _once "$VENV/.package" "$ROOT/pyproject.toml" -- \
        "$VENV/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e "$ROOT" || return
    exec 9>&-
}

_venv_is_ready() {
    _has_pins "$1" && _is_done "$VENV/.package" "$ROOT/pyproject.toml" &&
        _runs_recent "$VENV/bin/python"
}

# What is installed for tests has the broker's part, too.
_has_pins() {
    local set
    for set in dev "$1"; do
        _is_done "$VENV/.$set" "$ROOT/requirements/"{"$set",build}.txt && return 0
    done
    return 1
}

_install() {
    rm -f -- "$VENV"/.{dev,broker} # of what this may change
    "$VENV/bin/python" -m pip install --quiet --require-hashes \
        -r "$ROOT/requirements/$1.txt" -r "$ROOT/requirements/build.txt"
}

_find_python() {
    local python
    if _runs_recent /usr/bin/python3 && ! _makes_venvs /usr/bin/python3; then
        install_debian python3-venv >&2 || true # another one may do
    fi
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if _runs_recent "$python" && _makes_venvs "$python"; then
            printf '%s' "$python"
            return 0
        fi
    done
    install_debian python3 python3-venv >&2 || return
    _runs_recent /usr/bin/python3 || die "Python 3.11 or later is missing, as in Debian 12"
    printf '%s' /usr/bin/python3
}

_runs_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

_makes_venvs() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

# --- Node ------------------------------------------------------------------------------------------

# ensure_node_clients: MQTT.js in tests/clients/node_modules, as its lock file says.
ensure_node_clients() {
    cd "$ROOT/tests/clients" || return
    _once node_modules/.installed package.json package-lock.json .npmrc -- \
        npm ci --no-audit --no-fund
}

# _once STAMP FILE... -- COMMAND...: runs the command unless it has succeeded with these files, here.
_once() {
    local stamp=$1
    local -a files=()
    shift
    while [[ $1 != -- ]]; do
        files+=("$1")
        shift
    done
    shift
    _is_done "$stamp" "${files[@]}" && return 0
    "$@" || return
    _stamp "${files[@]}" >"$stamp"
}

# _is_done STAMP FILE...: whether something has succeeded with these files, here.
_is_done() {
    local stamp=$1
    shift
    [[ -f $stamp && $(<"$stamp") == "$(_stamp "$@")" ]]
}

_stamp() {
    { printf '%s\n' "$ROOT" && cat -- "$@"; } | sha256sum
}
