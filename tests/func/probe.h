/* tests/func/probe.h - what the parts of the containment probe share
 *
 * A check tries one thing that a guest must not be able to do (or must), and says whether it
 * worked. What is tried is chosen so that it does no harm where it works: the probe can be run on
 * the bare host, where nearly all checks of the first kind must fail. Each check is a process of
 * its own: what it unshares, mounts or becomes ends with it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum outcome {
	NO,     /* refused, or nothing was there */
	YES,    /* it worked, or something of the host was found */
	ABSENT, /* it could not be tried; the note says why */
};

enum want { WANT_NO, WANT_YES, WANT_ANY };

/* Namespaces that the kernel starts with (include/linux/nsfs.h; net and mnt since Linux 6.18). */
#define FIRST_IPC_NS    0xefffffffU
#define FIRST_UTS_NS    0xeffffffeU
#define FIRST_USER_NS   0xeffffffdU
#define FIRST_PID_NS    0xeffffffcU
#define FIRST_CGROUP_NS 0xeffffffbU
#define FIRST_NET_NS    0xeffffff9U
#define FIRST_MNT_NS    0xeffffff8U

#define SCRATCH_MAX 4

struct finding {
	char text[600];
	char scratch[SCRATCH_MAX][64]; /* directories to remove when the check has ended */
	unsigned n_scratch;
};

struct check {
	const char *name;
	enum want userns, shared; /* in a guest with its own user namespace, in one without */
	enum outcome (*run)(const struct check *c, struct finding *f);
	const char *path; /* for checks that are about one file or directory */
	long nr;          /* for checks that are one system call */
	long arg[6];
};

#define HIDE_MAX 16

struct probe_opts {
	bool userns;
	const char *hostname;       /* what uname(2) must say; NULL: not known */
	const char *abstract;       /* an abstract socket on which somebody listens outside */
	const char *hide[HIDE_MAX]; /* texts that must not be found anywhere */
	unsigned n_hide;
	const char *links[HIDE_MAX]; /* network interfaces beside lo */
	unsigned n_links;
	const char *env[HIDE_MAX]; /* variables beside the documented ones */
	unsigned n_env;
};

extern struct probe_opts probe_opts;

/* End with a row whose name is NULL. */
extern const struct check checks_call[];
extern const struct check checks_file[];
extern const struct check checks_mount[];
extern const struct check checks_cgroup[];
extern const struct check checks_proc[];
extern const struct check checks_id[];

/* Appends to the check's note; what does not fit is cut. */
__attribute__((format(printf, 2, 3))) void note(struct finding *f, const char *fmt, ...);
/* "EPERM" for errno; "?" for a number that has no name. */
const char *err_name(int err);
/* Does the errno mean that a filter, a capability or a mode said no, and not that the call went on
 * to look at its arguments? */
bool refused(int err);
/* Makes a directory below BASE that goes when the check has ended; -errno. */
int scratch_dir(struct finding *f, const char *base, char *ret, size_t size);
/* The same below the first of /tmp, /run, /dev/shm and / that can be written. */
int scratch_any(struct finding *f, char *ret, size_t size);
/* Reads a file as text, at most SIZE - 1 bytes, in as many reads as it takes; bytes read or -errno.
 */
ssize_t slurp(const char *path, char *buf, size_t size);
/* Is our namespace of that type the one with number FIRST? */
bool on_host(const char *type, unsigned first);
/* Own mount namespace whose changes reach nobody else; -errno. */
int private_mounts(void);
/* Calls FN for each name in PATH but . and .. until it returns non-zero, which is returned; -errno.
 */
int each_entry(const char *path, int (*fn)(const char *name, void *arg), void *arg);
bool is_number(const char *s);

/* Sub-commands; each returns the exit status. */
int cmd_forkbomb(int argc, char **argv);
int cmd_membomb(int argc, char **argv);
int cmd_fdbomb(int argc, char **argv);
int cmd_filebomb(int argc, char **argv);
int cmd_reboot(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_listen(int argc, char **argv);
int cmd_self(int argc, char **argv);
int cmd_ids(int argc, char **argv);
int cmd_exe(int argc, char **argv);
