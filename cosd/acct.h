/* cosd/acct.h - the accountant: the ledger's only writer, a process of its own
 *
 * It is a child of the worker and knows nothing that is not in the data base, so each of them may
 * be killed at any instruction: what the worker had sent is still read when the worker is gone, and
 * a new accountant waits for the ledger's lock until the one before it is done. A sample that was
 * lost is made up for by the next one; those that nothing follows, of runs that are over, are
 * sent again until they were taken. */
#pragma once

#include <stdint.h>

#include "cosd/ledger.h"

#define ACCT_BATCH    32
#define ACCT_DIR_SIZE 4096

/* Messages on a SOCK_SEQPACKET pair, one struct a packet. Both sides come from one binary. */
enum acct_op {
	ACCT_CONF = 1, /* first, and when the configuration changes */
	ACCT_SAMPLES,
	ACCT_QUERY, /* with the writing end of the pipe for the answer */
	/* to the worker: */
	ACCT_TAKEN, /* all samples up to TICK are in the data base */
	ACCT_FAULT, /* they are not, and why */
	ACCT_MOVED, /* the data base was damaged: it is in TEXT, and there is a new one */
};

struct acct_head {
	uint32_t op;
	uint32_t n;    /* of samples */
	uint64_t tick; /* of the samples */
	uint32_t end;  /* no more of that tick */
};

struct acct_conf {
	struct acct_head head;
	char dir[ACCT_DIR_SIZE]; /* the ledger's */
	struct ledger_conf conf;
};

struct acct_samples {
	struct acct_head head;
	struct ledger_sample sample[ACCT_BATCH]; /* as many as there are */
};

struct acct_query {
	struct acct_head head;
	struct ledger_query query; /* as many names as there are */
};

struct acct_note {
	struct acct_head head;
	int32_t fault; /* errno */
	char text[400];
};

/* Runs the accountant on SOCK until its other end is closed; returns an exit status. */
int acct_run(int sock);
/* Runs a query that is in the file at FD, answering to FD 1. Returns an exit status. */
int acct_answer(int fd);
