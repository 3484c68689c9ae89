/* lib/launch/msg.h - what the start engine and its children say to each other over the sync socket
 *
 * SOCK_SEQPACKET; one struct a packet. The socket's end without a failure is the last message: the
 * exec closed it. cos-init writes a bare int, the errno of its failed execve(). */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

enum msg_type {
	MSG_GO = 1,  /* down: maps are written, go on */
	MSG_BORN,    /* up: pid and pidfd of the guest's first process (or exec's command) */
	MSG_MOUNTS,  /* down: root, /dev and binds */
	MSG_READY,   /* up: all is prepared; the console's or terminal's master if there is one */
	MSG_RELEASE, /* down: run */
	MSG_FAIL,    /* up: err says why */
};

struct msg {
	uint32_t type;
	int32_t pid;
	struct cos_err err;
};

/* Sends TYPE with N descriptors; 0 or -errno. */
int msg_send(int sock, enum msg_type type, pid_t pid, const int *fds, unsigned n);
/* Sends a failure. */
void msg_fail(int sock, const struct cos_err *err);
/* Receives one packet that must be of TYPE with at most *N descriptors. A MSG_FAIL becomes *ERR.
 * Says -ECONNRESET (Internal) when the other end is gone. */
int msg_recv(int sock, enum msg_type type, struct msg *ret, int *fds, unsigned *n,
	     struct cos_err *err);
/* A helper's last word: MSG_BORN, or when PIDFD cannot be passed on a failure that names PID. */
void msg_born(int sock, pid_t pid, int pidfd);
/* Takes it: the process that the helper made. On failure no process is left whose pid came. */
int msg_take_born(int sock, pid_t *ret_pid, int *ret_pidfd, struct cos_err *err);
/* Kills the child PID, which has no more to do, and reaps it: a helper may be frozen or throttled
 * with the guest, in whose groups it is. */
void msg_end_child(pid_t pid);
/* Ends HELPER, whose MSG_BORN was not taken, and what it may have made; reaps both. Waits for the
 * helper at most 0.2 s. Nothing can be said on SOCK afterwards. */
void msg_end_helper(int sock, pid_t helper);
/* cos-vmm's word that the machine is made, or why not. */
int msg_recv_machine(int sock, struct cos_err *err);
/* The end of the socket. 0: executed; LAUNCH_WAIT: not yet; else the failure, with CMD named. Does
 * not block. */
int msg_recv_end(int sock, const char *cmd, struct cos_err *err);
