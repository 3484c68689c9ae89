#!/bin/sh
# tests/func/vm-debian.sh - a stock Debian kernel as a guest of cosd: disk of a template, network, power button
#
# Needs a KVM that has VMX or SVM, as under tests/l1: make check-l1 L1_TESTS=tests/func/vm-debian.sh
grep -qwE 'svm|vmx' /proc/cpuinfo || { echo "1..0 # SKIP the processor has neither VMX nor SVM"; exit 0; }
. "$(dirname "$0")/net-lib.sh"
. "$TOP_SRCDIR/tests/l1/initrd.sh"
skip_all() {
	kill "$outside_pid"
	trap - EXIT
	echo "1..0 # SKIP $1"
	exit 0
}
[ -e /dev/kvm ] || modprobe kvm-amd 2>/dev/null || modprobe kvm-intel 2>/dev/null
[ -e /dev/kvm ] || skip_all "no /dev/kvm"
command -v mke2fs >/dev/null || skip_all "no mke2fs"
command -v busybox >/dev/null || skip_all "no busybox"
kernel=${L1_KERNEL:-$TOP_SRCDIR/build/kernel}
vmlinuz=$(ls "$kernel"/boot/vmlinuz-* 2>/dev/null) || skip_all "no kernel in $kernel: run ./bootstrap install-deps"
tree=$kernel/lib/modules/${vmlinuz##*/vmlinuz-}
modules='virtio_mmio virtio_blk virtio_net virtio-rng virtio_balloon ext4 button evdev'
net_setup '{"net.pool": "10.88.0.0/24", "net.cap": "100Mbit"}'

# --- an initrd: the modules, and an init that does what the kernel's words say ---
# shellcheck disable=SC2086 # a list of words
initrd_fill "$T/root" "$tree" $modules
cat >"$T/root/init" <<END
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for m in $modules; do modprobe \$m 2>/dev/null; done
for w in \$(cat /proc/cmdline); do
	case \$w in
	cos.name=*) hostname \${w#*=} ;;
	cos.ip=*) ip=\${w#*=} ;;
	cos.gw=*) gw=\${w#*=} ;;
	esac
done
echo "guest: \$(hostname) has \$(grep -c ^processor /proc/cpuinfo) cpus"
mount -t ext4 /dev/vda /mnt && [ -x /mnt/bin/busybox ] && echo "guest: root is there"
[ -e /mnt/written ] && echo "guest: again \$(cat /mnt/written)"
echo "by the guest" >/mnt/written && sync && umount /mnt && echo "guest: disk good"
ip link set lo up
ip addr add \$ip dev eth0 && ip link set eth0 up && ip route add \$gw dev eth0 && ip route add default via \$gw
ping -c 3 -W 20 192.0.2.2 | grep -q ' 0% packet loss' && echo "guest: net good"
echo "guest: up"
dd if=/dev/zero bs=1000 count=300 2>/dev/null | nc 192.0.2.2 7007 && echo "guest: sent"
for e in /sys/class/input/event*; do
	[ "\$(cat \$e/device/name)" = "Power Button" ] || continue
	dd if=/dev/input/\${e##*/} bs=24 count=1 >/dev/null 2>&1 && echo "guest: button"
	poweroff -f
done
while :; do sleep 1000; done
END
chmod 755 "$T/root/init"
initrd_pack "$T/root" "$T/initrd"

says() { # GUEST WORDS: within 5 minutes
	i=0
	until "$COSCTL" logs "$1" 2>/dev/null | grep -q "$2" || [ $i -gt 1500 ]; do
		i=$((i + 1))
		sleep 0.2
	done
	"$COSCTL" logs "$1" | grep -q "$2"
}
"$COSCTL" create --type vm --kernel "$vmlinuz" --initrd "$T/initrd" --template busybox --cmdline \
	'console=ttyS0 reboot=k panic=-1 quiet mitigations=off tsc=reliable no_timer_check random.trust_cpu=on' \
	deb vm.cpus=2 vm.memory=256M net.ceil=256kbit net.burst=16K
mkfifo "$T/idle" # input that does not end, or nc would end the stream
exec 7<>"$T/idle"
outside busybox nc -l -p 7007 <&7 >"$T/taken" &
ok "a stock kernel starts" "$COSCTL" start deb
ok "it comes up" says deb 'guest: up'
ok "it has its name and its processors" says deb 'guest: deb has 2 cpus'
ok "its root is the template's" says deb 'guest: root is there'
ok "writes to it" says deb 'guest: disk good'
ok "reaches the outside" says deb 'guest: net good'
sent() { # by the class itself
	id=$(class up0 deb | awk '{ print $3 }')
	tc -s class show dev up0 | awk -v id="$id" '$3 == id { on = 1 } on && $1 == "Sent" { print $2; exit }'
}
has_sent() { # BYTES
	[ "$(sent)" -gt "$1" ]
}
slowly() { # COMMAND...: as await, for five minutes
	for _ in $(seq 30); do
		await "$@" && return 0
	done
	return 1
}
# behind the burst the class moves at its ceiling, 32 kB a second by the host's clock
ok "it sends a stream" slowly has_sent 60000
from=$(sent) began=$(cut -d ' ' -f 1 /proc/uptime)
ok "more of it" slowly has_sent 220000
rate=$(echo "$from $(sent) $began $(cut -d ' ' -f 1 /proc/uptime)" | awk '{ print int(($2 - $1) * 8 / 1000 / ($4 - $3)) }')
ok "at the ceiling that was set: $rate kbit/s" [ "$rate" -ge 200 -a "$rate" -le 280 ]
ok "to its end" says deb 'guest: sent'
is "all of it arrived" "$(wc -c <"$T/taken")" 300000
ok "its processors' time is told" sh -c "$COSCTL stats -o json deb | grep -q '\"vcpu_usec\": *[1-9]'"
ok "it freezes" await "$COSCTL" freeze deb
ok "and thaws" "$COSCTL" thaw deb
ok "its power button ends it" "$COSCTL" stop --timeout 60 deb
ok "in order" says deb 'guest: button'
is "as a halt" "$("$COSCTL" status deb | sed -n 's/^last_end *//p')" "exit 0"
"$COSCTL" start deb
ok "when it starts again what it wrote is there" says deb 'guest: again by the guest'
"$COSCTL" delete --force deb
net_done
