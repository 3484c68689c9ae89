/* lib/launch/ct.c - the start steps of a container, in order */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/mount.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/mnt.h"
#include "lib/kern/proc.h"
#include "lib/launch/child.h"
#include "lib/launch/guest.h"
#include "lib/launch/msg.h"
#include "lib/launch/shared.h"

/* namespaces: only for a guest with binds, and when no prepared ones were there. Binds are locked
 * for the guest by being copied with a mount namespace that a helper of the host made; for that the
 * user namespace has to be there first. */
static int namespaces_make(struct launch *l, struct cos_err *err)
{
	int r;

	if (l->prep.pid == 0) {
		if (!l->spec->userns || !l->spec->n_binds || l->netns >= 0)
			return 0;
		r = launch_prepare(l->id_base, &l->prep, err);
		if (r < 0)
			return r;
		l->sync = take_fd(l->prep.sync);
	}
	if (!step_has_answer(l->sync))
		return LAUNCH_WAIT;
	if (l->ops->unwatch)
		l->ops->unwatch(l);
	l->prep.sync = take_fd(l->sync);
	return launch_prepare_finish(&l->prep, &l->userns, &l->netns, err);
}

static void namespaces_undo(struct launch *l)
{
	launch_prepare_abort(&l->prep);
}

/* The source is opened once and checked; what is mounted is what was opened, whatever the path
 * leads to later. */
static int clone_bind(const struct launch *l, const struct spec_bind *b, struct cos_err *err)
{
	auto_close int src = io_open2(AT_FDCWD, b->source, O_PATH, 0, RESOLVE_NO_MAGICLINKS);
	auto_close int mnt = -1;
	struct stat st;
	int r;

	if (src < 0 || fstat(src, &st) < 0)
		return cos_fail(err, COS_E_INVALID, src < 0 ? -src : errno, "bind source %s",
				b->source);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode))
		return cos_fail(err, COS_E_INVALID, 0,
				"bind source %s: not a directory, file or socket", b->source);
	mnt = mnt_clone(src, "", S_ISDIR(st.st_mode));
	if (mnt < 0)
		return cos_fail(err, COS_E_KERNEL, -mnt, "open_tree %s", b->source);
	r = mnt_attr(mnt,
		     MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (b->readonly ? MOUNT_ATTR_RDONLY : 0),
		     0, true);
	if (r == 0 && l->userns >= 0)
		r = mnt_idmap(mnt, l->userns, true);
	if (r < 0)
		return cos_advise(
			err,
			cos_fail(err, COS_E_UNSUPPORTED, -r, "map the owners of bind source %s",
				 b->source),
			"bind a directory of a file system that can (ext4, xfs, btrfs), without "
			"other mounts below it");
	return take_fd(mnt);
}

static int clone_binds(struct launch *l, struct cos_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < l->spec->n_binds && r == 0; i++) {
		l->binds[i] = clone_bind(l, &l->spec->binds[i], err);
		r = l->binds[i] < 0 ? l->binds[i] : 0;
	}
	return r;
}

/* userns: the helper process, born in the v2 group and in a user namespace that gets its id maps;
 * or it joins prepared ones. */
static int userns_make(struct launch *l, struct cos_err *err)
{
	bool into = l->cg.payload >= 0, prepared;
	struct clone_args ca = {
		.flags = into ? CLONE_INTO_CGROUP : 0,
		.exit_signal = SIGCHLD,
		.cgroup = into ? (uint64_t)l->cg.payload : 0,
	};
	int sv[2], r = clone_binds(l, err);

	if (r < 0)
		return r;
	prepared = l->netns >= 0;
	child_give_pipes(l->stdio, l->spec->userns ? l->id_base : 0);
	if (l->spec->userns && !prepared)
		ca.flags |= CLONE_NEWUSER;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	r = child_clone_user(&ca, ca.flags & CLONE_NEWUSER ? l->id_base : 0);
	if (r == 0)
		_exit(child_helper(l, sv[1]));
	close(sv[1]);
	l->sync = sv[0];
	step_close_inherited(l);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "clone3");
	l->helper = r;
	if (prepared)
		return 0;
	if (l->spec->userns) {
		r = proc_write_maps(l->helper, l->id_base, LAUNCH_IDS);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "write the maps of ids %u..%u",
					l->id_base, l->id_base + LAUNCH_IDS - 1);
		l->userns = proc_open_ns(l->helper, "user");
		if (l->userns < 0)
			return cos_fail(err, COS_E_KERNEL, -l->userns, "open the user namespace");
	}
	r = msg_send(l->sync, MSG_GO, 0, NULL, 0);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "tell the helper") : 0;
}

static void userns_undo(struct launch *l)
{
	close_p(&l->userns);
	close_p(&l->netns);
	if (l->helper > 0)
		msg_end_helper(l->sync, l->helper);
	l->helper = 0;
	close_p(&l->sync);
}

static bool may_open(const struct dev_rules *rules, unsigned major_no, unsigned minor_no)
{
	for (size_t i = 0; i < rules->n; i++) {
		const struct dev_rule *r = &rules->r[i];

		if (r->type == 'c' && (r->access & BPF_DEVCG_ACC_READ) &&
		    (r->major == DEV_ANY || r->major == major_no) &&
		    (r->minor == DEV_ANY || r->minor == minor_no))
			return true;
	}
	return false;
}

/* The guest's /dev is a tmpfs of the host whose root belongs to the guest's root: device nodes work
 * in it, and what may be opened is the device allow-list's matter. What that list has to allow
 * beyond the default one has a node only then. */
static int make_dev(const struct launch *l, struct cos_err *err)
{
	static const struct {
		const char *name;
		unsigned minor_no, major_no;
		bool asked;
	} nodes[] = {
		{ "null", 3, 1, false },   { "zero", 5, 1, false },    { "full", 7, 1, false },
		{ "random", 8, 1, false }, { "urandom", 9, 1, false }, { "tty", 0, 5, false },
		{ "fuse", 229, 10, true },
	};
	static const char *const links[][2] = {
		{ "/proc/self/fd", "fd" },       { "/proc/self/fd/0", "stdin" },
		{ "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" },
		{ "pts/ptmx", "ptmx" },
	};
	static const char *const dirs[] = { "pts", "shm", "mqueue" };
	uint32_t id = l->spec->userns ? l->id_base : 0;
	char owner[16];
	struct mnt_opt opts[] = { { "mode", "0755" }, { "size", "1m" }, { "nr_inodes", "1024" },
				  { "uid", owner },   { "gid", owner }, { NULL, NULL } };
	auto_close int mnt = -1;
	bool good = true;

	snprintf(owner, sizeof(owner), "%u", id);
	mnt = mnt_new_tell("tmpfs", opts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
	if (mnt < 0)
		return mnt;
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		if (nodes[i].asked &&
		    !may_open(&l->rules->devices, nodes[i].major_no, nodes[i].minor_no))
			continue;
		good = good &&
		       mknodat(mnt, nodes[i].name, S_IFCHR | 0666,
			       makedev(nodes[i].major_no, nodes[i].minor_no)) == 0 &&
		       fchmodat(mnt, nodes[i].name, 0666, 0) == 0 &&
		       fchownat(mnt, nodes[i].name, id, id, AT_SYMLINK_NOFOLLOW) == 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		good = good && mkdirat(mnt, dirs[i], 0755) == 0 &&
		       fchownat(mnt, dirs[i], id, id, AT_SYMLINK_NOFOLLOW) == 0;
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		good = good && symlinkat(links[i][0], mnt, links[i][1]) == 0 &&
		       fchownat(mnt, links[i][1], id, id, AT_SYMLINK_NOFOLLOW) == 0;
	return good ? take_fd(mnt) : cos_fail(err, COS_E_KERNEL, errno, "fill the guest's /dev");
}

/* root: the overlay and /dev as detached mounts, while the helper makes the namespaces. */
static int root_mount(struct launch *l, struct cos_err *err)
{
	struct cowfs_mount m = cowfs_root_mount(l->root);

	m.userns = l->userns;
	m.id_base = l->id_base;
	m.is_volatile = l->spec->is_volatile;
	l->root_mnt = cowfs_mount(&m, l->host->overlay, err);
	if (l->root_mnt < 0)
		return l->root_mnt;
	l->dev_mnt = make_dev(l, err);
	if (l->dev_mnt < 0)
		return l->dev_mnt;
	if (child_shares_net(l))
		l->sys_mnt = mnt_new_tell("sysfs", NULL, HARDENED | MOUNT_ATTR_RDONLY, err);
	return child_shares_net(l) && l->sys_mnt < 0 ? l->sys_mnt : 0;
}

static void root_unmount(struct launch *l)
{
	close_p(&l->root_mnt);
	close_p(&l->dev_mnt);
	close_p(&l->sys_mnt);
}

/* birth: the guest's first process exists; the helper has done its work. */
static int birth_wait(struct launch *l, struct cos_err *err)
{
	int r;

	if (!step_has_answer(l->sync))
		return LAUNCH_WAIT;
	r = msg_take_born(l->sync, &l->pid, &l->pidfd, err);
	if (r < 0)
		return r;
	msg_end_child(l->helper);
	l->helper = 0;
	return 0;
}

/* network: the link, while nothing of the guest runs. */
static int network_make(struct launch *l, struct cos_err *err)
{
	return l->net ? launch_net_attach(l->net, l->pid, err) : 0;
}

static int handover(struct launch *l, struct cos_err *err)
{
	int fds[] = { l->root_mnt, l->dev_mnt, l->sys_mnt };
	int r = msg_send(l->sync, MSG_MOUNTS, 0, fds, l->sys_mnt < 0 ? 2 : 3);

	root_unmount(l);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "hand the mounts over") : 0;
}

static int prepare_wait(struct launch *l, struct cos_err *err)
{
	unsigned n = 1;
	struct msg m;
	int r;

	if (!step_has_answer(l->sync))
		return LAUNCH_WAIT;
	r = msg_recv(l->sync, MSG_READY, &m, &l->console, &n, err);
	if (r == 0 && n == 0 && l->stdio[0] < 0) /* nobody would drain it */
		return cos_fail(err, COS_E_KERNEL, EMFILE, "take the guest's console");
	return r;
}

/* limits of the process itself, set from outside: the guest's root may lower but not raise them */
static int rlimits_set(struct launch *l, struct cos_err *err)
{
	int r = child_oom_adj(l->pid, l->host, err);

	if (r < 0)
		return r;
	r = l->spec->userns ? child_be(l->id_base) : 0;
	if (r < 0)
		cos_fail(err, COS_E_KERNEL, -r, "become id %u", l->id_base);
	else
		r = child_rlimits(l->pid, l->spec, l->host, err);
	child_be_root();
	return r;
}

static int release(struct launch *l, struct cos_err *err)
{
	int r = msg_send(l->sync, MSG_RELEASE, 0, NULL, 0);

	return r < 0 ? cos_fail(err, COS_E_INTERNAL, -r, "the guest died before it was released")
		     : 0;
}

static int exec_wait(struct launch *l, struct cos_err *err)
{
	json_t *cmd = json_array_get(l->spec->command, 0);

	return msg_recv_end(l->sync, cmd ? json_string_value(cmd) : "/sbin/init", err);
}

static const struct step steps[] = {
	{ "cgroup", step_cgroup, step_cgroup_undo },
	{ "namespaces", namespaces_make, namespaces_undo },
	{ "userns", userns_make, userns_undo },
	{ "root", root_mount, root_unmount },
	{ "birth", birth_wait, step_birth_undo },
	{ "network", network_make, step_network_undo },
	{ "handover", handover, NULL },
	{ "prepare", prepare_wait, NULL },
	{ "rlimits", rlimits_set, NULL },
	{ "record", step_record, NULL },
	{ "release", release, NULL },
	{ "exec", exec_wait, NULL },
};

const struct guest_type container_type = { "start", steps, ARRAY_SIZE(steps) };
