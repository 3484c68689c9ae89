/* lib/kern/netmon.h - what others do to the host's network: links that come and go, tables that
 * change
 *
 * Non-blocking sockets of the kernel's multicast groups, to be waited for by the caller's loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/kern/link.h"

/* Links whose index is below FIRST_OWN: those from there on are the caller's own, and many. Returns
 * a descriptor or a negative errno. */
int netmon_open_links(unsigned first_own);
struct netmon_link {
	bool gone;
	int index;
	char name[LINK_NAME_SIZE];
	uint8_t mac[6];
};
/* Calls FN for each that came, changed or went since. -ENOBUFS: there were more than the socket
 * holds. */
int netmon_read_links(int fd, void (*fn)(const struct netmon_link *l, void *arg), void *arg);

struct netmon_tables {
	int fd;
	uint32_t own; /* what the kernel calls this process */
	char table[80];
};
/* Changes of nftables. What has happened to the table up to netmon_learn() was the caller's doing:
 * call that right after a change of its own. */
int netmon_open_tables(struct netmon_tables *m, const char *table);
void netmon_learn(struct netmon_tables *m);
/* Whether another process has touched the table since the last call; also when it cannot be told.
 */
bool netmon_is_touched(struct netmon_tables *m);
