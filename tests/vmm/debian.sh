#!/bin/sh
# tests/vmm/debian.sh - a stock Debian kernel under cos-vmm: processors, disk, network, memory, power button
#
# Needs a KVM that has VMX or SVM: elsewhere each instruction of the kernel takes a microsecond. Under
# tests/l1 QEMU emulates SVM: make check-l1 L1_TESTS=tests/vmm/debian.sh
set -u
. "$TOP_SRCDIR/tests/l1/initrd.sh"
VMM=$TOP_BUILDDIR/vmm/cos-vmm
kernel=${L1_KERNEL:-$TOP_SRCDIR/build/kernel}
modules='virtio_mmio virtio_blk virtio_net virtio-rng virtio_balloon virtio_console button evdev'
n=0
failed=0

ok() { # DESCRIPTION COMMAND...
	desc=$1
	shift
	n=$((n + 1))
	if "$@" >&2; then
		echo "ok $n - $desc"
	else
		echo "not ok $n - $desc"
		failed=1
	fi
}
skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

[ "$(id -u)" = 0 ] || skip_all "needs root"
grep -qwE 'svm|vmx' /proc/cpuinfo || skip_all "the processor has neither VMX nor SVM"
[ -e /dev/kvm ] || modprobe kvm-amd 2>/dev/null || modprobe kvm-intel 2>/dev/null
[ -e /dev/kvm ] || skip_all "no /dev/kvm"
command -v busybox >/dev/null || skip_all "no busybox"
command -v mkfs.ext4 >/dev/null || skip_all "no mkfs.ext4"
vmlinuz=$(ls "$kernel"/boot/vmlinuz-* 2>/dev/null) || skip_all "no kernel in $kernel: run ./bootstrap install-deps"
tree=$kernel/lib/modules/${vmlinuz##*/vmlinuz-}

# A network of its own, which ends with the script.
if [ -z "${COS_VM_NET:-}" ]; then
	COS_VM_NET=1
	export COS_VM_NET
	exec unshare -n sh "$0"
fi

T=$(mktemp -d "${TMPDIR:-/tmp}/cos-vm.XXXXXX")
vm=
cleanup() {
	trap '' INT TERM
	[ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null
	wait
	rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# --- what the guest has: busybox, the modules, an init -----------------------------------------------

mkdir -p "$T/tree/etc"
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
for m in $modules; do modprobe \$m; done
echo "guest: kernel \$(uname -r)"
echo "guest: cpus \$(grep -c ^processor /proc/cpuinfo)"
if [ -e /dev/vda ]; then
	mount -t ext4 /dev/vda /mnt && echo "guest: \$(cat /mnt/etc/name)"
	[ -e /mnt/written ] && echo "guest: again \$(cat /mnt/written)"
	echo "by the guest" >/mnt/written && sync && umount /mnt && echo "guest: disk good"
fi
if [ -e /sys/class/net/eth0 ]; then
	ip addr add 10.77.0.2/24 dev eth0 && ip link set eth0 up
	ping -c 3 -W 20 10.77.0.1 | grep -q ' 0% packet loss' && echo "guest: net good"
fi
[ -e /sys/class/misc/hw_random ] && echo "guest: rng \$(cat /sys/class/misc/hw_random/rng_current)"
echo "guest: up"
if grep -q turnoff /proc/cmdline; then
	poweroff -f
fi
if grep -q powerbutton /proc/cmdline; then
	for e in /sys/class/input/event*; do
		echo "guest: input \${e##*/} \$(cat \$e/device/name)"
		[ "\$(cat \$e/device/name)" = "Power Button" ] || continue
		echo "guest: listens"
		dd if=/dev/input/\${e##*/} bs=24 count=1 >/dev/null 2>&1 && echo "guest: button"
		poweroff -f
	done
fi
while :; do sleep 1000; done
END
chmod 755 "$T/root/init"
initrd_pack "$T/root" "$T/initrd"
echo "a Debian template" >"$T/tree/etc/name"
truncate -s 64M "$T/template"
mkfs.ext4 -q -d "$T/tree" "$T/template"
: >"$T/cow"
sum=$(sha256sum <"$T/template")

# --- machines ---------------------------------------------------------------------------------------------

start() { # LOG ARG...: cos-vmm with its console in LOG
	log=$1
	shift
	: >"$log"
	"$VMM" --kernel "$vmlinuz" --initrd "$T/initrd" --memory 256M "$@" \
		</dev/null >"$log" 2>"$log.err" &
	vm=$!
}
says() { # LOG WORDS: within 10 minutes, as long as it runs
	until=$(($(date +%s) + 600))
	until grep -q "$2" "$1"; do
		kill -0 "$vm" 2>/dev/null && [ "$(date +%s)" -lt "$until" ] || break
		sleep 0.2
	done
	grep -q "$2" "$1" || {
		tail -n 40 "$1" "$1.err" >&2
		return 1
	}
}
ends() { # STATUS
	wait "$vm"
	status=$?
	vm=
	[ $status -eq "$1" ] || {
		echo "status $status" >&2
		tail -n 20 "$log" "$log.err" >&2
		return 1
	}
}

ip tuntap add t0 mode tap vnet_hdr
ip addr add 10.77.0.1/24 dev t0
ip link set t0 up

line='console=ttyS0 reboot=k panic=-1 quiet mitigations=off tsc=reliable no_timer_check random.trust_cpu=on'
start "$T/acpi" --acpi --vcpus 2 --disk "$T/cow,base=$T/template" --net t0 --cmdline "$line powerbutton"
ok "a stock kernel boots by its 64-bit entry" says "$T/acpi" 'guest: up'
ok "it has its processors" grep -q 'guest: cpus 2' "$T/acpi"
ok "its root template" grep -q 'guest: a Debian template' "$T/acpi"
ok "writes to it" grep -q 'guest: disk good' "$T/acpi"
ok "reaches the network" grep -q 'guest: net good' "$T/acpi"
ok "has random numbers" grep -q 'guest: rng virtio_rng' "$T/acpi"
ok "listens to its power button" says "$T/acpi" 'guest: listens'
[ -z "$vm" ] || kill -TERM "$vm"
ok "sees the power button" says "$T/acpi" 'guest: button'
ok "and turns itself off" ends 0
ok "which is known as an orderly stop" grep -q 'ended: stopped' "$T/acpi.err"

start "$T/acpi2" --acpi --disk "$T/cow,base=$T/template" --cmdline "$line powerbutton"
ok "boots again from the same disk" says "$T/acpi2" 'guest: up'
ok "what was written is there" grep -q 'guest: again by the guest' "$T/acpi2"
[ -z "$vm" ] || kill -KILL "$vm"
wait
vm=
ok "the template is as it was" test "$sum" = "$(sha256sum <"$T/template")"

start "$T/plain" --cmdline "$line"
ok "it boots without ACPI" says "$T/plain" 'guest: up'
[ -z "$vm" ] || kill -TERM "$vm"
ok "and takes Ctrl-Alt-Del as a reboot" ends 0
ok "which is an orderly stop too" grep -q 'ended: stopped' "$T/plain.err"

start "$T/off" --vcpus 2 --cmdline "$line turnoff"
ok "it turns itself off without ACPI" says "$T/off" 'guest: up'
ok "by halting for good, which is seen" ends 0
ok "and known for what it is" grep -q 'ended: off' "$T/off.err"

echo "1..$n"
exit $failed
