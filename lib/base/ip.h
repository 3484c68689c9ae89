/* lib/base/ip.h - addresses of IPv4 and IPv6, and blocks of them; pure functions */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IP_TEXT_SIZE 56 /* of an address or a block, with its NUL */

struct ip {
	int family;    /* AF_INET, AF_INET6; 0: none */
	uint8_t b[16]; /* in network order; the first four of IPv4 */
};

struct ip_block {
	struct ip ip; /* the lowest address */
	unsigned len; /* bits that all have in common */
};

/* Bytes of an address of FAMILY. */
static inline unsigned ip_size(const struct ip *ip)
{
	return ip->family == 2 /* AF_INET */ ? 4 : 16;
}

/* "10.1.2.3", "fd00::1"; -EINVAL. */
int ip_parse(const char *s, struct ip *ret);
/* "10.1.0.0/16": the address must be the block's lowest; without "/" the block is that address.
 * -EINVAL. */
int ip_parse_block(const char *s, struct ip_block *ret);
/* BUF takes IP_TEXT_SIZE bytes. Both return BUF. */
char *ip_text(const struct ip *ip, char *buf);
char *ip_block_text(const struct ip_block *b, char *buf);
bool ip_equal(const struct ip *a, const struct ip *b);
/* B's address need not be its lowest here. */
bool ip_is_in(const struct ip *ip, const struct ip_block *b);
bool ip_overlap(const struct ip_block *a, const struct ip_block *b);
/* How many addresses B has, at most UINT32_MAX. */
uint32_t ip_count(const struct ip_block *b);
/* The N-th address of B, from 0; the reverse. */
struct ip ip_nth(const struct ip_block *b, uint32_t n);
uint32_t ip_index(const struct ip_block *b, const struct ip *ip);
/* The link-local address that a link with MAC gives itself. */
struct ip ip_link_local(const uint8_t mac[6]);
