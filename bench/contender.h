/* bench/contender.h - who takes part in bench/start: each runs bench/first in a guest of its own */
#pragma once

#include "bench/bench.h"

#define CONTENDER_WORDS 32

struct contender {
	const char *name;
	const char *does; /* what its figure includes, one line */
	/* -errno: it cannot take part, and has said why. */
	int (*open)(struct contender *c, const struct bench *b);
	/* One guest, whose output is OUT, from nothing to gone; its exit status or -errno. */
	int (*run)(struct contender *c, int out);
	/* Removes what a run that failed or was ended may have left; NULL: nothing. */
	void (*undo)(struct contender *c);
	/* A start apart from the rounds that says how long its steps took, by STEP; NULL: it
	 * cannot. */
	int (*detail)(struct contender *c, void (*step)(const char *name, uint64_t nsec));
	void (*close)(struct contender *c);

	const struct bench *b;
	const char *argv[CONTENDER_WORDS];
	const char *undo_argv[CONTENDER_WORDS];
	char text[4096]; /* the words that are made */
	size_t text_len;
	void *data;
	uint64_t first_nsec;     /* by contender_time() */
	uint64_t steps_end_nsec; /* what comes after it is the guest's: step "inside" */
};

/* Formats a word that lives as long as C. */
__attribute__((format(printf, 2, 3))) const char *contender_word(struct contender *c,
								 const char *fmt, ...);

/* One guest; false when it did not do what it should, which is told. */
bool contender_time(struct contender *c, uint64_t *ret_first, uint64_t *ret_whole);

/* The root that all share, made by bench_make_root(). */
#define CONTENDER_ROOT "root"

/* Made by who runs peer_lxc_veth, with 198.18.0.1/24. */
#define CONTENDER_BRIDGE "bench-br0"

#define PEERS 4
extern const struct contender peer_crun, peer_runc, peer_unshare, peer_lxc;
extern const struct contender peer_lxc_veth;
