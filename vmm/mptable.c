/* vmm/mptable.c - Intel's MultiProcessor Specification 1.4: what vCPUs and pins there are */
#include <assert.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>

#include "vmm/boot-inner.h"
#include "vmm/vm.h"

#define LAPIC_ADDR  0xfee00000U
#define IOAPIC_ADDR 0xfec00000U
#define ISA_BUS     0

struct mp_pointer {
	char signature[4];
	uint32_t table;
	uint8_t length, version, sum, feature[5];
};

struct mp_table {
	char signature[4];
	uint16_t length;
	uint8_t version, sum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, entries;
	uint32_t lapic;
	uint16_t ext_length;
	uint8_t ext_sum, reserved;
};

struct mp_cpu {
	uint8_t type, apic, version, flags; /* 1: usable, 2: the first */
	uint32_t signature, features, reserved[2];
};

struct mp_bus {
	uint8_t type, id;
	char name[6];
};

struct mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t addr;
};

struct mp_irq {
	uint8_t type, kind; /* kind 0: INT, 1: NMI, 3: from the old controllers */
	uint16_t flags;     /* 0: as the bus has it, rising edges */
	uint8_t bus, bus_irq, chip, pin;
};

enum { MP_CPU, MP_BUS, MP_IOAPIC, MP_IRQ, MP_LINT };

/* One page holds VM_VCPUS_MAX of them and all that follows. */
struct mp_page {
	struct mp_pointer pointer;
	struct mp_table table;
	struct mp_cpu cpu[VM_VCPUS_MAX];
	struct mp_bus bus;
	struct mp_ioapic ioapic;
	struct mp_irq irq[VM_IRQ_MAX];
	struct mp_irq lint[2];
};

static_assert(sizeof(struct mp_page) <= BOOT_KERNEL - BOOT_MP, "the place of the firmware");
static_assert(sizeof(struct mp_pointer) == 16 && sizeof(struct mp_table) == 44 &&
		      sizeof(struct mp_cpu) == 20 && sizeof(struct mp_irq) == 8,
	      "layouts of the specification");

/* Appends an entry to TABLE's. */
static void add(struct mp_table *t, const void *entry, size_t len)
{
	memcpy((char *)t + t->length, entry, len);
	t->length = (uint16_t)(t->length + len);
	t->entries++;
}

static void add_irqs(struct mp_table *t, uint8_t chip)
{
	static const struct mp_irq lint[] = { { MP_LINT, 3, 0, ISA_BUS, 0, 0xff, 0 },
					      { MP_LINT, 1, 0, ISA_BUS, 0, 0xff, 1 } };

	/* KVM's timer is at pin 2 as a PC's is; nothing else can be there. */
	for (uint8_t i = 0; i < VM_IRQ_MAX; i++) {
		struct mp_irq irq = { MP_IRQ, 0, 0, ISA_BUS, i, chip, i == 0 ? 2 : i };

		if (i != 2)
			add(t, &irq, sizeof(irq));
	}
	add(t, &lint[0], sizeof(lint[0]));
	add(t, &lint[1], sizeof(lint[1]));
}

void mptable_write(const struct mem *m, unsigned n)
{
	struct mp_page *pg = mem_at(m, BOOT_MP, sizeof(*pg));
	struct mp_ioapic chip = { MP_IOAPIC, (uint8_t)n, 0x11, 1, IOAPIC_ADDR };
	struct mp_bus bus = { MP_BUS, ISA_BUS, "ISA   " };
	struct mp_table *t = &pg->table;

	memset(pg, 0, sizeof(*pg));
	*t = (struct mp_table){
		.signature = "PCMP",
		.length = sizeof(*t),
		.version = 4,
		.oem = "COS     ",
		.product = "COS-VMM     ",
		.lapic = LAPIC_ADDR,
	};
	for (unsigned i = 0; i < n; i++) {
		/* family 6, with a local controller and a floating point unit */
		struct mp_cpu cpu = {
			MP_CPU, (uint8_t)i, 0x14, i == 0 ? 3 : 1, 0x600, 0x201, { 0 }
		};

		add(t, &cpu, sizeof(cpu));
	}
	add(t, &bus, sizeof(bus));
	add(t, &chip, sizeof(chip));
	add_irqs(t, chip.id);
	t->sum = boot_sum(t, t->length);
	pg->pointer = (struct mp_pointer){
		.signature = "_MP_",
		.table = (uint32_t)BOOT_MP + offsetof(struct mp_page, table),
		.length = 1,
		.version = 4,
	};
	pg->pointer.sum = boot_sum(&pg->pointer, sizeof(pg->pointer));
}
