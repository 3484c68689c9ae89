/* lib/launch/child.h - what runs between clone3() and execve(), in a guest's namespaces or on the
 * way */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/kern/cap.h"
#include "lib/kern/filter.h"

struct launch;
struct launch_host;
struct launch_rules;
struct spec;

/* Namespaces of a guest beside the user namespace. */
#define GUEST_NS                                                                                   \
	(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

/* What /proc, /sys and such are mounted with. */
#define HARDENED (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* A guest in the host's network has no namespace of its own for it. */
bool child_shares_net(const struct launch *l);

/* Entry point of the process; returns its exit status. */
int child_helper(struct launch *l, int sock);

/* clone3() as a child of the caller's parent; returns the pid and its pidfd, 0 in the child. The
 * kernel writes the pid to *BORN, if that is not NULL, before anything can end the caller. */
pid_t child_clone_sibling(unsigned long long ns, pid_t *born, int *ret_pidfd, struct cos_err *err);
/* Who makes a user namespace owns it, and what the kernel counts for each user of the host (inotify
 * instances, namespaces, pending signals) is counted for its owner. The host's root as the owner of
 * all would let one guest use up what all others and the host have: the owner is the host's id of
 * the guest's root. */
struct clone_args;
/* clone3() as OWNER; returns a negative errno. */
pid_t child_clone_user(struct clone_args *ca, uint32_t owner);
/* The process's effective id becomes OWNER, who has all capabilities in what he owns, also those
 * that the host's root lacks; what root holds elsewhere stays. On failure, too, child_be_root() is
 * to follow. Leaves. */
int child_be(uint32_t owner);
void child_be_root(void);
/* Brings up lo. */
int child_raise_loopback(struct cos_err *err);
/* Becomes root of the user namespace it is in. */
int child_become_root(struct cos_err *err);

/* Who runs a command: looked up in the guest's own /etc/passwd and /etc/group. */
#define WHO_GROUPS_MAX 64
struct who {
	uid_t uid;
	gid_t gid;
	gid_t groups[WHO_GROUPS_MAX];
	unsigned n_groups;
	char home[256];
};
/* TEXT: NULL (root), NAME, UID, UID:GID or NAME:GROUP. Runs inside the guest's root. */
int who_find(const char *text, struct who *ret, struct cos_err *err);
/* The same with the texts of the two files, which are cut up; NULL: not there. */
int who_parse(const char *text, char *passwd, char *group, struct who *ret, struct cos_err *err);

/* Where PID stands when memory runs out. What it makes stands there, too. It has to be told from
 * outside, by the host's root: in a user namespace nobody has the file. */
int child_oom_adj(pid_t pid, const struct launch_host *host, struct cos_err *err);
/* The guest's rlimit.* on process PID, 0: the caller. */
int child_rlimits(pid_t pid, const struct spec *spec, const struct launch_host *host,
		  struct cos_err *err);
/* The last steps before an exec: bounding set, groups, no_new_privs, KSM, filter, ids,
 * capabilities. */
int child_confine(const struct launch_rules *rules, const struct who *who, const struct spec *spec,
		  struct cos_err *err);
/* argv from a JSON array of texts; NULL when memory is out. Borrowed texts. PREFIX entries come
 * first. */
char **child_argv(json_t *command, const char *const *prefix, unsigned n_prefix);
/* The documented environment, then A, then B (objects, may be NULL). */
char **child_env(const struct who *who, json_t *a, json_t *b);
/* The absolute path of CMD by the PATH of ENV, executable for the caller, into BUF. NotFound or
 * NotExecutable. */
int child_find_command(const char *cmd, char *const *env, char *buf, size_t size,
		       struct cos_err *err);

/* Makes the pipes among STDIO the guest's root's, whose id is ID, so that child_own_stdio() can
 * give them on. */
void child_give_pipes(const int stdio[3], uint32_t id);
/* Descriptors 0 to 2, pipes or a terminal, become WHO's: /dev/stdout and such are opened anew by
 * the owner's rights, also by root, to whom a pipe of the host's is a stranger's. */
void child_own_stdio(const struct who *who);

/* Opens a new terminal of the devpts at /dev/pts: master and slave. */
int child_open_pty(int *ret_master, int *ret_slave, struct cos_err *err);
/* Of the devpts whose ptmx is PATH below DIR. */
int child_open_pty_at(int dir, const char *path, int *ret_master, int *ret_slave,
		      struct cos_err *err);

/* Writes /etc/hostname, hosts and resolv.conf and sets the time zone; inside the guest's root. */
int child_write_etc(const struct launch *l, struct cos_err *err);
