#!/usr/bin/env bash
# Takes away what dev-setup.sh and the tasks made: of this checkout, or of this user.
set -u

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
YES=0 ALL=0
USE_SG=0 ENGINE=""
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$ROOT/scripts/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/engine.sh
. "$ROOT/scripts/lib/engine.sh"

usage() {
  cat <<'END'
usage: scripts/dev-teardown.sh [--all] [--yes]

Deletes this checkout's cluster, .venv and .kindloop. With --all also every other environment of
this user that kindloop made, its images, its cache and state, and the dockerd that dev-setup.sh
started. Distribution packages stay; the command that removes them is printed. Clusters,
containers and images of others are never touched. Asks first; --yes answers.

exit codes: 0 gone; 1 something stayed, as printed; 2 usage or not allowed to go on; 7 the
environment that must delete the clusters is missing
END
}

INVOKE="$VENV/bin/invoke"
STAYED=0

stayed() {
  note "stays: $1"
  STAYED=1
}

# Environments are folders in the state directory, by name.
recorded_environments() {
  local folder
  for folder in "$STATE"/*/; do
    [ -d "$folder" ] && basename "$folder"
  done
  return 0
}

# Images are ours by a label of ours, whatever their name.
our_images() {
  local id
  [ "$ENGINE" = ok ] || [ "$ENGINE" = old ] || return 0
  for id in $(docker_group docker image ls -q --no-trunc | sort -u); do
    # shellcheck disable=SC2016 # a Go template
    if docker_group docker image inspect -f '{{range $key, $value := .Config.Labels}}{{println $key}}{{end}}' "$id" 2>/dev/null |
      grep -q '^kindloop\.'; then
      echo "$id"
    fi
  done
}

# Set what is there, to show and then to delete.
look() {
  WORDS="" ENVIRONMENTS="" IMAGES="" DOCKERD=""
  [ ! -d "$VENV" ] || add "$VENV"
  [ ! -d "$LOCAL" ] || add "$LOCAL"
  if [ -x "$INVOKE" ]; then add "the cluster of this checkout, if it has one"; fi
  [ "$ALL" = 1 ] || return 0
  look_at_engine
  ENVIRONMENTS="$(recorded_environments | tr '\n' ' ')"
  IMAGES="$(our_images)"
  DOCKERD="$(our_dockerd || true)"
  [ -z "$ENVIRONMENTS" ] || add "the environments ${ENVIRONMENTS% }"
  [ -z "$IMAGES" ] || add "$(printf '%s\n' "$IMAGES" | wc -l | tr -d ' ') images with a label kindloop.*"
  [ ! -d "$CACHE" ] || add "$CACHE"
  [ ! -d "$STATE" ] || add "$STATE"
  [ -z "$DOCKERD" ] || add "the dockerd that dev-setup.sh started (process $DOCKERD), unless others use it"
}

add() { WORDS="$WORDS  $1
"; }

delete_environments() {
  local flag=""
  [ "$ALL" = 0 ] || flag="--all"
  if [ ! -x "$INVOKE" ]; then
    [ -z "$ENVIRONMENTS" ] || die 7 "there are environments (${ENVIRONMENTS% }) and no .venv to delete them with" \
      "scripts/dev-setup.sh --yes scripts/dev-teardown.sh --all --yes"
    return 0
  fi
  say "· invoke dev-down${flag:+ $flag}"
  # shellcheck disable=SC2086 # an empty flag is no word
  (cd "$ROOT" && PATH="$VENV/bin:$PATH" docker_group "$INVOKE" dev-down $flag </dev/null) ||
    die 1 "the cluster was not deleted, so nothing else was" "cd $ROOT && .venv/bin/invoke dev-down $flag"
}

# By id and never forced: an image that somebody's container uses stays.
delete_images() {
  local id name
  for id in $IMAGES; do
    for name in $(docker_group docker image inspect -f '{{range .RepoTags}}{{println .}}{{end}}' "$id" 2>/dev/null) "$id"; do
      docker_group docker image inspect "$name" >/dev/null 2>&1 || continue
      docker_group docker image rm "$name" >/dev/null 2>&1 || stayed "image $name: a container uses it (docker ps -a)"
    done
  done
}

# Others may have containers in the engine that we started: then it is theirs too.
end_dockerd() {
  local tries=0
  [ -n "$DOCKERD" ] || return 0
  if [ -n "$(docker_group docker ps -q 2>/dev/null)" ]; then
    stayed "dockerd (process $DOCKERD): containers run in it; end it with: ${SUDO:+$SUDO }kill $DOCKERD"
    return 0
  fi
  say "· ending dockerd (process $DOCKERD)"
  # kill is a program only where procps is installed, but always a part of the shell.
  # shellcheck disable=SC2016 # expanded by the inner shell
  $SUDO sh -c 'kill "$1"' sh "$DOCKERD"
  while [ "$tries" -lt 60 ] && our_dockerd >/dev/null; do sleep 0.5; tries=$((tries + 1)); done
  if our_dockerd >/dev/null; then stayed "dockerd (process $DOCKERD): it did not end in 30 s"; else DOCKERD=""; fi
}

# delete_folder FOLDER: Go makes folders read-only, and only our own names are ever deleted.
delete_folder() {
  case "$1" in */kindloop | */.venv | */.kindloop) ;; *) die 1 "not a folder of kindloop: $1" ;; esac
  [ -d "$1" ] || return 0
  say "· deleting $1"
  chmod -R u+w "$1" 2>/dev/null
  rm -rf "$1" || stayed "$1"
}

# shellcheck disable=SC2153 # PACKAGES is the record, packages its words
show_packages() {
  local file packages="" sources=""
  if [ -s "$PACKAGES" ]; then packages="$(tr '\n' ' ' <"$PACKAGES")"; fi
  for file in /etc/apt/sources.list.d/kindloop-*.sources /etc/apt/preferences.d/kindloop-*; do
    [ ! -e "$file" ] || sources="$sources $file"
  done
  [ -n "$packages$sources" ] || return 0
  say "what was installed for all users stays; to remove it:"
  [ -z "$packages" ] || say "  ${SUDO:+$SUDO }apt-get remove --autoremove ${packages% }"
  [ -z "$sources" ] || say "  ${SUDO:+$SUDO }rm$sources && ${SUDO:+$SUDO }apt-get update"
}

main() {
  local packages_said
  while [ $# -gt 0 ]; do
    case "$1" in
      --all) ALL=1 ;;
      --yes | -y) YES=1 ;;
      --help | -h) usage; exit 0 ;;
      *) usage >&2; die 2 "unknown argument $1" ;;
    esac
    shift
  done
  where_am_i
  bypass_proxies
  load_versions
  look
  if [ -z "$WORDS" ]; then say "nothing to do: nothing of kindloop is left here"; exit 0; fi
  say "deletes:"
  printf '%s' "$WORDS"
  ask "go on?"
  delete_environments
  packages_said="$(show_packages)"
  delete_folder "$VENV"
  delete_folder "$LOCAL"
  if [ "$ALL" = 1 ]; then
    delete_images
    delete_folder "$CACHE"
    end_dockerd
    # Its pid file is what tells the next run that it is ours.
    if [ -n "$DOCKERD" ]; then stayed "$STATE"; else delete_folder "$STATE"; fi
    [ -z "$packages_said" ] || say "$packages_said"
  fi
  exit "$STAYED"
}

main "$@"
