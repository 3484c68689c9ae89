#!/bin/sh
# tests/kern/cow-oci.sh - images in OCI layouts become templates; what is wrong with one is told
. "${TOP_SRCDIR:-.}/tests/kern/cow-lib.sh"

# usage: refused NAME WORDS   the layout is not imported, and why has WORDS in it
refused() {
	is "$1" exits 1 --json-errors template import bad "oci:$dir/oci"
	is "... and is told so" grep -q "\"BadImage\".*$2" "$dir/err"
}

scratch cow-oci
blobs=$dir/oci/blobs/sha256
arch=$(uname -m | sed -e s/x86_64/amd64/ -e s/aarch64/arm64/)

# usage: blob FILE   moves it among the blobs; prints its descriptor
blob() {
	sum=$(sha256sum "$1" | cut -d ' ' -f 1)
	size=$(wc -c <"$1")
	mv "$1" "$blobs/$sum"
	printf '{"mediaType":"application/octet-stream","digest":"sha256:%s","size":%s}' "$sum" "$size"
}

# usage: manifest LAYER...   descriptors; prints the manifest's
manifest() {
	list=$(IFS=,; echo "$*")
	printf '{"schemaVersion":2,"layers":[%s]}' "$list" >"$dir/manifest"
	blob "$dir/manifest"
}

# usage: index MANIFEST...
index() {
	list=$(IFS=,; echo "$*")
	printf '{"schemaVersion":2,"manifests":[%s]}' "$list" >"$dir/oci/index.json"
}

# usage: layer TAR-ARG... <nothing   what is in $dir/l; prints the descriptor
layer() {
	tar -C "$dir/l" --numeric-owner "$@" -cf "$dir/layer" .
	rm -rf "$dir/l"
	mkdir "$dir/l"
	blob "$dir/layer"
}

fresh() {
	rm -rf "$dir/oci" "$dir/l"
	mkdir -p "$blobs" "$dir/l"
}

fresh
mkdir -p "$dir/l/etc" "$dir/l/gone" "$dir/l/opaque/old" "$dir/l/deep/er" "$dir/l/becomes-file/x"
echo one >"$dir/l/etc/one"
echo two >"$dir/l/etc/two"
echo x >"$dir/l/gone/x"
echo old >"$dir/l/opaque/old/file"
echo y >"$dir/l/deep/er/y"
head -c 50000 /dev/zero | tr '\0' z >"$dir/l/big"
one=$(layer)
mkdir -p "$dir/l/etc" "$dir/l/opaque" "$dir/l/deep"
echo "two of two" >"$dir/l/etc/two"
: >"$dir/l/etc/.wh.one"
: >"$dir/l/.wh.gone"
echo new >"$dir/l/opaque/new"
: >"$dir/l/opaque/.wh..wh..opq"
: >"$dir/l/deep/.wh.er"
: >"$dir/l/.wh..wh.plnk"
echo file >"$dir/l/becomes-file"
two=$(layer -z)
mkdir "$dir/l/gone"
echo back >"$dir/l/gone/again"
three=$(layer)
index "$(manifest "$one" "$two" "$three")"
is 'three layers' exits 0 template import i "oci:$dir/oci"
exits 0 template list
is 'its source is told' grep -q '^i  *oci ' "$dir/out"
tree=$(echo "$dir"/state/cow/layers/*/root)
is 'a file was taken away' test ! -e "$tree/etc/one"
is 'one was replaced' test "$(cat "$tree/etc/two")" = "two of two"
is 'a directory was taken away, and made again' test "$(ls "$tree/gone")" = again
is 'an opaque one has only what is new' test "$(ls "$tree/opaque")" = new
is 'a directory below one' test -z "$(ls "$tree/deep")"
is 'a file in the place of a directory' test "$(cat "$tree/becomes-file")" = file
is 'no whiteout is left' test -z "$(find "$tree" -name '.wh*')"
is 'the name is taken' exits 5 template import i "oci:$dir/oci"

m=$(manifest "$one" "$two")
index "$(echo "$m" | sed 's/}$/,"platform":{"architecture":"pdp11","os":"linux"}}/')" \
	"$(echo "$m" | sed "s/}\$/,\"platform\":{\"architecture\":\"$arch\",\"os\":\"linux\"}}/")"
is 'the image for this machine' exits 0 template import m "oci:$dir/oci"
printf '{"manifests":[%s]}' "$m" >"$dir/inner"
index "$(blob "$dir/inner")"
is 'an index in an index' exits 0 template import n "oci:$dir/oci"
exits 0 template delete m
exits 0 template delete n

if exits 0 selftest; then
	exits 0 --unify template import u1 "oci:$dir/oci"
	exits 0 --unify template import u2 "oci:$dir/oci"
	exits 0 scrub
	is 'what templates have in common is stored once' grep -q '^objects  *1$' "$dir/out"
	mkdir "$dir/m"
	is 'a guest of it' exits 0 root make g u2
	is 'is mounted' exits 0 root mount g "$dir/m"
	is 'and reads it' test "$(tr -d z <"$dir/m/big" | wc -c)" = 0 -a "$(wc -c <"$dir/m/big")" = 50000
	umount "$dir/m"
else
	n=$((n + 1))
	echo "ok $n - unify templates # SKIP $(grep '^NO' "$dir/out")"
fi

if exits 0 selftest; then
	is 'export as an archive' exits 0 template export u2 "$dir/u2.tar"
	is 'import it again' exits 0 template import e1 "$dir/u2.tar"
	is 'export as an OCI layout' exits 0 template export u2 "oci:$dir/exported"
	is 'import that' exits 0 template import e2 "oci:$dir/exported"
	tree=$(sed 's/.*\["\([0-9a-f]*\)"\].*/\1/' "$dir/state/cow/templates/e2.json")
	is 'with the data of what is in the pool' test "$(wc -c <"$dir/state/cow/layers/$tree/root/big")" = 50000
	is 'and not empty' test "$(head -c 3 "$dir/state/cow/layers/$tree/root/big")" = zzz
	is 'no such template' exits 4 template export nothing "$dir/u2.tar"
	is 'what was exported before is still there' test -s "$dir/u2.tar"
	mkdir -m 751 "$dir/odd"
	printf 'a\n' >"$dir/odd/$(printf 'F\305\221tan\303\272')" # UTF-8
	printf 'b\n' >"$dir/odd/$(printf 'caf\351')"                # none
	printf 'c\n' >"$dir/odd/$(printf 'a\nb')"
	truncate -s 50M "$dir/odd/hole" "$dir/odd/holes"
	printf end >>"$dir/odd/holes"
	ln "$dir/odd/holes" "$dir/odd/other"
	exits 0 template import odd "$dir/odd"
	is 'any name, and holes' exits 0 template export odd "$dir/odd.tar"
	is 'are small in the archive' test "$(wc -c <"$dir/odd.tar")" -lt 100000
	is 'and come back' exits 0 template import odder "$dir/odd.tar"
	tree=$(sed 's/.*\["\([0-9a-f]*\)"\].*/\1/' "$dir/state/cow/templates/odder.json")
	is 'as they were' diff -r "$dir/odd" "$dir/state/cow/layers/$tree/root"
	is 'holes too' test "$(du -sk "$dir/state/cow/layers/$tree/root" | cut -f 1)" -lt 1000
	is 'and the root directory' test "$(stat -c %a "$dir/state/cow/layers/$tree/root")" = 751
fi

index "$m" "$m"
refused 'two images' 'several images'
index
refused 'none' 'no image'
echo '{"manifests":' >"$dir/oci/index.json"
refused 'broken JSON' 'index.json'
rm "$dir/oci/index.json"
refused 'no index' 'index.json'
index '{"digest":"sha256:../../../../etc/passwd","size":1}'
refused 'a path as a digest' 'digest'
index '{"digest":"sha512:00","size":1}'
refused 'another digest' 'SHA-256'
index "$(echo "$m" | sed 's/"size":[0-9]*/"size":7/')"
refused 'another size' 'size'
index "$(manifest)"
refused 'no layers' '127 layers'
l=$(echo data >"$dir/f" && blob "$dir/f")
index "$(manifest "$l")"
refused 'a layer that is no archive' 'layer 1'
blob_name=$(echo "$one" | sed 's/.*sha256:\([0-9a-f]*\).*/\1/')
cp "$blobs/$blob_name" "$dir/keep"
printf X | dd of="$blobs/$blob_name" bs=1 seek=600 conv=notrunc 2>/dev/null
index "$m"
refused 'a damaged layer' 'damaged'
rm "$blobs/$blob_name" && ln -s "$dir/keep" "$blobs/$blob_name"
refused 'a link as a layer' 'open'
rm "$blobs/$blob_name" && mkfifo "$blobs/$blob_name"
refused 'a fifo as a layer' 'is not a file'
rm "$blobs/$blob_name"
refused 'a missing layer' 'open'
cp "$dir/keep" "$blobs/$blob_name"
: >"$dir/l/.wh..." && l=$(layer)
index "$(manifest "$one" "$l")"
refused 'a whiteout of the parent' 'whiteout of nothing'
: >"$dir/l/x" && l=$(layer --transform 's,^\./x,../.wh.etc,' -P)
index "$(manifest "$one" "$l")"
refused 'a whiteout outside' '[.][.]'
head -c 3000 "$dir/keep" >"$dir/f" && l=$(blob "$dir/f")
index "$(manifest "$l")"
refused 'a layer that was cut' 'layer 1'
mkdir -p "$dir/victim/sub"
ln -s "$dir/victim" "$dir/l/etc" && a=$(layer)
mkdir "$dir/l/etc" && : >"$dir/l/etc/.wh.sub" && l=$(layer)
index "$(manifest "$a" "$l")"
exits 0 template import link "oci:$dir/oci"
is 'a whiteout behind a link takes nothing away' test -d "$dir/victim/sub"
is 'nothing is left of what failed' test -z "$(ls "$dir/state/cow/tmp")"

finish
