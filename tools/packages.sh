# shellcheck shell=bash disable=SC2034
# What the project needs from the system (Debian's names), and how it is installed. Sourced by quickstart and check.

build_packages=(g++ meson ninja-build pkg-config python3 libboost-dev libcli11-dev libdeflate-dev libedit-dev libfmt-dev
  libhwy-dev liblmdb-dev libre2-dev libsqlite3-dev libxxhash-dev nlohmann-json3-dev pybind11-dev python3-dev zlib1g-dev)
# python3-torch is torch 1.13, which judges the files of its time.
# clang-19 has libFuzzer; g++ has none, and clang 14 fails at libstdc++'s <ranges>.
test_packages=(clang-19 clang-format clang-tidy cmake libbenchmark-dev libclang-rt-19-dev libgmock-dev libgtest-dev
  python3-torch python3-venv strace tmux)

is_installed() {
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2> /dev/null) == installed ]]
}

# install_missing PACKAGE...: does nothing, and needs no network, where all of them are there.
install_missing() {
  local package missing=() as_root=()
  if ! command -v dpkg-query > /dev/null; then
    echo "This is no Debian: see to it that these, or what they are called here, are installed: $*"
    return
  fi
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [[ ${#missing[@]} == 0 ]]; then return; fi
  if [[ $EUID != 0 ]]; then as_root=(sudo); fi
  echo "Installing with apt-get${as_root[0]:+, by way of sudo}: ${missing[*]}"
  "${as_root[@]}" apt-get update --quiet --quiet
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends \
    "${missing[@]}"
}
