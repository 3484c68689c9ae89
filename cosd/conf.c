/* cosd/conf.c - the daemon's configuration */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <netinet/in.h>
#include <string.h>

#include "cosd/conf.def"
#include "cosd/conf.h"
#include "cosd/keep.h"
#include "lib/base/io.h"
#include "lib/base/ip.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define CONF_BYTES_MAX (64U << 10)
#define TEXT(x)        #x

const struct conf_key conf_keys[] = {
#define X(key, type, member, lo, hi, dflt, when, help) { key, TEXT(dflt), help, when },
	COS_CONF(X)
#undef X
};
const unsigned n_conf_keys = ARRAY_SIZE(conf_keys);

static const struct jsonx_field fields[] = {
#define X(key, t, member, lo, hi, dflt, when, help)                                                \
	{ .name = key,                                                                             \
	  .type = JSONX_##t,                                                                       \
	  .offset = offsetof(struct conf, member),                                                 \
	  .min = lo,                                                                               \
	  .max = hi },
	COS_CONF(X)
#undef X
};

static void set_UINT(uint64_t *to, uint64_t v)
{
	*to = v;
}

static void set_STR(char *to, const char *v)
{
	strcpy(to, v);
}

static void defaults(struct conf *c)
{
#define ADDR_UINT(m)                                   (&c->m)
#define ADDR_STR(m)                                    (c->m)
#define X(key, type, member, lo, hi, dflt, when, help) set_##type(ADDR_##type(member), dflt);
	COS_CONF(X)
#undef X
}

static int check(const struct conf *c, struct cos_err *err)
{
	struct ip_block b;
	uint64_t cap;

	if (c->id_base % 65536)
		return jsonx_bad(err, "/id.base", "is not a multiple of 65536");
	/* -1 and -2 mean something else to the kernel and to old file systems */
	if (c->id_base + c->id_count * 65536 > 0xffff0000ULL)
		return jsonx_bad(err, "/id.count", "reaches beyond user id 4294901760");
	if (c->net_pool[0] && (ip_parse_block(c->net_pool, &b) < 0 || b.ip.family != AF_INET ||
			       b.len < 16 || b.len > 30))
		return jsonx_bad(err, "/net.pool", "is not a block of IPv4 addresses, /16 to /30");
	if (c->net_pool6[0] && (ip_parse_block(c->net_pool6, &b) < 0 || b.ip.family != AF_INET6 ||
				b.len < 48 || b.len > 126))
		return jsonx_bad(err, "/net.pool6",
				 "is not a block of IPv6 addresses, /48 to /126");
	if (c->net_cap[0] &&
	    (str_to_bits(c->net_cap, &cap) < 0 || cap < 1000000 || cap > 10000000000))
		return jsonx_bad(err, "/net.cap", "is not in 1Mbit..10Gbit");
	if (c->memory_cap[0] && str_to_bytes(c->memory_cap, &cap) < 0)
		return jsonx_bad(err, "/memory.cap", "is not a number of bytes");
	if (c->profile_dir[0] != '/')
		return jsonx_bad(err, "/profile.dir", "is not an absolute path");
	return 0;
}

static int load_file(const char *path, bool must, struct conf *c, struct cos_err *err)
{
	auto_free char *text = NULL;
	auto_json json_t *doc = NULL;
	ssize_t n = io_slurp_at(AT_FDCWD, path, CONF_BYTES_MAX, &text);
	int r;

	if (n == -ENOENT && !must)
		return 0;
	if (n < 0)
		return cos_fail(err, COS_E_INVALID, (int)-n, "read %s", path);
	r = jsonx_parse(text, (size_t)n, path, &doc, err);
	if (r < 0)
		return r;
	r = jsonx_fill(doc, "", fields, ARRAY_SIZE(fields), c, err);
	if (r == 0)
		r = check(c, err);
	return r < 0 ? jsonx_locate(err, r, path, text, (size_t)n) : 0;
}

static int take_option(const char *option, const char *value, char *to, size_t size,
		       struct cos_err *err)
{
	return !value[0] || str_fmt(to, size, "%s", value)
		       ? 0
		       : cos_fail(err, COS_E_INVALID, 0, "%s: too long", option);
}

int conf_load(const struct keep_args *a, bool must, struct conf *ret, struct cos_err *err)
{
	struct conf c;
	int r;

	defaults(&c);
	r = load_file(a->config, must, &c, err);
	if (r == 0)
		r = take_option("--net-pool", a->net_pool, c.net_pool, sizeof(c.net_pool), err);
	if (r == 0)
		r = take_option("--uplink", a->uplink, c.net_uplink, sizeof(c.net_uplink), err);
	if (r == 0)
		r = check(&c, err);
	if (r == 0)
		*ret = c;
	return r;
}

int conf_check_reload(const struct conf *now, const struct conf *next, struct cos_err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const char *a = (const char *)now + fields[i].offset;
		const char *b = (const char *)next + fields[i].offset;
		bool same = fields[i].type == JSONX_STR ? strcmp(a, b) == 0
							: memcmp(a, b, sizeof(uint64_t)) == 0;

		if (!same && conf_keys[i].when == C_START)
			return cos_fail(err, COS_E_INVALID, 0,
					"%s: needs a restart of cosd to change", fields[i].name);
	}
	return 0;
}
