/* bench/accuracy-io.c - caps and weights of disk work beside bare groups
 *
 * The disk is a loop device of the bench's own with direct I/O, so that what reaches the disk below
 * is what was asked for and no scheduler of the host's is touched; its ext4 is bound into the
 * guests, so that neither the daemon's files nor the guests' roots share it. All blocks that are
 * read have been written: holes would be answered without the disk. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bench/accuracy.h"
#include "bench/subject.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define MSEC            1000000U
#define IMAGE_BYTES     (1LL << 30)
#define FILE_BYTES      (128LL << 20) /* of each competitor */
#define FILL_BYTES      (1U << 20)
#define WARM_MSEC       1500U /* a client's way into a guest, and the throttle's first slices */
#define LOOP_TRIES      20
#define NUMBER_SIZE     24
#define QUEUE_PATH_SIZE 96
#define DEVICE_DEPTH    "4"
#define WEIGHT_DEPTH    "32" /* a competitor whose queue runs empty gives way */

struct disk {
	char place[72], image[64], dev[32];
	int loop; /* its descriptor holds the device: it goes with the bench */
	char old_scheduler[32], old_depth[32];
	bool mounted;
};

static int tell(int r, const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(-r));
	return r;
}

/* ---- the device ---- */

static int loop_attach(struct disk *d, int image)
{
	const struct loop_config config = {
		.fd = (unsigned)image,
		.block_size = 4096,
		.info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO },
	};
	auto_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return -errno;
	for (int i = 0; i < LOOP_TRIES; i++) { /* another may take the free one first */
		auto_close int fd = -1;
		int n = ioctl(control, LOOP_CTL_GET_FREE);

		if (n < 0 || !str_fmt(d->dev, sizeof(d->dev), "/dev/loop%d", n))
			return -errno;
		fd = open(d->dev, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
			d->loop = take_fd(fd);
			return 0;
		}
		if (errno != EBUSY)
			return -errno;
	}
	return -EBUSY;
}

static bool is_direct(const struct disk *d)
{
	struct loop_info64 info;

	return ioctl(d->loop, LOOP_GET_STATUS64, &info) == 0 && info.lo_flags & LO_FLAGS_DIRECT_IO;
}

static bool queue_path(const struct disk *d, const char *file, char path[static QUEUE_PATH_SIZE])
{
	return str_fmt(path, QUEUE_PATH_SIZE, "/sys/block/%s/queue/%s", d->dev + strlen("/dev/"),
		       file);
}

static int queue_write(const struct disk *d, const char *file, const char *text)
{
	char path[QUEUE_PATH_SIZE];

	return queue_path(d, file, path) ? io_write_at(AT_FDCWD, path, text, strlen(text))
					 : -ENAMETOOLONG;
}

/* A queue keeps its scheduler and its depth for the next who takes the device. */
static void queue_remember(struct disk *d)
{
	char path[QUEUE_PATH_SIZE], text[256], *from, *to;

	queue_path(d, "scheduler", path);
	if (io_read_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (!to)
		return;
	str_fmt(d->old_scheduler, sizeof(d->old_scheduler), "%.*s", (int)(to - from - 1), from + 1);
	queue_write(d, "scheduler", "none"); /* the depth is the device's own then */
	queue_path(d, "nr_requests", path);
	io_read_at(AT_FDCWD, path, d->old_depth, sizeof(d->old_depth));
}

static void queue_restore(const struct disk *d)
{
	if (!d->old_scheduler[0])
		return;
	queue_write(d, "scheduler", "none");
	if (d->old_depth[0])
		queue_write(d, "nr_requests", d->old_depth);
	queue_write(d, "scheduler", d->old_scheduler);
}

static int fill_file(const struct disk *d, unsigned index)
{
	static char buf[FILL_BYTES] __attribute__((aligned(4096)));
	char path[96];
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "%s/%u", d->place, index);
	fd = open(path, O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0666);
	memset(buf, 0x5a, sizeof(buf));
	for (off_t at = 0; fd >= 0 && at < FILE_BYTES && !bench_stopped(); at += FILL_BYTES) {
		if (pwrite(fd, buf, sizeof(buf), at) != (ssize_t)sizeof(buf))
			return -errno;
	}
	return fd < 0 || fchmod(fd, 0666) < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int make_fs(const struct bench *b, struct disk *d)
{
	const char *const mkfs[] = {
		"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
		d->dev,      NULL
	};
	int r = bench_run(b, mkfs, -1);

	if (r != 0)
		return r < 0 ? r : -EIO;
	if (mkdir(d->place, 0755) < 0 ||
	    mount(d->dev, d->place, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, NULL) < 0)
		return -errno;
	d->mounted = true;
	chmod(d->place, 0755);
	for (unsigned i = 0; i < ACCURACY_GROUPS && r == 0; i++)
		r = fill_file(d, i);
	return r;
}

static int disk_open(struct disk *d, const struct bench *b)
{
	auto_close int image = -1;
	int r;

	*d = (struct disk){ .loop = -1 };
	snprintf(d->image, sizeof(d->image), "%s/io-image", b->place);
	snprintf(d->place, sizeof(d->place), "%s/io", b->place);
	image = open(d->image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (image < 0)
		return tell(-errno, d->image);
	r = -posix_fallocate(image, 0, IMAGE_BYTES);
	if (r == 0)
		r = loop_attach(d, image);
	if (r < 0)
		return tell(r, "loop device");
	queue_remember(d);
	if (!is_direct(d))
		printf("# the loop device does no direct I/O: the page cache is measured\n");
	r = make_fs(b, d);
	return r < 0 ? tell(r, d->dev) : 0;
}

static void disk_close(struct disk *d)
{
	if (d->mounted && umount2(d->place, 0) < 0)
		umount2(d->place, MNT_DETACH);
	queue_restore(d);
	close_p(&d->loop);
}

/* ---- work ---- */

struct load_io {
	const char *verb, *block, *depth;
};

struct worker {
	pid_t pid;
	int out;
};

static int worker_start(const struct subject *s, const char *dir, const struct load_io *io,
			unsigned index, const uint64_t *window, struct worker *w)
{
	char file[96], from[NUMBER_SIZE], to[NUMBER_SIZE];
	const char *args[] = { io->verb, file, io->block, io->depth, from, to, NULL };

	snprintf(file, sizeof(file), "%s/%u", dir, index);
	snprintf(from, sizeof(from), "%llu", (unsigned long long)window[0]);
	snprintf(to, sizeof(to), "%llu", (unsigned long long)window[1]);
	w->out = openat(s->d->b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	w->pid = w->out < 0 ? -errno : subject_start(s, args, w->out);
	return w->pid < 0 ? w->pid : 0;
}

static int worker_end(struct worker *w, double *ret_done)
{
	char text[64];
	int r = w->pid < 0 ? w->pid : bench_wait(w->pid);
	ssize_t n = w->out < 0 ? 0 : pread(w->out, text, sizeof(text) - 1, 0);

	close_p(&w->out);
	text[n > 0 ? n : 0] = '\0';
	if (r != 0)
		return r < 0 ? r : -EIO;
	return sscanf(text, "%lf", ret_done) == 1 ? 0 : -EBADMSG;
}

/* N subjects do the same in the same window; DONE: operations of each in a second. */
static int work(const struct run *run, const struct disk *d, const struct subject *s, unsigned n,
		const struct load_io *io, double *done)
{
	uint64_t from = bench_nsec() + (uint64_t)WARM_MSEC * MSEC;
	const uint64_t window[] = { from, from + run->seconds * 1000ULL * MSEC };
	struct worker w[ACCURACY_GROUPS];
	int r = 0;

	for (unsigned i = 0; i < n; i++)
		worker_start(&s[i], s[i].bare ? d->place : "/io", io, i, window, &w[i]);
	for (unsigned i = 0; i < n; i++) {
		int end = worker_end(&w[i], &done[i]);

		done[i] /= run->seconds;
		r = r < 0 ? r : end;
	}
	return r;
}

/* ---- caps ---- */

static const struct cap {
	const char *what, *limit, *unit;
	double asked;
	double each; /* of the unit in one operation */
	struct load_io io;
} caps[] = {
	{ "io.rbps", "io.rbps=8M", "MiB/s", 8, 1.0 / 16, { "read", "65536", "16" } },
	{ "io.wbps", "io.wbps=4M", "MiB/s", 4, 1.0 / 16, { "write", "65536", "16" } },
	{ "io.riops", "io.riops=200", "1/s", 200, 1, { "read", "4096", "16" } },
	{ "io.wiops", "io.wiops=100", "1/s", 100, 1, { "write", "4096", "16" } },
};

static void bind_word(const struct disk *d, char *buf, size_t size)
{
	snprintf(buf, size, "binds=[{\"source\":\"%s\",\"target\":\"/io\"}]", d->place);
}

static int cap_measure(const struct run *run, const struct disk *d, const struct cap *cap)
{
	char binds[160];
	const char *limits[] = { cap->limit, binds, NULL };
	struct row row = { .what = cap->limit, .unit = cap->unit, .asked = cap->asked };
	struct subject s[SIDE__N] = { 0 };
	int r;

	bind_word(d, binds, sizeof(binds));
	r = subject_guest(&s[SIDE_COS], run->d, "cap", limits, NULL);
	if (r == 0)
		r = subject_bare(&s[SIDE_BARE], "cap", &s[SIDE_COS]);
	for (unsigned i = 0; i < run->rounds * SIDE__N && r == 0 && !bench_stopped(); i++) {
		enum side side = i % SIDE__N;
		struct load load;
		double done;

		load_begin(&load, 0);
		r = work(run, d, &s[side], 1, &cap->io, &done);
		if (r == 0)
			row_add(&row, side, done * cap->each, load_others(&load, 0));
	}
	subject_remove(&s[SIDE_COS]);
	subject_remove(&s[SIDE_BARE]);
	row_print(&row);
	return r;
}

/* ---- weights ---- */

static int weigh(const struct run *run, const struct disk *d, struct subject s[][ACCURACY_GROUPS],
		 struct row *rows)
{
	static const struct load_io io = { "read", "65536", WEIGHT_DEPTH };
	int r = 0;

	for (unsigned i = 0; i < run->rounds * SIDE__N && r == 0 && !bench_stopped(); i++) {
		enum side side = i % SIDE__N;
		double done[ACCURACY_GROUPS], all = 0, others;
		struct load load;

		load_begin(&load, 0);
		r = work(run, d, s[side], ACCURACY_GROUPS, &io, done);
		others = load_others(&load, 0);
		for (unsigned g = 0; g < ACCURACY_GROUPS; g++)
			all += done[g];
		printf("# io.weight, %s: %.0f reads/s\n", side == SIDE_COS ? "cos" : "bare", all);
		for (unsigned g = 0; g < ACCURACY_GROUPS && r == 0; g++)
			row_add(&rows[g], side, done[g] * 100 / all, others);
	}
	return r;
}

static int weights(const struct run *run, const struct disk *d)
{
	static const char *const limit[] = { "io.weight=100", "io.weight=200", "io.weight=400" };
	static const char *const name[] = { "weight1", "weight2", "weight4" };
	struct subject s[SIDE__N][ACCURACY_GROUPS] = { 0 };
	struct row rows[ACCURACY_GROUPS];
	char binds[160];
	int r;

	/* only what waits in bfq's own queue has an order: the device is to take little at once */
	queue_write(d, "nr_requests", DEVICE_DEPTH);
	r = queue_write(d, "scheduler", "bfq");
	if (r < 0) {
		printf("# io.weight: no bfq: %s\n", strerror(-r));
		return 0;
	}
	queue_write(d, "iosched/low_latency", "0");
	bind_word(d, binds, sizeof(binds));
	for (unsigned i = 0; i < ACCURACY_GROUPS; i++)
		rows[i] = (struct row){ .what = limit[i],
					.unit = "% of three",
					.asked = 100.0 * (1U << i) / 7 };
	for (unsigned i = 0; i < ACCURACY_GROUPS && r == 0; i++) {
		const char *limits[] = { limit[i], binds, NULL };

		r = subject_guest(&s[SIDE_COS][i], run->d, name[i], limits, NULL);
		if (r == 0)
			r = subject_bare(&s[SIDE_BARE][i], name[i], &s[SIDE_COS][i]);
	}
	if (r == 0)
		r = weigh(run, d, s, rows);
	for (unsigned i = 0; i < ACCURACY_GROUPS; i++) {
		subject_remove(&s[SIDE_COS][i]);
		subject_remove(&s[SIDE_BARE][i]);
		row_print(&rows[i]);
	}
	return r;
}

static bool wants_any(const struct run *run)
{
	bool any = run_wants(run, "io.weight");

	for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
		any = any || run_wants(run, caps[i].what);
	return any;
}

int accuracy_io(const struct run *run)
{
	struct disk d;
	int r;

	if (!wants_any(run))
		return 0;
	r = disk_open(&d, run->b);
	for (size_t i = 0; i < ARRAY_SIZE(caps) && r == 0 && !bench_stopped(); i++) {
		if (run_wants(run, caps[i].what))
			r = cap_measure(run, &d, &caps[i]);
	}
	if (r == 0 && run_wants(run, "io.weight"))
		r = weights(run, &d);
	if (r < 0)
		bench_show_log(run->b);
	disk_close(&d);
	return r;
}
