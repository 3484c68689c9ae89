/* tests/unit/filter.t.c - every number of both ABIs, in an interpreter, against the profile's own
 * words */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/filter.h"
#include "tests/tap.h"

#define NR_END  1024 /* past every number that either ABI uses */
#define X32_BIT 0x40000000U
#define BROKEN  0xdeadbeefU /* the interpreter's word for a program that the kernel would refuse */

/* Written down again, not shared with filter.c: a slip in one shows. */
static const struct {
	int nr;
	const char *name;
} young[] = {
	{ 335, "uretprobe" },         { 336, "uprobe" },
	{ 451, "cachestat" },         { 452, "fchmodat2" },
	{ 453, "map_shadow_stack" },  { 454, "futex_wake" },
	{ 455, "futex_wait" },        { 456, "futex_requeue" },
	{ 457, "statmount" },         { 458, "listmount" },
	{ 459, "lsm_get_self_attr" }, { 460, "lsm_set_self_attr" },
	{ 461, "lsm_list_modules" },  { 462, "mseal" },
	{ 463, "setxattrat" },        { 464, "getxattrat" },
	{ 465, "listxattrat" },       { 466, "removexattrat" },
	{ 467, "open_tree_attr" },    { 468, "file_getattr" },
	{ 469, "file_setattr" },
};

static uint32_t load(const struct seccomp_data *d, uint32_t offset)
{
	uint32_t v;

	if (offset > sizeof(*d) - sizeof(v) || offset % sizeof(v))
		return BROKEN;
	memcpy(&v, (const char *)d + offset, sizeof(v));
	return v;
}

static uint32_t run(const struct filter *f, const struct seccomp_data *d)
{
	uint32_t a = 0;

	for (size_t pc = 0; pc < f->n; pc++) {
		const struct sock_filter *i = &f->insn[pc];

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = load(d, i->k);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			break;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			pc += a > i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= i->k ? i->jt : i->jf;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			return BROKEN;
		}
	}
	return BROKEN;
}

static uint32_t no(int error)
{
	return SECCOMP_RET_ERRNO | (uint32_t)error;
}

static int errno_of(const char *name)
{
	static const struct {
		const char *name;
		int no;
	} t[] = { { "EPERM", EPERM }, { "ENOSYS", ENOSYS }, { "EAFNOSUPPORT", EAFNOSUPPORT } };

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		if (strcmp(t[i].name, name) == 0)
			return t[i].no;
	}
	return 0;
}

static bool has_name(json_t *list, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v) {
		if (strcmp(json_string_value(v), name) == 0)
			return true;
	}
	return false;
}

static uint64_t number(json_t *row, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(row, key));
}

/* What the words of SPEC say about a call with these arguments; NULL for a call without a name. */
static uint32_t expected(json_t *spec, const char *name, const uint64_t args[6])
{
	uint32_t missed = no(errno_of(json_string_value(json_object_get(spec, "default"))));
	json_t *v, *list;
	const char *key;
	size_t i;

	if (!name)
		return missed;
	if (has_name(json_object_get(spec, "allow"), name))
		return SECCOMP_RET_ALLOW;
	json_object_foreach(json_object_get(spec, "deny"), key, list) {
		if (has_name(list, name))
			return no(errno_of(key));
	}
	json_array_foreach(json_object_get(spec, "match"), i, v) {
		const char *err = json_string_value(json_object_get(v, "errno")) ?: "EPERM";

		if (strcmp(json_string_value(json_object_get(v, "call")), name) != 0)
			continue;
		if (((uint32_t)args[number(v, "arg")] & number(v, "mask")) == number(v, "value"))
			return SECCOMP_RET_ALLOW;
		missed = no(errno_of(err));
	}
	return missed;
}

/* The name of a number, NULL if it has none; 32-bit programs get no calls that the library ignores.
 */
static const char *name_of(uint32_t abi, int nr, char buf[64])
{
	auto_free char *name = seccomp_syscall_resolve_num_arch(abi, nr);

	if (name)
		return strcpy(buf, name);
	for (size_t i = 0; abi == SCMP_ARCH_X86_64 && i < ARRAY_SIZE(young); i++) {
		if (young[i].nr == nr)
			return young[i].name;
	}
	return NULL;
}

static bool is_young(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(young); i++) {
		if (strcmp(young[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Number of arguments tried for each call: what rows ask for, one bit off it, and what is none of
 * it. */
static uint64_t arg_of(json_t *spec, size_t k)
{
	json_t *match = json_object_get(spec, "match");
	json_t *row = json_array_get(match, k / 33);
	uint64_t v = number(row, "value");

	return k % 33 == 32 ? v : v ^ 1U << k % 33;
}

static unsigned differs(const struct filter *f, json_t *spec, uint32_t abi, int nr,
			const uint64_t args[6])
{
	struct seccomp_data d = { .nr = nr, .arch = abi };
	char buf[64];
	const char *name = name_of(abi, nr, buf);
	bool refused = abi == SCMP_ARCH_X86 && name && strcmp(name, "socketcall") == 0 &&
		       !has_name(json_object_get(spec, "allow"), name);
	uint32_t want = expected(spec, refused ? NULL : name, args), is;

	memcpy(d.args, args, sizeof(d.args));
	is = run(f, &d);
	if (is == want)
		return 0;
	printf("# %#x %d %s(%#llx): %#x, not %#x\n", abi, nr, name ?: "",
	       (unsigned long long)args[0], is, want);
	return 1;
}

/* HIGH is put above the low half of each argument, where it must not matter. */
static unsigned differing(const struct filter *f, json_t *spec, uint32_t abi, uint64_t high)
{
	size_t n = json_array_size(json_object_get(spec, "match")) * 33;
	unsigned bad = 0;

	for (int nr = 0; nr < NR_END; nr++) {
		char buf[64];
		const char *name = name_of(abi, nr, buf);
		uint64_t args[6] = { 0 };

		for (size_t k = 0; k < n; k++) {
			for (size_t i = 0; i < 6; i++)
				args[i] = high << 32 | (uint32_t)arg_of(spec, k);
			bad += differs(f, spec, abi, nr, args);
			if (!name)
				break;
		}
	}
	return bad;
}

static unsigned let_through(const struct filter *f, uint32_t arch, uint32_t or)
{
	unsigned bad = 0;

	for (uint32_t nr = 0; nr < NR_END; nr++) {
		struct seccomp_data d = { .nr = (int)(nr | or), .arch = arch };

		bad += run(f, &d) != no(ENOSYS);
	}
	return bad;
}

static void names_are_known(json_t *list, unsigned *bad)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v) {
		const char *s = json_string_value(v);

		if (seccomp_syscall_resolve_name(s) == __NR_SCMP_ERROR && !is_young(s)) {
			printf("# nobody knows %s\n", s);
			(*bad)++;
		}
	}
}

static unsigned unknown_names(json_t *spec)
{
	const char *key;
	json_t *list;
	unsigned bad = 0;

	names_are_known(json_object_get(spec, "allow"), &bad);
	json_object_foreach(json_object_get(spec, "deny"), key, list)
		names_are_known(list, &bad);
	return bad;
}

static uint32_t verdict(const struct filter *f, const char *call, uint64_t arg0)
{
	struct seccomp_data d = { .nr = seccomp_syscall_resolve_name(call),
				  .arch = SCMP_ARCH_X86_64,
				  .args = { arg0 } };

	return run(f, &d);
}

/* The promises of the two profiles, whatever their lists say. */
static void keeps_its_promises(const struct filter *f, bool userns, const char *p)
{
	static const char *const never[] = { "quotactl",          "bpf",        "perf_event_open",
					     "init_module",       "kexec_load", "userfaultfd",
					     "open_by_handle_at", "swapon",     "clock_settime",
					     "io_uring_setup",    "syslog",     "iopl" };
	static const char *const own[] = { "mount", "unshare", "setns", "pivot_root", "umount2" };
	unsigned bad = 0;

	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		bad += verdict(f, never[i], 0) != no(EPERM);
	ok(bad == 0, "%s: dangerous calls get EPERM", p);
	/* crun and runc take ENOSYS for a kernel without keys, and anything else for a failure. */
	ok(verdict(f, "keyctl", 0) == no(ENOSYS), "%s: keyctl() is as if not there", p);
	bad = 0;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		bad += verdict(f, own[i], 0) != (userns ? SECCOMP_RET_ALLOW : no(EPERM));
	ok(bad == 0, "%s: namespaces and mounts are %s", p, userns ? "allowed" : "refused");
	ok(verdict(f, "clone", 0x10000000) == (userns ? SECCOMP_RET_ALLOW : no(EPERM)) &&
		   verdict(f, "clone", 0x3d0f00) == SECCOMP_RET_ALLOW,
	   "%s: clone() of a thread, and with CLONE_NEWUSER", p);
	ok(verdict(f, "clone3", 0) == (userns ? SECCOMP_RET_ALLOW : no(ENOSYS)), "%s: clone3()", p);
	ok(verdict(f, "socket", 40) == no(EAFNOSUPPORT) &&
		   verdict(f, "socket", 38) == no(EAFNOSUPPORT) &&
		   verdict(f, "socket", 2) == SECCOMP_RET_ALLOW,
	   "%s: AF_VSOCK and AF_ALG are refused, AF_INET is not", p);
}

static void check_profile(const char *path, const char *p)
{
	auto_json json_t *doc = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	json_t *spec = json_object_get(doc, "seccomp");
	struct cos_err err = { 0 };
	struct filter f = { 0 };
	int r;

	ok(json_is_object(doc), "%s: is JSON", p);
	if (!spec)
		return;
	r = filter_compile(spec, "/seccomp", &f, &err);
	ok(r == 0 && f.n > 0, "%s: compiles to %u instructions %s", p, f.n, err.why);
	if (r < 0)
		return;
	ok(unknown_names(spec) == 0, "%s: has no misspelt call", p);
	ok(differing(&f, spec, SCMP_ARCH_X86_64, 0) == 0, "%s: x86-64 as its words say", p);
	ok(differing(&f, spec, SCMP_ARCH_X86_64, 0xffffffff) == 0 &&
		   differing(&f, spec, SCMP_ARCH_X86_64, 1) == 0,
	   "%s: high halves of arguments change nothing", p);
	ok(differing(&f, spec, SCMP_ARCH_X86, 0) == 0, "%s: x86 as its words say", p);
	ok(let_through(&f, SCMP_ARCH_X86_64, X32_BIT) == 0, "%s: x32 is refused", p);
	ok(let_through(&f, SCMP_ARCH_AARCH64, 0) == 0, "%s: a foreign architecture is refused", p);
	if (strcmp(p, "default.json") == 0 || strcmp(p, "default-nouserns.json") == 0)
		keeps_its_promises(&f, strcmp(p, "default.json") == 0, p);
	filter_done(&f);
	ok(!f.insn && f.n == 0, "%s: filter_done() empties", p);
}

static void profiles_do_what_they_say(void)
{
	char dir[512], path[1024];
	struct dirent **e = NULL;
	int n;

	str_fmt(dir, sizeof(dir), "%s/profiles", getenv("srcdir") ?: ".");
	n = scandir(dir, &e, NULL, alphasort);
	ok(n > 0, "profiles in %s", dir);
	for (int i = 0; i < n; i++) {
		if (fnmatch("*.json", e[i]->d_name, 0) == 0) {
			str_fmt(path, sizeof(path), "%s/%s", dir, e[i]->d_name);
			check_profile(path, e[i]->d_name);
		}
		free(e[i]);
	}
	free(e);
}

/* Rows at random: calls of both kinds, any argument, overlapping masks. */
static json_t *random_spec(void)
{
	static const char *const calls[] = { "socket", "clone", "ioctl", "mseal", "socketpair" };
	auto_json json_t *rows = json_array();
	json_t *spec;

	for (int n = 1 + rand() % 48; n > 0; n--) {
		uint32_t mask = ((uint32_t)rand() & (uint32_t)rand()) | 1U << rand() % 32;
		size_t i = (size_t)rand() % ARRAY_SIZE(calls);

		json_array_append_new(rows,
				      json_pack("{s:s, s:i, s:I, s:I, s:s}", "call", calls[i],
						"arg", rand() % 6, "mask", (json_int_t)mask,
						"value", (json_int_t)(mask & (uint32_t)rand()),
						"errno", i % 2 ? "ENOSYS" : "EAFNOSUPPORT"));
	}
	spec = json_pack("{s:s, s:[s, s], s:{s:[s], s:[s]}, s:O}", "default",
			 rand() % 2 ? "EPERM" : "ENOSYS", "allow", "read", "bind", "deny", "EPERM",
			 "getpid", "ENOSYS", "gettid", "match", rows);
	return spec;
}

static unsigned random_calls(const struct filter *f, json_t *spec)
{
	static const char *const calls[] = { "socket", "clone",  "ioctl",  "socketpair", "read",
					     "bind",   "getpid", "gettid", "write" };
	unsigned bad = 0;

	for (size_t k = 0; k < 2000; k++) {
		size_t n = json_array_size(json_object_get(spec, "match"));
		int nr = k % 10 == 9 ? 462 : seccomp_syscall_resolve_name(calls[k % 10]);
		uint64_t args[6];

		for (size_t i = 0; i < 6; i++) {
			uint64_t near = arg_of(spec, (size_t)rand() % (n * 33));

			args[i] = (uint64_t)rand() << 32 |
				  (uint32_t)(rand() % 2 ? near : (uint64_t)rand());
		}
		bad += differs(f, spec, SCMP_ARCH_X86_64, nr, args);
	}
	return bad;
}

static void random_rows_do_what_they_say(void)
{
	unsigned bad = 0, failed = 0;

	srand(1);
	for (int i = 0; i < 100; i++) {
		auto_json json_t *spec = random_spec();
		struct cos_err err = { 0 };
		struct filter f = { 0 };

		if (filter_compile(spec, "", &f, &err) < 0) {
			printf("# %s\n", err.why);
			failed++;
			continue;
		}
		bad += random_calls(&f, spec);
		filter_done(&f);
	}
	ok(failed == 0 && bad == 0, "100 filters of random rows agree with 2000 random calls each");
}

static void socketcall_only_by_name(void)
{
	struct seccomp_data d = { .nr = 102, .arch = SCMP_ARCH_X86, .args = { 3 } };
	auto_json json_t *without =
		json_pack("{s:s, s:[s, s]}", "default", "EPERM", "allow", "socket", "connect");
	auto_json json_t *with =
		json_pack("{s:s, s:[s, s]}", "default", "EPERM", "allow", "socketcall", "socket");
	struct cos_err err = { 0 };
	struct filter f = { 0 };

	ok(filter_compile(without, "", &f, &err) == 0 && run(&f, &d) == no(EPERM),
	   "socketcall is refused although all it does is allowed");
	filter_done(&f);
	ok(filter_compile(with, "", &f, &err) == 0 && run(&f, &d) == SECCOMP_RET_ALLOW,
	   "socketcall is allowed by its own name");
	filter_done(&f);
}

static void errors_name_their_place(void)
{
	static const struct {
		const char *spec, *why;
	} t[] = {
		{ "[]", "/s: not an object" },
		{ "{}", "/s/default: missing" },
		{ "{'default':'EIO'}", "/s: default" },
		{ "{'default':'EPERM','allo':[]}", "/s/allo: unknown" },
		{ "{'default':'EPERM','allow':{}}", "/s/allow: not an array" },
		{ "{'default':'EPERM','allow':['read',7]}", "/s/allow/1: " },
		{ "{'default':'EPERM','allow':['re ad']}", "/s/allow/0: " },
		{ "{'default':'EPERM','allow':['read','read']}", "/s/allow/1: read is already" },
		{ "{'default':'EPERM','deny':[]}", "/s/deny: not an object" },
		{ "{'default':'EPERM','deny':{'EVIL':[]}}", "/s/deny: has a key" },
		{ "{'default':'EPERM','deny':{'EIO':['#1']}}", "/s/deny/EIO/0: " },
		{ "{'default':'EPERM','allow':['read'],'deny':{'EIO':['read']}}",
		  "/s/deny/EIO/0: read is already named at /s/allow/0" },
		{ "{'default':'EPERM','match':[{'call':'x','arg':6,'mask':1,'value':1}]}",
		  "/s/match/0/arg: " },
		{ "{'default':'EPERM','match':[{'call':'x','arg':0,'mask':4294967296,'value':1}]}",
		  "/s/match/0/mask: " },
		{ "{'default':'EPERM','match':[{'call':'x','arg':0,'mask':1,'value':2}]}",
		  "/s/match/0: value" },
		{ "{'default':'EPERM','match':[{'call':'x','arg':0,'mask':1}]}",
		  "/s/match/0/value: missing" },
		{ "{'default':'EPERM','match':[{'call':'x','arg':0,'mask':1,'value':1,'errno':'E'}]}",
		  "/s/match/0: E is not" },
		{ "{'default':'EPERM','match':[{'call':'x','arg':0,'mask':1,'value':1},"
		  "{'call':'x','arg':0,'mask':1,'value':0,'errno':'EIO'}]}",
		  "/s/match/1: differs in errno from /s/match/0" },
		{ "{'default':'EPERM','allow':['x'],'match':[{'call':'x','arg':0,'mask':1,'value':1}]}",
		  "/s/match/0: x is already named at /s/allow/0" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct filter f = { 0 };
		struct cos_err err = { 0 };
		char text[200];
		auto_json json_t *spec = NULL;

		str_fmt(text, sizeof(text), "%s", t[i].spec);
		for (char *q = text; (q = strchr(q, '\'')); q++)
			*q = '"';
		spec = json_loads(text, 0, NULL);
		ok(spec && filter_compile(spec, "/s", &f, &err) == -EINVAL &&
			   err.code == COS_E_INVALID && !f.insn &&
			   strncmp(err.why, t[i].why, strlen(t[i].why)) == 0,
		   "%s [%s]", t[i].why, err.why);
	}
}

int main(void)
{
	if (seccomp_arch_native() != SCMP_ARCH_X86_64) {
		printf("1..0 # SKIP the tables are for x86-64\n");
		return 0;
	}
	profiles_do_what_they_say();
	random_rows_do_what_they_say();
	socketcall_only_by_name();
	errors_name_their_place();
	return tap_done();
}
