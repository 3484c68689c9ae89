/* vmm/i8042.c - the keyboard controller */
#include <string.h>

#include "lib/base/own.h"
#include "vmm/i8042.h"
#include "vmm/worker.h"

#define STATUS_DATA    0x01
#define STATUS_SYSTEM  0x04 /* the self test was passed */
#define CONFIG_IRQ     0x01
#define CONFIG_OFF     0x10 /* the keyboard's clock */
#define CONFIG_AT_SET1 0x40 /* scan codes are translated to set 1 */

#define CMD_READ_CONFIG  0x20
#define CMD_WRITE_CONFIG 0x60
#define CMD_AUX_OFF      0xa7
#define CMD_AUX_TEST     0xa9
#define CMD_SELF_TEST    0xaa
#define CMD_KBD_TEST     0xab
#define CMD_KBD_OFF      0xad
#define CMD_KBD_ON       0xae
#define CMD_READ_OUTPUT  0xd0
#define CMD_WRITE_OUTPUT 0xd1
#define CMD_WRITE_KBD    0xd2
#define CMD_WRITE_AUX    0xd4
#define CMD_RESET        0xfe

#define KBD_ACK    0xfa
#define KBD_PASSED 0xaa

/* What does not fit is lost, as with a keyboard that nobody reads. */
static void send(struct i8042 *k, const uint8_t *s, size_t n)
{
	if (n > I8042_QUEUE - k->used)
		return;
	for (size_t i = 0; i < n; i++)
		k->queue[(k->head + k->used++) % I8042_QUEUE] = s[i];
	if (k->config & CONFIG_IRQ && k->irq >= 0)
		event_raise(k->irq);
}

static void send_byte(struct i8042 *k, uint8_t v)
{
	send(k, &v, 1);
}

static void to_keyboard(struct i8042 *k, uint8_t v)
{
	static const uint8_t reset[] = { KBD_ACK, KBD_PASSED };
	static const uint8_t id[] = { KBD_ACK, 0xab, 0x83 };

	if (k->kbd_param) {
		k->kbd_param = false;
		send_byte(k, KBD_ACK);
		return;
	}
	switch (v) {
	case 0xff:
		send(k, reset, sizeof(reset));
		break;
	case 0xf2:
		send(k, id, sizeof(id));
		break;
	case 0xed: /* lights */
	case 0xf0: /* set of scan codes */
	case 0xf3: /* repeat rate */
		k->kbd_param = true;
		send_byte(k, KBD_ACK);
		break;
	default:
		send_byte(k, KBD_ACK);
		break;
	}
}

static void write_data(struct i8042 *k, uint8_t v)
{
	uint8_t command = k->command;

	k->command = 0;
	switch (command) {
	case CMD_WRITE_CONFIG:
		k->config = v;
		break;
	case CMD_WRITE_OUTPUT:
		if (!(v & 1)) /* the processor's reset line, low */
			k->reset(k->arg);
		break;
	case CMD_WRITE_KBD:
		send_byte(k, v);
		break;
	case CMD_WRITE_AUX: /* no mouse */
		break;
	default:
		to_keyboard(k, v);
		break;
	}
}

static void write_command(struct i8042 *k, uint8_t v)
{
	k->command = 0;
	switch (v) {
	case CMD_READ_CONFIG:
		send_byte(k, k->config);
		break;
	case CMD_SELF_TEST:
		send_byte(k, 0x55);
		break;
	case CMD_KBD_TEST:
		send_byte(k, 0);
		break;
	case CMD_AUX_TEST:
		send_byte(k, 0xff);
		break;
	case CMD_KBD_OFF:
		k->config |= CONFIG_OFF;
		break;
	case CMD_KBD_ON:
		k->config &= (uint8_t)~CONFIG_OFF;
		break;
	case CMD_READ_OUTPUT:
		send_byte(k, 1);
		break;
	case CMD_WRITE_CONFIG:
	case CMD_WRITE_OUTPUT:
	case CMD_WRITE_KBD:
	case CMD_WRITE_AUX:
		k->command = v;
		break;
	case CMD_RESET:
		k->reset(k->arg);
		break;
	default:
		break;
	}
}

static uint8_t read_data(struct i8042 *k)
{
	uint8_t v = k->queue[k->head];

	if (k->used == 0)
		return 0;
	k->head = (k->head + 1) % I8042_QUEUE;
	if (--k->used > 0 && k->config & CONFIG_IRQ && k->irq >= 0)
		event_raise(k->irq);
	return v;
}

void i8042_data(void *dev, struct trap_io *io)
{
	struct i8042 *k = dev;

	pthread_mutex_lock(&k->lock);
	if (io->write)
		write_data(k, (uint8_t)io->value);
	else
		io->value = read_data(k);
	pthread_mutex_unlock(&k->lock);
}

void i8042_command(void *dev, struct trap_io *io)
{
	struct i8042 *k = dev;

	pthread_mutex_lock(&k->lock);
	if (io->write)
		write_command(k, (uint8_t)io->value);
	else
		io->value = STATUS_SYSTEM | (k->used ? STATUS_DATA : 0);
	pthread_mutex_unlock(&k->lock);
}

void i8042_press(struct i8042 *k)
{
	static const uint8_t set1[] = { 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d };
	static const uint8_t set2[] = { 0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0,
					0x71, 0xf0, 0x11, 0xf0, 0x14 };

	pthread_mutex_lock(&k->lock);
	if (k->config & CONFIG_AT_SET1)
		send(k, set1, sizeof(set1));
	else
		send(k, set2, sizeof(set2));
	pthread_mutex_unlock(&k->lock);
}

void i8042_init(struct i8042 *k, int irq, void (*reset)(void *arg), void *arg)
{
	*k = (struct i8042){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.irq = irq,
		.reset = reset,
		.arg = arg,
		.config = CONFIG_IRQ | CONFIG_OFF | CONFIG_AT_SET1,
	};
}

void i8042_done(struct i8042 *k)
{
	close_p(&k->irq);
}
