# Shared by dev-setup.sh and dev-teardown.sh: words, questions, the data file, versions, places.
# bash 3.2 (macOS) and POSIX tools only. The sourcing script sets ROOT.
# shellcheck shell=bash

VENV="$ROOT/.venv"
LOCAL="$ROOT/.kindloop"
LOG="$LOCAL/setup.log"
STATE="${XDG_STATE_HOME:-$HOME/.local/state}/kindloop"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/kindloop"
VERSIONS="$ROOT/kindloop/data/versions.toml"
DOCKERD_PID="$STATE/dockerd.pid"
DOCKERD_LOG="$STATE/dockerd.log"
PACKAGES="$STATE/packages"
NODE_REPOSITORY="kindloop/node"
RECIPE_LABEL="kindloop.recipe"

# Words go to descriptor SAY_FD: to standard error when standard output belongs to COMMAND.
SAY_FD=1
say() { printf '%s\n' "$*" >&"$SAY_FD"; }
note() { printf '%s\n' "$*" >&2; }

# die EXIT_CODE MESSAGE [NEXT]
die() {
  note "error: $2"
  [ -z "${3:-}" ] || note "  next: $3"
  exit "$1"
}

# ask QUESTION: continues on yes; --yes answers it; without a terminal nobody can be asked.
ask() {
  [ "$YES" = 0 ] || return 0
  [ -t 0 ] || die 2 "nothing was changed: this asks before it changes the machine, and standard input is no terminal" \
    "run it again with --yes"
  local answer=""
  printf '%s [y/N] ' "$1" >&2
  read -r answer || true
  case "$answer" in
    y | Y | yes | Yes | YES) return 0 ;;
    *) die 2 "nothing was changed" "run it again, or with --yes" ;;
  esac
}

# Each `key = "value"` of [section.name] becomes the variable T_section_name_key; TOOLS gets the
# names of the [tool.*] sections in the order of the file.
load_versions() {
  local line section="" key value
  TOOLS=""
  [ -r "$VERSIONS" ] || die 2 "$VERSIONS is missing" "git checkout -- kindloop/data/versions.toml"
  while IFS= read -r line || [ -n "$line" ]; do
    case "$line" in
      "[tool."*"]") section="${line#\[}"; section="${section%\]}"
        TOOLS="$TOOLS ${section#tool.}"; section="${section//./_}" ;;
      "["*"]") section="${line#\[}"; section="${section%\]}"; section="${section//./_}" ;;
      *' = "'*'"') key="${line%% = *}"; value="${line#* = \"}"
        printf -v "T_${section}_${key}" '%s' "${value%\"}" ;;
    esac
  done <"$VERSIONS"
}

# tool NAME KEY: the value in the data file, or nothing.
tool() {
  local variable="T_tool_$1_$2"
  printf '%s' "${!variable:-}"
}

# first_version TEXT: sets VERSION to the first dotted number of TEXT.
first_version() {
  local pattern='([0-9]+(\.[0-9]+)+)'
  VERSION=""
  if [[ $1 =~ $pattern ]]; then VERSION="${BASH_REMATCH[1]}"; fi
}

# version_ge A B: whether the dotted version A is B or newer; any A does for an empty B.
version_ge() {
  local a="$1" b="$2" x y
  [ -n "$b" ] || return 0
  [ -n "$a" ] || return 1
  while [ -n "$a$b" ]; do
    x="${a%%.*}"; y="${b%%.*}"
    case "$a" in *.*) a="${a#*.}" ;; *) a="" ;; esac
    case "$b" in *.*) b="${b#*.}" ;; *) b="" ;; esac
    x="${x:-0}"; y="${y:-0}"
    if [ "$((10#$x))" -gt "$((10#$y))" ]; then return 0; fi
    if [ "$((10#$x))" -lt "$((10#$y))" ]; then return 1; fi
  done
  return 0
}

have() { command -v "$1" >/dev/null 2>&1; }

# in_words WORD LIST: whether WORD is one of the words (or matches one of the globs) of LIST.
in_words() {
  local pattern result=1
  set -f
  for pattern in $2; do
    # shellcheck disable=SC2254 # the words of LIST may be globs
    case "$1" in $pattern) result=0 ;; esac
  done
  set +f
  return $result
}

# quoted WORD...: the words as one line that any POSIX shell splits back into the same words.
quoted() {
  local word line="" mark="'"
  for word in "$@"; do
    line="$line '"
    while [ "$word" != "${word#*"$mark"}" ]; do
      line="$line${word%%"$mark"*}'\\''"
      word="${word#*"$mark"}"
    done
    line="$line$word'"
  done
  printf '%s' "${line# }"
}

# Set OS (linux, darwin) and ARCH (amd64, arm64) as Go and the release pages call them.
where_am_i() {
  OS="$(uname -s | tr '[:upper:]' '[:lower:]')"
  ARCH="$(uname -m)"
  case "$ARCH" in x86_64) ARCH=amd64 ;; aarch64) ARCH=arm64 ;; esac
  CODENAME=""
  DISTRIBUTION=""
  if [ -r /etc/os-release ]; then
    CODENAME="$(sed -n 's/^VERSION_CODENAME="*\([^"]*\)"*$/\1/p' /etc/os-release)"
    DISTRIBUTION="$(sed -n 's/^ID="*\([^"]*\)"*$/\1/p' /etc/os-release)"
  fi
  ROOT_RIGHTS=yes
  SUDO=""
  if [ "$(id -u)" != 0 ]; then
    if have sudo; then SUDO="sudo"; else ROOT_RIGHTS=no; fi
  fi
}

# Hosts of this machine and of the cluster never go through a proxy.
bypass_proxies() {
  local host
  NO_PROXY="${NO_PROXY:-${no_proxy:-}}"
  for host in 127.0.0.1 localhost ::1 .svc .cluster.local; do
    case ",$NO_PROXY," in *",$host,"*) ;; *) NO_PROXY="${NO_PROXY:+$NO_PROXY,}$host" ;; esac
  done
  no_proxy="$NO_PROXY"
  export NO_PROXY no_proxy
}

# run TITLE COMMAND...: the command with its output in the log; its last lines when it fails.
run() {
  local title="$1" status=0 from
  shift
  mkdir -p "$LOCAL"
  say "· $title"
  printf '\n$ %s\n' "$(quoted "$@")" >>"$LOG"
  from="$(wc -l <"$LOG")"
  "$@" >>"$LOG" 2>&1 </dev/null || status=$?
  if [ "$status" != 0 ]; then
    note "  failed with exit code $status; the last lines of $LOG:"
    tail -n +"$((from + 1))" "$LOG" | tail -n 15 | sed 's/^/  | /' >&2
  fi
  return $status
}

# as_root TITLE COMMAND...: the same with root's rights. sudo asks on the terminal.
as_root() {
  local title="$1"
  shift
  if [ -n "$SUDO" ]; then
    sudo -v || return 1
    run "$title" sudo "$@"
  else
    run "$title" "$@"
  fi
}
