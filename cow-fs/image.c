/* cow-fs/image.c - a guest's files in an ext4 of their own, on a loop device */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/image.h"
#include "cow-fs/program.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cap.h"
#include "lib/kern/mnt.h"

#define IMAGE      "disk.img"
#define HINT       "loop"
#define BLOCK      4096U
#define DISK_BLOCK 512U
#define SPARE      "spare-"
#define SPARES     8U             /* the overlay takes 3 at a time while it is mounted */
#define OWN_INODES (16U + SPARES) /* ext4's own, and of the overlay's folders */
#define WORDS_MAX  24
#define ATTACH_MAX 64 /* others take devices too */

/* ext4's superblock, as far as we read it */
#define SB_AT          1024
#define SB_SIZE        1024
#define SB_BLOCKS      0x4
#define SB_INCOMPAT    0x60
#define SB_BLOCKS_HIGH 0x150
#define INCOMPAT_64BIT 0x80U

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t) /* blocks */

const char *image_try(void)
{
	char path[PROGRAM_PATH_SIZE];

	if (access("/dev/loop-control", R_OK | W_OK) < 0)
		return "there is no /dev/loop-control";
	return program_find("mke2fs", path) ? "" : "mke2fs of e2fsprogs is not installed";
}

/* Where that cannot be told it is: who opens it then learns why. */
bool image_is_there(int home)
{
	return faccessat(home, IMAGE, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

/* ---- making ---- */

/* ARGV takes WORDS_MAX. */
static void make_words(const struct cowfs_space *max, char **argv, char blocks[24], char inodes[24])
{
	static const char *const words[] = { "mke2fs",
					     "-q",
					     "-F",
					     "-t",
					     "ext4",
					     "-b",
					     "4096",
					     "-m",
					     "0",
					     "-E",
					     "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
					     "-d",
					     IMAGE_SEED,
					     "-i",
					     "8192" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		*argv++ = (char *)words[i];
	if (max->inodes != COWFS_NO_LIMIT) {
		snprintf(inodes, 24, "%" PRIu64, max->inodes + OWN_INODES);
		*argv++ = "-N";
		*argv++ = inodes;
	}
	snprintf(blocks, 24, "%" PRIu64, max->bytes / BLOCK);
	*argv++ = IMAGE;
	*argv++ = blocks;
	*argv = NULL;
}

static int run_mke2fs(int home, const char *path, const struct cowfs_space *max,
		      struct cos_err *err)
{
	char *argv[WORDS_MAX], blocks[24], inodes[24];
	auto_free char *said = NULL;
	int r;

	make_words(max, argv, blocks, inodes);
	r = program_run(home, path, argv, &said);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "run mke2fs");
	if (r == 0)
		return 0;
	if (said && strstr(said, "No space left on device"))
		return cos_advise(err, cos_fail(err, COS_E_KERNEL, ENOSPC, "mke2fs"),
				  "free space on the file system of the state directory");
	if (said)
		said[strcspn(said, "\n")] = '\0';
	return cos_fail(err, COS_E_KERNEL, 0, "mke2fs: wait status %#x: %.120s", r,
			said && str_is_text(said, 4096) ? said : "");
}

int image_make(int home, const struct cowfs_space *max, struct cos_err *err)
{
	auto_close int img = -1;
	char path[PROGRAM_PATH_SIZE];
	int r;

	if (!program_find("mke2fs", path))
		return cos_fail(err, COS_E_UNSUPPORTED, 0, "%s", image_try());
	if (max->bytes < IMAGE_MIN || max->bytes == COWFS_NO_LIMIT)
		return cos_fail(err, COS_E_INVALID, 0,
				"a file system in a loop image needs disk.max of 16M or more");
	img = openat(home, IMAGE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (img < 0 || ftruncate(img, (off_t)(max->bytes / BLOCK * BLOCK)) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "make " IMAGE);
	r = run_mke2fs(home, path, max, err);
	if (r < 0)
		return r;
	r = io_remove_tree(home, IMAGE_SEED, 0);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "remove " IMAGE_SEED) : 0;
}

/* ---- the device ---- */

static bool is_on(int dev, const struct stat *st)
{
	struct loop_info64 info;

	return ioctl(dev, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == st->st_dev &&
	       info.lo_inode == st->st_ino;
}

int image_open_copy(int home, int to, int *ret_to)
{
	auto_close int from = openat(home, IMAGE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int fd = from < 0 ? -1 : openat(to, IMAGE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	*ret_to = fd;
	return take_fd(from);
}

static int open_device(unsigned long number, char path[32])
{
	int fd;

	snprintf(path, 32, "/dev/loop%lu", number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The device that has the image, or -ENXIO. */
static int find_device(int home, const struct stat *st, char path[32])
{
	auto_close int dev = -1;
	char text[16] = "", *end;
	unsigned long number;

	if (io_read_at(home, HINT, text, sizeof(text)) <= 0)
		return -ENXIO;
	number = strtoul(text, &end, 10);
	if (end == text)
		return -ENXIO;
	dev = open_device(number, path);
	return dev >= 0 && is_on(dev, st) ? take_fd(dev) : -ENXIO;
}

bool image_in_use(int home)
{
	auto_close int dev = -1;
	struct stat st;
	char path[32];

	if (fstatat(home, IMAGE, &st, AT_SYMLINK_NOFOLLOW) == 0)
		dev = find_device(home, &st, path);
	return dev >= 0;
}

static int configure(int dev, int img)
{
	struct loop_config c = {
		.fd = (uint32_t)img,
		.block_size = BLOCK,
		/* Without direct I/O all would be in the page cache twice. */
		.info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO },
	};

	strcpy((char *)c.info.lo_file_name, "cos");
	return ioctl(dev, LOOP_CONFIGURE, &c) < 0 ? -errno : 0;
}

static int attach(int home, int img, char path[32])
{
	auto_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int r = control < 0 ? -errno : -EBUSY;

	for (int tries = 0; r == -EBUSY && tries < ATTACH_MAX; tries++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		auto_close int dev = -1;
		char text[16];

		if (number < 0)
			return -errno;
		snprintf(text, sizeof(text), "%d\n", number);
		r = io_replace_at(home, HINT, text, strlen(text), 0600, false);
		if (r < 0)
			return r;
		dev = open_device((unsigned long)number, path);
		if (dev < 0)
			return dev;
		r = configure(dev, img);
		if (r == 0)
			return take_fd(dev);
	}
	return r;
}

/* Its device. *RET_LOCK is held while it gets one, so that it gets one only. It is not a lock on
 * IMG: that would be held for as long as the device has IMG. */
static int open_image(int home, int *ret_lock, char path[32], struct cos_err *err)
{
	auto_close int lock = openat(home, IMAGE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int img = openat(home, IMAGE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int dev;

	if (lock < 0 || img < 0 || fstat(img, &st) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open " IMAGE);
	while (flock(lock, LOCK_EX) < 0) {
		if (errno != EINTR)
			return cos_fail(err, COS_E_KERNEL, errno, "lock " IMAGE);
	}
	dev = find_device(home, &st, path);
	if (dev == -ENXIO)
		dev = attach(home, img, path);
	if (dev < 0)
		return cos_fail(err, COS_E_KERNEL, -dev, "put " IMAGE " on a loop device");
	*ret_lock = take_fd(lock);
	return dev;
}

static int mount_device(const char *path, struct cos_err *err)
{
	const struct mnt_opt opts[] = { { "source", path }, { "discard", NULL }, { NULL, NULL } };

	return mnt_new_tell("ext4", opts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

int image_mount(int home, struct cos_err *err)
{
	auto_close int lock = -1, dev = -1;
	char path[32];

	dev = open_image(home, &lock, path, err);
	return dev < 0 ? dev : mount_device(path, err);
}

static const char *spare_name(unsigned i, char buf[static 16])
{
	snprintf(buf, 16, SPARE "%u", i);
	return buf;
}

void image_spare_give(int top)
{
	char name[16];

	for (unsigned i = 0; i < SPARES; i++)
		unlinkat(top, spare_name(i, name), 0);
}

void image_spare_take(int top)
{
	char name[16];

	for (unsigned i = 0; i < SPARES; i++)
		(void)mknodat(top, spare_name(i, name), S_IFREG | 0600, 0);
}

/* ---- size ---- */

static int resize(int dev, const char *path, uint64_t bytes, struct cos_err *err)
{
	uint64_t blocks = bytes / BLOCK;
	auto_close int mnt = -1, top = -1;

	if (ioctl(dev, LOOP_SET_CAPACITY) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "%s: LOOP_SET_CAPACITY", path);
	mnt = mount_device(path, err);
	if (mnt < 0)
		return mnt;
	top = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0 || ioctl(top, EXT4_IOC_RESIZE_FS, &blocks) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "EXT4_IOC_RESIZE_FS");
	return 0;
}

/* As the superblock has it; it is written when the file system has grown. */
static int blocks_of(int img, uint64_t *ret)
{
	unsigned char sb[SB_SIZE];
	uint32_t low, high, incompat;

	if (pread(img, sb, sizeof(sb), SB_AT) != sizeof(sb))
		return -EIO;
	memcpy(&low, sb + SB_BLOCKS, sizeof(low));
	memcpy(&high, sb + SB_BLOCKS_HIGH, sizeof(high));
	memcpy(&incompat, sb + SB_INCOMPAT, sizeof(incompat));
	*ret = le32toh(low);
	if (le32toh(incompat) & INCOMPAT_64BIT)
		*ret |= (uint64_t)le32toh(high) << 32;
	return 0;
}

int cowfs_limit_may_grow(struct cos_err *err)
{
	return cap_have(CAP_SYS_RESOURCE)
		       ? 0
		       : cos_advise(err,
				    cos_fail(err, COS_E_UNSUPPORTED, 0,
					     "ext4 grows for nobody without CAP_SYS_RESOURCE"),
				    "start cosd with all capabilities");
}

static int lengthen(int img, uint64_t bytes, struct cos_err *err)
{
	int r = cowfs_limit_may_grow(err);

	if (r < 0)
		return r;
	if (ftruncate(img, (off_t)bytes) < 0 || fsync(img) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "make " IMAGE " longer");
	return 0;
}

/* What could not be used is not kept: the file's length is the limit that the guest has. */
static void shorten_again(int img, int dev, uint64_t bytes)
{
	uint64_t blocks;

	if (blocks_of(img, &blocks) == 0 && blocks <= bytes / BLOCK &&
	    ftruncate(img, (off_t)bytes) == 0 && dev >= 0)
		ioctl(dev, LOOP_SET_CAPACITY);
}

int image_grow(int home, uint64_t bytes, struct cos_err *err)
{
	auto_close int img = openat(home, IMAGE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	auto_close int lock = -1, dev = -1;
	uint64_t blocks = 0;
	char path[32];
	struct stat st;
	int r;

	if (img < 0 || fstat(img, &st) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open " IMAGE);
	bytes = bytes / BLOCK * BLOCK;
	r = bytes > (uint64_t)st.st_size ? lengthen(img, bytes, err) : 0;
	if (r < 0)
		return r;
	if (bytes < (uint64_t)st.st_size)
		bytes = (uint64_t)st.st_size;
	r = blocks_of(img, &blocks);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "read the superblock of " IMAGE);
	if (blocks >= bytes / BLOCK)
		return 0;
	dev = open_image(home, &lock, path, err);
	r = dev < 0 ? dev : resize(dev, path, bytes, err);
	if (r < 0)
		shorten_again(img, dev, (uint64_t)st.st_size);
	return r;
}

int image_size(int home, uint64_t *ret_bytes, uint64_t *ret_taken)
{
	struct stat st;

	if (fstatat(home, IMAGE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	*ret_taken = (uint64_t)st.st_blocks * DISK_BLOCK;
	return 0;
}
