/* bench/isolation.h - the parts of bench/isolation: victims and attackers, in boxes of three kinds
 *
 * A box is a bare control group, a container of crun or a guest of cos; all have the same limits.
 * Whatever runs in one ends by itself at a time that it is told, and counts in a page that the
 * bench sees. */
#pragma once

#include "bench/disk.h"
#include "bench/network.h"
#include "bench/work.h"

enum victim { VICTIM_CPU, VICTIM_MEMORY, VICTIM_DISK, VICTIM_NET, VICTIM__N };
enum attack {
	ATTACK_NONE,
	ATTACK_CPU,
	ATTACK_MEMORY,
	ATTACK_FORK,
	ATTACK_DISK,
	ATTACK_SEND,
	ATTACK_RECEIVE,
	ATTACK__N
};
enum who { WHO_BARE, WHO_CRUN, WHO_COS, WHO__N };
enum role { ROLE_VICTIM, ROLE_ATTACKER, ROLE__N };

/* What the kernel, crun and cos are asked for; 0: no limit. The rates of the network are the
 * attacker's only, packets per second only cos has. */
struct box_limits {
	unsigned cpu_percent; /* of one CPU */
	unsigned memory_mib, pids, write_mib;
	uint64_t bits;
	unsigned packets;
};

struct scene {
	const struct bench *b;
	struct bed bed;
	struct daemon d;
	struct disk disk;
	struct box_limits limits[ROLE__N];
	struct subject model[ROLE__N]; /* idle guests whose numbers bare groups get */
	char counts[64];               /* a file system in memory, with a file for each role */
	struct work_page *page[ROLE__N];
	bool mounted;
	pid_t echo; /* outside: answers victims */
	int sink;   /* outside: where datagrams go */
	int source; /* outside: where they come from */
};

#define COUNTS_INSIDE "/count"
#define FILE_NAMES    2U /* on the disk: the victim's and the attacker's */

/* ---- isolation-box.c ---- */

struct box {
	const struct scene *sc;
	enum who who;
	enum role role;
	struct subject s; /* bare and cos */
	pid_t pid;        /* of what holds it: work itself, or crun */
	char address[INET_ADDRSTRLEN];
};

/* Whether that contender is here; prints the reason when it is not. */
bool box_can(const struct scene *sc, enum who who);
/* A guest of that role that idles. Telling. */
int box_model(struct scene *sc, enum role role);
/* ARGS are the words of bench/work, whose paths box_path() makes. Telling. */
int box_start(struct box *x, const struct scene *sc, enum who who, enum role role,
	      const char *const *args);
/* Ends all in it, whatever it is doing, and removes it. X may be all zeros. */
void box_end(struct box *x);
/* A directory of the bench as a box of that kind sees it. */
const char *box_path(const struct scene *sc, enum who who, const char *inside);

/* ---- isolation-net.c ---- */

/* Classes of what is no guest, and who answers and floods. Telling. */
int net_scene_open(struct scene *sc);
void net_scene_close(struct scene *sc);
/* Where the outside is for a box of that kind. */
const char *net_outside(enum who who);
#define NET_ECHO_PORT "7007"
/* Datagrams to that address from outside, a fixed number each second: another machine's work, so it
 * is no more than the network would bring. Until net_end() of network.h. */
pid_t net_flood(const struct scene *sc, const char *address);
