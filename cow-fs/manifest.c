/* cow-fs/manifest.c - which objects the stubs of a guest or of a layer may name */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/manifest.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define HEADER      "cos manifest 1\n"
#define HEADER_SIZE 16 /* with its NUL */
#define ROOM_MIN    1024
#define BATCH       2048 /* digests at a time */

/* ---- sets ---- */

/* Digests are random already. */
static size_t place_of(const struct digest_set *s, const struct digest *d)
{
	uint64_t h;
	size_t at;

	memcpy(&h, d->b, sizeof(h));
	for (at = h & (s->room - 1); s->used[at]; at = (at + 1) & (s->room - 1)) {
		if (memcmp(&s->slot[at], d, sizeof(*d)) == 0)
			break;
	}
	return at;
}

bool digest_set_has(const struct digest_set *s, const struct digest *d)
{
	return s->n > 0 && s->used[place_of(s, d)];
}

static int grow(struct digest_set *s)
{
	struct digest_set to = { .n = s->n, .room = s->room ? s->room * 2 : ROOM_MIN };

	to.slot = calloc(to.room, sizeof(*to.slot));
	to.used = calloc(to.room, 1);
	if (!to.slot || !to.used) {
		digest_set_done(&to);
		return -ENOMEM;
	}
	for (size_t i = 0; i < s->room; i++) {
		if (s->used[i]) {
			size_t at = place_of(&to, &s->slot[i]);

			to.slot[at] = s->slot[i];
			to.used[at] = 1;
		}
	}
	digest_set_done(s);
	*s = to;
	return 0;
}

int digest_set_add(struct digest_set *s, const struct digest *d)
{
	size_t at;

	if ((s->n + 1) * 4 > s->room * 3 && grow(s) < 0)
		return -ENOMEM;
	at = place_of(s, d);
	if (s->used[at])
		return 0;
	s->slot[at] = *d;
	s->used[at] = 1;
	s->n++;
	return 1;
}

void digest_set_done(struct digest_set *s)
{
	free(s->slot);
	free(s->used);
	*s = (struct digest_set){ 0 };
}

/* ---- files ---- */

static int check_header(int fd)
{
	char have[HEADER_SIZE];
	ssize_t n = pread(fd, have, sizeof(have), 0);

	if (n < 0)
		return -errno;
	/* Without a whole header there was never a stub: see manifest_add(). */
	if (n < HEADER_SIZE)
		return 0;
	return memcmp(have, HEADER, sizeof(have)) == 0 ? 1 : -EUCLEAN;
}

int manifest_read(int dir, struct digest_set *s)
{
	auto_close int fd = openat(dir, MANIFEST, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_free struct digest *d = malloc(BATCH * sizeof(*d));
	off_t at = HEADER_SIZE;
	ssize_t n;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = check_header(fd);
	if (r <= 0)
		return r;
	if (!d)
		return -ENOMEM;
	while ((n = pread(fd, d, BATCH * sizeof(*d), at)) >= (ssize_t)sizeof(*d)) {
		size_t have = (size_t)n / sizeof(*d);

		for (size_t i = 0; i < have; i++) {
			r = digest_set_add(s, &d[i]);
			if (r < 0)
				return r;
		}
		at += (off_t)(have * sizeof(*d));
	}
	return n < 0 ? -errno : 0;
}

/* Those of D that are new to S. */
static int append_new(int fd, off_t at, struct digest_set *s, const struct digest *d, size_t n)
{
	auto_free struct digest *fresh = calloc(n + 1, sizeof(*fresh));
	size_t n_fresh = 0;
	int r;

	if (!fresh)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		r = digest_set_add(s, &d[i]);
		if (r < 0)
			return r;
		if (r > 0)
			fresh[n_fresh++] = d[i];
	}
	return io_write_all_at(fd, fresh, n_fresh * sizeof(*fresh), at);
}

int manifest_add(int dir, struct digest_set *s, const struct digest *d, size_t n)
{
	auto_close int fd = openat(dir, MANIFEST, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	int r;

	if (end < 0)
		return -errno;
	r = check_header(fd);
	if (r < 0)
		return r;
	if (r == 0) {
		r = io_write_all_at(fd, HEADER, HEADER_SIZE, 0);
		end = HEADER_SIZE;
	}
	if (r < 0)
		return r;
	/* Over a part of a digest that a crash left. */
	end -= (end - HEADER_SIZE) % (off_t)sizeof(*d);
	r = append_new(fd, end, s, d, n);
	if (r == 0 && (fsync(fd) < 0 || fsync(dir) < 0))
		r = -errno;
	return r;
}

int manifest_replace(int dir, const struct digest_set *s)
{
	auto_free char *text = malloc(HEADER_SIZE + s->n * DIGEST_SIZE);
	char *to = text;

	if (!text)
		return -ENOMEM;
	memcpy(to, HEADER, HEADER_SIZE);
	to += HEADER_SIZE;
	for (size_t i = 0; i < s->room; i++) {
		if (s->used[i]) {
			memcpy(to, s->slot[i].b, DIGEST_SIZE);
			to += DIGEST_SIZE;
		}
	}
	return io_replace_at(dir, MANIFEST, text, (size_t)(to - text), 0600, true);
}
