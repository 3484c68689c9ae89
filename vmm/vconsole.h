/* vmm/vconsole.h - virtio console: the same descriptor as the serial port's */
#pragma once

#include "vmm/console.h"
#include "vmm/virtio.h"

#define VCONSOLE_IN 256

struct vconsole {
	struct vdev d;
	struct console *console;
	uint8_t in[VCONSOLE_IN]; /* typed, and the guest has no buffer yet */
	size_t in_used;
};

/* CONSOLE is borrowed. */
int vconsole_init(struct vconsole *v, const struct mem *mem, struct console *console);
struct console_taker vconsole_taker(struct vconsole *v);
