#!/bin/sh
# Make sure that there are two browsers that `tunnels browse` can be tried with, Chromium and Firefox; 20 s of apt.
# Only as root on a Debian-like system, which is where the networks are made that they are tried in.
set -eu
[ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] || exit 0

missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v firefox >/dev/null 2>&1 || command -v firefox-esr >/dev/null 2>&1 || missing="$missing firefox-esr"
command -v git >/dev/null 2>&1 || missing="$missing git"
command -v wget >/dev/null 2>&1 || missing="$missing wget"
[ -z "$missing" ] && exit 0

if command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi
echo "missing:$missing; the tests of tunnels browse and exec that need them are left out" >&2
[ "${CI:-}" != true ]
