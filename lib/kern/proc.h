/* lib/kern/proc.h - identity, end and user namespaces of processes; leaves */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How a process ended, as wait(2) encodes it, or that nobody saw it. */
#define STATUS_UNKNOWN (-1)

/* Start time in clock ticks since boot, field 22 of /proc/PID/stat: with the boot id and the pid it
 * names a process for good. */
int proc_start_ticks(pid_t pid, uint64_t *ret);
/* Opens a pidfd if PID still started at START; -ESRCH otherwise. */
int proc_open(pid_t pid, uint64_t start);
/* The host's boot id, 36 characters and NUL. */
int proc_boot_id(char ret[37]);
/* The exit status of the process behind PIDFD: 0 and *RET_STATUS when it has ended (STATUS_UNKNOWN
 * if the kernel no longer tells), -EAGAIN while it lives or while another parent has not reaped it.
 * A child stays waitable: see proc_reap(). */
int proc_exit_status(int pidfd, int *ret_status);
/* Lets the kernel forget a child that has ended; harmless for others. */
void proc_reap(int pidfd);
/* SIGKILL, then waits until the child is gone and reaps it. */
void proc_kill_wait(int pidfd);
int proc_signal(int pidfd, int sig);
int proc_pidfd(pid_t pid);

/* How many bytes of its memory PID has used since proc_forget_use(), pages that it shares with
 * others included: 3 ms for 256 MiB. */
int proc_used(pid_t pid, uint64_t *ret);
/* Lets the kernel forget which pages PID has used: 3.5 ms for 256 MiB. */
int proc_forget_use(pid_t pid);

/* Writes the maps: ids 0..COUNT-1 inside are BASE..BASE+COUNT-1 outside. */
int proc_write_maps(pid_t pid, uint32_t base, uint32_t count);
/* How gladly the kernel ends PID when memory runs out: -1000 to 1000. */
int proc_oom_adj(pid_t pid, int *ret);
int proc_set_oom_adj(pid_t pid, int adj);
/* Opens /proc/PID/ns/NAME. */
int proc_open_ns(pid_t pid, const char *name);

/* Closes every descriptor from FIRST on. */
int proc_close_from(int first);
/* Closes every descriptor from 3 on but the N (at most 80) in KEEP; entries of -1 are skipped. */
void proc_close_but(const int *keep, unsigned n);
/* Default action and empty mask for every signal, as a new program expects them. */
void proc_reset_signals(void);
/* Copies the program at FD into sealed memory that can be executed: nobody can write to it
 * afterwards, whatever /proc/self/exe leads to. Returns its descriptor. */
int proc_seal(int fd, const char *name);
/* The same for SIZE bytes at DATA. */
int proc_seal_bytes(const void *data, size_t size, const char *name);
