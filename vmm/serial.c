/* vmm/serial.c - a 16550 serial port */
#include <string.h>

#include "lib/base/own.h"
#include "vmm/serial.h"

/* offsets */
enum { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RX     0x01
#define IER_TX     0x02
#define IIR_NONE   0x01
#define IIR_TX     0x02
#define IIR_RX     0x04
#define IIR_FIFO   0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR  0x02
#define LCR_DLAB   0x80
#define MCR_LOOP   0x10
#define LSR_DATA   0x01
#define LSR_EMPTY  0x60 /* holding and shift register */
#define MSR_READY  0xb0 /* carrier, data set ready, clear to send */

static uint8_t reason(const struct serial *s)
{
	if (s->ier & IER_RX && s->rx_used > 0)
		return IIR_RX;
	if (s->ier & IER_TX && s->empty)
		return IIR_TX;
	return IIR_NONE;
}

/* The line is an edge: each new reason makes one. */
static void tell(const struct serial *s)
{
	if (s->irq >= 0 && reason(s) != IIR_NONE)
		event_raise(s->irq);
}

static void receive(struct serial *s, uint8_t byte)
{
	if (s->rx_used < SERIAL_RX)
		s->rx[(s->rx_head + s->rx_used++) % SERIAL_RX] = byte;
}

static uint8_t read_data(struct serial *s)
{
	uint8_t byte = s->rx[s->rx_head];

	if (s->rx_used == 0)
		return 0;
	s->rx_head = (s->rx_head + 1) % SERIAL_RX;
	if (s->rx_used-- == SERIAL_RX || s->rx_used == 0)
		console_wake(s->console);
	return byte;
}

/* In the loop that drivers use to find out whether a port is there, outputs are inputs. */
static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_READY;
	return (uint8_t)((s->mcr & 1) << 5 | (s->mcr & 2) << 3 | (s->mcr & 4) << 4 |
			 (s->mcr & 8) << 4);
}

static uint8_t read_register(struct serial *s, uint64_t at)
{
	bool divisor = s->lcr & LCR_DLAB;
	uint8_t v;

	switch (at) {
	case DATA:
		return divisor ? s->divisor[0] : read_data(s);
	case IER:
		return divisor ? s->divisor[1] : s->ier;
	case IIR_FCR:
		v = reason(s);
		if (v == IIR_TX)
			s->empty = false;
		return v | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case LCR:
		return s->lcr;
	case MCR:
		return s->mcr;
	case LSR:
		/* a full ring is a transmitter that is not empty: the guest waits, nothing is lost
		 */
		return (s->rx_used ? LSR_DATA : 0) | (console_room(s->console) ? LSR_EMPTY : 0);
	case MSR:
		return modem_status(s);
	default:
		return s->scr;
	}
}

static void write_data(struct serial *s, uint8_t v)
{
	if (s->mcr & MCR_LOOP)
		receive(s, v);
	else
		console_put(s->console, &v, 1);
	s->empty = s->mcr & MCR_LOOP || console_room(s->console) > 0;
	tell(s);
}

static void write_register(struct serial *s, uint64_t at, uint8_t v)
{
	bool divisor = s->lcr & LCR_DLAB;

	switch (at) {
	case DATA:
		if (divisor)
			s->divisor[0] = v;
		else
			write_data(s, v);
		break;
	case IER:
		if (divisor) {
			s->divisor[1] = v;
			break;
		}
		if (v & IER_TX && !(s->ier & IER_TX))
			s->empty = console_room(s->console) > 0;
		s->ier = v & 0xf;
		tell(s);
		break;
	case IIR_FCR:
		s->fcr = v;
		if (v & FCR_CLEAR) {
			s->rx_used = 0;
			console_wake(s->console);
		}
		break;
	case LCR:
		s->lcr = v;
		break;
	case MCR:
		s->mcr = v & 0x1f;
		break;
	case SCR:
		s->scr = v;
		break;
	default:
		break;
	}
}

void serial_io(void *dev, struct trap_io *io)
{
	struct serial *s = dev;

	pthread_mutex_lock(&s->lock);
	if (io->write)
		write_register(s, io->at, (uint8_t)io->value);
	else
		io->value = read_register(s, io->at);
	pthread_mutex_unlock(&s->lock);
}

static size_t room(void *arg)
{
	struct serial *s = arg;
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = SERIAL_RX - s->rx_used;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void put(void *arg, const uint8_t *bytes, size_t n)
{
	struct serial *s = arg;

	pthread_mutex_lock(&s->lock);
	while (n-- > 0)
		receive(s, *bytes++);
	tell(s);
	pthread_mutex_unlock(&s->lock);
}

static void drained(void *arg)
{
	struct serial *s = arg;

	pthread_mutex_lock(&s->lock);
	s->empty = true;
	tell(s);
	pthread_mutex_unlock(&s->lock);
}

struct console_taker serial_taker(struct serial *s)
{
	return (struct console_taker){ room, put, drained, s };
}

void serial_init(struct serial *s, struct console *console, int irq)
{
	*s = (struct serial){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.console = console,
		.irq = irq,
		.divisor = { 1, 0 },
	};
}

void serial_done(struct serial *s)
{
	close_p(&s->irq);
}
