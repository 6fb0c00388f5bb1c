#!/usr/bin/env bash
# Prepares this machine and the project's environment, then runs COMMAND in it.
set -u

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
YES=0
USE_SG=0 BAKES="" REACHED="" FAILED="" APT_UPDATED=no ENGINE="" PYTHON=""
T_node_image="" T_node_kubernetes="" T_bake_cost_download_mb="" T_bake_cost_disk_gb="" T_bake_cost_minutes=""
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$ROOT/scripts/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/engine.sh
. "$ROOT/scripts/lib/engine.sh"
# shellcheck source-path=SCRIPTDIR source=lib/look.sh
. "$ROOT/scripts/lib/look.sh"
# shellcheck source-path=SCRIPTDIR source=lib/plan.sh
. "$ROOT/scripts/lib/plan.sh"
# shellcheck source-path=SCRIPTDIR source=lib/act.sh
. "$ROOT/scripts/lib/act.sh"

usage() {
  cat <<'END'
usage: scripts/dev-setup.sh [--yes] [COMMAND...]

Installs what the development loop needs and this machine lacks, starts the Docker engine if it
does not run, and makes .venv. Says what it will do and asks first; --yes answers. Then runs
COMMAND in that environment and passes its exit code on; without COMMAND, prints how to activate
it. Run again, it does nothing. scripts/dev-teardown.sh takes it away.

exit codes: COMMAND's own; 2 usage or not allowed to go on; 7 something cannot be had
END
}

ROUNDS=5 # each source that fails costs one; no tool has more than four

set_up() {
  local round=0
  look_around
  if [ -z "$MISSING" ] && environment_fresh; then
    say "nothing to do: every tool answers in the needed version, and .venv is up to date"
    return
  fi
  while [ -n "$MISSING" ] || ! environment_fresh; do
    round=$((round + 1))
    [ "$round" -le "$ROUNDS" ] || die 7 "still missing:$MISSING" "look at $LOG"
    read_package_lists
    make_plan
    if [ -n "$CANNOT" ]; then show_cannot; exit 7; fi
    show_plan
    ask "go on?"
    carry_out
    after_round
  done
  say "ready"
}

# A fresh container has no package lists at all: without them nothing can be planned.
read_package_lists() {
  [ "$OS" = linux ] && have apt-get && [ "$ROOT_RIGHTS" = yes ] && [ "$APT_UPDATED" = no ] || return 0
  if ls /var/lib/apt/lists/*Release >/dev/null 2>&1; then return 0; fi
  say "To see what can be had, with root's rights: ${SUDO:+$SUDO }apt-get update"
  ask "go on?"
  apt_update
}

# What was installed and yet does not answer must not be tried the same way again.
after_round() {
  local name from
  hash -r
  BAKES=""
  look_around
  for name in $MISSING; do
    from="FROM_$name"
    if ! in_words "$name" "$PLAN_TOOLS" || in_words "$name:${!from}" "$FAILED"; then continue; fi
    if [ "$name" = docker ] && [ "$ENGINE" = no-permission ]; then
      FAILED="$FAILED docker:${!from}" # it runs: what is left is the group, asked for next
    else
      fail_tool "$name" "${!from}"
    fi
  done
}

finish() {
  VIRTUAL_ENV="$VENV"
  export VIRTUAL_ENV
  unset PYTHONHOME
  if [ $# = 0 ]; then
    if [ "$USE_SG" = 1 ]; then say "group docker comes with the next login; until then: newgrp docker"; fi
    say "activate the environment: source $VENV/bin/activate"
    return
  fi
  if [ "$USE_SG" = 1 ]; then exec sg docker -c "exec $(quoted "$@")"; fi
  exec "$@"
}

main() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --yes | -y) YES=1 ;;
      --help | -h) usage; exit 0 ;;
      --) shift; break ;;
      -*) usage >&2; die 2 "unknown option $1" ;;
      *) break ;;
    esac
    shift
  done
  [ $# = 0 ] || SAY_FD=2
  [ -f "$ROOT/pyproject.toml" ] || die 2 "$ROOT/pyproject.toml is missing" "git checkout -- pyproject.toml"
  PATH="$VENV/bin:$PATH"
  export PATH
  where_am_i
  bypass_proxies
  load_versions
  set_up
  finish "$@"
}

main "$@"
