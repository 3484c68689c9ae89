#!/bin/sh
# tests/func/vm.sh - machines beside containers: made, started, limited, metered, adopted, ended, refused
. "$(dirname "$0")/lib.sh"
[ -e /dev/kvm ] || modprobe kvm-amd 2>/dev/null || modprobe kvm-intel 2>/dev/null
[ -e /dev/kvm ] || { echo "1..0 # SKIP no /dev/kvm"; exit 0; }
KERNEL=$TOP_BUILDDIR/tests/vmm/guest
conf=$(mktemp "${TMPDIR:-/tmp}/cos-conf.XXXXXX")
echo '{"ledger.interval": 1}' >"$conf"
COSD_ARGS="--config $conf"
export COSD_ARGS
cos_setup
trap 'cos_teardown; rm -f "$conf"; exit 1' EXIT INT TERM
cos_template

field() { # GUEST KEY
	"$COSCTL" status "$1" | sed -n "s/^$2  *//p"
}
state_is() {
	[ "$(field "$1" state)" = "$2" ]
}
says() { # GUEST WORDS in its log
	"$COSCTL" logs "$1" | grep -q -- "$2"
}
machine() { # NAME TEST WORD...: creates one that runs a test of the mini guest
	name=$1
	test=$2
	shift 2
	"$COSCTL" create --type vm --kernel "$KERNEL" --cmdline "test=$test" "$name" vm.memory=64M vm.acpi=false "$@"
}
event() { # GUEST EVENT
	"$COSCTL" events -o json | grep "\"guest\": *\"$1\"" | grep -q "\"event\": *\"$2\""
}
groups() { # PID: its groups' slot
	sed -n 's|.*:.*:/cos\.[^/]*/\([0-9]*\).*|\1|p' "/proc/$1/cgroup" | sort -u
}

# --- life ---
ok "a machine is made" machine hello hello
ok "it starts" "$COSCTL" start hello
ok "it ends by itself" await state_is hello defined
ok "what it wrote is in its log" says hello '^hello'
is "its end" "$(field hello last_end)" "exit 0"
is "its type" "$(field hello type)" vm
ok "one that waits for its button" machine button button
ok "starts" "$COSCTL" start button
ok "and waits" await says button waiting
like "it is listed as running" "$("$COSCTL" list button)" '^button .*running'
ok "stop presses the button" "$COSCTL" stop button
ok "which it sees" says button pressed
is "and obeys" "$(field button last_end)" "exit 0"
machine power power vm.acpi=true
"$COSCTL" start power
await says power waiting
ok "with ACPI there is a power button" "$COSCTL" stop power
is "which is obeyed, too" "$(field power last_end)" "exit 0"
ok "one that hears nothing" machine deaf spin
"$COSCTL" start deaf
ok "is switched off in its time" "$COSCTL" stop --timeout 2 deaf
is "by cos-vmm" "$(field deaf last_end)" "exit 12"
ok "which was wanted" state_is deaf defined
"$COSCTL" start deaf
ok "kill ends it at once" "$COSCTL" kill deaf
is "by a signal" "$(field deaf last_end)" "signal 9"

# --- how it ends ---
machine status status
"$COSCTL" start status
ok "a status of its own is a failure" await state_is status failed
like "which is told" "$(field status reason)" 'ended by itself: exit 69 \(exit\)'
machine triple triple
"$COSCTL" start triple
ok "a triple fault is a failure" await state_is triple failed
like "with a name" "$(field triple reason)" 'triple-fault'
machine again triple restart=on-failure
"$COSCTL" start again
ok "the restart policy holds" await event again restart
"$COSCTL" delete --force again
machine halt halt restart=always
"$COSCTL" start halt
ok "a halt stops it, whatever the policy says" await state_is halt defined
fails "and no restart is due" 3 '' "$COSCTL" stop halt
machine reset reset
"$COSCTL" start reset
ok "a reset starts it again, whatever the policy says" await event reset restart
ok "until it is deleted" "$COSCTL" delete --force reset

# --- beside a container ---
"$COSCTL" create --template busybox box -- sleep 1000
"$COSCTL" start box
machine spin spin cpu.rate=200m
ok "a machine with a limit starts" "$COSCTL" start spin
pid=$(field spin pid)
is "it is in one slot" "$(groups "$pid" | wc -l)" 1
pit=$(for p in /proc/[0-9]*; do grep -qx "kvm-pit/$pid" "$p/comm" 2>/dev/null && echo "${p#/proc/}"; done)
if [ -n "$pit" ]; then
	is "with KVM's thread" "$(groups "$pit")" "$(groups "$pid")"
else
	skip "with KVM's thread" "no kvm-pit: another pid namespace"
fi
adj=$(cat /proc/self/oom_score_adj)
is "the kernel prefers it when memory runs out" "$(cat "/proc/$pid/oom_score_adj")" $((adj < 0 ? 200 : adj > 800 ? 1000 : adj + 200))
like "and without rights" "$(grep CapEff "/proc/$pid/status")" '0000000000000000'
base=$("$COSCTL" list -o json spin | sed -n 's/.*"id_base": *\([0-9]*\).*/\1/p')
is "as nobody among the slot's ids" "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" $((base + 65534))
like "both are listed" "$("$COSCTL" list -o name | tr '\n' ' ')" 'box .*spin'
like "show tells its type" "$("$COSCTL" show spin)" '"type": "vm"'
used() {
	"$COSCTL" stats -o json "$1" | sed -n 's/.*"cpu_usec": *\([0-9]*\).*/\1/p'
}
has_used() { # GUEST USEC
	[ "$(used "$1")" -ge "$2" ]
}
ok "its processor time is counted" await has_used spin 200000
like "stats shows both" "$("$COSCTL" stats)" '^spin '
own=$("$COSCTL" stats -o json spin)
like "with what the machine's processors used" "$own" '"vcpu_usec": *[1-9]'
like "and cos-vmm itself" "$own" '"vmm_usec": *[1-9]'
like "exits by reason" "$own" '"exits": *[{]'
like "its balloon" "$own" '"actual_bytes": *0'
is "which a container has not" "$("$COSCTL" stats -o json box | grep -c vcpu_usec)" 0
like "top too" "$("$COSCTL" top -n 1)" 'spin'
ok "why names the limit" await sh -c "$COSCTL why spin | grep -q cpu.rate"
ok "the limit is raised while it runs" "$COSCTL" set spin cpu.rate=2
ok "the ledger knows it" await sh -c "$COSCTL usage spin | grep -q '^spin '"
sum() { # GUEST METRIC: of the ledger
	"$COSCTL" usage -o json "$1" | sed -n "s/^ *\"$2\": *\([0-9]*\).*/\1/p"
}
has_sum() { # GUEST METRIC AT_LEAST
	[ "$(sum "$1" "$2")" -ge "$3" ]
}
within() { # the machine's threads have used no more than its group
	[ $(($(sum spin vcpu_usec) + $(sum spin vmm_usec))) -le $(($(sum spin cpu_user_usec) + $(sum spin cpu_system_usec))) ]
}
ok "with its processors' time" await has_sum spin vcpu_usec 500000
ok "cos-vmm's own" has_sum spin vmm_usec 1
ok "together not more than its group's" within
ok "exits" has_sum spin vm_io_exits 1
is "which a container has not" "$(sum box vcpu_usec)" 0
ok "it freezes" await "$COSCTL" freeze spin
ok "and is frozen" state_is spin frozen
before=$(used spin)
sleep 0.3
is "it uses nothing" "$(used spin)" "$before"
ok "it thaws" "$COSCTL" thaw spin
ok "and goes on" await has_used spin $((before + 10000))

# --- the daemon's processes ---
machine echo echo
"$COSCTL" start echo
await says echo ready
daemon() { # worker or keeper
	[ "$1" = worker ] && cat "$T/run/cosd.pid" || cat "$T/run/keep.pid"
}
is_back() {
	"$COSCTL" version
}
for who in worker keeper; do
	old=$(daemon $who)
	told=$(sum spin vcpu_usec)
	kill -9 "$old"
	await sh -c "[ \"\$(cat $T/run/cosd.pid)\$(cat $T/run/keep.pid)\" ] && ! kill -0 $old 2>/dev/null"
	ok "after kill -9 of the $who the daemon is back" await is_back
	ok "the machine runs on" state_is spin running
	is "as the same process" "$(field spin pid)" "$pid"
	ok "its processors' time is counted on" await has_sum spin vcpu_usec $((told + 500000))
	ok "and not twice" within
done
worker=$(daemon worker)
keeper=$(daemon keeper)
kill -9 "$keeper" "$worker"
await sh -c "! kill -0 $worker 2>/dev/null"
cos_start_daemon
is "after kill -9 of both it is adopted" "$(field spin pid)" "$pid"
ok "it can be limited" "$COSCTL" set spin cpu.rate=100m
# The console's other end was found again in cos-vmm.
(printf 'over the console\n'; sleep 1) | timeout 5 "$COSCTL" console echo >"$T/console.out" 2>&1
ok "its console is there" await says echo 'over the console'
ended() { # before Linux 6.15 how an orphan ended is not known
	state_is "$1" defined || state_is "$1" failed
}
ok "its end is seen" await ended echo
ok "an adopted machine stops in order" "$COSCTL" stop --timeout 1 spin
is "by its control socket" "$(field spin state)" defined
"$COSCTL" start spin
kill -9 "$(field spin pid)"
ok "kill -9 of cos-vmm is a failure" await state_is spin failed
like "which is told" "$(field spin reason)" 'signal 9'
worker=$(daemon worker)
"$COSCTL" start spin
pid=$(field spin pid)
kill -9 "$worker"
await is_back
kill -9 "$pid"
ok "of an adopted one, too" await state_is spin failed

# --- refused ---
fails "no kernel" 2 '/vm.kernel: missing' "$COSCTL" create --type vm x
fails "no such kernel" 2 'vm.kernel: open' "$COSCTL" create --type vm --kernel "$T/none" x
fails "a kernel that is no file" 2 'not a regular file' "$COSCTL" create --type vm --kernel /dev/zero x
fails "a kernel for a container" 2 '/vm.kernel: is for guests of type vm' \
	"$COSCTL" create --template busybox x vm.kernel=/boot/x
for n in 0 65 1000; do
	fails "$n processors" 2 'vm.cpus: is '$n', not in 1..64' \
		"$COSCTL" create --type vm --kernel "$KERNEL" x vm.cpus=$n
done
fails "too little memory" 2 'vm.memory' "$COSCTL" create --type vm --kernel "$KERNEL" x vm.memory=1M
fails "a limit below its memory" 2 'too little for vm.memory' machine x hello memory.max=64M
for word in userns=true hostname=x user=0 'env={}' cwd=/ 'binds=[]' stop_signal=TERM \
	'health={"command":["true"]}' manage=true volatile=true no_new_privs=true capabilities=all \
	rlimit.nofile=10 net.mode=host net.mode=macvlan; do
	fails "a machine with ${word%%=*}=${word#*=}" 2 'is for containers' machine x hello "$word"
done
fails "or with a command" 2 'command: is for containers' machine x hello -- true
"$COSCTL" start spin
for what in '125 exec spin -- true' '125 enter spin' "1 cp spin:/x $T" '1 snapshot spin one' \
	'1 kill -s HUP spin'; do
	# shellcheck disable=SC2086 # words
	fails "${what#* }" "${what%% *}" 'is a machine' "$COSCTL" ${what#* }
done
mkdir "$T/k"
head -c 100000 /dev/urandom >"$T/k/noise"
head -c 1000 "$KERNEL" >"$T/k/cut"
: >"$T/k/empty"
for k in noise cut empty; do
	"$COSCTL" create --type vm --kernel "$T/k/$k" bad
	fails "$k is no kernel" 1 'machine:' "$COSCTL" start bad
	ok "which the state tells" state_is bad failed
	"$COSCTL" delete bad
done
"$COSCTL" create --type vm --kernel "$KERNEL" --initrd "$T/k/huge" bad 2>"$T/err"
like "an initrd that is not there" "$(cat "$T/err")" 'vm.initrd'
truncate -s 80M "$T/k/huge"
"$COSCTL" create --type vm --kernel "$KERNEL" --initrd "$T/k/huge" bad vm.memory=64M
fails "an initrd larger than memory" 1 'initrd' "$COSCTL" start bad
machine gone hello
cp "$KERNEL" "$T/k/kernel"
"$COSCTL" set gone vm.kernel="$T/k/kernel"
rm "$T/k/kernel"
fails "a kernel that is gone" 2 'vm.kernel: open' "$COSCTL" start gone

# --- a template as its disk ---
blk() { # SECTOR KEY=VALUE...: the machine "disk" looks at a sector
	"$COSCTL" set disk "vm.cmdline=test=blk sector=$*"
	"$COSCTL" start disk && await state_is disk defined
}
fails "a template that is not there" 4 'no template' machine disk list --template none
ok "a machine on a template" machine disk list --template busybox
img=$(ls "$T"/state/cow/layers/*/disk.img)
ok "has a disk, made at the first" test -s "$img"
sum_of() { # the image, as far as there are files in it
	stat -c %y "$1"
	head -c 64M "$1" | sha256sum
}
sum=$(sum_of "$img")
if command -v debugfs >/dev/null; then
	like "with the template's files" "$(debugfs -R 'stat /bin/busybox' "$img" 2>&1)" 'Mode:  0755'
	is "and no others" "$(debugfs -R 'ls -p /' "$img" 2>/dev/null | awk -F/ 'NF > 5 { print $6 }' | grep -v '^\.\.*$' | sort | tr '\n' ' ')" \
		"$( (cd "$(dirname "$img")/root" && echo lost+found && ls -A) | sort | tr '\n' ' ')"
else
	skip "with the template's files" "no debugfs"
	skip "and no others" "no debugfs"
fi
"$COSCTL" start disk
ok "the machine has it" await says disk '^device 2'
await state_is disk defined
ok "it writes to it" blk "100 write=1 flush=1"
ok "it starts again" blk 100
ok "what it wrote is there" says disk 'was wwwwwwww'
machine disk2 'blk sector=100' --template busybox
"$COSCTL" start disk2
await state_is disk2 defined
ok "another machine sees nothing of that" sh -c "! $COSCTL logs disk2 | grep -q wwww"
is "the image is as it was" "$(sum_of "$img")" "$sum"
fails "the template cannot be deleted" 1 'disk' "$COSCTL" template delete busybox
"$COSCTL" delete disk disk2
is "with the machine its writes go" "$(find "$T/state/cow" -name disk.cow)" ""

# --- run ---
got=$("$COSCTL" run --rm --type vm --kernel "$KERNEL" --cmdline test=hello brief vm.memory=64M 2>&1 </dev/null)
st=$?
like "run shows what it writes" "$got" '^hello'
is "and ends as it does" $st 0
"$COSCTL" run --rm --type vm --kernel "$KERNEL" --cmdline test=status brief vm.memory=64M >/dev/null 2>&1 </dev/null
is "with its status" $? 69
ok "and leaves nothing" sh -c "! $COSCTL list -o name | grep -qx brief"

# --- nothing is left ---
"$COSCTL" delete --all --force
no_groups() {
	! find /sys/fs/cgroup -maxdepth 4 -path "*cos.$INSTANCE/[0-9]*" -type d 2>/dev/null | grep -q .
}
ok "control groups are gone" await no_groups
is "files too" "$(find "$T/state/guests" "$T/state/log" "$T/state/cow/guests" "$T/run/guests" -mindepth 1)" ""
ok "and processes" sh -c "! pgrep -f 'cos-vmm --sync' -P $(daemon keeper)"
rm -f "$conf"
plan_done
