/* cow-fs/digest.c - SHA-256 by libcrypto */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "cow-fs/digest.h"

#define PIECE (1U << 20)

struct digester {
	EVP_MD *md; /* fetching takes longer than hashing a small file */
	EVP_MD_CTX *ctx;
	char buf[PIECE];
};

struct digester *digester_new(void)
{
	struct digester *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	g->ctx = EVP_MD_CTX_new();
	if (!g->md || !g->ctx) {
		digester_free(g);
		return NULL;
	}
	return g;
}

void digester_free(struct digester *g)
{
	if (!g)
		return;
	EVP_MD_CTX_free(g->ctx);
	EVP_MD_free(g->md);
	free(g);
}

int digester_begin(struct digester *g)
{
	return EVP_DigestInit_ex2(g->ctx, g->md, NULL) == 1 ? 0 : -EIO;
}

int digester_add(struct digester *g, const void *p, size_t len)
{
	return EVP_DigestUpdate(g->ctx, p, len) == 1 ? 0 : -EIO;
}

int digester_end(struct digester *g, struct digest *ret)
{
	unsigned n = 0;

	return EVP_DigestFinal_ex(g->ctx, ret->b, &n) == 1 && n == DIGEST_SIZE ? 0 : -EIO;
}

int digest_fd(struct digester *g, int fd, uint64_t max, digest_tick *tick, void *arg,
	      struct digest *ret, uint64_t *ret_size)
{
	uint64_t at = 0;
	int r = digester_begin(g);
	ssize_t n;

	while (r == 0 && (n = pread(fd, g->buf, sizeof(g->buf), (off_t)at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (uint64_t)n;
		if (at > max)
			return -EFBIG;
		r = digester_add(g, g->buf, (size_t)n);
		if (r == 0 && tick)
			r = tick(arg);
	}
	if (r == 0)
		r = digester_end(g, ret);
	if (r == 0)
		*ret_size = at;
	return r;
}
