/* tests/kern/cap-filter.t.c - capabilities and filters of the profiles, really put on a child */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cap.h"
#include "lib/kern/filter.h"
#include "tests/tap.h"

#define BIT(cap) ((cap_mask)1 << (cap))
#define NR_MSEAL 462

struct profile {
	const char *name;
	cap_mask caps;
	struct filter filter;
};

static struct profile profiles[] = { { .name = "default" }, { .name = "default-nouserns" } };

/* A set, or a number below ten, of /proc/self/status. */
static uint64_t status(const char *key)
{
	char line[256], *end;
	uint64_t v = UINT64_MAX;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			v = strtoull(line + strlen(key) + 1, &end, 16);
	}
	if (f)
		fclose(f);
	return v;
}

/* Runs FN in a child: the number of the line that failed, 0 if none did, -1 if the child died. */
static int in_child(int (*fn)(struct profile *p), struct profile *p)
{
	int st = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(p));
	if (pid < 0 || waitpid(pid, &st, 0) < 0 || !WIFEXITED(st))
		return -1;
	return WEXITSTATUS(st);
}

/* In a child: ends it with the ordinal of the check that failed; TAP is the parent's business. */
#define CHECK(n, cond)                                                                             \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("# failed: %s\n", #cond);                                           \
			fflush(stdout);                                                            \
			return (n);                                                                \
		}                                                                                  \
	} while (0)

static void masks_are_parsed(void)
{
	static const struct {
		const char *text;
		int r;
		cap_mask mask;
	} t[] = {
		{ "", 0, 0 },
		{ "none", 0, 0 },
		{ "all", 0, UINT64_MAX },
		{ "all !cap_sys_module  !CAP_SYS_TIME ", 0,
		  ~(BIT(CAP_SYS_MODULE) | BIT(CAP_SYS_TIME)) },
		{ " none cap_chown cap_Kill", 0, BIT(CAP_CHOWN) | BIT(CAP_KILL) },
		{ "cap_chown !cap_chown cap_checkpoint_restore", 0, BIT(CAP_CHECKPOINT_RESTORE) },
		{ "cap_chown none", 0, 0 },
		{ "chown", -EINVAL, 7 },
		{ "12", -EINVAL, 7 },
		{ "!all", -EINVAL, 7 },
		{ "all !cap_nosuch", -EINVAL, 7 },
		{ "all\n", -EINVAL, 7 },
		{ "cap_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  -EINVAL, 7 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct cos_err err = { 0 };
		cap_mask mask = 7;
		int r = cap_mask_parse(t[i].text, &mask, &err);

		ok(r == t[i].r && mask == t[i].mask && (r == 0 || err.code == COS_E_INVALID),
		   "mask %zu: %#" PRIx64 " %s", i, mask, err.why);
	}
}

static int drops_capabilities(struct profile *p)
{
	cap_mask bounding = status("CapBnd"), held = status("CapPrm");
	char want[20];

	CHECK(1, cap_drop_bounding(p->caps) == 0);
	CHECK(2, status("CapBnd") == (bounding & p->caps));
	CHECK(3, cap_set(p->caps) == 0);
	CHECK(4, status("CapPrm") == (held & p->caps));
	CHECK(5, status("CapEff") == (held & p->caps));
	CHECK(6, status("CapInh") == 0 && status("CapAmb") == 0);
	str_fmt(want, sizeof(want), "%" PRIx64, bounding & p->caps);
	execl("/proc/self/exe", "cap-filter", want, (char *)NULL);
	return 7;
}

/* What the program does when drops_capabilities() executes it: root gets its bounding set, no more.
 */
static int after_exec(const char *want)
{
	CHECK(8, status("CapPrm") == strtoull(want, NULL, 16));
	CHECK(9, status("CapEff") == status("CapPrm"));
	return 0;
}

static int clears_ambient(struct profile *p)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { 0 };

	CHECK(1, syscall(SYS_capget, &head, d) == 0);
	d[0].inheritable = (uint32_t)BIT(CAP_KILL);
	CHECK(2, syscall(SYS_capset, &head, d) == 0);
	CHECK(3, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) == 0);
	CHECK(4, status("CapAmb") == BIT(CAP_KILL));
	CHECK(5, cap_set(p->caps) == 0);
	CHECK(6, status("CapAmb") == 0 && status("CapInh") == 0);
	return 0;
}

static int raises_all(struct profile *p)
{
	cap_mask held = status("CapPrm");

	(void)p;
	setfsuid(65534);
	CHECK(1, status("CapEff") != held);
	CHECK(2, cap_raise_all() == 0);
	CHECK(3, status("CapEff") == held && status("CapPrm") == held);
	return 0;
}

static bool refuses(long r, int no)
{
	return r == -1 && errno == no;
}

/* A guest's first process holds all there; what the host's root lacks does not matter. */
static int works_in_user_namespace(struct profile *p)
{
	cap_mask all;

	CHECK(1, unshare(CLONE_NEWUSER) == 0);
	all = status("CapPrm");
	CHECK(2, all & BIT(CAP_SYS_RESOURCE) && all & BIT(CAP_SYS_MODULE));
	CHECK(3, cap_drop_bounding(p->caps) == 0);
	CHECK(4, status("CapBnd") == (all & p->caps));
	CHECK(5, filter_load(&p->filter) == 0);
	CHECK(6, cap_set(p->caps) == 0);
	CHECK(7, status("CapPrm") == (all & p->caps) && status("NoNewPrivs") == 0);
	CHECK(8, refuses(syscall(SYS_bpf, 0, NULL, 0), EPERM));
	return 0;
}

static int filters(struct profile *p)
{
	long vsock = 0x100000000L | AF_VSOCK;
	int mseal = (int)syscall(NR_MSEAL, 0, 0, 0);

	CHECK(1, status("Seccomp") == 0 && filter_load(&p->filter) == 0);
	CHECK(2, status("Seccomp") == 2 && status("NoNewPrivs") == 0);
	CHECK(3, refuses(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0),
			 ENOSYS));
	CHECK(4, refuses(socket(AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT));
	CHECK(5, refuses(syscall(SYS_socket, vsock, SOCK_STREAM, 0), EAFNOSUPPORT));
	CHECK(6, refuses(socket(AF_ALG, SOCK_SEQPACKET, 0), EAFNOSUPPORT));
	CHECK(7, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0);
	CHECK(8, refuses(syscall(1000), ENOSYS));
	CHECK(9, syscall(NR_MSEAL, 0, 0, 0) == mseal);
	CHECK(10, refuses(syscall(SYS_bpf, 0, NULL, 0), EPERM));
	CHECK(11, refuses(syscall(SYS_personality, 0x0400000), EPERM));
	CHECK(12, syscall(SYS_personality, 0xffffffff) >= 0);
	return 0;
}

static int own_namespaces_allowed(struct profile *p)
{
	CHECK(1, filter_load(&p->filter) == 0);
	CHECK(2, unshare(CLONE_NEWUTS) == 0);
	CHECK(3, sethostname("a", 1) == 0);
	CHECK(4, refuses(syscall(SYS_clone3, NULL, 0), EINVAL));
	return 0;
}

static int own_namespaces_refused(struct profile *p)
{
	pid_t pid;

	CHECK(1, filter_load(&p->filter) == 0);
	CHECK(2, refuses(unshare(CLONE_NEWUTS), EPERM));
	CHECK(3, refuses(syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0), EPERM));
	CHECK(4, refuses(syscall(SYS_clone3, NULL, 0), ENOSYS));
	pid = fork();
	if (pid == 0)
		_exit(0);
	CHECK(5, pid > 0 && waitpid(pid, NULL, 0) == pid);
	return 0;
}

static int needs_privilege_or_promise(struct profile *p)
{
	struct filter none = { 0 };

	CHECK(1, filter_load(&none) == 0 && status("Seccomp") == 0);
	CHECK(2, cap_set(0) == 0 && status("CapEff") == 0);
	CHECK(3, filter_load(&p->filter) == -EACCES && status("Seccomp") == 0);
	CHECK(4, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(5, filter_load(&p->filter) == 0);
	CHECK(6, status("Seccomp") == 2 && status("NoNewPrivs") == 1);
	return 0;
}

#ifdef __x86_64__
static long call32(long nr, long a, long b, long c)
{
	long r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "a"(nr), "b"(a), "c"(b), "d"(c)
			 : "r8", "r9", "r10", "r11", "memory");
	return r;
}

static int has_x86(struct profile *p)
{
	(void)p;
	return call32(20, 0, 0, 0) == getpid() ? 0 : 1;
}

static int filters_x86(struct profile *p)
{
	uint32_t *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	CHECK(1, args != MAP_FAILED);
	args[0] = AF_UNIX;
	args[1] = SOCK_STREAM;
	CHECK(2, call32(102, 1, (long)args, 0) >= 0);
	CHECK(3, filter_load(&p->filter) == 0);
	CHECK(4, call32(102, 1, (long)args, 0) == -ENOSYS);
	CHECK(5, call32(359, AF_UNIX, SOCK_STREAM, 0) >= 0);
	CHECK(6, call32(359, AF_VSOCK, SOCK_STREAM, 0) == -EAFNOSUPPORT);
	CHECK(7, call32(288, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) == -ENOSYS);
	CHECK(8, call32(357, 0, 0, 0) == -EPERM); /* bpf() */
	CHECK(9, call32(20, 0, 0, 0) == getpid());
	return 0;
}
#endif

static void check_x86(struct profile *p)
{
#ifdef __x86_64__
	int r;

	if (in_child(has_x86, p) == 0) {
		r = in_child(filters_x86, p);
		ok(r == 0, "%s: 32-bit calls are filtered (%d)", p->name, r);
		return;
	}
#endif
	tap_skip(p->name, "the kernel runs no 32-bit x86 calls");
}

static void check_profile(struct profile *p, int (*namespaces)(struct profile *))
{
	static const struct {
		const char *name;
		int (*fn)(struct profile *p);
	} t[] = {
		{ "capabilities are dropped, also over exec", drops_capabilities },
		{ "ambient set is cleared", clears_ambient },
		{ "capabilities are raised again", raises_all },
		{ "both in a user namespace", works_in_user_namespace },
		{ "calls are filtered", filters },
		{ "loading needs CAP_SYS_ADMIN or no_new_privs", needs_privilege_or_promise },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		int r = in_child(t[i].fn, p);

		ok(r == 0, "%s: %s (%d)", p->name, t[i].name, r);
	}
	ok(in_child(namespaces, p) == 0, "%s: namespaces", p->name);
	check_x86(p);
}

static bool profile_load(struct profile *p)
{
	auto_json json_t *doc = NULL;
	struct cos_err err = { 0 };
	char path[512];

	str_fmt(path, sizeof(path), "%s/profiles/%s.json", getenv("srcdir") ?: ".", p->name);
	doc = json_load_file(path, 0, NULL);
	ok(doc && cap_mask_parse(json_string_value(json_object_get(doc, "capabilities")) ?: "?",
				 &p->caps, &err) == 0,
	   "%s: capabilities %s", p->name, err.why);
	ok(doc && filter_compile(json_object_get(doc, "seccomp"), "/seccomp", &p->filter, &err) ==
			   0,
	   "%s: filter %s", p->name, err.why);
	return p->filter.insn;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return after_exec(argv[1]);
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	masks_are_parsed();
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		if (profile_load(&profiles[i]))
			check_profile(&profiles[i],
				      i == 0 ? own_namespaces_allowed : own_namespaces_refused);
		filter_done(&profiles[i].filter);
	}
	return tap_done();
}
