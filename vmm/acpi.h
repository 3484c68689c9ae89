/* vmm/acpi.h - the least of ACPI that stock kernels need: where devices are, a power button, off
 *
 * Kernels without CONFIG_X86_MPPARSE or CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES, as Debian's are, see
 * neither the MP table nor words on the command line. The tables say the same to them: processors
 * and pins (MADT), virtio devices (DSDT, "LNRO0005"), and a fixed power button with its registers
 * (FADT). No bytecode is in them that runs. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/mem.h"
#include "vmm/trap.h"

#define ACPI_RSDP 0xe0000ULL
#define ACPI_PM1  0x600 /* status, enable, control: 2 bytes each */
#define ACPI_IRQ  9
#define ACPI_SLP  5 /* the type of sleep that is off */

/* One virtio device: its page of registers and its pin. */
struct acpi_device {
	uint64_t base;
	uint8_t pin;
};

/* Writes all tables at ACPI_RSDP and behind, below 1 MiB. N devices are at most 16. */
void acpi_write(const struct mem *m, unsigned n_vcpus, const struct acpi_device *devices,
		unsigned n);

/* The registers of power management. */
struct acpi_pm {
	pthread_mutex_t lock;
	int irq;                /* eventfd of ACPI_IRQ, -1: nobody listens */
	void (*off)(void *arg); /* the guest turned itself off */
	void *arg;
	uint16_t status, enable, control;
};

/* IRQ is taken over. OFF is called by a vCPU's thread. */
void acpi_pm_init(struct acpi_pm *pm, int irq, void (*off)(void *arg), void *arg);
void acpi_pm_done(struct acpi_pm *pm);
/* A trap_fn of ACPI_PM1 to ACPI_PM1 + 5. */
void acpi_pm_io(void *dev, struct trap_io *io);
/* Presses the power button. False: the guest does not listen to it. From any thread. */
bool acpi_pm_press(struct acpi_pm *pm);
