#!/usr/bin/env bash
# Unpacks Debian's package prometheus, the server and promtool, into a folder. Not installed: that takes root, and starts
# a server. Lists and archives of its own, so that apt's are left as they are.
set -euo pipefail
mkdir -p "${1:?expected a folder}"
target=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
cd "$scratch"
options=(
    -qq -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch" -o Debug::NoLocking=1
    -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3
)
apt-get "${options[@]}" update
apt-get "${options[@]}" download prometheus
dpkg-deb --extract prometheus_*.deb "$target"
"$target/usr/bin/promtool" --version
