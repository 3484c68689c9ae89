/* lib/kern/filter.c - system call filters: a profile's words to BPF, and loading it
 *
 * libseccomp knows the numbers of names for each ABI. The program is written here: from the numbers
 * it is a search among ranges that get the same answer, 449 instructions where a tree of single
 * numbers has 1167; every guest has a copy and pays for it when it is loaded. Rows that look at
 * an argument come first. The library could not say them: it has one action for "not named" and for
 * "no row matched", where guests need ENOSYS for the one (so that libc falls back) and EPERM for
 * the other; it lets socket() in through socketcall(2); and before 2.6.1 its merging of comparisons
 * can weaken a filter (GHSA-4q85-33p6-j5g6). */
#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/filter.h"

#define CALL_MAX 47 /* bytes of a call's name */
#define ROWS_MAX 48
#define ROW_INSN 4 /* load, mask, compare, allow */
#define ABIS_MAX 2
#define NRS_MAX  1024 /* no ABI here has a number beyond; x32 begins at 0x40000000 */
#define X32_BIT  0x40000000U

static_assert(ROWS_MAX * ROW_INSN + 1 <= UINT8_MAX, "a call's rows are skipped by an 8-bit jump");

struct row {
	char call[CALL_MAX + 1];
	uint64_t arg, mask, value;
	char errno_name[16];
	int no;
};

struct build {
	uint32_t abi[ABIS_MAX]; /* SCMP_ARCH_*, the native one first; equal to AUDIT_ARCH_* */
	size_t n_abi;
	uint16_t answer[ABIS_MAX][NRS_MAX]; /* errno, 0: allowed */
	int default_no;
	json_t *named; /* call's name to the pointer where it stands */
	struct row row[ROWS_MAX];
	size_t n_row;
	struct sock_filter insn[BPF_MAXINSNS];
	size_t n;
};

struct words {
	char default_name[16];
	json_t *allow, *deny, *match;
};

/* Calls younger than the libseccomp of the oldest host. From 424 on every architecture uses the
 * same numbers; they are given to the native ABI only. */
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

/* Numbers that 32-bit x86 programs use beside socketcall(2) and ipc(2); the library has others for
 * these names there, of its own. */
static const struct {
	const char *name;
	int nr;
} direct_calls[] = {
	{ "socket", 359 },      { "socketpair", 360 }, { "bind", 361 },
	{ "connect", 362 },     { "listen", 363 },     { "accept4", 364 },
	{ "getsockopt", 365 },  { "setsockopt", 366 }, { "getsockname", 367 },
	{ "getpeername", 368 }, { "sendto", 369 },     { "sendmsg", 370 },
	{ "recvfrom", 371 },    { "recvmsg", 372 },    { "shutdown", 373 },
	{ "semget", 393 },      { "semctl", 394 },     { "shmget", 395 },
	{ "shmctl", 396 },      { "shmat", 397 },      { "shmdt", 398 },
	{ "msgget", 399 },      { "msgsnd", 400 },     { "msgrcv", 401 },
	{ "msgctl", 402 },      { "recvmmsg", 337 },   { "sendmmsg", 345 },
};

static void build_free(struct build **b)
{
	if (*b)
		json_decref((*b)->named);
	free(*b);
}

static struct build *build_new(int default_no)
{
	struct build *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->named = json_object();
	b->default_no = default_no;
	b->abi[b->n_abi++] = seccomp_arch_native();
	if (b->abi[0] == SCMP_ARCH_X86_64)
		b->abi[b->n_abi++] = SCMP_ARCH_X86;
	for (size_t i = 0; i < b->n_abi; i++) {
		for (size_t nr = 0; nr < NRS_MAX; nr++)
			b->answer[i][nr] = (uint16_t)default_no;
	}
	return b;
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

/* CALL's number in an ABI; negative: it has none there, or nobody knows the name. */
static int nr_of(const struct build *b, size_t abi, const char *call)
{
	for (size_t i = 0; b->abi[abi] == SCMP_ARCH_X86 && i < ARRAY_SIZE(direct_calls); i++) {
		if (strcmp(direct_calls[i].name, call) == 0)
			return direct_calls[i].nr;
	}
	for (size_t i = 0; abi == 0 && i < ARRAY_SIZE(young_calls); i++) {
		if (strcmp(young_calls[i].name, call) == 0)
			return young_calls[i].nr;
	}
	return seccomp_syscall_resolve_name_arch(b->abi[abi], call);
}

static bool is_call_name(const char *s)
{
	return s && s[0] && strlen(s) <= CALL_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(s);
}

/* Notes that CALL stands at AT: of two answers one would be lost without a word. */
static int name_once(struct build *b, const char *call, const char *at, struct cos_err *err)
{
	const char *other = json_string_value(json_object_get(b->named, call));

	if (other)
		return jsonx_bad(err, at, "%s is already named at %s", call, other);
	if (json_object_set_new(b->named, call, json_string(at)) < 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "filter: %s", call);
	return 0;
}

static int add_call(struct build *b, const char *call, int no, struct cos_err *err)
{
	for (size_t i = 0; i < b->n_abi; i++) {
		int nr = nr_of(b, i, call);

		if (nr >= NRS_MAX)
			return cos_fail(err, COS_E_UNSUPPORTED, 0, "filter: %s has number %d", call,
					nr);
		if (nr >= 0)
			b->answer[i][nr] = (uint16_t)no;
	}
	return 0;
}

/* NO is the errno that the calls of LIST are refused with, 0 to allow them. */
static int add_list(struct build *b, json_t *list, const char *at, int no, struct cos_err *err)
{
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
		if (r == 0)
			r = add_call(b, call, no, err);
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

/* What does not fit is counted, and refused at the end. */
static void emit(struct build *b, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	if (b->n < ARRAY_SIZE(b->insn))
		b->insn[b->n] = (struct sock_filter){ code, jt, jf, k };
	b->n++;
}

static void emit_answer(struct build *b, int no)
{
	emit(b, BPF_RET | BPF_K,
	     no ? SECCOMP_RET_ERRNO | (uint32_t)no : (uint32_t)SECCOMP_RET_ALLOW, 0, 0);
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
	size_t skip = b->n;

	emit(b, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 0);
	for (size_t i = first; i < b->n_row; i++) {
		const struct row *row = &b->row[i];

		if (strcmp(row->call, b->row[first].call) != 0)
			continue;
		emit(b, BPF_LD | BPF_W | BPF_ABS, arg_offset(row->arg), 0, 0);
		emit(b, BPF_ALU | BPF_AND | BPF_K, (uint32_t)row->mask, 0, 0);
		emit(b, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)row->value, 0, 1);
		emit_answer(b, 0);
	}
	emit_answer(b, b->row[first].no);
	if (skip < ARRAY_SIZE(b->insn))
		b->insn[skip].jf = (uint8_t)(b->n - skip - 1);
}

/* Numbers from FROM on, up to the next range, get the same answer. */
struct range {
	uint32_t from;
	int no;
};

/* The jump at AT over the one behind it does its work alone: all that follows moves up. */
static void shorten(struct build *b, size_t at)
{
	if (b->n > ARRAY_SIZE(b->insn))
		return;
	b->insn[at].jt = (uint8_t)(b->n - at - 2);
	b->insn[at].jf = 0;
	memmove(&b->insn[at + 1], &b->insn[at + 2], (b->n - at - 2) * sizeof(b->insn[0]));
	b->n--;
}

/* Ranges FIRST..LAST: half of them, then, from the number where those begin, the other half. */
static void emit_search(struct build *b, const struct range *r, size_t first, size_t last)
{
	size_t mid = (first + last + 1) / 2, skip = b->n;

	if (first == last) {
		emit_answer(b, r[first].no);
		return;
	}
	emit(b, BPF_JMP | BPF_JGE | BPF_K, r[mid].from, 0, 1);
	emit(b, BPF_JMP | BPF_JA, 0, 0, 0);
	emit_search(b, r, first, mid - 1);
	if (skip + 1 < ARRAY_SIZE(b->insn))
		b->insn[skip + 1].k = (uint32_t)(b->n - skip - 2);
	if (b->n - skip - 2 <= UINT8_MAX - 1)
		shorten(b, skip);
	emit_search(b, r, mid, last);
}

static void emit_ranges(struct build *b, size_t abi)
{
	struct range r[NRS_MAX + 2];
	size_t n = 0;

	for (uint32_t nr = 0; nr < NRS_MAX; nr++) {
		if (n == 0 || r[n - 1].no != b->answer[abi][nr])
			r[n++] = (struct range){ nr, b->answer[abi][nr] };
	}
	if (r[n - 1].no != b->default_no)
		r[n++] = (struct range){ NRS_MAX, b->default_no };
	/* the answer of a kernel that is built without x32 */
	if (b->abi[abi] == SCMP_ARCH_X86_64 && b->default_no != ENOSYS)
		r[n++] = (struct range){ X32_BIT, ENOSYS };
	emit_search(b, r, 0, n - 1);
}

static void emit_abi(struct build *b, size_t abi)
{
	size_t skip = b->n + 2;

	emit(b, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(b, BPF_JMP | BPF_JEQ | BPF_K, b->abi[abi], 1, 0);
	emit(b, BPF_JMP | BPF_JA, 0, 0, 0);
	emit(b, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	for (size_t i = 0; i < b->n_row; i++) {
		int nr = nr_of(b, abi, b->row[i].call);

		if (nr >= 0 && first_row(b, i) == i)
			emit_call(b, i, nr);
	}
	emit_ranges(b, abi);
	b->insn[skip].k = (uint32_t)(b->n - skip - 1);
}

static int finish(struct build *b, struct filter *ret, struct cos_err *err)
{
	size_t size = b->n * sizeof(b->insn[0]);
	struct sock_filter *p;

	if (b->n > ARRAY_SIZE(b->insn))
		return cos_fail(err, COS_E_INVALID, 0, "filter: %zu instructions, not 1..%d", b->n,
				BPF_MAXINSNS);
	p = malloc(size);
	if (!p)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "filter");
	memcpy(p, b->insn, size);
	*ret = (struct filter){ p, (unsigned short)b->n };
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
	__attribute__((cleanup(build_free))) struct build *b = NULL;
	struct words w = { 0 };
	int r = jsonx_fill(spec, at, fields, ARRAY_SIZE(fields), &w, err), no;

	if (r < 0)
		return r;
	no = errno_by_name(w.default_name);
	if (no != ENOSYS && no != EPERM)
		return jsonx_bad(err, at, "default is neither ENOSYS nor EPERM");
	b = build_new(no);
	if (!b || !b->named)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "filter");
	r = add_words(b, &w, at, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < b->n_abi; i++)
		emit_abi(b, i);
	emit_answer(b, ENOSYS); /* no ABI of ours: none that a process of this host can use */
	return finish(b, ret, err);
}

void filter_done(struct filter *f)
{
	free(f->insn);
	*f = (struct filter){ 0 };
}

int filter_load(const struct filter *f)
{
	struct sock_fprog prog = { f->n, f->insn };

	if (!f->insn)
		return 0;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}
