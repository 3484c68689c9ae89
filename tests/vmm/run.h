/* tests/vmm/run.h - a cos-vmm under test: started, talked to, and gone at the end whatever happens
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_ARGS 40
#define RUN_TEXT 65536

struct run {
	pid_t pid;           /* 0: reaped */
	int console;         /* our end of the console's stream socket */
	int control;         /* our end of the control socket, connected */
	int log;             /* a file that has its standard error */
	int status;          /* its exit status, 128 + N for signal N; -1 while it lives */
	char text[RUN_TEXT]; /* what the console said so far, with a NUL */
	size_t len;
};

/* A reason why no machine can run here, NULL if one can. */
const char *run_skip(void);
/* Starts build/vmm/cos-vmm with the mini guest (or what "--kernel" in ARGS names) and ARGS, words
 * that end with NULL. The console is a socket, and so is the control socket. */
void run_start(struct run *r, const char *const *args);
/* Waits until the console's text has WORD; false: it ended, or 30 s have passed. */
bool run_says(struct run *r, const char *word);
/* Waits for the end, 30 s and then by force; returns the status. */
int run_end(struct run *r);
/* Starts and waits. */
int run_whole(struct run *r, const char *const *args);
/* Whether standard error has WORD. */
bool run_logged(struct run *r, const char *word);
void run_type(struct run *r, const char *s);
/* Sends LINE and a newline on the control socket and reads one line, without its newline, into BUF;
 * false: the connection ended. */
bool run_ask(struct run *r, const char *line, char *buf, size_t size);
/* The integer at PATH (keys separated by '/') of a fresh "stats", -1: it is not there. */
int64_t run_stat(struct run *r, const char *path);
/* Kills what still runs and closes all. */
void run_done(struct run *r);

/* A file in memory with these bytes, not close-on-exec. */
int run_file(const void *s, size_t len);
/* "fd:N", in one of some static buffers. */
const char *run_fd(int fd);
