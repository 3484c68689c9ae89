#!/bin/sh
# tests/func/exporter.sh - cos-exporter: what it says, to whom, and what it may do
. "$(dirname "$0")/lib.sh"
EXPORTER=$TOP_BUILDDIR/cosctl/cos-exporter
for tool in unshare nsenter setpriv curl; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP needs $tool"; exit 0; }
done
user=nobody
conf=$(mktemp "${TMPDIR:-/tmp}/cos-conf.XXXXXX")
printf '{"ledger.interval": 1, "metrics.user": "%s"}' "$user" >"$conf"
COSD_ARGS="--config $conf"
cos_setup
exporter=
end_exporter() {
	[ -z "$exporter" ] || kill -TERM "$exporter" 2>/dev/null
	exporter=
	rm -f "$conf"
}
trap 'end_exporter; cos_teardown; exit 1' EXIT INT TERM
cos_template
chmod 755 "$T" "$T/run"

"$COSCTL" create --template busybox web owner=12345 -- sh -c 'while :; do :; done'
"$COSCTL" create --template busybox quiet -- sleep 1000
"$COSCTL" start web quiet

# --- the text ---
COS_SOCKET=$T/run/cosd.sock "$EXPORTER" --print >"$T/text"
is "it ends well" "$?" 0
counts() {
	"$EXPORTER" --print --socket "$T/run/cosd.sock" | grep -Eq '^cos_guest_cpu_seconds_total\{guest="web",uuid="[0-9a-f-]*",mode="user"\} [0-9.]*[1-9]'
}
ok "a busy guest's CPU time" await counts
"$EXPORTER" --print --socket "$T/run/cosd.sock" >"$T/text"
is "both guests are there" "$(grep -c '^cos_guest_processes{' "$T/text")" 2
like "processes" "$(cat "$T/text")" '^cos_guest_processes\{guest="quiet",uuid="[0-9a-f-]{36}"\} 2$'
like "the daemon answers" "$(cat "$T/text")" '^cos_up 1$'
is "each family is told once" "$(grep '^# TYPE' "$T/text" | sort | uniq -d)" ""
is "and no series twice" "$(grep -v '^#' "$T/text" | sed 's/ [^ ]*$//' | sort | uniq -d)" ""
if command -v promtool >/dev/null; then
	is "promtool accepts it" "$(promtool check metrics <"$T/text" 2>&1)" ""
else
	skip "promtool accepts it" "promtool (Debian package prometheus)"
fi

# --- who may see what ---
cp "$EXPORTER" "$T/exporter"
as() { # UID COMMAND...
	uid=$1
	shift
	setpriv --reuid "$uid" --regid 65534 --clear-groups -- "$@"
}
is "metrics.user sees all guests" "$(as "$(id -u $user)" "$T/exporter" --print --socket "$T/run/user.sock" | grep -c '^cos_guest_processes{')" 2
is "an owner the own ones" "$(as 12345 "$T/exporter" --print --socket "$T/run/user.sock" | grep '^cos_guest_processes{' | cut -d'"' -f2)" web
is "another user none" "$(as 4321 "$T/exporter" --print --socket "$T/run/user.sock" | grep -c '^cos_guest_')" 0
fails "but may do nothing with that" 7 'belongs to user' as "$(id -u $user)" "$COSCTL" --socket "$T/run/user.sock" stop web

# --- over HTTP, in a network of its own ---
fails "a bad address" 2 'is not ADDRESS:PORT' "$EXPORTER" --user $user --listen localhost
fails "root is no user for it" 1 'is root' "$EXPORTER" --user root
fails "nor is nobody known" 1 'no such user' "$EXPORTER" --user no-such-user
# shellcheck disable=SC2016 # the inner shell's
unshare -n sh -c 'ip link set lo up && exec "$@"' sh "$T/exporter" --user $user --listen 127.0.0.1:9436 \
	--socket "$T/run/user.sock" 2>"$T/exporter.log" &
exporter=$!
get() {
	nsenter -t "$exporter" -n -- curl -s --max-time 10 "$@"
}
ok "it listens" await get -f http://127.0.0.1:9436/
like "metrics" "$(get http://127.0.0.1:9436/metrics)" '^cos_guest_cpu_seconds_total\{guest="web"'
is "their type" "$(get -o /dev/null -w '%{content_type}' http://127.0.0.1:9436/metrics)" "text/plain; version=0.0.4; charset=utf-8"
is "nothing else" "$(get -o /dev/null -w '%{http_code}' http://127.0.0.1:9436/other)" 404
is "nothing is taken" "$(get -o /dev/null -w '%{http_code}' -X POST -d body http://127.0.0.1:9436/metrics)" 405
status() {
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$exporter/status"
}
id=$(id -u $user)
is "it is not root" "$(status Uid | tr -s '\t' ' ')" "$id $id $id $id"
is "in no group of others" "$(status Groups | tr -d ' ')" ""
is "has no capability" "$(status CapEff) $(status CapPrm) $(status CapAmb)" "0000000000000000 0000000000000000 0000000000000000"
is "and gets no rights" "$(status NoNewPrivs)" 1
keeper=$(cat "$T/run/keep.pid")
kill -TERM "$keeper"
without_daemon() {
	! readlink "/proc/$keeper/exe" >/dev/null
}
await without_daemon
like "without a daemon it says so" "$(get http://127.0.0.1:9436/metrics)" '^cos_up 0$'
cos_start_daemon
like "and goes on with the next" "$(get http://127.0.0.1:9436/metrics)" '^cos_up 1$'
kill -TERM "$exporter"
wait "$exporter"
is "it ends when it is told" "$?" 0
end_exporter
plan_done
