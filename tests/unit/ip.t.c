/* tests/unit/ip.t.c - addresses and blocks of them */
#include <netinet/in.h>
#include <string.h>

#include "lib/base/ip.h"
#include "lib/base/own.h"
#include "tests/tap.h"

static void refuses(const char *s)
{
	struct ip_block b;

	ok(ip_parse_block(s, &b) < 0, "refused: '%s'", s);
}

static void reads(const char *s, const char *text, uint32_t count)
{
	char buf[IP_TEXT_SIZE];
	struct ip_block b = { 0 };

	ok(ip_parse_block(s, &b) == 0 && strcmp(ip_block_text(&b, buf), text) == 0, "%s is %s", s,
	   text);
	ok(ip_count(&b) == count, "%s has %u addresses", s, count);
}

static void nth(const char *block, uint32_t n, const char *text)
{
	char buf[IP_TEXT_SIZE];
	struct ip_block b;
	struct ip ip;

	ip_parse_block(block, &b);
	ip = ip_nth(&b, n);
	ok(strcmp(ip_text(&ip, buf), text) == 0, "%s[%u] is %s", block, n, text);
	ok(ip_index(&b, &ip) == n && ip_is_in(&ip, &b), "and the reverse");
}

static void overlap(const char *a, const char *b, bool want)
{
	struct ip_block x, y;

	ip_parse_block(a, &x);
	ip_parse_block(b, &y);
	ok(ip_overlap(&x, &y) == want && ip_overlap(&y, &x) == want, "%s %s %s", a,
	   want ? "overlaps" : "is beside", b);
}

int main(void)
{
	static const char *const bad[] = {
		"",
		"x",
		"10",
		"10.0.0.0.0",
		"10.0.0.256",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/8x",
		"10.0.0.1/8",
		" 10.0.0.0/8",
		"10.0.0.0 /8",
		"fd00::1/64",
		"fd00::/129",
		"fd00:::/64",
		"::ffff:1.2.3.4.5/128",
		"10.0.0.0/8/8",
		"fd00:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/64",
	};
	const uint8_t mac[6] = { 2, 0xc0, 5, 1, 2, 3 };
	char buf[IP_TEXT_SIZE];
	struct ip ll = ip_link_local(mac);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refuses(bad[i]);
	reads("10.0.0.0/8", "10.0.0.0/8", 1U << 24);
	reads("0.0.0.0/0", "0.0.0.0/0", UINT32_MAX);
	reads("10.1.2.3", "10.1.2.3/32", 1);
	reads("fd00:0::/64", "fd00::/64", UINT32_MAX);
	reads("fd00::5", "fd00::5/128", 1);
	reads("fd00::/126", "fd00::/126", 4);
	nth("10.9.0.0/16", 0, "10.9.0.0");
	nth("10.9.0.0/16", 257, "10.9.1.1");
	nth("10.9.255.240/28", 15, "10.9.255.255");
	nth("fd00::/64", 65536, "fd00::1:0");
	nth("fd00::a0/124", 3, "fd00::a3");
	overlap("10.0.0.0/8", "10.255.0.0/16", true);
	overlap("10.0.0.0/9", "10.128.0.0/9", false);
	overlap("10.0.0.0/9", "::/0", false);
	overlap("fd00::/8", "fd12::/64", true);
	ok(strcmp(ip_text(&ll, buf), "fe80::c0:5ff:fe01:203") == 0, "a link-local address: %s",
	   buf);
	return tap_done();
}
