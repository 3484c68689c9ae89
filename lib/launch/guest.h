/* lib/launch/guest.h - what a start needs and holds; the engine that the daemon and cos-oci share
 *
 * A start is a list of steps, each with its undo (steps.c). Steps never block for long: where the
 * child has to answer first, the list pauses and goes on when launch.sync is readable. The engine
 * calls up only through struct launch_ops. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cow-fs/root.h"
#include "lib/base/err.h"
#include "lib/kern/cap.h"
#include "lib/kern/cg.h"
#include "lib/kern/devbpf.h"
#include "lib/kern/filter.h"
#include "lib/launch/net.h"
#include "lib/model/spec.h"

/* Where cos-init holds the master of the guest's console: without it a guest would be hung up when
 * the daemon goes away, and could not be given a console by the next one. */
#define LAUNCH_CONSOLE_FD 5
/* The same for the other end of a machine's control socket. cos-vmm holds both masters. */
#define LAUNCH_CONTROL_FD 6
#define LAUNCH_WAIT       1 /* a step's answer: go on when launch.sync is readable */
#define LAUNCH_IDS        65536
#define SLOT_NAME_SIZE    16

/* What all starts on this host share; filled once. */
struct launch_host {
	struct cg_topo topo;
	unsigned overlay;   /* enum cowfs_feature bits that work */
	int init;           /* sealed memory that holds cos-init */
	int vmm;            /* the same with cos-vmm; -1: it is not there */
	uint64_t nofile[2]; /* RLIMIT_NOFILE, soft and hard, that guests get */
	int oom_adj;        /* launch_oom_adj() */
};

/* A profile's words in the kernel's form; made once, used by every start and exec with the same
 * words. */
struct launch_rules {
	struct filter filter;
	struct dev_rules devices;
	int dev_prog; /* v2: BPF program; -1 where v1 files do it */
	cap_mask caps;
};

struct launch;

/* Namespaces in the making; PID 0: none. */
struct launch_prep {
	pid_t pid;
	int sync;
};

/* What is opened for a machine, until its process has it; in this order from FD_FILES on. */
enum launch_file {
	VM_KVM,
	VM_KERNEL,
	VM_INITRD,
	VM_CONTROL,
	VM_TAP,
	VM_DISK,  /* what the machine writes */
	VM_IMAGE, /* what that stands on */
	VM__FILES
};

struct launch_vm {
	int file[VM__FILES];
	int slave;       /* of its console */
	int control_end; /* the other one of VM_CONTROL */
	pid_t mover;     /* moves the kernel's threads; 0: none */
	int sync;        /* the mover's, until the machine is released */
};

struct launch_ops {
	/* STEP is done; for histograms and events. */
	void (*step_done)(struct launch *l, const char *step, uint64_t usec);
	/* The child is complete and waits: write down who it is. It runs only after this returned
	 * 0. */
	int (*record)(struct launch *l, struct cos_err *err);
	/* In the midst of a start launch.sync is about to be closed: do not watch it any more. The
	 * next LAUNCH_WAIT means another one. May be NULL. */
	void (*unwatch)(struct launch *l);
	/* Kill point for tests: called before and after each step with its name. */
	void (*point)(struct launch *l, const char *step, bool after);
};

struct launch {
	/* filled by the caller, borrowed until the start has ended */
	void *owner; /* for OPS */
	const struct launch_host *host;
	const struct launch_ops *ops;
	const struct guest_type *type;
	const struct spec *spec;
	const struct launch_rules *rules;
	struct cowfs_root *root; /* opened; closed by the caller; NULL: it has none */
	char slot[SLOT_NAME_SIZE];
	uint32_t id_base;
	int stdio[3];           /* the guest's ends of a client's pipes; -1: console */
	struct launch_net *net; /* its link; NULL: none */
	int disk[2];            /* of a machine: cowfs_disk_open()'s; -1: none; taken */

	/* held by the engine */
	unsigned done;
	uint64_t step_began_usec;
	char *resolv; /* text for the guest's /etc/resolv.conf, or NULL */
	int sync, root_mnt, dev_mnt, sys_mnt;
	int userns, netns; /* set by the caller: prepared ones, taken */
	struct launch_prep prep;
	int binds[SPEC_BINDS_MAX];
	int tasks[CG_HIER_MAX + 1];
	pid_t helper; /* makes the namespaces and is gone before the guest runs; 0: none */
	struct launch_vm vm;

	/* the caller's once the start has succeeded */
	struct cg_guest cg;
	pid_t pid;
	int pidfd;
	int console; /* master of the guest's console, -1 without one */
};

struct step {
	const char *name;
	int (*run)(struct launch *l,
		   struct cos_err *err); /* 0, LAUNCH_WAIT (call again) or -errno */
	void (*undo)(struct launch *l);  /* bears being called twice; cannot fail */
};

/* How a kind of guest is started; container and virtual machine differ here and nowhere else. */
struct guest_type {
	const char *operation; /* its start, in the names of kill points */
	const struct step *steps;
	unsigned n_steps;
};

extern const struct guest_type container_type, vm_type;
/* That of specifications that say KIND. */
const struct guest_type *launch_type(enum guest_kind kind);

/* Empties what the engine holds; the caller then fills its part. */
void launch_init(struct launch *l);
/* Runs steps until the list is done (0: the guest runs), must wait (LAUNCH_WAIT) or fails: the
 * error says which step, and the caller stops watching sync and calls launch_undo(). */
int launch_run(struct launch *l, struct cos_err *err);
/* Undoes all that was done; for a start that is given up. */
void launch_undo(struct launch *l);
/* Forgets what a finished start needs no more; the caller keeps cg, pid, pidfd and console. */
void launch_finish(struct launch *l);

/* Asks the first process of a running guest to end in order: by stop_signal, if it was given, else
 * by what its program is known to take. -EAGAIN: an init that starts does not take it yet; again
 * soon. -ESRCH: it is gone. A machine's power button is pressed, and just before GRACE_USEC are
 * over it is switched off. Leaf. */
int launch_stop(const struct spec *s, pid_t pid, int pidfd, uint64_t grace_usec);

/* Whether this host has what a machine of S needs: KVM, cos-vmm, S's own files. */
int launch_vm_check(const struct launch_host *h, const struct spec *s, struct cos_err *err);
/* cos-vmm, the program at FD, as sealed memory; its descriptor or -errno. */
int launch_vmm_seal(int fd);
/* The other end of the control socket of the machine whose cos-vmm is PIDFD; the caller's. -ESRCH:
 * it is gone. Leaf. */
int launch_vm_control(int pidfd);

/* Namespaces that are made before a guest is started, on ids ID_BASE..; when sync is readable
 * launch_prepare_finish() gives their descriptors to the caller. Nothing is left by a failure. */
int launch_prepare(uint32_t id_base, struct launch_prep *ret, struct cos_err *err);
int launch_prepare_finish(struct launch_prep *p, int *ret_userns, int *ret_netns,
			  struct cos_err *err);
void launch_prepare_abort(struct launch_prep *p);

/* Fills R from an expanded specification. Compiles a filter: 2 to 15 ms. */
int launch_rules_make(const struct spec *s, const struct launch_host *h, struct launch_rules *r,
		      struct cos_err *err);
void launch_rules_done(struct launch_rules *r);

/* cos-init, as sealed memory. Returns its descriptor. */
int launch_init_open(struct cos_err *err);
/* The oom_score_adj of guests: when the host's memory runs out they go before what serves all of
 * them. It is above the caller's, which anybody may do. */
int launch_oom_adj(void);

/* A command in a running guest. */
struct launch_exec {
	const struct launch_host *host;
	const struct spec *spec;
	const struct launch_rules *rules;
	const struct cg_guest *cg;
	int guest;              /* pidfd of the guest's first process */
	uint32_t id_base;       /* of its user namespace; 0 without one */
	json_t *command, *env;  /* checked as in a specification; ENV may be NULL */
	const char *user, *cwd; /* NULL: the guest's own */
	int stdio[3];           /* the command's ends of pipes; -1 with TTY */
	bool tty;
	unsigned short rows, cols;

	int sync, pidfd, master; /* MASTER: of the command's terminal, once it was checked */
	int helper;              /* pidfd of who makes the command's process; -1: none */
	bool tty_checked;
	pid_t pid;
	pid_t *born; /* shared with the helper */
};

/* Starts; then call launch_exec_continue() whenever sync is readable until it returns 0 (the
 * command was executed) or fails: then stop watching sync and close it. The caller reaps helper and
 * pidfd when they end: with the guest both may be frozen or short of CPU time, so nobody may wait
 * for them. */
int launch_exec_start(struct launch_exec *x, struct cos_err *err);
int launch_exec_continue(struct launch_exec *x, struct cos_err *err);
/* Gives up at any time: kills helper and command, which are still to be reaped. */
void launch_exec_abort(struct launch_exec *x);
/* When a command is over and the helper was reaped: whether that one had no time to tell of the
 * process that it made. If so, pidfd is that process, killed and to be reaped. */
bool launch_exec_orphan(struct launch_exec *x);
/* Frees what the engine holds beside descriptors. */
void launch_exec_done(struct launch_exec *x);
/* Whether FD, which a guest had in its hands, is the master of a terminal. Leaf. */
bool launch_is_terminal(int fd);
