# tests/func/debian.sh - Debian templates for functional tests, kept between runs
#
# A test sources this after lib.sh. Building takes a minute and the network: what was built once is kept as an
# archive in the build tree, until cow-fs is built anew, and imported from there.

DEBIAN_CACHE=$TOP_BUILDDIR/tests/func/debian-cache

# Builds the template NAME for real, with further arguments; keeps it. On failure $missing says what this host
# lacks, or is empty: then it is a failure of ours.
debian_build() { # NAME ARGUMENT...
	missing=
	command -v mmdebstrap >/dev/null || { missing="mmdebstrap"; return 1; }
	if ! timeout 900 "$COSCTL" template build debian "$@" >"$T/build.log" 2>&1; then
		grep -Eq "Could not (resolve|connect)|Temporary failure|Failed to fetch|Unable to connect|timed out" \
			"$T/build.log" "$T/state/cow/log/$1.log" && missing="a mirror of Debian ($(grep why "$T/build.log"))"
		sed 's/^/# /' "$T/build.log"
		return 1
	fi
	mkdir -p "$DEBIAN_CACHE"
	layer=$(sed 's/.*"layers":\["\([0-9a-f]*\)".*/\1/' "$T/state/cow/templates/$1.json")
	tar -C "$T/state/cow/layers/$layer/root" --xattrs --numeric-owner -cf "$DEBIAN_CACHE/$1.$$" . &&
		mv "$DEBIAN_CACHE/$1.$$" "$DEBIAN_CACHE/$1.tar"
}

# The template NAME, kept or built.
debian_template() { # NAME ARGUMENT...
	if [ "$DEBIAN_CACHE/$1.tar" -nt "$TOP_BUILDDIR/cow-fs/cow-fs" ]; then
		"$COSCTL" template import "$1" "$DEBIAN_CACHE/$1.tar" >"$T/build.log" 2>&1 && return
	fi
	debian_build "$@"
}
