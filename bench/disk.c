/* bench/disk.c - a disk of a bench's own: ext4 on a loop device */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/disk.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define IMAGE_BYTES     (1LL << 30)
#define FILE_BYTES      (128LL << 20)
#define FILL_BYTES      (1U << 20)
#define LOOP_TRIES      20
#define QUEUE_PATH_SIZE 96

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

int disk_queue_write(const struct disk *d, const char *file, const char *text)
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
	disk_queue_write(d, "scheduler", "none"); /* the depth is the device's own then */
	queue_path(d, "nr_requests", path);
	io_read_at(AT_FDCWD, path, d->old_depth, sizeof(d->old_depth));
}

static void queue_restore(const struct disk *d)
{
	if (!d->old_scheduler[0])
		return;
	disk_queue_write(d, "scheduler", "none");
	if (d->old_depth[0])
		disk_queue_write(d, "nr_requests", d->old_depth);
	disk_queue_write(d, "scheduler", d->old_scheduler);
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

static int make_fs(const struct bench *b, struct disk *d, unsigned files)
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
	for (unsigned i = 0; i < files && r == 0; i++)
		r = fill_file(d, i);
	return r;
}

static int open_image(const struct bench *b, enum disk_kind kind)
{
	char path[80];

	if (kind == DISK_IN_MEMORY)
		return memfd_create("io-image", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "%s/io-image", b->place);
	return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

int disk_open(struct disk *d, const struct bench *b, enum disk_kind kind, unsigned files)
{
	auto_close int image = open_image(b, kind);
	int r;

	*d = (struct disk){ .loop = -1 };
	snprintf(d->place, sizeof(d->place), "%s/io", b->place);
	if (image < 0)
		return tell(-errno, "io-image");
	r = -posix_fallocate(image, 0, IMAGE_BYTES);
	if (r == 0)
		r = loop_attach(d, image);
	if (r < 0)
		return tell(r, "loop device");
	queue_remember(d);
	if (kind == DISK_IN_FILE && !is_direct(d))
		printf("# the loop device does no direct I/O: the page cache is measured\n");
	r = make_fs(b, d, files);
	return r < 0 ? tell(r, d->dev) : 0;
}

void disk_close(struct disk *d)
{
	if (d->mounted && umount2(d->place, 0) < 0)
		umount2(d->place, MNT_DETACH);
	queue_restore(d);
	close_p(&d->loop);
}

void disk_bind_word(const struct disk *d, char *buf, size_t size)
{
	snprintf(buf, size, "binds=[{\"source\":\"%s\",\"target\":\"" DISK_INSIDE "\"}]", d->place);
}
