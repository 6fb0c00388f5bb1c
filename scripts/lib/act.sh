# Carries a plan out. A source that fails is added to FAILED as tool:source, so that the next
# round takes the next one, and says so.
# shellcheck shell=bash

carry_out() {
  [ -z "$PLAN_APT" ] || act_apt || failed apt
  # shellcheck disable=SC2086 # lists of words
  [ -z "$PLAN_BREW" ] || run "brew install$PLAN_BREW" brew install $PLAN_BREW || failed brew
  make_environment
  each pypi "$PLAN_PYPI"
  each release "$PLAN_RELEASE"
  each gomod "$PLAN_GOMOD"
  act_engine
}

# each SOURCE TOOLS: one after the other, since one that fails says nothing of the others. What
# came with the environment, or as another's dependency, is left.
each() {
  local name
  for name in $2; do
    look_at "$name" && continue
    "act_$1" "$name" || fail_tool "$name" "$1"
  done
}

fail_tool() {
  FAILED="$FAILED $1:$2"
  note "  $1 could not be had from $2; see what else there is"
}

# failed SOURCE: all that the plan took from it.
failed() {
  local name from
  for name in $PLAN_TOOLS; do
    from="FROM_$name"
    [ "${!from}" != "$1" ] || fail_tool "$name" "$1"
  done
}

apt_get() { as_root "$1" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o APT::Color=0 "${@:2}"; }

# A mirror that fails still leaves the lists of the others: what is missing shows at the install.
apt_update() {
  apt_get "apt-get update" update || note "  not every package list could be read"
  APT_UPDATED=yes
}

act_apt() {
  local before after package
  [ -z "$PLAN_SUITE" ] || act_suite || return 1
  [ "$APT_UPDATED" = yes ] || apt_update
  [ -z "$PLAN_SUITE" ] || show_apt_changes checked
  before="$(installed "$PLAN_APT")"
  # shellcheck disable=SC2086 # a list of words
  apt_get "apt-get install$PLAN_APT" install -y --no-install-recommends $PLAN_APT || return 1
  after="$(installed "$PLAN_APT")"
  mkdir -p "$STATE"
  for package in $after; do
    in_words "$package" "$before" || in_words "$package" "$(cat "$PACKAGES" 2>/dev/null)" || echo "$package" >>"$PACKAGES"
  done
  link_versioned
}

# installed PACKAGES: those of them that are.
installed() {
  # shellcheck disable=SC2086 # a list of words
  dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' $1 2>/dev/null | sed -n 's/^ii *//p'
}

suite_file() { printf '/etc/apt/sources.list.d/kindloop-%s.sources' "$(tool "$1" suite)"; }
suite_pin() { printf '/etc/apt/preferences.d/kindloop-%s' "$(tool "$1" suite)"; }

# A newer release must never have the whole machine at its priority: everything of it ranks
# below what is installed, and only the named packages above.
act_suite() {
  local suite uri
  suite="$(tool "$PLAN_SUITE" suite)"
  # shellcheck disable=SC2016 # apt-get fills these in
  uri="$(LC_ALL=C apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    sed -n "s|^\([^ ]*\) $CODENAME main\$|\1|p" | sed -n 1p)"
  uri="${uri%/}"
  write_as_root "$(suite_pin "$PLAN_SUITE")" "Package: *
Pin: release n=$suite
Pin-Priority: 50

Package: $(tool "$PLAN_SUITE" suite_packages)
Pin: release n=$suite
Pin-Priority: 600" || return 1
  write_as_root "$(suite_file "$PLAN_SUITE")" "Types: deb
URIs: ${uri:-http://deb.debian.org/debian}
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" || return 1
  APT_UPDATED=no
}

write_as_root() {
  [ "$(cat "$1" 2>/dev/null)" != "$2" ] || return 0
  mkdir -p "$LOCAL"
  printf '%s\n' "$2" >"$LOCAL/write"
  as_root "writing $1" install -m 0644 "$LOCAL/write" "$1"
}

# make_environment: .venv for this folder, with the package and its tools in it.
make_environment() {
  environment_fresh && return 0
  find_python || die 7 "Python $(tool python needed) with venv is missing" "$(tool python how)"
  if [ "$PYTHON" != "$VENV/bin/python" ] || ! environment_here; then
    find_base_python
    run "making .venv with $PYTHON" "$PYTHON" -m venv --clear "$VENV" ||
      die 7 "the Python environment could not be made" "look at $LOG"
  fi
  PYTHON="$VENV/bin/python"
  (cd "$ROOT" && run "pip install -e '.[dev]'" "$PYTHON" -m pip install --disable-pip-version-check -e '.[dev]') ||
    die 7 "pip could not install the project" "if it did not reach PyPI: name a mirror or proxy (pip config set global.index-url ...), then run this again"
  environment_stamp >"$VENV/kindloop.stamp"
  link_versioned
}

# An environment knows its folder by absolute paths: a moved checkout needs a new one.
environment_here() {
  case "$(cat "$VENV/kindloop.stamp" 2>/dev/null)" in *" $ROOT") return 0 ;; esac
  return 1
}

find_base_python() {
  local kept="$VENV"
  [ "$PYTHON" = "$VENV/bin/python" ] || return 0
  VENV="$ROOT/.no-venv"
  find_python || die 7 "Python $(tool python needed) with venv is missing" "$(tool python how)"
  VENV="$kept"
}

# Ubuntu and Debian name some programs by version only; .venv/bin gives them the plain name.
link_versioned() {
  local package version
  [ -d "$VENV/bin" ] || return 0
  for package in ${PACKAGES_cargo:-} ${PACKAGES_go:-}; do
    case "$package" in
      cargo-[0-9]*) version="${package#cargo-}"
        ln -sf "/usr/bin/cargo-$version" "$VENV/bin/cargo"
        ln -sf "/usr/bin/rustc-$version" "$VENV/bin/rustc" ;;
      golang-[0-9]*-go) version="${package#golang-}"
        ln -sf "/usr/lib/go-${version%-go}/bin/go" "$VENV/bin/go" ;;
    esac
  done
}

act_pypi() {
  local digest line link
  line="$(tool "$1" pypi)"
  for digest in $(tool "$1" pypi_sha256); do line="$line --hash=sha256:$digest"; done
  mkdir -p "$LOCAL"
  printf '%s\n' "$line" >"$LOCAL/requirement.txt"
  run "pip install $(tool "$1" pypi)" "$PYTHON" -m pip install --disable-pip-version-check \
    --only-binary :all: --no-deps --require-hashes -r "$LOCAL/requirement.txt" || return 1
  link="$(tool "$1" pypi_link)"
  [ -z "$link" ] || ln -sf "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/$link" "$VENV/bin/$1"
}

# Kept in the cache by its digest, so that another checkout need not load it again.
act_release() {
  local digest kept
  digest="$(tool "$1" "release_sha256_${OS}_$ARCH")"
  kept="$CACHE/downloads/$digest"
  mkdir -p "$CACHE/downloads"
  run "downloading $(release_url "$1")" "$PYTHON" -c 'import hashlib, os, sys, urllib.request
url, wanted, target = sys.argv[1:]
if not os.path.exists(target):
    data = urllib.request.urlopen(url, timeout=60).read()
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        sys.exit(f"{url} has SHA-256 {found}, pinned is {wanted}: not used")
    with open(target + ".part", "wb") as file:
        file.write(data)
    os.replace(target + ".part", target)' "$(release_url "$1")" "$digest" "$kept" || return 1
  cp "$kept" "$VENV/bin/$1" && chmod 0755 "$VENV/bin/$1"
}

# The recipe's go.sum pins every module; the build cache is the one that the bake uses next.
act_gomod() {
  local stamp version="$T_node_kubernetes" minor flags="-s -w"
  minor="${version#v*.}"
  for stamp in $(tool "$1" gomod_stamps); do
    flags="$flags -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*}"
  done
  (cd "$ROOT/kindloop/bake/recipes/$(tool "$1" gomod_recipe)" &&
    run "building $(tool "$1" gomod)" env CGO_ENABLED=0 GOFLAGS= GOWORK=off GOTOOLCHAIN=auto \
      go build -mod=readonly -trimpath -ldflags "$flags" -o "$VENV/bin/$1" "$(tool "$1" gomod)")
}

act_engine() {
  if [ "$PLAN_GROUP" = yes ]; then
    if as_root "joining group docker" usermod -aG docker "$(id -un)"; then USE_SG=1; else fail_tool docker group; fi
  fi
  look_at_engine
  if [ "$PLAN_START" = yes ] && [ "$ENGINE" = not-running ]; then
    start_engine || { FAILED="$FAILED docker:start"; HOW_docker="it does not start here: look at $DOCKERD_LOG"; }
  fi
}
