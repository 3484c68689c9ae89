/* vmm/acpi-pm.c - the registers of ACPI's power management: a button, and off */
#include <string.h>

#include "lib/base/own.h"
#include "vmm/acpi.h"
#include "vmm/worker.h"

#define BUTTON      (1U << 8) /* of status and enable */
#define ENABLED     (1U << 0) /* of control: ACPI has the hardware, always */
#define SLP_EN      (1U << 13)
#define SLP_TYPE(v) ((v) >> 10 & 7)

static void write_word(struct acpi_pm *pm, uint64_t at, uint16_t v)
{
	switch (at) {
	case 0:
		pm->status &= (uint16_t)~v; /* ones clear */
		break;
	case 2:
		pm->enable = v;
		break;
	default:
		pm->control = v & (uint16_t)~SLP_EN;
		if (v & SLP_EN && SLP_TYPE(v) == ACPI_SLP)
			pm->off(pm->arg);
		break;
	}
}

/* Words, and two at once; what is narrower reads as a part and is not written. */
void acpi_pm_io(void *dev, struct trap_io *io)
{
	struct acpi_pm *pm = dev;
	uint16_t all[5] = { 0 };

	pthread_mutex_lock(&pm->lock);
	if (io->write) {
		for (unsigned i = 0; io->at % 2 == 0 && i + 2 <= io->len && io->at + i < 6; i += 2)
			write_word(pm, io->at + i, (uint16_t)(io->value >> 8 * i));
	} else {
		all[0] = pm->status;
		all[1] = pm->enable;
		all[2] = pm->control | ENABLED;
		io->value = 0;
		memcpy(&io->value, (const char *)all + io->at, io->len < 4 ? io->len : 4);
	}
	pthread_mutex_unlock(&pm->lock);
}

bool acpi_pm_press(struct acpi_pm *pm)
{
	bool listens;

	pthread_mutex_lock(&pm->lock);
	listens = pm->enable & BUTTON;
	if (listens) {
		pm->status |= BUTTON;
		if (pm->irq >= 0)
			event_raise(pm->irq);
	}
	pthread_mutex_unlock(&pm->lock);
	return listens;
}

void acpi_pm_init(struct acpi_pm *pm, int irq, void (*off)(void *arg), void *arg)
{
	*pm = (struct acpi_pm){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.irq = irq,
		.off = off,
		.arg = arg,
	};
}

void acpi_pm_done(struct acpi_pm *pm)
{
	close_p(&pm->irq);
}
