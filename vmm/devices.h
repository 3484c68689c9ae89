/* vmm/devices.h - the virtio devices of a machine: where each is, its pin, its thread */
#pragma once

#include "vmm/acpi.h"
#include "vmm/option.h"
#include "vmm/vballoon.h"
#include "vmm/vblk.h"
#include "vmm/vconsole.h"
#include "vmm/vnet.h"
#include "vmm/vrng.h"
#include "vmm/worker.h"

#define DEVICES_BASE 0xd0000000ULL /* VIRTIO_PAGE for each */
#define DEVICES_MAX  (OPTION_DISKS + OPTION_NETS + 3)

struct vm;
struct filter;

struct devices {
	struct vm *vm;
	struct worker *shared; /* borrowed: for those that never wait for the host */
	struct vdev *at[DEVICES_MAX];
	unsigned n;
	struct vconsole console;
	struct vballoon balloon;
	struct vrng rng;
	struct vblk disk[OPTION_DISKS];
	struct vnet net[OPTION_NETS];
	struct worker disk_worker[OPTION_DISKS], net_worker[OPTION_NETS];
	unsigned n_disks, n_nets;
	bool has_balloon, has_rng;
};

/* Opens what O names and puts the devices into VM's table. BROKEN (of workers) gets ARG. */
int devices_init(struct devices *d, struct vm *vm, const struct options *o, struct console *console,
		 struct worker *shared, void (*broken)(void *arg), void *arg, struct cos_err *err);
/* Threads of their own; the shared worker is the caller's. */
int devices_start(struct devices *d, const struct filter *filter, struct cos_err *err);
int devices_stop(struct devices *d, uint64_t deadline_usec);
void devices_done(struct devices *d);

/* CMDLINE and a word for each device, as Linux' virtio_mmio driver wants them. -E2BIG. */
int devices_cmdline(const struct devices *d, const char *cmdline, char *to, size_t size);
/* The same for acpi_write(): their number, and each in TO, which has room for DEVICES_MAX. */
unsigned devices_list(const struct devices *d, struct acpi_device *to);
/* CPU time of the threads of their own. */
uint64_t devices_cpu_usec(const struct devices *d);
