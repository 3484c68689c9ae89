/* lib/kern/devbpf.c - device rules: v1 files, or a program that a v2 group runs at each open and
 * mknod */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/devbpf.h"

/* The kernel's dev_t: 12 bits of major, 20 of minor. */
#define MAJOR_MAX 0xfffU
#define MINOR_MAX 0xfffffU

#define ACC_ALL (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE)

#define RULE_INSN 8 /* at most, for each rule */
/* Loading, the rules, refusal. */
#define INSN_MAX (8 + DEV_RULES_MAX * RULE_INSN)

static const struct {
	char letter;
	uint8_t bit;
} accesses[] = {
	{ 'r', BPF_DEVCG_ACC_READ },
	{ 'w', BPF_DEVCG_ACC_WRITE },
	{ 'm', BPF_DEVCG_ACC_MKNOD },
};

struct prog {
	struct bpf_insn insn[INSN_MAX];
	size_t n;
};

/* A number up to MAX or '*', which must be followed by END; moves *S behind END. */
static bool parse_number(const char **s, uint32_t max, char end, uint32_t *ret)
{
	size_t len = strcspn(*s, (char[]){ end, '\0' });
	char digits[12];
	uint64_t v;

	if ((*s)[len] != end || !str_fmt(digits, sizeof(digits), "%.*s", (int)len, *s))
		return false;
	if (strcmp(digits, "*") == 0)
		v = DEV_ANY;
	else if (str_to_u64(digits, &v) < 0 || v > max)
		return false;
	*ret = (uint32_t)v;
	*s += len + 1;
	return true;
}

static bool parse_access(const char *s, uint8_t *ret)
{
	uint8_t all = 0;

	for (; *s; s++) {
		uint8_t bit = 0;

		for (size_t i = 0; i < ARRAY_SIZE(accesses); i++) {
			if (accesses[i].letter == *s)
				bit = accesses[i].bit;
		}
		if (!bit || all & bit)
			return false;
		all |= bit;
	}
	*ret = all;
	return all != 0;
}

/* Type 'a' is left for the caller to make two rules of. */
static bool parse_rule(const char *s, struct dev_rule *ret)
{
	if (!s || !s[0] || !strchr("abc", s[0]) || s[1] != ' ')
		return false;
	ret->type = s[0];
	s += 2;
	return parse_number(&s, MAJOR_MAX, ':', &ret->major) &&
	       parse_number(&s, MINOR_MAX, ' ', &ret->minor) && parse_access(s, &ret->access);
}

static int add_rule(struct dev_rules *rs, const struct dev_rule *r)
{
	for (size_t i = 0; i < rs->n; i++) {
		struct dev_rule *have = &rs->r[i];

		if (have->type == r->type && have->major == r->major && have->minor == r->minor) {
			have->access |= r->access;
			return 0;
		}
	}
	if (rs->n == DEV_RULES_MAX)
		return -E2BIG;
	rs->r[rs->n++] = *r;
	return 0;
}

int dev_rules_parse(json_t *list, const char *at, struct dev_rules *ret, struct cos_err *err)
{
	struct dev_rules rules = { .n = 0 };
	json_t *v;
	size_t i;

	if (!json_is_array(list))
		return jsonx_bad(err, at, "not an array");
	json_array_foreach(list, i, v) {
		struct dev_rule rule;
		char here[160];
		bool both;
		int r;

		str_fmt(here, sizeof(here), "%s/%zu", at, i);
		if (!parse_rule(json_string_value(v), &rule))
			return jsonx_bad(err, here,
					 "not a device rule such as \"c 1:3 rwm\" or \"b *:* m\"");
		both = rule.type == 'a';
		if (both)
			rule.type = 'c';
		r = add_rule(&rules, &rule);
		if (r == 0 && both) {
			rule.type = 'b';
			r = add_rule(&rules, &rule);
		}
		if (r < 0)
			return jsonx_bad(err, here, "is one more than %d rules", DEV_RULES_MAX);
	}
	*ret = rules;
	return 0;
}

static void emit(struct prog *p, struct bpf_insn insn)
{
	p->insn[p->n++] = insn;
}

static void emit_move(struct prog *p, uint8_t to, uint8_t from)
{
	emit(p, (struct bpf_insn){
			.code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = to, .src_reg = from });
}

static void emit_op(struct prog *p, uint8_t op, uint8_t reg, uint32_t imm)
{
	emit(p, (struct bpf_insn){
			.code = BPF_ALU | op | BPF_K, .dst_reg = reg, .imm = (int32_t)imm });
}

/* The jump is completed by emit_rule(), which alone knows how far "next rule" is. */
static void emit_unless(struct prog *p, uint8_t reg, uint32_t imm)
{
	emit(p, (struct bpf_insn){
			.code = BPF_JMP32 | BPF_JNE | BPF_K, .dst_reg = reg, .imm = (int32_t)imm });
}

static void emit_return(struct prog *p, uint32_t value)
{
	emit_op(p, BPF_MOV, BPF_REG_0, value);
	emit(p, (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT });
}

/* Register 2: type, 3: access, 4: major, 5: minor. */
static void emit_load(struct prog *p)
{
	static const struct {
		uint8_t reg;
		size_t offset;
	} loads[] = {
		{ BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type) },
		{ BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, major) },
		{ BPF_REG_5, offsetof(struct bpf_cgroup_dev_ctx, minor) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
		emit(p, (struct bpf_insn){ .code = BPF_LDX | BPF_MEM | BPF_W,
					   .dst_reg = loads[i].reg,
					   .src_reg = BPF_REG_1,
					   .off = (int16_t)loads[i].offset });
	emit_move(p, BPF_REG_3, BPF_REG_2);
	emit_op(p, BPF_AND, BPF_REG_2, 0xffff);
	emit_op(p, BPF_RSH, BPF_REG_3, 16);
}

static void emit_rule(struct prog *p, const struct dev_rule *r)
{
	size_t from = p->n;

	emit_unless(p, BPF_REG_2, r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	if (r->major != DEV_ANY)
		emit_unless(p, BPF_REG_4, r->major);
	if (r->minor != DEV_ANY)
		emit_unless(p, BPF_REG_5, r->minor);
	if (r->access != ACC_ALL) {
		emit_move(p, BPF_REG_1, BPF_REG_3);
		emit_op(p, BPF_AND, BPF_REG_1, (uint32_t)ACC_ALL & ~r->access);
		emit_unless(p, BPF_REG_1, 0);
	}
	emit_return(p, 1);
	for (size_t i = from; i < p->n; i++) {
		if (p->insn[i].code == (BPF_JMP32 | BPF_JNE | BPF_K))
			p->insn[i].off = (int16_t)(p->n - i - 1);
	}
}

int dev_bpf_load(const struct dev_rules *r, struct cos_err *err)
{
	static const char license[] = "GPL";
	struct prog p = { .n = 0 };
	union bpf_attr a = { 0 };
	int fd;

	emit_load(&p);
	for (size_t i = 0; i < r->n; i++)
		emit_rule(&p, &r->r[i]);
	emit_return(&p, 0);
	a.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	a.insns = (uintptr_t)p.insn;
	a.insn_cnt = (uint32_t)p.n;
	a.license = (uintptr_t)license;
	strcpy(a.prog_name, "cos_devices");
	fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
	if (fd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "devices: load BPF of %zu rules", r->n);
	return fd;
}

int dev_bpf_attach(int prog, int cgroup)
{
	union bpf_attr a = { 0 };

	a.target_fd = (uint32_t)cgroup;
	a.attach_bpf_fd = (uint32_t)prog;
	a.attach_type = BPF_CGROUP_DEVICE;
	a.attach_flags = BPF_F_ALLOW_MULTI;
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &a, sizeof(a)) < 0 ? -errno : 0;
}

static const char *number_text(char buf[static 12], uint32_t v)
{
	if (v == DEV_ANY)
		return "*";
	snprintf(buf, 12, "%u", v);
	return buf;
}

int dev_v1_apply(const struct dev_rules *r, int cgroup, struct cos_err *err)
{
	int rc = io_write_at(cgroup, "devices.deny", "a", 1);

	if (rc < 0)
		return cos_fail(err, COS_E_KERNEL, -rc, "devices: write \"a\" to devices.deny");
	for (size_t i = 0; i < r->n; i++) {
		const struct dev_rule *d = &r->r[i];
		char major[12], minor[12], access[4] = "", line[48];
		size_t n = 0;

		for (size_t j = 0; j < ARRAY_SIZE(accesses); j++) {
			if (d->access & accesses[j].bit)
				access[n++] = accesses[j].letter;
		}
		str_fmt(line, sizeof(line), "%c %s:%s %s", d->type, number_text(major, d->major),
			number_text(minor, d->minor), access);
		rc = io_write_at(cgroup, "devices.allow", line, strlen(line));
		if (rc < 0)
			return cos_fail(err, COS_E_KERNEL, -rc,
					"devices: write \"%s\" to devices.allow", line);
	}
	return 0;
}
