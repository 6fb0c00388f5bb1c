# What is there and what is reached: nothing here changes anything.
# shellcheck shell=bash

# Python that can make environments: Debian has python3 without venv and pip.
find_python() {
  local name
  for name in "$VENV/bin/python" python3 python3.14 python3.13 python3.12 python3.11; do
    first_version "$("$name" --version 2>/dev/null)"
    if [ -n "$VERSION" ] && version_ge "$VERSION" "$(tool python needed)" &&
      "$name" -c 'import ensurepip, venv' 2>/dev/null; then
      PYTHON="$name"
      return 0
    fi
  done
  PYTHON=""
  first_version "$(python3 --version 2>/dev/null)"
  return 1
}

# look_at TOOL: whether it answers in the needed version; sets VERSION to what it answers.
look_at() {
  local text
  case "$1" in
    python) find_python; return ;;
    docker) look_at_engine; VERSION="$ENGINE_VERSION"; [ "$ENGINE" = ok ]; return ;;
    gcc) compiler_has_headers || return 1 ;;
    mmdebstrap) mmdebstrap_can || return 1 ;;
  esac
  VERSION=""
  # shellcheck disable=SC2046 # the probe is a command line
  text="$($(tool "$1" probe) 2>/dev/null </dev/null)" || return 1
  first_version "$text"
  if [ -z "$(tool "$1" needed)" ]; then return 0; fi
  version_ge "$VERSION" "$(tool "$1" needed)"
}

# A compiler without the C library's files answers too, and then links nothing.
compiler_has_headers() {
  VERSION=""
  echo '#include <stdio.h>' | cc -x c -fsyntax-only - >/dev/null 2>&1
}

# Its own answer says nothing of what it needs besides: Debian's keys, and for a user a user map.
mmdebstrap_can() {
  VERSION=""
  [ -r /usr/share/keyrings/debian-archive-keyring.gpg ] || return 1
  [ "$(id -u)" = 0 ] || have newuidmap
}

# Set MISSING (tools that are needed and do not count) and F_<tool> (the version found).
look_around() {
  local name
  MISSING=""
  for name in $TOOLS; do
    if look_at "$name"; then
      printf -v "F_$name" '%s' "$VERSION"
      printf -v "OK_$name" yes
    else
      printf -v "F_$name" '%s' "$VERSION"
      printf -v "OK_$name" no
      if [ "$(tool "$name" when)" = always ] || baking; then MISSING="$MISSING $name"; fi
    fi
  done
}

# Whether the node image has to be baked: none of ours is there, and none can be pulled. An engine
# that has yet to be started may have one: then the question waits for the next round.
baking() {
  case "${ENGINE:-}" in not-running | no-permission) return 1 ;; esac
  if [ -z "$BAKES" ]; then
    BAKES=yes
    if [ "${ENGINE:-}" = ok ] && [ -n "$(docker_group docker images -q --filter "label=$RECIPE_LABEL" "$NODE_REPOSITORY" 2>/dev/null)" ]; then
      BAKES=no
    elif reaches "https://$(registry_host)/v2/"; then
      BAKES=no
    fi
  fi
  [ "$BAKES" = yes ]
}

# The registry that the pinned node image names: a first part with a dot or a port is a host.
registry_host() {
  local first="${T_node_image%%/*}"
  case "$first" in *.* | *:* | localhost) echo "$first" ;; *) echo registry-1.docker.io ;; esac
}

# reaches URL: whether it answers within 3 s, proxies honoured. 401 asks for a token: it is there.
reaches() {
  local host="${1#*://}" known
  host="${host%%/*}"
  for known in $REACHED; do
    case "$known" in "$host=yes") return 0 ;; "$host=no") return 1 ;; esac
  done
  if within 3 ask_host "$1"; then REACHED="$REACHED $host=yes"; return 0; fi
  REACHED="$REACHED $host=no"
  return 1
}

# A bare machine has git and neither Python nor curl: its words tell an answer from none.
ask_host() {
  local text
  if [ -n "${PYTHON:-}" ]; then
    exec "$PYTHON" -c 'import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=3).close()
except urllib.error.HTTPError as error:
    sys.exit(error.code != 401)
except OSError:
    sys.exit(1)' "$1"
  elif have curl; then
    text="$(curl -s -L -r 0-0 -o /dev/null -w '%{http_code}' --max-time 3 "$1")"
    in_words "$text" "200 206 401"
    return
  fi
  have git || return 1
  text="$(GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=true LC_ALL=C git -c credential.helper= ls-remote "$1" 2>&1)" && return 0
  case "$text" in
    *"not found"* | *"uthentication"* | *"could not read"*) return 0 ;;
  esac
  return 1
}

# within SECONDS COMMAND...: its status, or 124 when it had to be ended. DNS alone can hang longer.
within() {
  local tenths=$(($1 * 10)) child
  shift
  "$@" >/dev/null 2>&1 </dev/null &
  child=$!
  while [ "$tenths" -gt 0 ]; do
    if ! kill -0 "$child" 2>/dev/null; then wait "$child"; return; fi
    sleep 0.1
    tenths=$((tenths - 1))
  done
  kill "$child" 2>/dev/null
  wait "$child" 2>/dev/null
  return 124
}

# The environment is fresh when it was made for this folder from this pyproject.toml.
environment_stamp() { printf '%s %s\n' "$(cksum <"$ROOT/pyproject.toml")" "$ROOT"; }
environment_fresh() {
  [ -x "$VENV/bin/python" ] && [ -r "$VENV/kindloop.stamp" ] &&
    [ "$(cat "$VENV/kindloop.stamp")" = "$(environment_stamp)" ] && "$VENV/bin/python" -c ''
}
