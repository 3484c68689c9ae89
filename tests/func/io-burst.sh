#!/bin/sh
# tests/func/io-burst.sh - what a guest leaves of its io caps is saved, and used later
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
if ! "$COSCTL" create --template busybox probe io.wbps=1M -- sleep 1000 || ! "$COSCTL" start probe; then
	echo "1..0 # SKIP a host where io.wbps can be set"
	exit 0
fi
"$COSCTL" delete --force probe
credit() { # GUEST LIMIT: what is saved
	"$COSCTL" stats -o json "$1" | tr -d ' \n' | sed -n "s/.*\"io_credit\":{[^}]*\"$2\":\(-\{0,1\}[0-9]*\).*/\1/p"
}
now() { # milliseconds
	awk '{ printf "%d", $1 * 1000 }' /proc/uptime
}
cap() { # GUEST: the least that the kernel has for writes; that of a disk which is gone stays as it was
	slot=$("$COSCTL" status -o json "$1" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	for f in blkio.throttle.write_bps_device io.max; do
		cat "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/$slot/$f" 2>/dev/null | head -1)" 2>/dev/null
	done | sed 's/.*wbps=\([0-9]*\).*/\1/; s/^[0-9]*:[0-9]* //' | sort -n | head -1
}
writes() { # GUEST MIB: milliseconds that it takes past the page cache
	t=$(now)
	"$COSCTL" exec "$1" -- dd if=/dev/zero of=/f bs=64k count=$(($2 * 16)) oflag=direct conv=notrunc 2>/dev/null
	echo $(($(now) - t))
}

fails "io.burst without a cap" 2 'io.burst=1s needs a cap' "$COSCTL" create --template busybox bad io.burst=1 -- true
fails "io.burst of more than a day" 2 'io.burst' "$COSCTL" create --template busybox bad io.wbps=1M io.burst=86401 -- true

"$COSCTL" create --template busybox g io.wbps=2M io.burst=8 -- sleep 1000
ok "a guest that may save eight seconds of 2 MiB/s" "$COSCTL" start g
is "has them at once" "$(credit g io.wbps)" $((16 << 20))
ok "its cap is what it may draw: $(cap g)" test "$(cap g)" -ge $((8 << 20))
ms=$(writes g 12)
ok "12 MiB of them take less than the cap's six seconds: $ms ms" test "$ms" -lt 5000
left=$(credit g io.wbps)
ok "are spent then: $left" test "$left" -lt $((12 << 20))
ms=$(writes g 16)
ok "16 MiB more take the cap's time, less what was left: $ms ms" test "$ms" -gt 3000
low() {
	[ "$(cap g)" -lt $((4 << 20)) ]
}
ok "the cap comes down: $(cap g)" await low
before=$(credit g io.wbps)
more() {
	[ "$(credit g io.wbps)" -gt $((before + (4 << 20))) ]
}
ok "what it leaves is saved" await more
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "the next worker begins with nothing saved" test "$(credit g io.wbps)" -lt "$((before + (4 << 20)))"
ok "and with the cap" low
"$COSCTL" set g io.burst=0
is "without io.burst there is no bucket" "$(credit g io.wbps)" ""
is "and the cap is the limit" "$(cap g)" $((2 << 20))
"$COSCTL" set g io.burst=8 io.wbps=4M
ok "and again" test "$(credit g io.wbps)" -ge 0
"$COSCTL" set g io.wbps=max io.burst=0
is "without a cap there is none" "$(credit g io.wbps)" ""
"$COSCTL" delete --force g
plan_done
