/* bench/overhead-bundle.c - the container of crun that a worker runs in
 *
 * The bundle of bench/start is the base; the command, the root, and the limits that a guest of cos
 * has by default replace its own, and a filter is added as Docker and podman would: from their list
 * of calls, whose entries count only for some capabilities and architectures. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/contender.h"
#include "bench/overhead.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define MEMORY_BYTES (1LL << 30)
#define PIDS         1024
#define MAPPED_FROM  100000
#define MAPPED_IDS   65536

#if defined(__x86_64__)
#define ARCH_OCI  "SCMP_ARCH_X86_64"
#define ARCH_LIST "amd64"
#elif defined(__aarch64__)
#define ARCH_OCI  "SCMP_ARCH_AARCH64"
#define ARCH_LIST "arm64"
#else
#define ARCH_OCI  ""
#define ARCH_LIST ""
#endif

static bool has(json_t *list, const char *word)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v) {
		const char *s = json_string_value(v);

		if (s && strcmp(s, word) == 0)
			return true;
	}
	return false;
}

/* Whether an entry of the list counts for a process with CAPS on this architecture. */
static bool counts(json_t *entry, json_t *caps)
{
	json_t *with = json_object_get(entry, "includes");
	json_t *without = json_object_get(entry, "excludes");
	json_t *arches = json_object_get(with, "arches"), *v;
	size_t i;

	if (json_array_size(arches) && !has(arches, ARCH_LIST))
		return false;
	if (has(json_object_get(without, "arches"), ARCH_LIST))
		return false;
	json_array_foreach(json_object_get(with, "caps"), i, v) {
		if (!has(caps, json_string_value(v)))
			return false;
	}
	json_array_foreach(json_object_get(without, "caps"), i, v) {
		if (has(caps, json_string_value(v)))
			return false;
	}
	return true;
}

static json_t *oci_entry(json_t *entry)
{
	static const char *const keys[] = { "names", "action", "args", "errnoRet" };
	json_t *out = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *v = json_object_get(entry, keys[i]);

		if (v && !json_is_null(v))
			json_object_set(out, keys[i], v);
	}
	return out;
}

/* The architectures that a process of this one can use. */
static json_t *oci_arches(json_t *list)
{
	json_t *out = json_pack("[s]", ARCH_OCI), *v;
	size_t i;

	json_array_foreach(json_object_get(list, "archMap"), i, v) {
		const char *arch = json_string_value(json_object_get(v, "architecture"));

		if (arch && strcmp(arch, ARCH_OCI) == 0)
			json_array_extend(out, json_object_get(v, "subArchitectures"));
	}
	return out;
}

static json_t *oci_filter(json_t *list, json_t *caps)
{
	json_t *no = json_object_get(list, "defaultErrnoRet");
	json_t *out = json_object(), *calls = json_array(), *v;
	size_t i;

	json_object_set(out, "defaultAction", json_object_get(list, "defaultAction"));
	if (no)
		json_object_set(out, "defaultErrnoRet", no);
	json_object_set_new(out, "architectures", oci_arches(list));
	json_array_foreach(json_object_get(list, "syscalls"), i, v) {
		if (counts(v, caps))
			json_array_append_new(calls, oci_entry(v));
	}
	json_object_set_new(out, "syscalls", calls);
	return out;
}

static void add_filter(json_t *doc, const struct place *p, const char *file)
{
	json_t *caps = json_object_get(
		json_object_get(json_object_get(doc, "process"), "capabilities"), "bounding");
	json_error_t why;
	auto_json json_t *list = ARCH_OCI[0] ? json_load_file(file, 0, &why) : NULL;

	if (list)
		json_object_set_new(json_object_get(doc, "linux"), "seccomp",
				    oci_filter(list, caps));
	else
		printf("# %s: no system call filter: cannot use %s (--crun-filter FILE)\n", p->name,
		       file);
}

static void add_userns(json_t *linux_part)
{
	json_array_append_new(json_object_get(linux_part, "namespaces"),
			      json_pack("{s:s}", "type", "user"));
	for (int gid = 0; gid < 2; gid++)
		json_object_set_new(linux_part, gid ? "gidMappings" : "uidMappings",
				    json_pack("[{s:i, s:i, s:i}]", "containerID", 0, "hostID",
					      MAPPED_FROM, "size", MAPPED_IDS));
}

static void change(json_t *doc, const struct place *p, const struct place_host *h)
{
	json_t *part = json_object_get(doc, "linux"), *res = json_object_get(part, "resources");
	char root[PATH_MAX], cpu[16], group[160];

	snprintf(root, sizeof(root), "%s/%s", h->b->dir, p->name);
	snprintf(cpu, sizeof(cpu), "%u", h->cpu);
	snprintf(group, sizeof(group), "/%s/%s%s", h->b->group, p->deep ? "deep/guests/" : "",
		 p->name);
	json_object_set_new(json_object_get(doc, "process"), "args",
			    json_pack("[s, s, s]", "/bin/overhead-work", "serve", cpu));
	json_object_set_new(json_object_get(doc, "root"), "path", json_string(root));
	json_object_set_new(part, "cgroupsPath", json_string(group));
	json_object_set_new(res, "memory", json_pack("{s:I}", "limit", (json_int_t)MEMORY_BYTES));
	json_object_set_new(res, "pids", json_pack("{s:i}", "limit", PIDS));
	if (p->userns)
		add_userns(part);
	if (p->filter)
		add_filter(doc, p, h->filter_file);
}

int bundle_make(const struct place *p, const struct place_host *h)
{
	struct contender base = peer_crun;
	char path[PATH_MAX], name[80];
	json_error_t why;
	auto_json json_t *doc = NULL;
	auto_close int dir = -1;
	auto_free char *text = NULL;
	int r = base.open(&base, h->b);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/%s/config.json", h->b->dir, base.name);
	doc = json_load_file(path, 0, &why);
	if (!doc) {
		fprintf(stderr, "bench: %s: %s\n", path, why.text);
		return -EBADMSG;
	}
	change(doc, p, h);
	snprintf(name, sizeof(name), "%s-bundle", p->name);
	dir = io_dir_at(h->b->dirfd, name, 0755);
	text = json_dumps(doc, JSON_INDENT(1));
	if (dir < 0 || !text)
		return dir < 0 ? dir : -ENOMEM;
	return io_replace_at(dir, "config.json", text, strlen(text), 0644, false);
}
