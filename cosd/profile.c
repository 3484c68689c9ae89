/* cosd/profile.c - profiles by name, and their compiled rules
 *
 * A profile is part of a specification. DIR/NAME.json comes before the built-in one of that name;
 * under every container lies "default", or "default-nouserns" for one without a user namespace. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosd/daemon.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

/* Files of profiles/, placed here by profiles.S. */
extern const char profile_default_start[], profile_default_end[];
extern const char profile_nouserns_start[], profile_nouserns_end[];

/* Parsed once: the expanded documents of all guests share what they did not change. */
static struct builtin {
	const char *name, *start, *end;
	json_t *doc;
} builtins[] = {
	{ "default", profile_default_start, profile_default_end, NULL },
	{ "default-nouserns", profile_nouserns_start, profile_nouserns_end, NULL },
};

struct rules_entry {
	struct list link;
	json_t *words; /* what was compiled */
	struct launch_rules rules;
};

static int parse(const char *text, size_t len, const char *where, json_t **ret, struct cos_err *err)
{
	auto_json json_t *doc = NULL;
	int r = jsonx_parse(text, len, where, &doc, err);

	if (r == 0)
		r = spec_check_part(doc, err);
	if (r < 0)
		return jsonx_locate(err, r, where, text, len);
	*ret = take_ptr(doc);
	return 0;
}

static int load(struct daemon *d, const char *name, json_t **ret, struct cos_err *err)
{
	auto_free char *text = NULL;
	char path[400];
	ssize_t n;

	str_fmt(path, sizeof(path), "%s/%s.json", d->conf.profile_dir, name);
	n = io_slurp_at(AT_FDCWD, path, SPEC_BYTES_MAX, &text);
	if (n >= 0)
		return parse(text, (size_t)n, path, ret, err);
	if (n != -ENOENT)
		return cos_fail(err, COS_E_INVALID, (int)-n, "read profile %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(builtins); i++) {
		struct builtin *b = &builtins[i];
		int r = 0;

		if (strcmp(b->name, name) != 0)
			continue;
		if (!b->doc)
			r = parse(b->start, (size_t)(b->end - b->start), name, &b->doc, err);
		if (r == 0)
			*ret = json_incref(b->doc);
		return r;
	}
	return cos_advise(err, cos_fail(err, COS_E_INVALID, 0, "there is no profile %s", name),
			  "put %s.json into %s", name, d->conf.profile_dir);
}

static int load_named(struct daemon *d, json_t *own, json_t **profiles, unsigned *ret_n,
		      struct cos_err *err)
{
	json_t *names = json_object_get(own, "profiles"), *e;
	unsigned n = 0;
	size_t i;
	int r = 0;

	json_array_foreach(names, i, e) {
		if (n == SPEC_PROFILES_MAX || r < 0)
			break;
		r = load(d, json_string_value(e) ?: "", &profiles[n], err);
		n += r == 0;
	}
	*ret_n = n;
	return r;
}

/* The last word on KEY. */
static json_t *last_word(json_t *const *profiles, unsigned n, json_t *own, const char *key)
{
	json_t *last = NULL;

	for (unsigned i = 0; i <= n; i++)
		last = json_object_get(i < n ? profiles[i] : own, key) ?: last;
	return last;
}

/* What lies under the guest: nothing under a machine, whose kernel is its own. */
static int load_base(struct daemon *d, json_t *const *profiles, unsigned n, json_t *own,
		     json_t **ret, struct cos_err *err)
{
	const char *type = json_string_value(last_word(profiles, n, own, "type"));
	bool no_userns = json_is_false(last_word(profiles, n, own, "userns"));

	if (!type || strcmp(type, guest_kind_name[GUEST_VM]) != 0)
		return load(d, no_userns ? "default-nouserns" : "default", ret, err);
	*ret = json_object();
	return *ret ? 0 : cos_fail(err, COS_E_KERNEL, ENOMEM, "profile");
}

int profile_expand(struct daemon *d, json_t *own, json_t **ret, struct cos_err *err)
{
	json_t *profiles[SPEC_PROFILES_MAX] = { NULL };
	auto_json json_t *base = NULL;
	unsigned n = 0;
	int r = spec_check_part(own, err);

	if (r == 0)
		r = load_named(d, own, profiles, &n, err);
	if (r == 0)
		r = load_base(d, profiles, n, own, &base, err);
	if (r == 0)
		r = spec_expand(base, profiles, n, own, ret, err);
	while (n > 0)
		json_decref(profiles[--n]);
	return r;
}

const struct launch_rules *rules_get(struct daemon *d, const struct spec *s, struct cos_err *err)
{
	auto_json json_t *words = json_pack(
		"{s:s, s:s?, s:O?, s:O?}", "type", guest_kind_name[s->type], "capabilities",
		s->capabilities, "seccomp", s->seccomp, "devices", s->devices);
	struct rules_entry *e;
	struct list *p;

	if (!words) {
		cos_fail(err, COS_E_KERNEL, ENOMEM, "profile");
		return NULL;
	}
	list_for_each(p, &d->rules) {
		e = list_entry(p, struct rules_entry, link);
		if (json_equal(e->words, words)) /* at once where both have the profile's own */
			return &e->rules;
	}
	e = calloc(1, sizeof(*e));
	if (!e) {
		cos_fail(err, COS_E_KERNEL, ENOMEM, "profile");
		return NULL;
	}
	if (launch_rules_make(s, &d->host, &e->rules, err) < 0) {
		free(e);
		return NULL;
	}
	e->words = take_ptr(words);
	list_add_tail(&d->rules, &e->link);
	return &e->rules;
}
