/* cosctl/when.c - moments on the command line */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "cosctl/cosctl.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

/* "2026-11-21", "2026-11-21T09:30", "2026-11-21T09:30:00", each with or without Z: always UTC. */
static int parse_date(const char *s, uint64_t *ret)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct tm tm = { 0 }, same;
		const char *end = strptime(s, forms[i], &tm);
		time_t t;

		if (!end || (*end && strcmp(end, "Z") != 0))
			continue;
		same = tm;
		t = timegm(&tm);
		/* the 30th of February is no day */
		if (t < 0 || tm.tm_mday != same.tm_mday)
			return -EINVAL;
		*ret = (uint64_t)t * USEC_PER_SEC;
		return 0;
	}
	return -EINVAL;
}

int when_parse(const char *s, uint64_t now_usec, uint64_t *ret)
{
	uint64_t v;

	if (s[0] == '@') {
		if (str_to_usec(s + 1, &v) < 0 || v > INT64_MAX / 2)
			return -EINVAL;
		*ret = v;
		return 0;
	}
	if (str_to_usec(s, &v) == 0) {
		*ret = v < now_usec ? now_usec - v : 0;
		return 0;
	}
	return parse_date(s, ret);
}
