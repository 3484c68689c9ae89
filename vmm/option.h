/* vmm/option.h - the command line of cos-vmm */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "vmm/boot.h"

#define OPTION_DISKS 8
#define OPTION_NETS  2

/* Texts are the arguments' own. */
struct option_disk {
	const char *image, *base; /* BASE NULL: IMAGE is raw */
	uint64_t size;            /* 0: as large as what it stands on */
	bool ro;
};

struct option_net {
	const char *tap;
	uint8_t mac[6];
	uint16_t mtu; /* that the guest is told; 0: none */
};

struct options {
	const char *kernel, *initrd, *cmdline, *console, *control, *sync, *kvm;
	enum boot_kind boot;
	uint64_t memory, vcpus, grace_usec;
	struct option_disk disk[OPTION_DISKS];
	struct option_net net[OPTION_NETS];
	unsigned n_disks, n_nets;
	uid_t uid;
	gid_t gid;
	bool acpi, mergeable, no_balloon, no_rng, virtio_input, has_user, isolate, json_errors,
		help;
};

/* Fills O from the arguments, which are changed (SPECs are cut in place) and kept. COS_E_INVALID
 * names the option. */
int options_parse(struct options *o, int argc, char **argv, struct cos_err *err);
void options_usage(void);

/* Opens a SOURCE: a path with FLAGS, or the descriptor itself, which is taken over and made
 * close-on-exec. WHAT is for the error. */
int source_open(const char *source, int flags, const char *what, struct cos_err *err);
/* The number of "fd:N", -1 if it is a path. */
int source_fd(const char *source);
