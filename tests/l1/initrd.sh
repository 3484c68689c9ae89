# tests/l1/initrd.sh - initial disks for a stock kernel; sourced

# usage: initrd_fill ROOT TREE MODULE...   busybox, and from TREE these modules with what they need
initrd_fill() {
	root=$1
	from=$2
	into=$root/lib/modules/${from##*/}
	shift 2
	mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/mnt" "$into"
	cp "$(command -v busybox)" "$root/bin/busybox"
	for m; do
		sed -n "s|^\(.*/$m\.ko\):|\1|p" "$from/modules.dep" | tr ' ' '\n'
	done | sort -u | while read -r m; do
		[ -n "$m" ] || continue
		mkdir -p "$into/${m%/*}"
		cp "$from/$m" "$into/$m"
	done
	cp "$from/modules.dep" "$into/"
}

# usage: initrd_pack ROOT FILE
initrd_pack() {
	(cd "$1" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$2"
}
