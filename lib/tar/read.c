/* lib/tar/read.c - entries of a tar stream: v7, ustar, pax, and GNU's long names and numbers
 *
 * All of it is foreign: a length is compared with a bound before it is used. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/tar/inner.h"

#define RECORDS_MAX (64U << 10) /* of one extended header */
#define NUMBER_MAX  20          /* digits */

enum {
	HAS_PATH = 1,
	HAS_NAME = 2,
	HAS_LINK = 4,
	HAS_SIZE = 8,
	HAS_UID = 16,
	HAS_GID = 32,
	HAS_MTIME = 64,
	HAS_REAL = 128,
	HAS_MAJOR = 256,
	HAS_MINOR = 512,
	HAS_OTHER_SPARSE = 1024
};

void tar_in_init(struct tar_in *in, int fd)
{
	in->fd = fd;
	in->left = in->entries = 0;
	in->pad = 0;
	in->x.has = 0;
	in->pieces = NULL;
	in->at = in->have = 0;
}

void tar_in_done(struct tar_in *in)
{
	free(take_ptr(in->pieces));
}

/* ---- bytes ---- */

/* At least LEN bytes in the buffer, or what there is up to the stream's end. */
static int need(struct tar_in *in, size_t len, struct cos_err *err)
{
	if (in->have - in->at >= len)
		return 0;
	memmove(in->buf, in->buf + in->at, in->have - in->at);
	in->have -= in->at;
	in->at = 0;
	while (in->have < len) {
		ssize_t n = read(in->fd, in->buf + in->have, sizeof(in->buf) - in->have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "read the archive");
		if (n == 0)
			break;
		in->have += (size_t)n;
	}
	return 0;
}

static int cut_off(struct cos_err *err)
{
	return cos_fail(err, COS_E_IMAGE, 0, "the archive is cut off");
}

static int not_tar(struct cos_err *err)
{
	int r = tar_bad(err, NULL, "it is not a tar archive");

	cos_advise(err, r, "unpack what is compressed first: zcat FILE | cosctl cp - ...");
	return r;
}

/* The next block; borrowed until the next call. */
static int block(struct tar_in *in, const void **ret, struct cos_err *err)
{
	int r = need(in, TAR_BLOCK, err);

	if (r < 0)
		return r;
	if (in->have - in->at < TAR_BLOCK)
		return in->entries == 0 && in->have > in->at ? not_tar(err) : cut_off(err);
	*ret = in->buf + in->at;
	in->at += TAR_BLOCK;
	return 0;
}

ssize_t tar_get_data(struct tar_in *in, const void **ret, uint64_t max, struct cos_err *err)
{
	size_t n;
	int r;

	if (max > in->left)
		max = in->left;
	if (max == 0)
		return 0;
	r = need(in, 1, err);
	if (r < 0)
		return r;
	n = in->have - in->at;
	if (n == 0)
		return cut_off(err);
	if (n > max)
		n = (size_t)max;
	*ret = in->buf + in->at;
	in->at += n;
	in->left -= n;
	return (ssize_t)n;
}

static int skip_rest(struct tar_in *in, struct cos_err *err)
{
	const void *p = NULL;
	ssize_t n;

	in->left += in->pad;
	in->pad = 0;
	while ((n = tar_get_data(in, &p, UINT64_MAX, err)) > 0)
		;
	return (int)n;
}

/* All of the entry's data, at most SIZE - 1 bytes, and a NUL. */
static int get_text(struct tar_in *in, char *to, size_t size, struct cos_err *err)
{
	const void *p = NULL;
	ssize_t n;

	if (in->left >= size)
		return tar_bad(err, NULL, "a name or header in it is too long");
	while ((n = tar_get_data(in, &p, UINT64_MAX, err)) > 0) {
		memcpy(to, p, (size_t)n);
		to += n;
	}
	*to = '\0';
	return n < 0 ? (int)n : skip_rest(in, err);
}

/* ---- numbers ---- */

/* Octal with spaces around, or, in GNU's way, bytes behind a first one of 0x80. */
static int number(const char *s, size_t len, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	if ((unsigned char)s[0] == 0x80) {
		for (i = 1; i < len; i++) {
			if (v >> 56)
				return -ERANGE;
			v = v << 8 | (unsigned char)s[i];
		}
		*ret = v;
		return 0;
	}
	while (i < len && s[i] == ' ')
		i++;
	for (; i < len && s[i] >= '0' && s[i] <= '7'; i++) {
		if (v >> 61)
			return -ERANGE;
		v = v << 3 | (uint64_t)(s[i] - '0');
	}
	if (i < len && s[i] != ' ' && s[i] != '\0')
		return -EINVAL;
	*ret = v;
	return 0;
}

/* "SECONDS[.FRACTION]", perhaps negative: then without the fraction. */
static int time_of(const char *s, struct timespec *ret)
{
	bool negative = *s == '-';
	char whole[NUMBER_MAX + 1];
	uint64_t sec;
	long nsec = 0, unit = 100000000;
	size_t n;

	s += negative;
	n = strcspn(s, ".");
	if (!str_fmt(whole, sizeof(whole), "%.*s", (int)n, s) || str_to_u64(whole, &sec) < 0 ||
	    sec > INT64_MAX)
		return -EINVAL;
	for (s += n + (s[n] == '.'); *s >= '0' && *s <= '9'; s++, unit /= 10)
		nsec += (*s - '0') * unit;
	if (*s)
		return -EINVAL;
	ret->tv_sec = negative ? -(time_t)sec : (time_t)sec;
	ret->tv_nsec = negative ? 0 : nsec;
	return 0;
}

/* ---- extended headers ---- */

static const struct {
	const char *key;
	unsigned has;
	size_t offset;
	enum { TEXT, NUMBER, TIME } form;
} keys[] = {
	{ "path", HAS_PATH, offsetof(struct tar_extra, path), TEXT },
	{ "linkpath", HAS_LINK, offsetof(struct tar_extra, link), TEXT },
	{ "size", HAS_SIZE, offsetof(struct tar_extra, size), NUMBER },
	{ "uid", HAS_UID, offsetof(struct tar_extra, uid), NUMBER },
	{ "gid", HAS_GID, offsetof(struct tar_extra, gid), NUMBER },
	{ "mtime", HAS_MTIME, offsetof(struct tar_extra, mtime), TIME },
	{ "GNU.sparse.name", HAS_NAME, offsetof(struct tar_extra, name), TEXT },
	{ "GNU.sparse.realsize", HAS_REAL, offsetof(struct tar_extra, real_size), NUMBER },
	{ "GNU.sparse.major", HAS_MAJOR, offsetof(struct tar_extra, major), NUMBER },
	{ "GNU.sparse.minor", HAS_MINOR, offsetof(struct tar_extra, minor), NUMBER },
};

/* Unknown keys are left alone: they tell of more than is copied. */
static int take_record(struct tar_extra *x, const char *key, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		void *to = (char *)x + keys[i].offset;
		int r = 0;

		if (strcmp(keys[i].key, key) != 0)
			continue;
		switch (keys[i].form) {
		case TEXT:
			r = str_fmt(to, TAR_PATH_SIZE, "%s", value) ? 0 : -ENAMETOOLONG;
			break;
		case NUMBER:
			r = str_to_u64(value, to);
			break;
		case TIME:
			r = time_of(value, to);
			break;
		}
		x->has |= keys[i].has;
		return r;
	}
	if (strncmp(key, "GNU.sparse.", 11) == 0)
		x->has |= HAS_OTHER_SPARSE;
	return 0;
}

/* S, with LEN bytes, is cut up into "LENGTH KEY=VALUE\n". */
static int take_records(struct tar_extra *x, char *s, size_t len)
{
	while (len > 0) {
		char *space = memchr(s, ' ', len < NUMBER_MAX ? len : NUMBER_MAX), *equals;
		uint64_t n;

		if (!space)
			return -EINVAL;
		*space = '\0';
		if (str_to_u64(s, &n) < 0 || n > len || n < (uint64_t)(space - s) + 3 ||
		    s[n - 1] != '\n')
			return -EINVAL;
		s[n - 1] = '\0';
		equals = memchr(space + 1, '=', (size_t)(s + n - space - 1));
		if (!equals || memchr(space + 1, '\0', (size_t)(s + n - 1 - space - 1)))
			return -EINVAL;
		*equals = '\0';
		if (take_record(x, space + 1, equals + 1) < 0)
			return -EINVAL;
		s += n;
		len -= n;
	}
	return 0;
}

static int get_records(struct tar_in *in, struct cos_err *err)
{
	size_t len = (size_t)in->left;
	auto_free char *text = len < RECORDS_MAX ? malloc(RECORDS_MAX) : NULL;
	int r;

	if (len >= RECORDS_MAX)
		return tar_bad(err, NULL, "an extended header is too long");
	if (!text)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "read the archive");
	r = get_text(in, text, RECORDS_MAX, err);
	if (r == 0 && take_records(&in->x, text, len) < 0)
		r = tar_bad(err, NULL, "an extended header is wrong");
	return r;
}

/* ---- files with holes ---- */

/* A number and a newline. USED counts the bytes of the map. */
static int map_number(struct tar_in *in, uint64_t *ret, uint64_t *used, struct cos_err *err)
{
	char text[NUMBER_MAX + 2];
	size_t n = 0;

	for (; n < sizeof(text); n++) {
		const void *p = NULL;
		ssize_t got = tar_get_data(in, &p, 1, err);

		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		text[n] = *(const char *)p;
		if (text[n] != '\n')
			continue;
		text[n] = '\0';
		*used += n + 1;
		if (str_to_u64(text, ret) == 0)
			return 0;
		break;
	}
	return tar_bad(err, NULL, "the map of a file with holes is wrong");
}

static int check_piece(const struct tar_entry *e, const struct tar_piece *p, uint64_t from,
		       uint64_t left)
{
	return p->at < from || p->at > e->size || p->len > e->size - p->at || p->len > left
		       ? -EINVAL
		       : 0;
}

static int get_pieces(struct tar_in *in, struct tar_entry *e, uint64_t *used, struct cos_err *err)
{
	uint64_t n = 0, end = 0, sum = 0;
	int r = map_number(in, &n, used, err);

	if (r < 0)
		return r;
	if (n > TAR_PIECES_MAX)
		return tar_bad(err, e->path, "has more than 65536 pieces between holes");
	in->pieces = calloc(n + 1, sizeof(*in->pieces));
	if (!in->pieces)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "read the archive");
	for (size_t i = 0; i < n && r == 0; i++) {
		struct tar_piece *p = &in->pieces[i];

		r = map_number(in, &p->at, used, err);
		if (r == 0)
			r = map_number(in, &p->len, used, err);
		if (r == 0 && check_piece(e, p, end, in->left - sum) < 0)
			r = tar_bad(err, e->path, "the map of its holes is wrong");
		end = p->at + p->len;
		sum += p->len;
	}
	e->n_pieces = (size_t)n;
	e->pieces = in->pieces;
	return r;
}

static int get_map(struct tar_in *in, struct tar_entry *e, struct cos_err *err)
{
	uint64_t used = 0, sum = 0;
	const void *p = NULL;
	ssize_t n = 0;
	int r = get_pieces(in, e, &used, err);

	if (r < 0)
		return r;
	for (uint64_t rest = -used % TAR_BLOCK; rest > 0; rest -= (uint64_t)n) {
		n = tar_get_data(in, &p, rest, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
	}
	for (size_t i = 0; i < e->n_pieces; i++)
		sum += e->pieces[i].len;
	return sum == in->left ? 0 : tar_bad(err, e->path, "the map of its holes is wrong");
}

/* ---- entries ---- */

/* The entry's name in the header itself. */
static void header_path(const struct tar_header *h, char *ret)
{
	bool posix = memcmp(h->magic, "ustar", 6) == 0;

	if (posix && h->prefix[0])
		str_fmt(ret, TAR_PATH_SIZE, "%.*s/%.*s", (int)sizeof(h->prefix), h->prefix,
			(int)sizeof(h->name), h->name);
	else
		str_fmt(ret, TAR_PATH_SIZE, "%.*s", (int)sizeof(h->name), h->name);
}

static int header_numbers(const struct tar_header *h, struct tar_entry *e, uint64_t *ret_size)
{
	uint64_t mode, sec;

	if (number(h->mode, sizeof(h->mode), &mode) < 0 ||
	    number(h->uid, sizeof(h->uid), &e->uid) < 0 ||
	    number(h->gid, sizeof(h->gid), &e->gid) < 0 ||
	    number(h->size, sizeof(h->size), ret_size) < 0)
		return -EINVAL;
	if (number(h->mtime, sizeof(h->mtime), &sec) < 0 || sec > INT64_MAX)
		sec = 0; /* GNU writes times before 1970 as no other number */
	e->mode = mode & 07777;
	e->mtime = (struct timespec){ .tv_sec = (time_t)sec };
	return 0;
}

static int kind_of(char type, const char *path, enum tar_kind *ret)
{
	size_t len = strlen(path);

	switch (type) {
	case '\0': /* before ustar a directory was told by its name */
	case '0':
	case '7':
		*ret = len > 0 && path[len - 1] == '/' ? TAR_DIR : TAR_FILE;
		return 0;
	case '1':
		*ret = TAR_LINK;
		return 0;
	case '2':
		*ret = TAR_SYMLINK;
		return 0;
	case '5':
		*ret = TAR_DIR;
		return 0;
	case '3':
	case '4':
	case '6':
		*ret = TAR_SPECIAL;
		return 0;
	}
	return -EINVAL;
}

static int apply_extra(struct tar_in *in, struct tar_entry *e, struct cos_err *err)
{
	struct tar_extra *x = &in->x;

	if (x->has & HAS_UID)
		e->uid = x->uid;
	if (x->has & HAS_GID)
		e->gid = x->gid;
	if (x->has & HAS_MTIME)
		e->mtime = x->mtime;
	e->sparse = x->has & HAS_MAJOR;
	if (x->has & HAS_OTHER_SPARSE || (e->sparse && (x->major != 1 || x->minor != 0)))
		return tar_bad(err, e->path, "its holes are told in a form that cos does not know");
	if (e->sparse && (!(x->has & HAS_REAL) || e->kind != TAR_FILE))
		return tar_bad(err, e->path, "the map of its holes is wrong");
	e->size = e->sparse ? x->real_size : in->left;
	return 0;
}

static int finish_entry(struct tar_in *in, const struct tar_header *h, struct tar_entry *e,
			struct cos_err *err)
{
	struct tar_extra *x = &in->x;
	uint64_t size = 0;
	int r;

	header_path(h, e->path);
	str_fmt(e->link, sizeof(e->link), "%.*s", (int)sizeof(h->link), h->link);
	if (x->has & (HAS_PATH | HAS_NAME))
		strcpy(e->path, x->has & HAS_NAME ? x->name : x->path);
	if (x->has & HAS_LINK)
		strcpy(e->link, x->link);
	if (header_numbers(h, e, &size) < 0)
		return tar_bad(err, e->path, "a number in its header is wrong");
	if (kind_of(h->type, e->path, &e->kind) < 0)
		return tar_bad(err, e->path, "is of a kind that cos does not know");
	if (x->has & HAS_SIZE)
		size = x->size;
	if (e->kind != TAR_FILE) /* a directory's is no length, and others have no data */
		size = 0;
	if (size > TAR_FILE_MAX || (x->has & HAS_REAL && x->real_size > TAR_FILE_MAX))
		return tar_bad(err, e->path, "says that it is larger than 16 TiB");
	in->left = size;
	in->pad = (unsigned)(-size % TAR_BLOCK);
	r = apply_extra(in, e, err);
	return r == 0 && e->sparse ? get_map(in, e, err) : r;
}

static bool is_zero(const void *p)
{
	static const char zeros[TAR_BLOCK];

	return memcmp(p, zeros, TAR_BLOCK) == 0;
}

static int check_header(const struct tar_in *in, const struct tar_header *h, struct cos_err *err)
{
	uint64_t sum;

	if (number(h->sum, sizeof(h->sum), &sum) == 0 && sum == tar_sum(h))
		return 0;
	return in->entries > 0 ? tar_bad(err, NULL, "a header in it is damaged") : not_tar(err);
}

/* Headers that tell about the next one. 1: H was such a one. */
static int get_extra(struct tar_in *in, const struct tar_header *h, struct cos_err *err)
{
	char type = h->type;
	uint64_t size;
	int r = -EINVAL;

	if (!strchr("xgLKV", type) || !type)
		return 0;
	if (number(h->size, sizeof(h->size), &size) < 0 || size > TAR_FILE_MAX)
		return tar_bad(err, NULL, "a number in a header is wrong");
	in->left = size;
	in->pad = (unsigned)(-size % TAR_BLOCK);
	switch (type) {
	case 'x':
		r = get_records(in, err);
		break;
	case 'L':
		r = get_text(in, in->x.path, TAR_PATH_SIZE, err);
		in->x.has |= HAS_PATH;
		break;
	case 'K':
		r = get_text(in, in->x.link, TAR_PATH_SIZE, err);
		in->x.has |= HAS_LINK;
		break;
	default: /* about all that follow: nothing that a copy needs */
		r = skip_rest(in, err);
		break;
	}
	return r < 0 ? r : 1;
}

int tar_get_entry(struct tar_in *in, struct tar_entry *ret, struct cos_err *err)
{
	const void *p = NULL;
	int r = skip_rest(in, err);

	tar_in_done(in);
	in->x.has = 0;
	ret->n_pieces = 0;
	ret->pieces = NULL;
	while (r == 0) {
		struct tar_header h;

		r = block(in, &p, err);
		if (r < 0)
			return r;
		if (is_zero(p))
			return 0;
		memcpy(&h, p, sizeof(h));
		r = check_header(in, &h, err);
		if (r == 0)
			r = get_extra(in, &h, err);
		if (r == 1) {
			r = 0;
			continue;
		}
		if (r == 0)
			r = finish_entry(in, &h, ret, err);
		if (r < 0)
			return r;
		if (++in->entries > TAR_ENTRIES_MAX)
			return tar_bad(err, NULL, "it has more than 10000000 entries");
		return 1;
	}
	return r;
}
