# From what is missing to what will be done: decides and shows, changes nothing.
# shellcheck shell=bash

# A plan is lists of words: packages and tools by their source.
make_plan() {
  local name
  PLAN_APT="" PLAN_BREW="" PLAN_PYPI="" PLAN_RELEASE="" PLAN_GOMOD="" PLAN_SUITE="" PLAN_TOOLS=""
  PLAN_START=no PLAN_GROUP=no
  CANNOT=""
  for name in $MISSING; do plan_tool "$name"; done
}

# plan_tool TOOL: take the first source that has it; else it goes to CANNOT.
plan_tool() {
  local source
  in_words "$1" "$PLAN_TOOLS" && return 0
  in_words "$1" "$CANNOT" && return 1
  if [ "$1" = docker ] && plan_engine; then return 0; fi
  for source in $(tool "$1" sources); do
    in_words "$1:$source" "$FAILED" && continue
    if "plan_$source" "$1"; then
      PLAN_TOOLS="$PLAN_TOOLS $1"
      printf -v "FROM_$1" '%s' "$source"
      return 0
    fi
  done
  CANNOT="$CANNOT $1"
  return 1
}

# An engine that is installed needs only to be started, or its group joined.
plan_engine() {
  local group_command
  case "$ENGINE" in
    not-running)
      in_words docker:start "$FAILED" && return 1
      [ -n "$(engine_start_command)" ] || return 1
      PLAN_START=yes PLAN_TOOLS="$PLAN_TOOLS docker" FROM_docker=start ;;
    no-permission)
      group_command="sudo usermod -aG docker $(id -un)"
      HOW_docker="the engine runs, but this user may not use it: $group_command, then log in again"
      in_words docker:group "$FAILED" && return 1
      [ -n "$SUDO" ] && have sg && ! in_docker_group_next_login || return 1
      PLAN_GROUP=yes PLAN_TOOLS="$PLAN_TOOLS docker" FROM_docker=group ;;
    elsewhere)
      HOW_docker="DOCKER_HOST=$DOCKER_HOST does not answer: start it, or unset DOCKER_HOST"
      return 1 ;;
    old)
      if dockerd_does; then HOW_docker="a newer engine is installed than the one that runs: restart it"; fi
      return 1 ;;
    *) return 1 ;;
  esac
}

plan_apt() {
  local packages="" package
  [ "$OS" = linux ] && have apt-get && have apt-cache || return 1
  if [ "$1" = docker ]; then
    case "$ENGINE" in
      no-permission | elsewhere) return 1 ;;
      not-running | old) if dockerd_does; then return 1; fi ;; # another installation would not help
    esac
  fi
  for package in $(tool "$1" apt); do
    if candidate_does "$1" "$package"; then packages="$package"; break; fi
  done
  if [ -z "$packages" ]; then
    plan_suite "$1" || return 1
    packages="$(tool "$1" suite_packages)"
  else
    for package in $(tool "$1" apt_also); do
      if [ -n "$(candidate "$package")" ]; then packages="$packages $package"; fi
    done
  fi
  if [ "$ROOT_RIGHTS" = no ]; then
    printf -v "HOW_$1" '%s' "as root: apt-get install $packages"
    return 1
  fi
  PLAN_APT="$PLAN_APT $packages"
  printf -v "PACKAGES_$1" '%s' "$packages"
  if [ "$1" = docker ]; then PLAN_START=yes; fi
}

# candidate PACKAGE: the version that apt would install, without its epoch; nothing when none. What
# a newer release offers below the priority of anything installed is not for us either.
candidate() {
  local version priority
  version="$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p')"
  case "$version" in "" | "(none)") return 0 ;; esac
  priority="$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | tr -s ' ' | grep -F " $version " | sed -n '1s/^.* \([0-9-]*\)$/\1/p')"
  if [ "${priority:-500}" -ge 100 ]; then printf '%s' "${version#*:}"; fi
}

candidate_does() {
  local version
  version="$(candidate "$2")"
  [ -n "$version" ] || return 1
  case "$version" in [0-9]*.*) first_version "$version" ;; *) VERSION="${version%%[!0-9]*}" ;; esac
  if [ "$1" = docker ]; then engine_enough "$VERSION"; else version_ge "$VERSION" "$(tool "$1" needed)"; fi
}

# The next Debian's packages, on the one release for which they are known to install alone.
plan_suite() {
  [ -n "$(tool "$1" suite)" ] || return 1
  [ "$DISTRIBUTION" = debian ] && [ "$CODENAME" = "$(tool "$1" suite_for)" ] || return 1
  PLAN_SUITE="$1"
}

plan_brew() {
  local formula
  formula="$(tool "$1" brew)"
  [ "$OS" = darwin ] && have brew && [ -n "$formula" ] || return 1
  PLAN_BREW="$PLAN_BREW $formula"
}

# What goes into .venv needs the Python that makes it.
venv_can_be() { ! in_words python "$CANNOT"; }

plan_pypi() {
  [ -n "$(tool "$1" pypi)" ] && venv_can_be || return 1
  PLAN_PYPI="$PLAN_PYPI $1"
}

plan_release() {
  [ -n "$(tool "$1" "release_sha256_${OS}_$ARCH")" ] && venv_can_be && reaches "$(release_url "$1")" || return 1
  PLAN_RELEASE="$PLAN_RELEASE $1"
}

# Building needs Go, which is then needed even where nothing is baked.
plan_gomod() {
  venv_can_be || return 1
  [ "${OK_go:-no}" = yes ] || plan_tool go || return 1
  PLAN_GOMOD="$PLAN_GOMOD $1"
}

show_plan() {
  local name found from packages
  show_cost
  for name in $PLAN_TOOLS; do
    found="F_$name" from="FROM_$name" packages="PACKAGES_$name"
    say "  $(printf '%-10s' "$name") $(state_of "$name" "${!found:-}") <- $(source_words "$name" "${!from}" "${!packages:-}")"
  done
  if ! environment_fresh; then say "  .venv      the project's Python environment <- pip install -e '.[dev]'"; fi
  show_root_commands
}

state_of() {
  local needed
  needed="$(tool "$1" needed)"
  if [ "$1" = docker ] && [ "$ENGINE" != old ]; then
    printf '%s' "engine $(printf '%s' "$ENGINE" | tr - ' ')"
  elif [ -n "$2" ] && ! version_ge "$2" "$needed"; then
    printf '%s' "$2, needed >= $needed"
  else
    printf '%s' "missing${needed:+, needed >= $needed}"
  fi
}

source_words() {
  case "$2" in
    apt) printf '%s' "packages $3" ;;
    brew) printf '%s' "brew install $(tool "$1" brew)" ;;
    pypi) printf '%s' "PyPI $(tool "$1" pypi), into .venv" ;;
    release) printf '%s' "$(release_url "$1"), into .venv/bin" ;;
    gomod) printf '%s' "built from Go module $(tool "$1" gomod), into .venv/bin" ;;
    start) engine_start_command ;;
    group) printf '%s' "sudo usermod -aG docker $(id -un)" ;;
  esac
}

release_url() {
  local url
  url="$(tool "$1" release)"
  url="${url//\{os\}/$OS}"
  printf '%s' "${url//\{arch\}/$ARCH}"
}

show_root_commands() {
  local prefix="${SUDO:+$SUDO }"
  [ -n "$PLAN_APT" ] || [ "$PLAN_START" = yes ] || [ "$PLAN_GROUP" = yes ] || return 0
  say "with root's rights:"
  if [ -n "$PLAN_SUITE" ]; then
    say "  write $(suite_file "$PLAN_SUITE") and $(suite_pin "$PLAN_SUITE"):"
    say "    only $(tool "$PLAN_SUITE" suite_packages) from Debian $(tool "$PLAN_SUITE" suite), nothing else of it (this release's $(tool "$PLAN_SUITE" apt) is $(candidate "$(tool "$PLAN_SUITE" apt)"))"
  fi
  if [ -n "$PLAN_APT" ]; then
    [ "$APT_UPDATED" = yes ] || say "  ${prefix}apt-get update"
    say "  ${prefix}apt-get install --no-install-recommends$PLAN_APT"
    show_apt_changes
  fi
  if [ "$PLAN_START" = yes ] && [ -n "$(engine_start_command)" ]; then say "  $(engine_start_command)"; fi
  if [ "$PLAN_GROUP" = yes ]; then say "  sudo usermod -aG docker $(id -un)"; fi
}

# What apt itself would change besides: upgrades and removals are named, and an unexpected
# removal ends the run. With a suite to add first, this is checked after it was added.
show_apt_changes() {
  local line removed="" upgraded="" name
  [ -z "$PLAN_SUITE" ] || [ "${1:-}" = checked ] || return 0
  while IFS= read -r line; do
    case "$line" in
      "Remv "*) line="${line#Remv }"; removed="$removed ${line%% *}" ;;
      "Inst "*) line="${line#Inst }" # an upgrade has the old version in brackets first
        case "${line#* }" in "["*) upgraded="$upgraded ${line%% *}" ;; esac ;;
    esac
  done <<END
$(LC_ALL=C apt-get -s install --no-install-recommends $PLAN_APT 2>/dev/null)
END
  [ -z "$upgraded" ] || say "    upgrades:$upgraded"
  [ -z "$removed" ] || say "    removes:$removed"
  for name in $removed; do
    in_words "$name" "$(tool cargo apt_replaces)" ||
      die 7 "installing$PLAN_APT would remove $name" "decide and do it by hand: ${SUDO:+$SUDO }apt-get install$PLAN_APT"
  done
}

# What a first run takes. The bake itself comes with the first cluster.
show_cost() {
  local name download_mb=0 disk_mb=0 minutes=1
  for name in $PLAN_TOOLS; do
    case "$name" in docker) [ "$FROM_docker" = apt ] || continue ;; esac
    download_mb=$((download_mb + $(tool "$name" download_mb)))
    disk_mb=$((disk_mb + $(tool "$name" disk_mb)))
    minutes=$((minutes + $(tool "$name" minutes)))
  done
  environment_fresh || download_mb=$((download_mb + 40)) disk_mb=$((disk_mb + 200))
  if [ "$download_mb" = 0 ]; then say "kindloop set-up, with nothing to download:"
  else say "kindloop set-up: up to $download_mb MB to download, $minutes min, $((disk_mb / 1000)).$((disk_mb % 1000 / 100)) GB of disk:"; fi
  if baking; then
    say "  The first cluster then bakes its node: no image registry answers here ($(registry_host)), so the node's"
    say "  image is made from Debian packages and Go modules: once, about $T_bake_cost_download_mb MB, $T_bake_cost_minutes min on 2 cores, $T_bake_cost_disk_gb GB of disk."
  fi
}

# One line for each tool that cannot be had: what it is for, and how to get it.
show_cannot() {
  local name how found
  note "error: this machine cannot provide:"
  for name in $CANNOT; do
    how="HOW_$name" found="F_$name"
    note "  $name ($(state_of "$name" "${!found:-}")): $(tool "$name" purpose); ${!how:-$(tool "$name" how)}"
  done
  note "  next: get them, then run scripts/dev-setup.sh again"
}
