#!/bin/sh
# Runs the service under a real `systemd --user`, and says what it saw: install, notify, a tunnel to a real
# sshd, watchdog, SIGKILL, reload, the command line starting it, a clean stop, uninstall.
#
#   PYTHON       the interpreter that has the package (default: python3)
#
# It needs root, systemd, sshd and util-linux, but no systemd as process 1: it has a mount namespace with a
# /run of its own, a home of its own, and a control group for systemd to work in. All of it goes at the end.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
PYTHON=$(command -v "${PYTHON:-python3}")

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || { echo "run_systemd_user.sh needs root" >&2; exit 1; }
  for needed in unshare ssh-keygen systemctl /usr/sbin/sshd /lib/systemd/systemd; do
    command -v "$needed" > /dev/null || { echo "there is no $needed" >&2; exit 1; }
  done
  folder=$(mktemp -d /tmp/tsd.XXXXXX)
  # Control groups of version 1 have a hierarchy for systemd; with version 2 there is only one.
  groups=""
  for mounted in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ ! -f "$mounted/cgroup.procs" ] || groups="$groups $mounted/tunnels-test-$$"
  done
  [ -n "$groups" ] || groups="/sys/fs/cgroup/tunnels-test-$$"
  code=0
  FOLDER=$folder GROUPS_OF_US=$groups PYTHON=$PYTHON \
    unshare -m --propagation private "$0" inside || code=$?
  rm -rf "$folder"
  for group in $groups; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; 2> /dev/null || true
  done
  exit "$code"
fi

# --- a systemd of our own -------------------------------------------------------------------------

mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/user/0 /run/sshd
chmod 700 /run/user/0
home=$FOLDER/home
mkdir -m 700 -p "$home/.ssh" "$home/.config/tunnels"
for group in $GROUPS_OF_US; do mkdir -p "$group/u"; done

environment="HOME=$home USER=root PATH=/usr/bin:/bin:/usr/sbin XDG_RUNTIME_DIR=/run/user/0 PYTHONPATH=$root LC_ALL=C.UTF-8"
# shellcheck disable=SC2016,SC2086
env -i $environment DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus \
  SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=notice \
  sh -c 'for group in $0; do echo $$ > "$group/u/cgroup.procs"; done; exec /lib/systemd/systemd --user' \
  "$GROUPS_OF_US" > "$FOLDER/systemd.log" 2>&1 &
manager=$!
sshd=""

end() {
  status=$?
  trap - EXIT INT TERM
  [ "$status" = 0 ] || { echo "--- FAILED"; tail -n 30 "$FOLDER/systemd.log"; cat "$home/.local/state/tunnels/log/"*.log; } >&2 || true
  kill "$manager" ${sshd:+"$sshd"} 2> /dev/null || true
  wait "$manager" ${sshd:+"$sshd"} 2> /dev/null || true
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

# shellcheck disable=SC2086
ours() { env -i $environment "$@"; }
tunnels() { ours "$PYTHON" -m tunnels "$@"; }
service() { ours systemctl --user "$@"; }
shows() { service show tunnels.service --property="$1" --value; }

say() { printf '\n== %s\n' "$*"; }

# until_ok SECONDS WHAT COMMAND…: wait until a command succeeds.
until_ok() {
  left=$(($1 * 10)) what=$2
  shift 2
  until "$@" > /dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || { echo "not seen in time: $what" >&2; exit 1; }
    sleep 0.1
  done
  echo "   $what"
}

until_ok 10 "systemd --user answers" service show --property=Version

# --- a server and a profile -----------------------------------------------------------------------

free_port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
server=$(free_port)
port=$(free_port)
ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/hostkey"
ssh-keygen -q -t ed25519 -N '' -f "$home/.ssh/id"
cat > "$FOLDER/sshd_config" << CONFIG
Port $server
ListenAddress 127.0.0.1
HostKey $FOLDER/hostkey
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
AuthorizedKeysFile $home/.ssh/id.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
CONFIG
/usr/sbin/sshd -D -e -f "$FOLDER/sshd_config" 2> "$FOLDER/sshd.log" &
sshd=$!
echo "[127.0.0.1]:$server $(cut -d' ' -f1,2 "$FOLDER/hostkey.pub")" > "$home/.ssh/known_hosts"
write_profiles() {
  cat > "$home/.config/tunnels/profiles.toml" << PROFILES
[profiles.work]
host = "root@127.0.0.1:$server"
identity_file = "$home/.ssh/id"
known_hosts = "$home/.ssh/known_hosts"
ssh_config = "none"
local = ["$port:127.0.0.1:$server"]
$1
PROFILES
  chmod 600 "$home/.config/tunnels/profiles.toml"
}
write_profiles ""

# Whether the forward carries data: what comes back is the greeting of the sshd at its other end.
carries() {
  "$PYTHON" -c "
import socket
with socket.create_connection(('127.0.0.1', $port), 5) as far:
    far.settimeout(5)
    assert far.recv(64).startswith(b'SSH-2.0-')
"
}
is_other_pid() { new=$(shows MainPID) && [ "$new" != 0 ] && [ "$new" != "$1" ]; }
status_is() { [ "$(shows StatusText)" = "$1" ]; }

# --- what a person does, and what happens to a service --------------------------------------------

say "a daemon from a terminal, with a tunnel that is up"
tunnels up work
until_ok 5 "the port carries data" carries

say "install: the service takes its place, and the tunnel comes back with it"
tunnels service install
head -n 1 "$home/.config/systemd/user/tunnels.service"
until_ok 10 "systemctl shows: 1 of 1 tunnels up" status_is "1 of 1 tunnels up"
until_ok 5 "the port carries data" carries
service show tunnels.service --property=Type,NotifyAccess,ActiveState,SubState,StatusText,NRestarts,WatchdogUSec,UnitFileState
tunnels service status
test "$(shows ActiveState)" = active
test "$(tunnels daemon status | sed -n 's/.*pid \([0-9]*\),.*/\1/p')" = "$(shows MainPID)"

say "install again: nothing changes, and the daemon goes on"
pid=$(shows MainPID)
tunnels service install 2> /dev/null
test "$(shows MainPID)" = "$pid"
echo "   still pid $pid"

say "reload: systemd waits for it and shows no failure"
write_profiles 'description = "another one"'
service reload tunnels.service
until_ok 5 "active again" test "$(shows ActiveState)" = active
until_ok 5 "it was reloaded" grep -q "reloaded: " "$home/.local/state/tunnels/log/tunnels.log"

say "watchdog: a daemon that hangs (SIGSTOP) is killed and started again, with its tunnel"
mkdir -p "$home/.config/systemd/user/tunnels.service.d"
printf '[Service]\nWatchdogSec=2\n' > "$home/.config/systemd/user/tunnels.service.d/test.conf"
service daemon-reload
service restart tunnels.service
until_ok 10 "1 of 1 tunnels up" status_is "1 of 1 tunnels up"
pid=$(shows MainPID)
sleep 5
test "$(shows MainPID)" = "$pid"
echo "   after 5 s with WatchdogSec=2 it is the same process: it gives its signs of life"
kill -STOP "$pid"
stopped=$(date +%s)
until_ok 15 "another process" is_other_pid "$pid"
until_ok 15 "1 of 1 tunnels up" status_is "1 of 1 tunnels up"
until_ok 5 "the port carries data" carries
echo "   $(($(date +%s) - stopped)) s from the SIGSTOP on; restarts: $(shows NRestarts)"
rm -r "$home/.config/systemd/user/tunnels.service.d"
service daemon-reload

say "SIGKILL: started again, with its tunnel"
pid=$(shows MainPID)
kill -KILL "$pid"
until_ok 15 "another process" is_other_pid "$pid"
until_ok 15 "1 of 1 tunnels up" status_is "1 of 1 tunnels up"
until_ok 5 "the port carries data" carries
test "$(shows MainPID)" != "$pid"

say "the command line starts the daemon through the service"
service stop tunnels.service
test "$(shows ActiveState)" = inactive
test "$(shows Result)" = success
echo "   stopped cleanly"
! carries 2> /dev/null
code=0
tunnels service status || code=$?
test "$code" = 3
tunnels up work
test "$(shows ActiveState)" = active
test "$(tunnels daemon status | sed -n 's/.*pid \([0-9]*\),.*/\1/p')" = "$(shows MainPID)"
echo "   the daemon is the service's"

say "another daemon is in the way: the service waits for it to end, and takes its place"
service stop tunnels.service
ours "$PYTHON" -m tunnels daemon run 2> /dev/null &
other=$!
until_ok 10 "a daemon that is no service" tunnels daemon status
service start --no-block tunnels.service
waits() { shows StatusText | grep -q "waits until another daemon has ended"; }
until_ok 10 "the service waits" waits
sleep 2
echo "   restarts meanwhile: $(shows NRestarts)"
kill "$(tunnels daemon status | sed -n 's/.*pid \([0-9]*\),.*/\1/p')"
wait "$other" || true
until_ok 10 "1 of 1 tunnels up" status_is "1 of 1 tunnels up"

say "up -f as a unit of its own: notify, and the ready file"
tunnels down work
ours systemd-run --user --quiet --unit=front --property=Type=notify --property=NotifyAccess=main \
  "$PYTHON" -m tunnels up -f work --ready-file "$FOLDER/ready"
until_ok 10 "the ready file is there" test -e "$FOLDER/ready"
until_ok 5 "the port carries data" carries
service show front.service --property=ActiveState,StatusText
pkill -KILL -P "$sshd" 2> /dev/null || true # its sessions; they would outlive it
kill "$sshd"
until_ok 30 "the server is gone: the ready file too" test ! -e "$FOLDER/ready"
/usr/sbin/sshd -D -e -f "$FOLDER/sshd_config" 2>> "$FOLDER/sshd.log" &
sshd=$!
until_ok 30 "the server is back: the ready file too" test -e "$FOLDER/ready"
service stop front.service
test ! -e "$FOLDER/ready"
echo "   stopped: $(service show front.service --property=Result --value); no ready file"

say "uninstall"
tunnels service uninstall
test ! -e "$home/.config/systemd/user/tunnels.service"
test ! -e "$home/.config/systemd/user/default.target.wants/tunnels.service"
code=0
tunnels daemon status 2> /dev/null || code=$?
test "$code" = 3
echo "   nothing is left"

say "folders and a profile file with strange names reach the daemon as they are"
nasty="$FOLDER/a b/100%h/\"q\"/it's/\$HOME/back\\slash"
mkdir -p "$nasty"
cp "$home/.config/tunnels/profiles.toml" "$nasty/p.toml"
ours TUNNELS_STATE_DIR="$nasty" "$PYTHON" -m tunnels --config "$nasty/p.toml" service install 2> /dev/null
tr '\0' '\n' < "/proc/$(shows MainPID)/environ" | grep -Fx "TUNNELS_STATE_DIR=$nasty"
tr '\0' '\n' < "/proc/$(shows MainPID)/cmdline" | grep -Fx "$nasty/p.toml"
ours TUNNELS_STATE_DIR="$nasty" "$PYTHON" -m tunnels service uninstall 2> /dev/null

say "all as it should be"
