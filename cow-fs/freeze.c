/* cow-fs/freeze.c - stopping a guest's processes by the directory of its control group */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cow-fs/freeze.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define WAIT_USEC 1000000U
#define PAUSE_NSEC                                                                                 \
	50000 /* not a yield: who asks may have a priority that those have to wait for             \
	       */

int freeze_group_open(const char *path, struct freeze_group *ret)
{
	auto_close int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool v1;

	if (dir < 0)
		return -errno;
	v1 = faccessat(dir, "freezer.state", F_OK, 0) == 0;
	if (!v1 && faccessat(dir, "cgroup.freeze", F_OK, 0) < 0)
		return -EINVAL;
	*ret = (struct freeze_group){ take_fd(dir), v1 };
	return 0;
}

void freeze_group_close(struct freeze_group *g)
{
	close_p(&g->dir);
}

static bool is_reached(const struct freeze_group *g, bool on)
{
	char text[256];

	if (g->v1)
		return io_read_at(g->dir, "freezer.state", text, sizeof(text)) > 0 &&
		       strcmp(text, on ? "FROZEN\n" : "THAWED\n") == 0;
	return io_read_at(g->dir, "cgroup.events", text, sizeof(text)) > 0 &&
	       strstr(text, on ? "frozen 1" : "frozen 0");
}

int freeze_group(bool on, void *arg)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NSEC };
	const struct freeze_group *g = arg;
	uint64_t start = clock_usec();
	int r = g->v1 ? io_write_at(g->dir, "freezer.state", on ? "FROZEN" : "THAWED", 6)
		      : io_write_at(g->dir, "cgroup.freeze", on ? "1" : "0", 1);

	while (r == 0 && !is_reached(g, on)) {
		if (clock_usec() - start > WAIT_USEC)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return r;
}
