/* tests/fuzz/who.c - a guest's /etc/passwd and /etc/group; input: USER NUL PASSWD NUL GROUP */
#include "lib/base/own.h"
#include "lib/launch/child.h"
#include "tests/fuzz/fuzz.h"

static char *next_text(const uint8_t **p, const uint8_t *end)
{
	const uint8_t *nul = memchr(*p, '\0', (size_t)(end - *p));
	char *s = strndup((const char *)*p, (size_t)((nul ? nul : end) - *p));

	*p = nul ? nul + 1 : end;
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *p = data, *end = data + size;
	auto_free char *user = next_text(&p, end);
	auto_free char *passwd = next_text(&p, end);
	auto_free char *group = next_text(&p, end);
	struct cos_err err = { 0 };
	struct who w = { 0 };
	int r;

	if (!user || !passwd || !group)
		return 0;
	r = who_parse(user, passwd, group, &w, &err);
	if (r < 0) {
		check_failure(r, &err);
		return 0;
	}
	/* -1 is nobody's id: to the kernel it means "do not change". */
	check(w.uid != UINT32_MAX && w.gid != UINT32_MAX && w.n_groups <= WHO_GROUPS_MAX);
	for (unsigned i = 0; i < w.n_groups; i++)
		check(w.groups[i] != UINT32_MAX);
	check(w.home[0] == '/' && strlen(w.home) < sizeof(w.home));
	return 0;
}
