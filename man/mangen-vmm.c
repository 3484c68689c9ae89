/* man/mangen-vmm.c - the tables of cos-vmm for its manual page */
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/own.h"
#include "man/mangen.h"
#include "vmm/control.def"
#include "lib/model/vmend.def"
#include "vmm/exit.def"
#include "vmm/option.def"

static void print_options(void)
{
#define X(name, arg, fn, help)                                                                     \
	printf("*--%s*%s%s\n\t%s\n\n", name, (arg) ? " " : "", (const char *)(arg) ?: "", help);
	VMM_OPTIONS(X)
#undef X
}

static void print_commands(void)
{
	static const struct {
		const char *name, *params, *help;
	} rows[] = {
#define X(name, fn, params, help) { name, params, help },
		VMM_COMMANDS(X)
#undef X
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		printf("*%s*%s", rows[i].name, rows[i].params[0] ? " " : "");
		put(rows[i].params);
		printf("\n\t%s\n\n", rows[i].help);
	}
}

static void print_ends(void)
{
	printf("[[ *Status*\n:[ *End*\n:[ *Meaning*\n");
#define X(code, name, status, help) printf("|[ %d\n:[ %s\n:[ %s\n", status, name, help);
	VM_ENDS(X)
#undef X
	printf("\n");
}

static void print_exits(void)
{
#define X(code, number, name, fn, help) printf("*%s*\n\t%s\n\n", name, help);
	VCPU_EXITS(X)
#undef X
}

int print_vmm(const char *which)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} tables[] = {
		{ "options", print_options },
		{ "commands", print_commands },
		{ "ends", print_ends },
		{ "exits", print_exits },
	};

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		if (strcmp(tables[i].name, which) == 0) {
			tables[i].print();
			return 0;
		}
	}
	fprintf(stderr, "mangen: cos-vmm has no table %s\n", which);
	return 1;
}
