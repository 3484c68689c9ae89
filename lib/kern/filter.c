/* lib/kern/filter.c - system call filters: a profile's words to BPF, and loading it
 *
 * libseccomp turns names into numbers and the numbers into a binary tree. Rows that look at an
 * argument are written here, in front of its program, because the library cannot say what is
 * needed: it has one action for "not named" and for "no row matched", where guests need ENOSYS for
 * the one (so that libc falls back) and EPERM for the other; it lets socket() in through
 * socketcall(2); and before 2.6.1 its merging of comparisons can weaken a filter
 * (GHSA-4q85-33p6-j5g6). */
#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/filter.h"

#define CALL_MAX 47 /* bytes of a call's name */
#define ROWS_MAX 48
#define ROW_INSN 4 /* load, mask, compare, allow */
#define ABIS_MAX 2
/* For each ABI: check of the architecture, number, socketcall, and each row as a call of its own.
 */
#define HEAD_MAX (ABIS_MAX * (4 + 2 + ROWS_MAX * (ROW_INSN + 2)))

static_assert(ROWS_MAX * ROW_INSN + 1 <= UINT8_MAX, "a call's rows are skipped by an 8-bit jump");

/* libseccomp numbers the calls that an ABI lacks from here down. */
#define NR_LACKING (-10000)

struct row {
	char call[CALL_MAX + 1];
	uint64_t arg, mask, value;
	char errno_name[16];
	int no;
};

struct build {
	uint32_t abi[ABIS_MAX]; /* SCMP_ARCH_*, the native one first; equal to AUDIT_ARCH_* */
	size_t n_abi;
	scmp_filter_ctx ctx[ABIS_MAX];
	int default_no;
	json_t *named; /* call's name to the pointer where it stands */
	struct row row[ROWS_MAX];
	size_t n_row;
	struct sock_filter head[HEAD_MAX];
	size_t n_head;
};

struct words {
	char default_name[16];
	json_t *allow, *deny, *match;
};

/* Calls younger than the libseccomp of the oldest host. From 424 on every architecture uses the
 * same numbers; the library, which does not know these names, can add them to the native ABI only.
 */
static const struct {
	const char *name;
	int nr;
} young_calls[] = {
#ifdef __x86_64__
	{ "uretprobe", 335 },         { "uprobe", 336 },
#endif
	{ "cachestat", 451 },         { "fchmodat2", 452 },        { "map_shadow_stack", 453 },
	{ "futex_wake", 454 },        { "futex_wait", 455 },       { "futex_requeue", 456 },
	{ "statmount", 457 },         { "listmount", 458 },        { "lsm_get_self_attr", 459 },
	{ "lsm_set_self_attr", 460 }, { "lsm_list_modules", 461 }, { "mseal", 462 },
	{ "setxattrat", 463 },        { "getxattrat", 464 },       { "listxattrat", 465 },
	{ "removexattrat", 466 },     { "open_tree_attr", 467 },   { "file_getattr", 468 },
	{ "file_setattr", 469 },
};

static void build_done(struct build *b)
{
	for (size_t i = 0; i < b->n_abi; i++) {
		if (b->ctx[i])
			seccomp_release(b->ctx[i]);
	}
	json_decref(b->named);
}

static int build_init(struct build *b, struct cos_err *err)
{
	uint32_t native = seccomp_arch_native();
	int r = 0;

	b->named = json_object();
	b->abi[b->n_abi++] = native;
	if (native == SCMP_ARCH_X86_64)
		b->abi[b->n_abi++] = SCMP_ARCH_X86;
	for (size_t i = 0; i < b->n_abi && r == 0; i++) {
		b->ctx[i] = seccomp_init(SCMP_ACT_ERRNO((uint32_t)b->default_no));
		if (!b->ctx[i] || !b->named)
			return cos_fail(err, COS_E_KERNEL, ENOMEM, "filter: prepare");
		if (b->abi[i] != native) {
			r = seccomp_arch_remove(b->ctx[i], native);
			r = r < 0 ? r : seccomp_arch_add(b->ctx[i], b->abi[i]);
		}
		/* Only x32 can get there: the answer of a kernel that is built without it. */
		if (r == 0)
			r = seccomp_attr_set(b->ctx[i], SCMP_FLTATR_ACT_BADARCH,
					     SCMP_ACT_ERRNO(ENOSYS));
		if (r == 0)
			r = seccomp_attr_set(b->ctx[i], SCMP_FLTATR_CTL_OPTIMIZE, 2);
	}
	return r < 0 ? cos_fail(err, COS_E_UNSUPPORTED, -r, "filter: prepare") : 0;
}

/* 0 if no errno has that name. */
static int errno_by_name(const char *name)
{
	for (int no = 1; no < 256; no++) {
		const char *s = strerrorname_np(no);

		if (s && strcmp(s, name) == 0)
			return no;
	}
	return 0;
}

static int young_nr(const char *call)
{
	for (size_t i = 0; i < ARRAY_SIZE(young_calls); i++) {
		if (strcmp(young_calls[i].name, call) == 0)
			return young_calls[i].nr;
	}
	return __NR_SCMP_ERROR;
}

/* The number that a 32-bit program uses beside socketcall(2); the library gives these two another.
 */
static int direct_nr(uint32_t abi, const char *call, int nr)
{
	if (abi == SCMP_ARCH_X86 && strcmp(call, "socket") == 0)
		return 359;
	if (abi == SCMP_ARCH_X86 && strcmp(call, "socketpair") == 0)
		return 360;
	return nr;
}

static bool is_call_name(const char *s)
{
	return s && s[0] && strlen(s) <= CALL_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(s);
}

/* Notes that CALL stands at AT. The library would take the first of two actions without a word. */
static int name_once(struct build *b, const char *call, const char *at, struct cos_err *err)
{
	const char *other = json_string_value(json_object_get(b->named, call));

	if (other)
		return jsonx_bad(err, at, "%s is already named at %s", call, other);
	if (json_object_set_new(b->named, call, json_string(at)) < 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "filter: %s", call);
	return 0;
}

static int add_call(struct build *b, const char *call, uint32_t action, struct cos_err *err)
{
	for (size_t i = 0; i < b->n_abi; i++) {
		/* A rule is given by the native number, also for another ABI. */
		int nr = seccomp_syscall_resolve_name(call), r;
		int there = seccomp_syscall_resolve_name_arch(b->abi[i], call);

		if (nr == __NR_SCMP_ERROR && i == 0)
			there = nr = young_nr(call);
		if (nr == __NR_SCMP_ERROR || there == __NR_SCMP_ERROR || there <= NR_LACKING)
			continue;
		r = seccomp_rule_add(b->ctx[i], action, nr, 0);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "filter: add %s", call);
	}
	return 0;
}

/* NO is the errno that the calls of LIST are refused with, 0 to allow them. */
static int add_list(struct build *b, json_t *list, const char *at, int no, struct cos_err *err)
{
	uint32_t action = no ? SCMP_ACT_ERRNO((uint32_t)no) : SCMP_ACT_ALLOW;
	json_t *v;
	size_t i;

	if (list && !json_is_array(list))
		return jsonx_bad(err, at, "not an array");
	json_array_foreach(list, i, v) {
		const char *call = json_string_value(v);
		char here[200];
		int r;

		str_fmt(here, sizeof(here), "%s/%zu", at, i);
		if (!is_call_name(call))
			return jsonx_bad(err, here, "not the name of a system call");
		r = name_once(b, call, here, err);
		/* The library refuses a rule that says what is the default. */
		if (r == 0 && no != b->default_no)
			r = add_call(b, call, action, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_denied(struct build *b, json_t *deny, const char *at, struct cos_err *err)
{
	const char *name;
	json_t *list;

	if (deny && !json_is_object(deny))
		return jsonx_bad(err, at, "not an object");
	json_object_foreach(deny, name, list) {
		int no = errno_by_name(name), r;
		char here[160];

		str_fmt(here, sizeof(here), "%s/%.20s", at, name);
		if (!no)
			return jsonx_bad(err, at, "has a key that is not the name of an errno");
		r = add_list(b, list, here, no, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int row_parse(json_t *v, const char *at, struct row *ret, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ "call", JSONX_STR, offsetof(struct row, call), 1, CALL_MAX, true, NULL },
		{ "arg", JSONX_UINT, offsetof(struct row, arg), 0, 5, true, NULL },
		{ "mask", JSONX_UINT, offsetof(struct row, mask), 1, UINT32_MAX, true, NULL },
		{ "value", JSONX_UINT, offsetof(struct row, value), 0, UINT32_MAX, true, NULL },
		{ "errno", JSONX_STR, offsetof(struct row, errno_name), 1, 15, false, NULL },
	};
	struct row row = { .errno_name = "EPERM" };
	int r = jsonx_fill(v, at, fields, ARRAY_SIZE(fields), &row, err);

	if (r < 0)
		return r;
	if (!is_call_name(row.call))
		return jsonx_bad(err, at, "not the name of a system call");
	if (row.value & ~row.mask)
		return jsonx_bad(err, at, "value has bits that mask has not: it never matches");
	row.no = errno_by_name(row.errno_name);
	if (!row.no)
		return jsonx_bad(err, at, "%s is not the name of an errno", row.errno_name);
	*ret = row;
	return 0;
}

/* The first of the rows for the same call as row I; I itself if it is the first. */
static size_t first_row(const struct build *b, size_t i)
{
	size_t j = 0;

	while (strcmp(b->row[j].call, b->row[i].call) != 0)
		j++;
	return j;
}

static int add_rows(struct build *b, json_t *list, const char *at, struct cos_err *err)
{
	json_t *v;
	size_t i;

	if (list && !json_is_array(list))
		return jsonx_bad(err, at, "not an array");
	if (json_array_size(list) > ROWS_MAX)
		return jsonx_bad(err, at, "has more than %d rows", ROWS_MAX);
	json_array_foreach(list, i, v) {
		char here[200];
		size_t first;
		int r;

		str_fmt(here, sizeof(here), "%s/%zu", at, i);
		r = row_parse(v, here, &b->row[i], err);
		if (r < 0)
			return r;
		b->n_row = i + 1;
		first = first_row(b, i);
		if (first == i)
			r = name_once(b, b->row[i].call, here, err);
		else if (b->row[first].no != b->row[i].no)
			r = jsonx_bad(err, here, "differs in errno from %s/%zu", at, first);
		if (r < 0)
			return r;
	}
	return 0;
}

static void emit(struct build *b, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	assert(b->n_head < ARRAY_SIZE(b->head));
	b->head[b->n_head++] = (struct sock_filter){ code, jt, jf, k };
}

/* Offset of an argument's low half in struct seccomp_data. */
static uint32_t arg_offset(uint64_t arg)
{
	uint32_t low = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;

	return (uint32_t)(offsetof(struct seccomp_data, args) + arg * sizeof(uint64_t)) + low;
}

/* Expects the number in the accumulator and leaves it there for other calls; NR itself never gets
 * to what follows. */
static void emit_call(struct build *b, size_t first, int nr)
{
	size_t skip = b->n_head;

	emit(b, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 0);
	for (size_t i = first; i < b->n_row; i++) {
		const struct row *row = &b->row[i];

		if (strcmp(row->call, b->row[first].call) != 0)
			continue;
		emit(b, BPF_LD | BPF_W | BPF_ABS, arg_offset(row->arg), 0, 0);
		emit(b, BPF_ALU | BPF_AND | BPF_K, (uint32_t)row->mask, 0, 0);
		emit(b, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)row->value, 0, 1);
		emit(b, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	}
	emit(b, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)b->row[first].no, 0, 0);
	b->head[skip].jf = (uint8_t)(b->n_head - skip - 1);
}

static void emit_abi(struct build *b, uint32_t abi)
{
	size_t skip = b->n_head + 2;

	emit(b, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(b, BPF_JMP | BPF_JEQ | BPF_K, abi, 1, 0);
	emit(b, BPF_JMP | BPF_JA, 0, 0, 0);
	emit(b, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	if (abi == SCMP_ARCH_X86 && !json_object_get(b->named, "socketcall")) {
		emit(b, BPF_JMP | BPF_JEQ | BPF_K,
		     (uint32_t)seccomp_syscall_resolve_name_arch(abi, "socketcall"), 0, 1);
		emit(b, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)b->default_no, 0, 0);
	}
	for (size_t i = 0; i < b->n_row; i++) {
		const char *call = b->row[i].call;
		int nr = seccomp_syscall_resolve_name_arch(abi, call);

		nr = nr == __NR_SCMP_ERROR ? young_nr(call) : direct_nr(abi, call, nr);
		if (nr >= 0 && first_row(b, i) == i)
			emit_call(b, i, nr);
	}
	b->head[skip].k = (uint32_t)(b->n_head - skip - 1);
}

/* The library's program is appended to ours in a file in memory: its jumps are relative. */
static int link_program(struct build *b, struct filter *ret, struct cos_err *err)
{
	auto_close int fd = memfd_create("cos-filter", MFD_CLOEXEC);
	struct stat st = { 0 };
	size_t n;
	void *p;
	int r = fd < 0 ? -errno : 0;

	if (r == 0)
		r = io_write_all(fd, b->head, b->n_head * sizeof(b->head[0]));
	if (r == 0)
		r = seccomp_export_bpf(b->ctx[0], fd);
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "filter: export");
	n = (size_t)st.st_size / sizeof(struct sock_filter);
	if (n > BPF_MAXINSNS)
		return cos_fail(err, COS_E_INVALID, 0, "filter: %zu instructions, not 1..%d", n,
				BPF_MAXINSNS);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return cos_fail(err, COS_E_KERNEL, errno, "filter: map");
	*ret = (struct filter){ p, (unsigned short)n };
	return 0;
}

/* Consumes the other ABIs' contexts. */
static int merge_abis(struct build *b, struct cos_err *err)
{
	for (size_t i = 1; i < b->n_abi; i++) {
		int r = seccomp_merge(b->ctx[0], b->ctx[i]);

		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "filter: merge");
		b->ctx[i] = NULL;
	}
	return 0;
}

/* Fills B with the lists of W, which stand below AT. */
static int add_words(struct build *b, const struct words *w, const char *at, struct cos_err *err)
{
	char here[120];
	int r;

	str_fmt(here, sizeof(here), "%s/allow", at);
	r = add_list(b, w->allow, here, 0, err);
	str_fmt(here, sizeof(here), "%s/deny", at);
	r = r < 0 ? r : add_denied(b, w->deny, here, err);
	str_fmt(here, sizeof(here), "%s/match", at);
	return r < 0 ? r : add_rows(b, w->match, here, err);
}

int filter_compile(json_t *spec, const char *at, struct filter *ret, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ "default", JSONX_STR, offsetof(struct words, default_name), 1, 15, true, NULL },
		{ "allow", JSONX_ANY, offsetof(struct words, allow), 0, 0, false, NULL },
		{ "deny", JSONX_ANY, offsetof(struct words, deny), 0, 0, false, NULL },
		{ "match", JSONX_ANY, offsetof(struct words, match), 0, 0, false, NULL },
	};
	__attribute__((cleanup(build_done))) struct build b = { 0 };
	struct words w = { 0 };
	int r = jsonx_fill(spec, at, fields, ARRAY_SIZE(fields), &w, err);

	if (r < 0)
		return r;
	b.default_no = errno_by_name(w.default_name);
	if (b.default_no != ENOSYS && b.default_no != EPERM)
		return jsonx_bad(err, at, "default is neither ENOSYS nor EPERM");
	r = build_init(&b, err);
	r = r < 0 ? r : add_words(&b, &w, at, err);
	r = r < 0 ? r : merge_abis(&b, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < b.n_abi; i++)
		emit_abi(&b, b.abi[i]);
	return link_program(&b, ret, err);
}

void filter_done(struct filter *f)
{
	if (f->insn)
		munmap(f->insn, f->n * sizeof(f->insn[0]));
	*f = (struct filter){ 0 };
}

int filter_load(const struct filter *f)
{
	struct sock_fprog prog = { f->n, f->insn };

	if (!f->insn)
		return 0;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}
