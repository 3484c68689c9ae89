/* vmm/board.c - ports that kernels take for granted */
#include <errno.h>
#include <time.h>

#include "lib/base/own.h"
#include "vmm/board.h"
#include "vmm/vm.h"

static void reset(void *arg)
{
	vm_end(arg, VM_END_RESET, 0);
}

static void turn_off(void *arg)
{
	vm_end(arg, VM_END_OFF, 0);
}

static uint8_t bcd(int v)
{
	return (uint8_t)(v / 10 << 4 | v % 10);
}

/* The time of day, UTC; the rest of the memory behind it is zero and stays so. */
static uint8_t rtc_register(uint8_t index)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	switch (index) {
	case 0x00:
		return bcd(tm.tm_sec % 60);
	case 0x02:
		return bcd(tm.tm_min);
	case 0x04:
		return bcd(tm.tm_hour);
	case 0x06:
		return (uint8_t)(tm.tm_wday + 1);
	case 0x07:
		return bcd(tm.tm_mday);
	case 0x08:
		return bcd(tm.tm_mon + 1);
	case 0x09:
		return bcd(tm.tm_year % 100);
	case 0x32:
		return bcd(19 + tm.tm_year / 100);
	case 0x0a:
		return 0x26; /* 32768 Hz, no update in progress */
	case 0x0b:
		return 0x02; /* 24 hours, BCD */
	case 0x0d:
		return 0x80; /* the battery is good */
	default:
		return 0;
	}
}

static void rtc_io(void *dev, struct trap_io *io)
{
	struct board *b = dev;

	pthread_mutex_lock(&b->lock);
	if (io->at == 0 && io->write)
		b->rtc_index = (uint8_t)io->value & 0x7f;
	else if (io->at == 1 && !io->write)
		io->value = rtc_register(b->rtc_index);
	pthread_mutex_unlock(&b->lock);
}

/* Where KVM does not keep it itself, beside the timer's third channel. */
static void speaker_io(void *dev, struct trap_io *io)
{
	struct board *b = dev;

	pthread_mutex_lock(&b->lock);
	if (io->write)
		b->speaker = (uint8_t)io->value & 0x0f;
	else
		io->value = b->speaker ^= 0x30; /* refresh and timer output, which toggle */
	pthread_mutex_unlock(&b->lock);
}

/* Codes of a firmware's progress, and the port that kernels write to for a pause. */
static void post_io(void *dev, struct trap_io *io)
{
	(void)dev;
	if (!io->write)
		io->value = 0;
}

/* No bus: all reads are all ones, as they are where nobody is, but nothing is counted as stray. */
static void pci_io(void *dev, struct trap_io *io)
{
	(void)dev;
	(void)io;
}

static void exit_io(void *dev, struct trap_io *io)
{
	struct board *b = dev;

	if (io->write)
		vm_end(b->vm, io->value ? VM_END_EXIT : VM_END_OFF, (uint32_t)io->value);
}

/* DEV is the offset in struct board of what the function gets. */
static const struct {
	uint16_t base, len;
	const char *name;
	trap_fn *fn;
	size_t dev;
} ports[] = {
	{ 0x60, 1, "i8042 data", i8042_data, offsetof(struct board, keyboard) },
	{ 0x61, 1, "speaker", speaker_io, 0 },
	{ 0x64, 1, "i8042 command", i8042_command, offsetof(struct board, keyboard) },
	{ 0x70, 2, "rtc", rtc_io, 0 },
	{ 0x80, 1, "post", post_io, 0 },
	{ 0xf4, 1, "exit", exit_io, 0 },
	{ ACPI_PM1, 6, "acpi", acpi_pm_io, offsetof(struct board, pm) },
	{ SERIAL_PORT, 8, "serial", serial_io, offsetof(struct board, serial) },
	{ 0xcf8, 8, "pci", pci_io, 0 },
};

static int add_ports(struct board *b)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(ports); i++) {
		struct trap t = { ports[i].base, ports[i].len, ports[i].name, ports[i].fn,
				  (char *)b + ports[i].dev };

		r = traps_add(&b->vm->ports, &t);
	}
	return r;
}

int board_init_bare(struct board *b, struct vm *vm, struct console *console)
{
	*b = (struct board){ .vm = vm, .lock = PTHREAD_MUTEX_INITIALIZER };
	serial_init(&b->serial, console, -1);
	i8042_init(&b->keyboard, -1, reset, vm);
	acpi_pm_init(&b->pm, -1, turn_off, vm);
	return add_ports(b);
}

int board_init(struct board *b, struct vm *vm, struct console *console, struct cos_err *err)
{
	int r = board_init_bare(b, vm, console);

	if (r < 0)
		return cos_fail(err, COS_E_INTERNAL, -r, "the table of ports");
	r = b->serial.irq = vm_irq(vm, SERIAL_IRQ, err);
	if (r >= 0)
		r = b->keyboard.irq = vm_irq(vm, I8042_IRQ, err);
	if (r >= 0)
		r = b->pm.irq = vm_irq(vm, ACPI_IRQ, err);
	return r < 0 ? r : 0;
}

void board_press(struct board *b)
{
	if (!acpi_pm_press(&b->pm))
		i8042_press(&b->keyboard);
}

void board_done(struct board *b)
{
	if (!b->vm)
		return;
	serial_done(&b->serial);
	i8042_done(&b->keyboard);
	acpi_pm_done(&b->pm);
}
