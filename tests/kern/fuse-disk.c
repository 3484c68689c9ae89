/* tests/kern/fuse-disk.c - see fuse-disk.h */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "tests/kern/fuse-disk.h"

#define NODE_DISK     2 /* FUSE_ROOT_ID is its directory */
#define FOREVER_SEC   86400
#define STOP_MSEC     30000
#define REQUEST_BYTES (FUSE_DISK_WRITE + 4096) /* the kernel asks for room for the headers */

struct disk {
	int fuse, image, log;
	uint64_t size, logged, log_max;
	/* Of the request at work. */
	const struct fuse_in_header *head;
	const void *arg;
	size_t n_arg;
	unsigned char data[FUSE_DISK_WRITE]; /* of an answer */
};

/* ERROR is 0 or -errno: then without P. */
static int answer(const struct disk *d, int error, const void *p, size_t n)
{
	struct fuse_out_header h = { .unique = d->head->unique, .error = error };
	const struct iovec v[2] = { { &h, sizeof(h) }, { (void *)p, error ? 0 : n } };

	h.len = (uint32_t)(v[0].iov_len + v[1].iov_len);
	/* ENOENT: whoever asked was killed meanwhile. */
	return writev(d->fuse, v, 2) < 0 && errno != ENOENT ? -errno : 0;
}

static struct fuse_attr attr_of(const struct disk *d, uint64_t node)
{
	bool is_disk = node == NODE_DISK;

	return (struct fuse_attr){
		.ino = node,
		.size = is_disk ? d->size : 0,
		.blocks = is_disk ? d->size / 512 : 0,
		.mode = is_disk ? S_IFREG | 0600 : S_IFDIR | 0700,
		.nlink = is_disk ? 1 : 2,
		.blksize = 4096,
	};
}

static int op_init(struct disk *d)
{
	const struct fuse_init_in *in = d->arg;
	const struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.flags = in->flags & (FUSE_BIG_WRITES | FUSE_MAX_PAGES),
		.max_write = FUSE_DISK_WRITE,
		.max_pages = FUSE_DISK_WRITE / 4096,
		.time_gran = 1,
	};

	/* From 7.28 on the kernel asks for max_pages. */
	if (in->major != FUSE_KERNEL_VERSION || in->minor < 28)
		return answer(d, -EPROTO, NULL, 0);
	return answer(d, 0, &out, sizeof(out));
}

static int op_lookup(struct disk *d)
{
	const struct fuse_entry_out out = {
		.nodeid = NODE_DISK,
		.entry_valid = FOREVER_SEC,
		.attr_valid = FOREVER_SEC,
		.attr = attr_of(d, NODE_DISK),
	};
	bool known =
		d->n_arg == sizeof(FUSE_DISK_NAME) && memcmp(d->arg, FUSE_DISK_NAME, d->n_arg) == 0;

	return answer(d, known ? 0 : -ENOENT, &out, sizeof(out));
}

static int op_getattr(struct disk *d)
{
	const struct fuse_attr_out out = {
		.attr_valid = FOREVER_SEC,
		.attr = attr_of(d, d->head->nodeid),
	};

	return answer(d, 0, &out, sizeof(out));
}

static int op_open(struct disk *d)
{
	const struct fuse_open_out out = { 0 };

	return answer(d, 0, &out, sizeof(out));
}

static int op_statfs(struct disk *d)
{
	const struct fuse_statfs_out out = {
		.st = { .blocks = d->size / 4096, .bsize = 4096, .frsize = 4096, .namelen = 255 },
	};

	return answer(d, 0, &out, sizeof(out));
}

static int op_read(struct disk *d)
{
	const struct fuse_read_in *in = d->arg;
	size_t want = in->size < sizeof(d->data) ? in->size : sizeof(d->data);
	ssize_t n = pread(d->image, d->data, want, (off_t)in->offset);

	return answer(d, n < 0 ? -errno : 0, d->data, n < 0 ? 0 : (size_t)n);
}

static int note(struct disk *d, const struct disk_entry *e, const void *data)
{
	int r = 0;

	if (d->logged + sizeof(*e) + e->bytes > d->log_max)
		return -ENOSPC;
	r = io_write_all(d->log, e, sizeof(*e));
	if (r == 0 && e->bytes > 0)
		r = io_write_all(d->log, data, e->bytes);
	d->logged += sizeof(*e) + e->bytes;
	return r;
}

static int op_write(struct disk *d)
{
	const struct fuse_write_in *in = d->arg;
	const void *data = in + 1;
	const struct disk_entry e = { in->offset, in->size, DISK_WRITE };
	const struct fuse_write_out out = { .size = in->size };
	int r;

	if (in->size > d->n_arg - sizeof(*in) || in->offset > d->size ||
	    in->size > d->size - in->offset)
		return answer(d, -EINVAL, NULL, 0);
	r = note(d, &e, data);
	if (r == 0)
		r = io_write_all_at(d->image, data, in->size, (off_t)in->offset);
	return answer(d, r, &out, sizeof(out));
}

static int op_fsync(struct disk *d)
{
	return answer(d, note(d, &(struct disk_entry){ .kind = DISK_FLUSH }, NULL), NULL, 0);
}

static int op_nothing(struct disk *d)
{
	return answer(d, 0, NULL, 0);
}

static int op_silent(struct disk *d)
{
	(void)d;
	return 0;
}

static const struct {
	uint32_t opcode;
	size_t n_arg; /* at least */
	int (*run)(struct disk *d);
} ops[] = {
	{ FUSE_INIT, 16, op_init }, /* what all versions have of it */
	{ FUSE_LOOKUP, 1, op_lookup },
	{ FUSE_GETATTR, 0, op_getattr },
	{ FUSE_OPEN, 0, op_open },
	{ FUSE_READ, sizeof(struct fuse_read_in), op_read },
	{ FUSE_WRITE, sizeof(struct fuse_write_in), op_write },
	{ FUSE_FSYNC, 0, op_fsync },
	{ FUSE_FLUSH, 0, op_nothing },
	{ FUSE_RELEASE, 0, op_nothing },
	{ FUSE_STATFS, 0, op_statfs },
	{ FUSE_DESTROY, 0, op_nothing },
	{ FUSE_FORGET, 0, op_silent },
	{ FUSE_BATCH_FORGET, 0, op_silent },
	{ FUSE_INTERRUPT, 0, op_silent },
};

static int serve_one(struct disk *d, size_t n, const unsigned char *request)
{
	d->head = (const void *)request;
	if (n < sizeof(*d->head) || d->head->len != n)
		return -EPROTO;
	d->arg = d->head + 1;
	d->n_arg = n - sizeof(*d->head);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].opcode == d->head->opcode)
			return d->n_arg < ops[i].n_arg ? -EPROTO : ops[i].run(d);
	/* The kernel does without: extended attributes, holes, changed times. */
	return answer(d, -ENOSYS, NULL, 0);
}

/* Until it is unmounted. */
static int serve(struct disk *d)
{
	auto_free unsigned char *request = malloc(REQUEST_BYTES);
	int r = request ? 0 : -ENOMEM;

	while (r == 0) {
		ssize_t n = read(d->fuse, request, REQUEST_BYTES);

		if (n >= 0)
			r = serve_one(d, (size_t)n, request);
		else if (errno == ENODEV)
			break;
		else if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
			r = -errno;
	}
	return r;
}

static int serve_alone(int fuse, int image, int log, uint64_t log_max)
{
	auto_free struct disk *d = calloc(1, sizeof(*d));
	struct stat st;

	if (!d || fstat(image, &st) < 0)
		return -ENOMEM;
	d->fuse = fuse;
	d->image = image;
	d->log = log;
	d->size = (uint64_t)st.st_size;
	d->log_max = log_max;
	return serve(d);
}

int fuse_disk_start(const char *at, int image, int log, uint64_t log_max, pid_t *ret)
{
	auto_close int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	pid_t parent = getpid(), pid;
	char how[80];

	if (fuse < 0)
		return -errno;
	snprintf(how, sizeof(how), "fd=%d,rootmode=40700,user_id=0,group_id=0", fuse);
	if (mount("fuse-disk", at, "fuse", MS_NOSUID | MS_NODEV, how) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		/* With it goes the last descriptor of FUSE: whoever waits for the disk gets EIO. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		_exit(serve_alone(fuse, image, log, log_max) == 0 ? 0 : 1);
	}
	if (pid < 0) {
		int r = -errno;

		umount2(at, MNT_DETACH);
		return r;
	}
	*ret = pid;
	return 0;
}

int fuse_disk_stop(const char *at, pid_t server)
{
	auto_close int pidfd = pidfd_open(server, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int status = 0, n;

	/* The loop device may still be on its way out; the last one who closes ends the server. */
	umount2(at, MNT_DETACH);
	n = poll(&p, 1, STOP_MSEC);
	if (n == 0)
		kill(server, SIGKILL);
	waitpid(server, &status, 0);
	return n == 0 ? -ETIMEDOUT : status == 0 ? 0 : -EIO;
}
