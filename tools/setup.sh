#!/bin/bash
# Installs what packages.txt names and this machine lacks. With nothing to do it is silent and quick, so
# every make target can start with it. Where it may not install, it says what it would install and fails.
# usage: tools/setup.sh [group]...   (default: build)
set -euo pipefail
cd "$(dirname "$0")"

groups=" ${*:-build} "
wanted=()
while read -r package group _; do
  [[ $package == '' || $package == '#'* ]] && continue
  [[ $groups == *" ${group:-build} "* ]] && wanted+=("$package")
done < packages.txt

give_up() {
  echo "setup: $1" >&2
  echo "setup: this would be installed: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
}

missing=("${wanted[@]}")
command -v dpkg-query > /dev/null ||
  give_up "this is not a Debian system; install the counterparts of these packages and run cmake --preset release"

# dpkg-query fails when it does not know one of the packages, and still lists the others.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2> /dev/null || true)
missing=()
for package in "${wanted[@]}"; do
  [[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  sudo -n true 2> /dev/null || give_up "not root, and sudo is missing or asks for a password"
  as_root=(sudo -n)
fi
echo "setup: installing ${missing[*]}"
# The lock may be held for a while by the system's own updates.
apt_get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
"${apt_get[@]}" update < /dev/null || give_up "apt-get update failed"
"${apt_get[@]}" install --no-install-recommends "${missing[@]}" < /dev/null || give_up "apt-get install failed"
