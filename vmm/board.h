/* vmm/board.h - what a PC has on its board: ports that kernels take for granted */
#pragma once

#include <pthread.h>

#include "lib/base/err.h"
#include "vmm/acpi.h"
#include "vmm/i8042.h"
#include "vmm/serial.h"

struct vm;

struct board {
	struct vm *vm;
	struct serial serial;
	struct i8042 keyboard;
	struct acpi_pm pm;
	pthread_mutex_t lock;
	uint8_t rtc_index, speaker;
};

/* Puts the table of ports into VM's. CONSOLE is borrowed. */
int board_init(struct board *b, struct vm *vm, struct console *console, struct cos_err *err);
/* The button that the guest listens to: ACPI's, or Ctrl-Alt-Del. From any thread. */
void board_press(struct board *b);
/* The rows alone, for a machine without KVM: interrupts go nowhere. */
int board_init_bare(struct board *b, struct vm *vm, struct console *console);
void board_done(struct board *b);
