/* tests/kern/cow-image.h - a file system of its own for a test: an image in memory, loop mounted
 *
 * In the private mount namespace of the fixture: the mounts end with the process, and the loop
 * device with its mount. */
#pragma once

#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "tests/kern/cow-fixture.h"

/* Runs ARGV, silent; its exit status. */
static inline int image_run(const char *const *argv)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* An empty file system of TYPE in the file PATH. */
static inline int image_make(const char *path, const char *type, uint64_t bytes)
{
	const char *const ext4[] = { "mkfs.ext4", "-q", "-F", path, NULL };
	const char *const xfs[] = { "mkfs.xfs", "-q", "-f", path, NULL };
	const char *const btrfs[] = { "mkfs.btrfs", "-q", "-f", path, NULL };
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = ftruncate(fd, (off_t)bytes);

	close(fd);
	if (r < 0)
		return -1;
	return image_run(strcmp(type, "xfs") == 0     ? xfs
			 : strcmp(type, "btrfs") == 0 ? btrfs
						      : ext4);
}

/* Mounts the image PATH at AT; 0 or -errno. */
static inline int image_mount(const char *path, const char *type, const char *at,
			      const char *options)
{
	struct loop_config c = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), dev = -1, r = -EBUSY;
	char name[32];

	c.fd = (unsigned)open(path, O_RDWR | O_CLOEXEC);
	/* Another test may be as fast. */
	for (int tries = 0; tries < 50 && r == -EBUSY; tries++) {
		int nr = ioctl(control, LOOP_CTL_GET_FREE);

		snprintf(name, sizeof(name), "/dev/loop%d", nr);
		if (nr >= 0)
			mknod(name, S_IFBLK | 0600, (dev_t)(7 << 8 | nr));
		dev = nr < 0 ? -1 : open(name, O_RDWR | O_CLOEXEC);
		r = dev < 0 ? -errno : ioctl(dev, LOOP_CONFIGURE, &c) < 0 ? -errno : 0;
		if (r < 0)
			close(dev);
	}
	if (r == 0) {
		r = mount(name, at, type, MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
		close(dev); /* not mounted: it is cleared now */
	}
	close((int)c.fd);
	close(control);
	return r;
}

/* Puts the fixture's store onto a new file system of TYPE; false with the reason printed as a skip.
 */
static inline bool image_fixture(const char *type, uint64_t bytes)
{
	char image[80], at[80];
	int state, r;

	cowfs_close(&store);
	close(fixture_dir);
	snprintf(image, sizeof(image), "%s/image", fixture_path);
	snprintf(at, sizeof(at), "%s/at", fixture_path);
	if (mount("tmpfs", fixture_path, "tmpfs", 0, "size=90%") < 0 || mkdir(at, 0700) < 0)
		exit(99);
	r = image_make(image, type, bytes);
	if (r == 0)
		r = image_mount(image, type, at, NULL);
	if (r != 0) {
		printf("1..0 # SKIP no %s in a loop device\n", type);
		return false;
	}
	fixture_dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	state = io_dir_at(fixture_dir, "state", 0700);
	if (cowfs_open(state, &store, &err) < 0)
		exit(99);
	close(state);
	return true;
}
