/* lib/tar/write.c - entries of a tar stream, POSIX pax */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/io.h"
#include "lib/tar/inner.h"

#define OCTAL_7  07777777ULL     /* what seven digits hold */
#define OCTAL_11 077777777777ULL /* eleven */

/* Records of an extended header: two paths and a handful of numbers. */
struct records {
	size_t have;
	char text[2 * TAR_PATH_SIZE + 1024];
};

unsigned tar_sum(const struct tar_header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	size_t from = offsetof(struct tar_header, sum), to = from + sizeof(h->sum);
	unsigned sum = 0;

	for (size_t i = 0; i < sizeof(*h); i++)
		sum += i >= from && i < to ? ' ' : p[i];
	return sum;
}

static int flush(struct tar_out *o)
{
	int r = io_write_all(o->fd, o->buf, o->have);

	o->have = 0;
	return r;
}

int tar_put(struct tar_out *o, const void *s, size_t len)
{
	int r = o->have + len > sizeof(o->buf) ? flush(o) : 0;

	if (r < 0)
		return r;
	if (len > sizeof(o->buf))
		return io_write_all(o->fd, s, len);
	memcpy(o->buf + o->have, s, len);
	o->have += len;
	return 0;
}

int tar_put_zeros(struct tar_out *o, uint64_t len)
{
	static const char zeros[8192];
	int r = 0;

	for (size_t n; r == 0 && len > 0; len -= n) {
		n = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
		r = tar_put(o, zeros, n);
	}
	return r;
}

int tar_put_pad(struct tar_out *o, uint64_t len)
{
	return tar_put_zeros(o, -len % TAR_BLOCK);
}

int tar_put_end(struct tar_out *o)
{
	int r = tar_put_zeros(o, 2ULL * TAR_BLOCK);

	return r < 0 ? r : flush(o);
}

/* "LENGTH KEY=VALUE\n", where the length counts its own digits. */
__attribute__((format(printf, 3, 4))) static void add(struct records *x, const char *key,
						      const char *fmt, ...)
{
	char value[TAR_PATH_SIZE];
	size_t rest, len, digits = 1;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	rest = strlen(key) + strlen(value) + 3;
	do {
		len = rest + digits++;
	} while ((size_t)snprintf(NULL, 0, "%zu", len) != len - rest);
	x->have += (size_t)snprintf(x->text + x->have, sizeof(x->text) - x->have, "%zu %s=%s\n",
				    len, key, value);
}

/* What the old header has no room for. */
static void collect(struct records *x, const struct tar_entry *e, uint64_t stored)
{
	x->have = 0;
	if (e->sparse) {
		add(x, "GNU.sparse.major", "1");
		add(x, "GNU.sparse.minor", "0");
		add(x, "GNU.sparse.name", "%s", e->path);
		add(x, "GNU.sparse.realsize", "%" PRIu64, e->size);
	} else if (strlen(e->path) > sizeof(((struct tar_header *)0)->name)) {
		add(x, "path", "%s", e->path);
	}
	if (strlen(e->link) > sizeof(((struct tar_header *)0)->link))
		add(x, "linkpath", "%s", e->link);
	if (stored > OCTAL_11)
		add(x, "size", "%" PRIu64, stored);
	if (e->uid > OCTAL_7)
		add(x, "uid", "%" PRIu64, e->uid);
	if (e->gid > OCTAL_7)
		add(x, "gid", "%" PRIu64, e->gid);
	if (e->mtime.tv_sec < 0)
		add(x, "mtime", "%jd", (intmax_t)e->mtime.tv_sec);
	else if (e->mtime.tv_nsec > 0 || (uint64_t)e->mtime.tv_sec > OCTAL_11)
		add(x, "mtime", "%jd.%09ld", (intmax_t)e->mtime.tv_sec, e->mtime.tv_nsec);
}

/* WIDTH digits and a NUL; what does not fit stands in a record. */
static void octal(char *to, int width, uint64_t v)
{
	if (v >> (3 * width))
		v = 0;
	for (to[width] = '\0'; width > 0; v >>= 3)
		to[--width] = (char)('0' + (v & 7));
}

static int put_header(struct tar_out *o, struct tar_header *h)
{
	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	octal(h->sum, 6, tar_sum(h));
	h->sum[7] = ' ';
	return tar_put(o, h, sizeof(*h));
}

static int put_records(struct tar_out *o, const struct records *x)
{
	struct tar_header h = { .name = "PaxHeaders/entry", .type = 'x' };
	int r;

	octal(h.mode, 7, 0600);
	octal(h.uid, 7, 0);
	octal(h.gid, 7, 0);
	octal(h.size, 11, x->have);
	octal(h.mtime, 11, 0);
	r = put_header(o, &h);
	if (r == 0)
		r = tar_put(o, x->text, x->have);
	return r < 0 ? r : tar_put_pad(o, x->have);
}

static int each_number(const struct tar_entry *e, int (*fn)(void *arg, uint64_t v), void *arg)
{
	int r = fn(arg, e->n_pieces);

	for (size_t i = 0; r == 0 && i < e->n_pieces; i++) {
		r = fn(arg, e->pieces[i].at);
		if (r == 0)
			r = fn(arg, e->pieces[i].len);
	}
	return r;
}

static int count_digits(void *arg, uint64_t v)
{
	*(uint64_t *)arg += (uint64_t)snprintf(NULL, 0, "%" PRIu64 "\n", v);
	return 0;
}

static int put_number(void *arg, uint64_t v)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%" PRIu64 "\n", v);

	return tar_put(arg, text, (size_t)n);
}

/* Length of the map of a file with holes, which is lines of numbers before the data. */
static uint64_t map_length(const struct tar_entry *e)
{
	uint64_t len = 0;

	if (e->sparse)
		each_number(e, count_digits, &len);
	return len;
}

static uint64_t data_length(const struct tar_entry *e)
{
	uint64_t len = 0;

	if (e->kind != TAR_FILE || !e->sparse)
		return e->kind == TAR_FILE ? e->size : 0;
	for (size_t i = 0; i < e->n_pieces; i++)
		len += e->pieces[i].len;
	return len;
}

int tar_put_entry(struct tar_out *o, const struct tar_entry *e)
{
	static const char types[] = {
		[TAR_FILE] = '0',
		[TAR_DIR] = '5',
		[TAR_SYMLINK] = '2',
		[TAR_LINK] = '1',
	};
	uint64_t map = map_length(e), stored = data_length(e) + map + -map % TAR_BLOCK;
	uint64_t sec = e->mtime.tv_sec < 0 ? 0 : (uint64_t)e->mtime.tv_sec;
	struct tar_header h = { .type = types[e->kind] };
	struct records x;
	int r = 0;

	collect(&x, e, stored);
	if (x.have > 0)
		r = put_records(o, &x);
	memcpy(h.name, e->path, strnlen(e->path, sizeof(h.name)));
	memcpy(h.link, e->link, strnlen(e->link, sizeof(h.link)));
	octal(h.mode, 7, e->mode);
	octal(h.uid, 7, e->uid);
	octal(h.gid, 7, e->gid);
	octal(h.size, 11, stored);
	octal(h.mtime, 11, sec);
	if (r == 0)
		r = put_header(o, &h);
	if (r < 0 || !e->sparse)
		return r;
	r = each_number(e, put_number, o);
	return r < 0 ? r : tar_put_pad(o, map);
}
