/* vmm/i8042.h - the keyboard controller: reset line, and Ctrl-Alt-Del as a button to be pressed
 *
 * Without ACPI it is the one way to ask a kernel for an orderly end that stock kernels know. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/trap.h"

#define I8042_IRQ   1
#define I8042_QUEUE 32

struct i8042 {
	pthread_mutex_t lock;
	int irq;
	void (*reset)(void *arg);
	void *arg;
	uint8_t config;
	uint8_t command; /* awaits its parameter on port 0x60; 0: none */
	bool kbd_param;  /* the keyboard awaits a parameter */
	uint8_t queue[I8042_QUEUE];
	unsigned head, used;
};

/* IRQ is taken over; RESET is called by a vCPU's thread. */
void i8042_init(struct i8042 *k, int irq, void (*reset)(void *arg), void *arg);
void i8042_done(struct i8042 *k);
/* Trap functions of ports 0x60 and 0x64. */
void i8042_data(void *dev, struct trap_io *io);
void i8042_command(void *dev, struct trap_io *io);
/* Ctrl-Alt-Del. From any thread. */
void i8042_press(struct i8042 *k);
