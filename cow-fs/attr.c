/* cow-fs/attr.c - which extended attributes a template may have */
#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>
#include <sys/xattr.h>

#include "cow-fs/attr.h"
#include "cow-fs/tree.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

static const struct {
	const char *prefix; /* a last '.' stands for all below it */
	enum attr_verdict verdict;
} rules[] = {
	{ "user.", ATTR_KEEP },     { "security.capability", ATTR_KEEP }, { ACL_ACCESS, ATTR_KEEP },
	{ ACL_DEFAULT, ATTR_KEEP }, { "trusted.", ATTR_REFUSE },
};

enum attr_verdict attr_judge(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		size_t n = strlen(rules[i].prefix);

		if (strncmp(name, rules[i].prefix, n) == 0 &&
		    (rules[i].prefix[n - 1] == '.' || name[n] == '\0'))
			return rules[i].verdict;
	}
	return ATTR_DROP;
}

/* The kernel checks the form of an ACL, but takes any id. */
static int check_acl(const struct attr *a, const char *path, struct cos_err *err)
{
	struct posix_acl_xattr_entry e;
	char shown[TREE_SHOW_SIZE];

	for (size_t at = sizeof(struct posix_acl_xattr_header); at + sizeof(e) <= a->size;
	     at += sizeof(e)) {
		memcpy(&e, (const char *)a->value + at, sizeof(e));
		if (le16toh(e.e_tag) != ACL_USER && le16toh(e.e_tag) != ACL_GROUP)
			continue;
		if (le32toh(e.e_id) > TREE_ID_MAX)
			return cos_fail(err, COS_E_IMAGE, 0,
					"%s: id %u in its ACL is outside of a guest's ids 0 to %d",
					tree_show(shown, path), le32toh(e.e_id), TREE_ID_MAX);
	}
	return 0;
}

int attr_set(int fd, const struct attr *a, const char *path, struct cos_err *err)
{
	int r = 0;

	if (strcmp(a->name, ACL_ACCESS) == 0 || strcmp(a->name, ACL_DEFAULT) == 0)
		r = check_acl(a, path, err);
	if (r == 0 && fsetxattr(fd, a->name, a->value, a->size, 0) < 0) {
		char shown[TREE_SHOW_SIZE], call[64];

		str_fmt(call, sizeof(call), "set attribute %.40s", tree_show(shown, a->name));
		r = tree_fail(err, path, call, errno);
		/* The value is the image's. */
		if (err->sys == EINVAL || err->sys == ERANGE)
			err->code = COS_E_IMAGE;
	}
	return r;
}

int attr_refused(const char *name, const char *path, struct cos_err *err)
{
	char shown[TREE_SHOW_SIZE], attr[TREE_SHOW_SIZE];
	int r = cos_fail(err, COS_E_IMAGE, 0,
			 "%s: has the attribute %.40s, which no image may bring",
			 tree_show(shown, path), tree_show(attr, name));

	if (strncmp(name, "trusted.overlay.", 16) == 0)
		return cos_advise(err, r, "import the merged tree, not a layer of an overlay");
	return r;
}
