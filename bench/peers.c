/* bench/peers.c - other programs that start a guest: crun, runc, unshare, lxc-execute
 *
 * Each is asked for the same: own pid, mount, uts, ipc, network and cgroup namespaces, limits of
 * CPU, memory, pids and devices where it knows groups, a plain directory as root, its own /dev,
 * /proc, /sys and devpts, few capabilities, no new privileges. None has to set up a user namespace
 * or an overlay, and but one of lxc no network. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/contender.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

const char *contender_word(struct contender *c, const char *fmt, ...)
{
	char *at = c->text + c->text_len;
	size_t room = sizeof(c->text) - c->text_len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(at, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		abort(); /* a word too many for this table, not an input */
	c->text_len += (size_t)n + 1;
	return at;
}

bool contender_time(struct contender *c, uint64_t *ret_first, uint64_t *ret_whole)
{
	uint64_t begin, end, first;
	int p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return false;
	begin = bench_nsec();
	r = c->run(c, p[1]);
	end = bench_nsec();
	close(p[1]);
	first = r == 0 ? bench_read_first(p[0]) : 0;
	close(p[0]);
	if (first < begin || first > end) {
		if (!bench_stopped())
			fprintf(stderr, "bench: %s: status %d, %s\n", c->name, r,
				first ? "a time that cannot be" : "the guest said nothing");
		return false;
	}
	c->first_nsec = first;
	*ret_first = first - begin;
	*ret_whole = end - begin;
	return true;
}

static int take_part(struct contender *c, const struct bench *b)
{
	static const char *const dirs[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin" };

	c->b = b;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%s", dirs[i], c->argv[0]);
		if (access(path, X_OK) == 0)
			return 0;
	}
	printf("# %s: no program %s\n", c->name, c->argv[0]);
	return -ENOENT;
}

static int run_argv(struct contender *c, int out)
{
	return bench_run(c->b, c->argv, out);
}

static void run_undo(struct contender *c)
{
	if (c->undo_argv[0])
		bench_run(c->b, c->undo_argv, -1);
}

static void set_argv(const char **to, const char *const *from)
{
	while (*from)
		*to++ = *from++;
	*to = NULL;
}

static const char bundle_text[] =
	"{ \"ociVersion\": \"1.0.0\",\n"
	"  \"process\": { \"terminal\": false, \"user\": { \"uid\": 0, \"gid\": 0 },\n"
	"    \"args\": [ \"/bin/first\" ], \"env\": [ \"PATH=/bin\" ], \"cwd\": \"/\",\n"
	"    \"noNewPrivileges\": true,\n"
	"    \"capabilities\": { \"bounding\": [ \"CAP_KILL\", \"CAP_CHOWN\" ],\n"
	"      \"effective\": [ \"CAP_KILL\", \"CAP_CHOWN\" ],\n"
	"      \"permitted\": [ \"CAP_KILL\", \"CAP_CHOWN\" ] } },\n"
	"  \"root\": { \"path\": \"%s/" CONTENDER_ROOT "\" }, \"hostname\": \"%s\",\n"
	"  \"mounts\": [\n"
	"    { \"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\" },\n"
	"    { \"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\",\n"
	"      \"options\": [ \"nosuid\", \"noexec\", \"mode=755\", \"size=64k\" ] },\n"
	"    { \"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\",\n"
	"      \"options\": [ \"nosuid\", \"noexec\", \"newinstance\", \"ptmxmode=0666\",\n"
	"        \"mode=0620\" ] },\n"
	"    { \"destination\": \"/sys\", \"type\": \"sysfs\", \"source\": \"sysfs\",\n"
	"      \"options\": [ \"nosuid\", \"noexec\", \"nodev\", \"ro\" ] } ],\n"
	"  \"linux\": { \"cgroupsPath\": \"/%s/%s\",\n"
	"    \"resources\": { \"memory\": { \"limit\": 268435456 }, \"pids\": { \"limit\": 512 },\n"
	"      \"cpu\": { \"shares\": 1024 },\n"
	"      \"devices\": [ { \"allow\": false, \"access\": \"rwm\" } ] },\n"
	"    \"namespaces\": [ { \"type\": \"pid\" }, { \"type\": \"network\" }, { \"type\": \"ipc\" },\n"
	"      { \"type\": \"uts\" }, { \"type\": \"mount\" }, { \"type\": \"cgroup\" } ] } }\n";

static int oci_open(struct contender *c, const struct bench *b)
{
	const char *bundle = contender_word(c, "%s/%s", b->dir, c->name);
	const char *state = contender_word(c, "%s/%s-state", b->dir, c->name);
	const char *id = contender_word(c, "%s-%s", b->group, c->name);
	auto_close int dir = -1;
	char text[sizeof(bundle_text) + 256];
	int r;

	set_argv(c->argv, (const char *const[]){ c->name, "--root", state, "run", "--bundle",
						 bundle, id, NULL });
	set_argv(c->undo_argv,
		 (const char *const[]){ c->name, "--root", state, "delete", "--force", id, NULL });
	r = take_part(c, b);
	if (r < 0)
		return r;
	dir = io_dir_at(b->dirfd, c->name, 0755);
	if (dir < 0)
		return dir;
	r = snprintf(text, sizeof(text), bundle_text, b->dir, c->name, b->group, c->name);
	return io_replace_at(dir, "config.json", text, (size_t)r, 0644, false);
}

static int unshare_open(struct contender *c, const struct bench *b)
{
	const char *root = contender_word(c, "--root=%s/" CONTENDER_ROOT, b->dir);

	set_argv(c->argv, (const char *const[]){ "unshare", "--fork", "--pid", "--mount", "--uts",
						 "--ipc", "--net", "--cgroup", "--mount-proc", root,
						 "/bin/first", NULL });
	return take_part(c, b);
}

static const char lxc_text[] = "lxc.uts.name = lxc\n"
			       "lxc.rootfs.path = dir:%s/" CONTENDER_ROOT "\n"
			       "%s"
			       "lxc.mount.auto = proc sys:ro\n"
			       "lxc.autodev = 1\n"
			       "lxc.apparmor.profile = unconfined\n"
			       "lxc.no_new_privs = 1\n"
			       "lxc.cap.keep = kill chown\n"
			       "lxc.cgroup.dir = %s/lxc\n"
			       "lxc.cgroup.memory.limit_in_bytes = 268435456\n"
			       "lxc.cgroup.pids.max = 512\n"
			       "lxc.cgroup.cpu.shares = 1024\n"
			       "lxc.cgroup.devices.deny = a\n"
			       "lxc.cgroup.devices.allow = c 1:* rwm\n"
			       "lxc.cgroup.devices.allow = c 5:* rwm\n"
			       "lxc.cgroup.devices.allow = c 136:* rwm\n";

static const char lxc_empty[] = "lxc.net.0.type = empty\n";
static const char lxc_veth[] = "lxc.net.0.type = veth\n"
			       "lxc.net.0.link = " CONTENDER_BRIDGE "\n"
			       "lxc.net.0.flags = up\n"
			       "lxc.net.0.ipv4.address = 198.18.0.2/24\n"
			       "lxc.net.0.ipv4.gateway = 198.18.0.1\n";

static int lxc_open_with(struct contender *c, const struct bench *b, const char *net)
{
	const char *path = contender_word(c, "%s/lxc", b->dir);
	const char *conf = contender_word(c, "%s/lxc/%s", b->dir, c->name);
	const char *id = contender_word(c, "%s-%s", b->group, c->name);
	auto_close int dir = -1;
	char text[sizeof(lxc_text) + sizeof(lxc_veth) + 128];
	int r;

	set_argv(c->argv, (const char *const[]){ "lxc-execute", "-n", id, "-P", path, "-f", conf,
						 "--", "/bin/first", NULL });
	set_argv(c->undo_argv,
		 (const char *const[]){ "lxc-stop", "-k", "-n", id, "-P", path, NULL });
	r = take_part(c, b);
	if (r < 0)
		return r;
	dir = io_dir_at(b->dirfd, "lxc", 0755);
	if (dir < 0)
		return dir;
	r = snprintf(text, sizeof(text), lxc_text, b->dir, net, b->group);
	return io_replace_at(dir, c->name, text, (size_t)r, 0644, false);
}

static int lxc_open(struct contender *c, const struct bench *b)
{
	return lxc_open_with(c, b, lxc_empty);
}

static int lxc_veth_open(struct contender *c, const struct bench *b)
{
	return lxc_open_with(c, b, lxc_veth);
}

const struct contender peer_crun = {
	.name = "crun",
	.does = "crun run: no user namespace, no overlay",
	.open = oci_open,
	.run = run_argv,
	.undo = run_undo,
};

const struct contender peer_runc = {
	.name = "runc",
	.does = "runc run: as crun",
	.open = oci_open,
	.run = run_argv,
	.undo = run_undo,
};

const struct contender peer_unshare = {
	.name = "unshare",
	.does = "unshare: namespaces, chroot and /proc only; no groups, /dev or capabilities",
	.open = unshare_open,
	.run = run_argv,
};

const struct contender peer_lxc = {
	.name = "lxc-execute",
	.does = "lxc-execute: with its own init and monitor; no user namespace, no overlay",
	.open = lxc_open,
	.run = run_argv,
	.undo = run_undo,
};

const struct contender peer_lxc_veth = {
	.name = "lxc-veth",
	.does = "lxc-execute with an address on a veth at a bridge",
	.open = lxc_veth_open,
	.run = run_argv,
	.undo = run_undo,
};
