/* vmm/serial.h - a 16550 serial port at 0x3f8, pin 4 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include "vmm/console.h"
#include "vmm/trap.h"

#define SERIAL_PORT 0x3f8
#define SERIAL_IRQ  4
#define SERIAL_RX   64

struct serial {
	pthread_mutex_t lock;
	struct console *console;
	int irq; /* eventfd, -1: nobody listens */
	uint8_t ier, lcr, mcr, scr, fcr;
	uint8_t divisor[2];
	uint8_t rx[SERIAL_RX];
	unsigned rx_head, rx_used;
	bool empty; /* the transmitter became empty, and the guest was not told yet */
};

/* CONSOLE is borrowed; IRQ is taken over. */
void serial_init(struct serial *s, struct console *console, int irq);
void serial_done(struct serial *s);
/* A trap_fn of SERIAL_PORT to SERIAL_PORT + 7. */
void serial_io(void *dev, struct trap_io *io);
/* The port as taker of the console's input. */
struct console_taker serial_taker(struct serial *s);
