#!/bin/sh
# Make sure that there is an OpenSSH server to test against, and curl, which one test uses as a client.
# On Linux root also gets what networks of their own take, ip and nft, what checks the unit of the service, and
# what makes one-time codes for an account of the tests' own.
# As root on a Debian-like system they are installed; elsewhere it is said how to get them.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"

missing=""
command -v sshd >/dev/null 2>&1 || missing="$missing openssh-server"
command -v ssh >/dev/null 2>&1 || missing="$missing openssh-client"
command -v curl >/dev/null 2>&1 || missing="$missing curl"
if [ "$(uname -s)" = Linux ]; then
    # A smart card of software, and what builds a security key of software.
    command -v tmux >/dev/null 2>&1 || missing="$missing tmux" # the screen of the full-screen view
    command -v softhsm2-util >/dev/null 2>&1 || missing="$missing softhsm2"
    command -v pkcs11-tool >/dev/null 2>&1 || missing="$missing opensc"
    command -v gcc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
    [ -e /usr/include/openssl/evp.h ] || missing="$missing libssl-dev"
fi
if [ "$(id -u)" = 0 ] && [ "$(uname -s)" = Linux ]; then
    command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
    command -v nft >/dev/null 2>&1 || missing="$missing nftables"
    command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
    command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
    # A PAM module has no command; Debian, Fedora and Alpine keep it in these places.
    ls /lib/*/security/pam_google_authenticator.so /lib*/security/pam_google_authenticator.so \
        /usr/lib*/security/pam_google_authenticator.so 2>/dev/null | grep -q . ||
        missing="$missing libpam-google-authenticator"
fi
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # Without this the package would start a server of its own on port 22.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi

cat >&2 <<END
missing:$missing
The end-to-end tests (tests/e2e) need them and are left out; the other tests run.
  Debian, Ubuntu: sudo apt-get install$missing
  Fedora:         sudo dnf install openssh-server openssh-clients curl softhsm opensc gcc openssl-devel
  macOS:          sshd, ssh and curl are part of the system
END
[ "${CI:-}" != true ]
