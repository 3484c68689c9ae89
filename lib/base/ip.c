/* lib/base/ip.c - addresses of IPv4 and IPv6, and blocks of them */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/ip.h"
#include "lib/base/str.h"

int ip_parse(const char *s, struct ip *ret)
{
	struct ip ip = { .family = strchr(s, ':') ? AF_INET6 : AF_INET };

	if (inet_pton(ip.family, s, ip.b) != 1)
		return -EINVAL;
	*ret = ip;
	return 0;
}

static uint8_t mask_of(unsigned len, unsigned byte)
{
	unsigned bits = len > byte * 8 ? len - byte * 8 : 0;

	return bits >= 8 ? 0xff : (uint8_t)(0xff00U >> bits);
}

int ip_parse_block(const char *s, struct ip_block *ret)
{
	const char *slash = strchr(s, '/');
	char text[IP_TEXT_SIZE];
	struct ip_block b;
	uint64_t len, all;
	int r;

	if (!str_fmt(text, sizeof(text), "%.*s", slash ? (int)(slash - s) : (int)strlen(s), s))
		return -EINVAL;
	r = ip_parse(text, &b.ip);
	if (r < 0)
		return r;
	all = ip_size(&b.ip);
	len = all *= 8;
	if (slash && (str_to_u64(slash + 1, &len) < 0 || len > all))
		return -EINVAL;
	b.len = (unsigned)len;
	for (unsigned i = 0; i < ip_size(&b.ip); i++) {
		if (b.ip.b[i] & ~mask_of(b.len, i))
			return -EINVAL;
	}
	*ret = b;
	return 0;
}

char *ip_text(const struct ip *ip, char *buf)
{
	if (!inet_ntop(ip->family, ip->b, buf, IP_TEXT_SIZE))
		buf[0] = '\0';
	return buf;
}

char *ip_block_text(const struct ip_block *b, char *buf)
{
	size_t n = strlen(ip_text(&b->ip, buf));

	snprintf(buf + n, IP_TEXT_SIZE - n, "/%u", b->len);
	return buf;
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && memcmp(a->b, b->b, ip_size(a)) == 0;
}

bool ip_is_in(const struct ip *ip, const struct ip_block *b)
{
	if (ip->family != b->ip.family)
		return false;
	for (unsigned i = 0; i < ip_size(ip); i++) {
		if ((ip->b[i] ^ b->ip.b[i]) & mask_of(b->len, i))
			return false;
	}
	return true;
}

bool ip_overlap(const struct ip_block *a, const struct ip_block *b)
{
	return ip_is_in(&a->ip, b) || ip_is_in(&b->ip, a);
}

uint32_t ip_count(const struct ip_block *b)
{
	unsigned bits = ip_size(&b->ip) * 8 - b->len;

	return bits >= 32 ? UINT32_MAX : (uint32_t)1 << bits;
}

struct ip ip_nth(const struct ip_block *b, uint32_t n)
{
	struct ip ip = b->ip;
	unsigned size = ip_size(&ip);

	for (unsigned i = 0; i < 4; i++)
		ip.b[size - 1 - i] |= (uint8_t)(n >> (8 * i));
	return ip;
}

uint32_t ip_index(const struct ip_block *b, const struct ip *ip)
{
	unsigned size = ip_size(ip);
	uint32_t n = 0;

	for (unsigned i = size - 4; i < size; i++)
		n = n << 8 | (uint8_t)(ip->b[i] & ~mask_of(b->len, i));
	return n;
}

struct ip ip_link_local(const uint8_t mac[6])
{
	return (struct ip){
		.family = AF_INET6,
		.b = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3],
		       mac[4], mac[5] },
	};
}
