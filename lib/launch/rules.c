/* lib/launch/rules.c - a profile's words in the kernel's form, and the programs of guests as sealed
 * memory */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/kern/proc.h"
#include "lib/launch/guest.h"

/* The program, placed here by init-blob.S. */
extern const char cos_init_start[], cos_init_end[];

int launch_init_open(struct cos_err *err)
{
	size_t size = (size_t)(cos_init_end - cos_init_start);
	auto_close int fd = proc_seal_bytes(cos_init_start, size, "cos-init");

	/* A program that the guest may not read is out of its debuggers' reach as a process too: it
	 * holds the console's master, whose flags the keeper shares. */
	if (fd < 0 || fchmod(fd, 0111) < 0)
		return cos_fail(err, COS_E_KERNEL, fd < 0 ? -fd : errno, "seal cos-init");
	return take_fd(fd);
}

int launch_oom_adj(void)
{
	int own = 0;

	proc_oom_adj(getpid(), &own);
	return own > 800 ? 1000 : own < 0 ? 200 : own + 200;
}

int launch_vmm_seal(int fd)
{
	auto_close int sealed = proc_seal(fd, "cos-vmm");

	if (sealed >= 0 && fchmod(sealed, 0111) < 0) /* as cos-init */
		return -errno;
	return take_fd(sealed);
}

/* A profile's words. */
static int parse_words(const struct spec *s, struct launch_rules *rules, struct cos_err *err)
{
	int r;

	if (!s->capabilities || !s->seccomp || !s->devices)
		return cos_fail(err, COS_E_INVALID, 0,
				"the profile names no capabilities, seccomp or devices");
	r = cap_mask_parse(s->capabilities, &rules->caps, err);
	if (r == 0)
		r = dev_rules_parse(s->devices, "/devices", &rules->devices, err);
	if (r == 0)
		r = filter_compile(s->seccomp, "/seccomp", &rules->filter, err);
	return r;
}

/* A machine's process opens nothing, and has filters of its own. */
int launch_rules_make(const struct spec *s, const struct launch_host *h, struct launch_rules *ret,
		      struct cos_err *err)
{
	int dev = h->topo.where[CTL_DEVICES];
	struct launch_rules rules = { .dev_prog = -1 };
	int r = s->type == GUEST_VM ? 0 : parse_words(s, &rules, err);

	if (r == 0 && dev >= 0 && h->topo.h[dev].version == CG_V2) {
		rules.dev_prog = dev_bpf_load(&rules.devices, err);
		r = rules.dev_prog < 0 ? rules.dev_prog : 0;
	}
	if (r < 0) {
		launch_rules_done(&rules);
		return r;
	}
	*ret = rules;
	return 0;
}

void launch_rules_done(struct launch_rules *r)
{
	filter_done(&r->filter);
	close_p(&r->dev_prog);
}
