/* lib/kern/cap.c - capability sets of a guest's first process */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/kern/cap.h"

#define CAP_BITS 64
#define WORD_MAX 40

struct sets {
	cap_mask effective, permitted, inheritable;
};

/* libcap's cap_get_proc() and cap_set_proc() allocate, which a child of clone() must not. */
static int sets_read(struct sets *ret)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &head, d) < 0)
		return -errno;
	*ret = (struct sets){
		.effective = d[0].effective | (cap_mask)d[1].effective << 32,
		.permitted = d[0].permitted | (cap_mask)d[1].permitted << 32,
		.inheritable = d[0].inheritable | (cap_mask)d[1].inheritable << 32,
	};
	return 0;
}

static int sets_write(const struct sets *s)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];

	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		d[i].effective = (uint32_t)(s->effective >> (32 * i));
		d[i].permitted = (uint32_t)(s->permitted >> (32 * i));
		d[i].inheritable = (uint32_t)(s->inheritable >> (32 * i));
	}
	return syscall(SYS_capset, &head, d) < 0 ? -errno : 0;
}

/* The prefix is asked for because libcap also takes plain numbers. */
static int bit_by_name(const char *name, cap_mask *ret)
{
	cap_value_t v;

	if (strncasecmp(name, "cap_", 4) != 0 || cap_from_name(name, &v) < 0 || v < 0 ||
	    v >= CAP_BITS)
		return -EINVAL;
	*ret = (cap_mask)1 << v;
	return 0;
}

int cap_mask_parse(const char *text, cap_mask *ret, struct cos_err *err)
{
	cap_mask mask = 0, bit;

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		size_t len = strcspn(text, " ");
		char word[WORD_MAX + 1];

		if (!str_fmt(word, sizeof(word), "%.*s", (int)len, text) || !str_is_text(word, len))
			return cos_fail(err, COS_E_INVALID, 0, "capabilities: an unreadable word");
		if (strcasecmp(word, "all") == 0)
			mask = UINT64_MAX;
		else if (strcasecmp(word, "none") == 0)
			mask = 0;
		else if (bit_by_name(word + (word[0] == '!'), &bit) < 0)
			return cos_fail(err, COS_E_INVALID, 0, "capabilities: no capability %s",
					word);
		else
			mask = word[0] == '!' ? mask & ~bit : mask | bit;
		text += len;
	}
	*ret = mask;
	return 0;
}

int cap_drop_bounding(cap_mask keep)
{
	for (int cap = 0; cap < CAP_BITS; cap++) {
		int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (has < 0 && errno == EINVAL)
			break; /* past the last that the kernel knows */
		if (has < 0)
			return -errno;
		if (has && !(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

int cap_set(cap_mask keep)
{
	struct sets s = { 0 };
	int r = sets_read(&s);

	if (r < 0)
		return r;
	s.permitted &= keep;
	s.effective = s.permitted;
	s.inheritable =
		0; /* the kernel takes the ambient set along: it is never larger than this */
	return sets_write(&s);
}

int cap_raise_all(void)
{
	struct sets s = { 0 };
	int r = sets_read(&s);

	if (r < 0)
		return r;
	s.effective = s.permitted;
	return sets_write(&s);
}

bool cap_have(unsigned cap)
{
	struct sets s = { 0 };

	return sets_read(&s) == 0 && s.effective >> cap & 1;
}
