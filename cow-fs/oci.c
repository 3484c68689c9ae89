/* cow-fs/oci.c - an OCI image layout into a template's tree: its layers one over the other */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/digest.h"
#include "cow-fs/fill.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define JSON_MAX   (4U << 20)
#define LAYERS_MAX 127 /* as other programs have it */
#define INDEXES    2   /* an index may name indexes, and these images */
#define HEX        64
#define NOWHERE    (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)

struct oci {
	struct tree *t;
	int dir;
	struct digester *g;
	const char *arch;
};

static int bad(struct cos_err *err, const char *what, const char *why)
{
	return cos_fail(err, COS_E_IMAGE, 0, "%s: %s", what, why);
}

/* ---- blobs ---- */

/* Opens what a descriptor of the image's names, and checks that it is that. */
static int open_blob(const struct oci *o, json_t *desc, const char *what, struct cos_err *err)
{
	const char *digest = json_string_value(json_object_get(desc, "digest"));
	json_t *length = json_object_get(desc, "size");
	char path[HEX + 16], ref[OBJECT_REF_SIZE];
	auto_close int fd = -1;
	struct digest is;
	struct stat st;
	uint64_t size = 0;
	int r;

	if (!digest || strncmp(digest, "sha256:", 7) != 0 || strlen(digest + 7) != HEX ||
	    strspn(digest + 7, "0123456789abcdef") != HEX)
		return bad(err, what, "its digest is not one of SHA-256");
	str_fmt(path, sizeof(path), "blobs/sha256/%s", digest + 7);
	fd = io_open2(o->dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, NOWHERE);
	if (fd < 0)
		return cos_fail(err, COS_E_IMAGE, -fd, "%s: open %s", what, path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return bad(err, path, "is not a file");
	if (json_is_integer(length) && json_integer_value(length) != st.st_size)
		return bad(err, path, "has not the size that the image says");
	r = digest_fd(o->g, fd, (uint64_t)st.st_size, NULL, NULL, &is, &size);
	if (r < 0)
		return cos_fail(err, COS_E_IMAGE, -r, "%s: read", path);
	object_ref(&is, ref);
	if (strcmp(ref + 3, digest + 7) != 0)
		return bad(err, path, "is damaged: its content has another digest");
	return take_fd(fd);
}

static int parse_fd(int fd, const char *what, json_t **ret, struct cos_err *err)
{
	auto_free char *text = NULL;
	ssize_t n = io_slurp_fd(fd, JSON_MAX, &text);
	int r;

	if (n < 0)
		return cos_fail(err, COS_E_IMAGE, (int)-n, "read %s", what);
	r = jsonx_parse(text, (size_t)n, what, ret, err);
	if (r < 0)
		err->code = COS_E_IMAGE;
	return r;
}

static int parse_blob(const struct oci *o, json_t *desc, const char *what, json_t **ret,
		      struct cos_err *err)
{
	auto_close int fd = open_blob(o, desc, what, err);

	if (fd < 0)
		return fd;
	return parse_fd(fd, what, ret, err);
}

/* ---- which image ---- */

static bool fits(const struct oci *o, json_t *desc)
{
	json_t *platform = json_object_get(desc, "platform");
	const char *arch = json_string_value(json_object_get(platform, "architecture"));
	const char *os = json_string_value(json_object_get(platform, "os"));

	return (!arch || strcmp(arch, o->arch) == 0) && (!os || strcmp(os, "linux") == 0);
}

/* The only one that fits this machine. */
static int choose(const struct oci *o, json_t *list, json_t **ret, struct cos_err *err)
{
	json_t *desc, *found = NULL;
	unsigned n = 0;
	size_t i;

	json_array_foreach(list, i, desc) {
		if (fits(o, desc)) {
			n++;
			found = desc;
		}
	}
	if (n == 0)
		return cos_fail(err, COS_E_IMAGE, 0, "index.json: no image for linux on %s",
				o->arch);
	if (n > 1)
		return cos_advise(err,
				  bad(err, "index.json", "has several images for this machine"),
				  "copy the one that is wanted into a layout of its own, such as "
				  "with 'skopeo copy'");
	*ret = found;
	return 0;
}

/* From the index, which may name another one, to the manifest of an image. */
static int find_manifest(const struct oci *o, json_t **ret, struct cos_err *err)
{
	auto_close int fd =
		io_open2(o->dir, "index.json", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, NOWHERE);
	auto_json json_t *at = NULL;
	int r;

	if (fd < 0)
		return cos_fail(err, COS_E_IMAGE, -fd, "open index.json in the OCI layout");
	r = parse_fd(fd, "index.json", &at, err);
	for (int depth = 0; r == 0 && json_object_get(at, "manifests"); depth++) {
		json_t *desc = NULL, *next = NULL;

		if (depth == INDEXES)
			return bad(err, "index.json", "indexes of indexes of indexes");
		r = choose(o, json_object_get(at, "manifests"), &desc, err);
		if (r == 0)
			r = parse_blob(o, desc, "the image's manifest", &next, err);
		if (r < 0)
			return r;
		json_decref(at);
		at = next;
	}
	if (r == 0)
		*ret = take_ptr(at);
	return r;
}

/* ---- its layers ---- */

/* What a layer takes away was in those below it, wherever in the archive it says so: twice through
 * it. */
static int put_layer(const struct oci *o, json_t *desc, size_t i, struct cos_err *err)
{
	char what[32];
	auto_close int fd = -1;
	int r = 0;

	str_fmt(what, sizeof(what), "layer %zu", i + 1);
	fd = open_blob(o, desc, what, err);
	if (fd < 0)
		return fd;
	if (i > 0)
		r = fill_from_layer(o->t, fd, LAYER_TAKES_AWAY, err);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "lseek");
	if (r == 0)
		r = fill_from_layer(o->t, fd, LAYER_PUTS, err);
	return r < 0 ? cos_context(err, r, "%s", what) : 0;
}

int fill_from_oci(struct tree *t, int dir, struct digester *g, const char *machine,
		  struct cos_err *err)
{
	static const char *const names[][2] = { { "x86_64", "amd64" }, { "aarch64", "arm64" } };
	struct oci o = { .t = t, .dir = dir, .g = g, .arch = machine };
	auto_json json_t *manifest = NULL;
	json_t *layers, *desc;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(machine, names[i][0]) == 0)
			o.arch = names[i][1];
	}
	r = find_manifest(&o, &manifest, err);
	if (r < 0)
		return r;
	layers = json_object_get(manifest, "layers");
	if (json_array_size(layers) < 1 || json_array_size(layers) > LAYERS_MAX)
		return bad(err, "the image's manifest", "has not 1 to 127 layers");
	json_array_foreach(layers, i, desc) {
		r = put_layer(&o, desc, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}
