/* cosd/points.c - kill points, for tests */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cosd/points.def"
#include "cosd/points.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/launch/guest.h"

static int dir = -1;

void points_enable(const char *runtime_dir)
{
	dir = open(runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void point(const char *operation, const char *step, bool after, pid_t peer)
{
	static const char *const who[] = { "self", "peer" };
	char want[128], have[128];

	if (dir < 0 || io_read_at(dir, "kill-at", have, sizeof(have)) <= 0)
		return;
	have[strcspn(have, "\n")] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(who); i++) {
		str_fmt(want, sizeof(want), "%s %s.%s %s", who[i], operation, step,
			after ? "after" : "before");
		if (strcmp(want, have) != 0)
			continue;
		unlinkat(dir, "kill-at", 0);
		if (i == 0)
			kill(getpid(), SIGKILL);
		else if (peer > 1)
			kill(peer, SIGKILL);
	}
}

void points_print(void)
{
	for (enum guest_kind k = 0; k < GUEST__KINDS; k++) {
		const struct guest_type *t = launch_type(k);

		for (unsigned i = 0; i < t->n_steps; i++)
			printf("%s.%s\n", t->operation, t->steps[i].name);
	}
#define X(operation, step) puts(operation "." step);
	COS_POINTS(X)
#undef X
}
