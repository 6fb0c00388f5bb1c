# The Docker engine: whether it answers, why not, and how it is started.
# shellcheck shell=bash

# The engine's own program lies in /usr/sbin, which is not on every user's PATH.
find_dockerd() { PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin" command -v dockerd; }

# Whether old engines (< 23) can start privileged containers: they ask for CAP_SYS_RESOURCE.
privileged_works() {
  local bits
  bits="$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status 2>/dev/null)"
  [ -n "$bits" ] || return 0
  [ "$(((16#$bits >> 24) & 1))" = 1 ]
}

# engine_enough VERSION: whether an engine of that version does.
engine_enough() {
  version_ge "$1" "$(tool docker needed)" || { [ -n "$1" ] && privileged_works; }
}

# docker_group COMMAND...: run it in group docker, where this session has not got that group yet.
docker_group() {
  if [ "$USE_SG" = 1 ]; then sg docker -c "$(quoted "$@")"; else "$@"; fi
}

in_docker_group_since_login() { [ "$(id -u)" = 0 ] || in_words docker "$(id -nG)"; }
in_docker_group_next_login() { in_words docker "$(id -nG "$(id -un)" 2>/dev/null)"; }

# Set ENGINE (ok, old, not-installed, not-running, no-permission, elsewhere), ENGINE_VERSION and
# ENGINE_SAID (its complaint in one line).
look_at_engine() {
  local text
  ENGINE_VERSION=""
  ENGINE_SAID=""
  if ! have docker; then ENGINE=not-installed; return; fi
  if text="$(docker_group docker version --format '{{.Server.Version}}' 2>&1)"; then
    first_version "$text"
    ENGINE_VERSION="$VERSION"
    ENGINE=old
    if engine_enough "$VERSION"; then ENGINE=ok; fi
    return
  fi
  ENGINE_SAID="$(printf '%s' "$text" | tail -n 1)"
  case "$text" in
    *"ermission denied"*)
      ENGINE=no-permission
      if [ "$USE_SG" = 0 ] && have sg && ! in_docker_group_since_login && in_docker_group_next_login; then
        USE_SG=1
        look_at_engine
      fi ;;
    *)
      ENGINE=not-installed
      if [ -n "${DOCKER_HOST:-}" ]; then
        ENGINE=elsewhere
      elif dockerd_does || [ "$OS" = darwin ]; then
        ENGINE=not-running
      fi ;;
  esac
}

# Whether a dockerd of a sufficient version is installed, though it may not run.
dockerd_does() {
  local program
  program="$(find_dockerd)" || return 1
  first_version "$("$program" --version 2>/dev/null)"
  engine_enough "$VERSION"
}

# How the engine would be started here, as shown before it is done; nothing when it cannot be.
engine_start_command() {
  if [ "$OS" = darwin ]; then
    if have colima; then echo "colima start"; elif [ -d /Applications/Docker.app ]; then echo "open -a Docker"; fi
  elif [ "$ROOT_RIGHTS" = yes ]; then
    if [ -d /run/systemd/system ]; then echo "${SUDO:+$SUDO }systemctl start docker"
    else echo "${SUDO:+$SUDO }setsid dockerd (log $DOCKERD_LOG, ended by scripts/dev-teardown.sh --all)"; fi
  fi
}

start_engine() {
  if [ "$OS" = darwin ]; then
    if have colima; then run "colima start" colima start; else run "starting Docker Desktop" open -a Docker; fi
  elif [ -d /run/systemd/system ]; then
    as_root "starting the docker service" systemctl start docker
  else
    start_dockerd
  fi || return 1
  wait_for_engine
}

# Detached in a session of its own, so that it outlives this terminal and sudo's; the shell that
# becomes dockerd writes its own process id, whatever stands between.
start_dockerd() {
  local program detached
  program="$(find_dockerd)" || return 1
  mkdir -p "$STATE"
  : >"$DOCKERD_PID"
  : >>"$DOCKERD_LOG"
  [ -z "$SUDO" ] || sudo -v || return 1
  say "· starting dockerd (log: $DOCKERD_LOG)"
  # shellcheck disable=SC2016 # expanded by the inner shells
  detached='trap "" HUP; PATH="/usr/sbin:/sbin:$PATH"; export PATH
    setsid sh -c '\''echo $$ >"$1"; exec "$2"'\'' sh "$1" "$2" >>"$3" 2>&1 </dev/null &'
  $SUDO sh -c "$detached" sh "$DOCKERD_PID" "$program" "$DOCKERD_LOG" >/dev/null </dev/null
}

# Up to a minute: the first start makes the network and the storage.
wait_for_engine() {
  local tries=0 pid
  while [ "$tries" -lt 120 ]; do
    look_at_engine
    case "$ENGINE" in ok | old | no-permission) remember_dockerd; return 0 ;; esac
    pid="$(sed -n 1p "$DOCKERD_PID" 2>/dev/null)"
    if [ "$tries" -gt 4 ] && [ -n "$pid" ] && ! [ -d "/proc/$pid" ] && ! [ -d /run/systemd/system ]; then
      break
    fi
    sleep 0.5
    tries=$((tries + 1))
  done
  note "  the engine does not answer: ${ENGINE_SAID:-}"
  [ ! -s "$DOCKERD_LOG" ] || tail -n 10 "$DOCKERD_LOG" | sed 's/^/  | /' >&2
  return 1
}

# A process id alone may be another process tomorrow: keep the start time beside it.
remember_dockerd() {
  local pid
  pid="$(sed -n 1p "$DOCKERD_PID" 2>/dev/null)"
  if [ -n "$pid" ]; then printf '%s\n%s\n' "$pid" "$(start_time "$pid")" >"$DOCKERD_PID"; fi
}

# start_time PID: when the process began, in clock ticks since boot (field 22, after the name).
start_time() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# Print the process id of the dockerd that we started, if it is still that one.
our_dockerd() {
  local pid began
  pid="$(sed -n 1p "$DOCKERD_PID" 2>/dev/null)"
  began="$(sed -n 2p "$DOCKERD_PID" 2>/dev/null)"
  [ -n "$pid" ] && [ -n "$began" ] || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 1
  [ "$(start_time "$pid")" = "$began" ] || return 1
  echo "$pid"
}
