/* vmm/acpi.c - the tables: what devices there are, and where (ACPI 6.4, chapters 5, 6 and 20) */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "vmm/acpi.h"
#include "vmm/boot-inner.h"
#include "vmm/vm.h"

#define LAPIC_ADDR  0xfee00000U
#define IOAPIC_ADDR 0xfec00000U
#define DSDT_MAX    2048
#define DEVICES     16

struct acpi_head {
	char signature[4];
	uint32_t length;
	uint8_t revision, sum;
	char oem[6], table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct acpi_address {
	uint8_t space, width, offset, access; /* space 1: a port */
	uint64_t at;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t sum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t sum2, reserved[3];
} __attribute__((packed));

struct xsdt {
	struct acpi_head head;
	uint64_t table[2];
} __attribute__((packed));

struct facs {
	char signature[4];
	uint32_t length, hardware, vector, lock, flags;
	uint64_t x_vector;
	uint8_t version, reserved[31];
} __attribute__((packed));

struct fadt {
	struct acpi_head head;
	uint32_t facs, dsdt;
	uint8_t reserved, profile;
	uint16_t sci;
	uint32_t smi_port;
	uint8_t smi_values[4];
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, timer, gpe0, gpe1;
	uint8_t pm1_event_len, pm1_control_len, pm2_control_len, timer_len, gpe_lens[3], cstate;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty[2], day_alarm, month_alarm, century;
	uint16_t boot_flags;
	uint8_t reserved2;
	uint32_t flags;
	struct acpi_address reset;
	uint8_t reset_value, reserved3[3];
	uint64_t x_facs, x_dsdt;
	struct acpi_address x[8];
} __attribute__((packed));

struct madt {
	struct acpi_head head;
	uint32_t lapic, flags;
	struct {
		uint8_t type, length, uid, id;
		uint32_t flags;
	} __attribute__((packed)) cpu[VM_VCPUS_MAX];
	uint8_t rest[64]; /* behind the last processor, wherever that is */
} __attribute__((packed));

static_assert(sizeof(struct acpi_head) == 36 && sizeof(struct rsdp) == 36 &&
		      sizeof(struct facs) == 64 && sizeof(struct fadt) == 244,
	      "layouts of the specification");

struct page {
	struct rsdp rsdp;
	struct facs facs __attribute__((aligned(64)));
	struct xsdt xsdt __attribute__((aligned(16)));
	struct fadt fadt __attribute__((aligned(16)));
	struct madt madt __attribute__((aligned(16)));
	uint8_t dsdt[DSDT_MAX] __attribute__((aligned(16)));
};

static_assert(ACPI_RSDP + sizeof(struct page) <= 0xf0000, "below the MP table");

#define AT(member) (ACPI_RSDP + offsetof(struct page, member))

static void finish(struct acpi_head *h, const char *signature, uint8_t revision, size_t length)
{
	memcpy(h->signature, signature, 4);
	h->length = (uint32_t)length;
	h->revision = revision;
	memcpy(h->oem, "COS   ", 6);
	memcpy(h->table, "COSVMM  ", 8);
	h->oem_revision = h->creator_revision = 1;
	memcpy(h->creator, "COS ", 4);
	h->sum = 0;
	h->sum = boot_sum(h, length);
}

/* ---- definition blocks: names and constants, nothing that is executed ---- */

struct aml {
	uint8_t *p;
	size_t n; /* what does not fit is counted, and not there */
};

static void bytes(struct aml *a, const void *s, size_t n)
{
	if (a->n + n <= DSDT_MAX)
		memcpy(a->p + a->n, s, n);
	a->n += n;
}

static void byte(struct aml *a, unsigned v)
{
	uint8_t b = (uint8_t)v;

	bytes(a, &b, 1);
}

/* "Name (NAME, ...": what follows is the value. */
static void name(struct aml *a, const char *four)
{
	byte(a, 0x08);
	bytes(a, four, 4);
}

/* A package whose length comes when it is known: two bytes, up to 4095. */
static size_t begin(struct aml *a)
{
	size_t at = a->n;

	byte(a, 0);
	byte(a, 0);
	return at;
}

static void end(struct aml *a, size_t at)
{
	size_t len = a->n - at;

	if (a->n > DSDT_MAX)
		return;
	a->p[at] = (uint8_t)(0x40 | (len & 15));
	a->p[at + 1] = (uint8_t)(len >> 4);
}

/* Memory32Fixed, an edge-triggered Interrupt, and the end. */
static void resources(struct aml *a, const struct acpi_device *d)
{
	const uint32_t base = (uint32_t)d->base, size = 0x1000, pin = d->pin;
	size_t at;

	name(a, "_CRS");
	byte(a, 0x11);
	at = begin(a);
	bytes(a, "\x0a\x17", 2); /* 23 bytes */
	bytes(a, "\x86\x09\x00\x01", 4);
	bytes(a, &base, 4);
	bytes(a, &size, 4);
	bytes(a, "\x89\x06\x00\x03\x01", 5);
	bytes(a, &pin, 4);
	bytes(a, "\x79\x00", 2);
	end(a, at);
}

static void device(struct aml *a, const struct acpi_device *d, unsigned number)
{
	const char four[4] = { 'V', 'R', (char)('0' + number / 10), (char)('0' + number % 10) };
	size_t at;

	bytes(a, "\x5b\x82", 2);
	at = begin(a);
	bytes(a, four, 4);
	name(a, "_HID");
	bytes(a, "\x0dLNRO0005", 10);
	name(a, "_UID");
	byte(a, 0x0a);
	byte(a, number);
	name(a, "_CCA");
	byte(a, 0x01);
	resources(a, d);
	end(a, at);
}

static void write_dsdt(struct page *pg, const struct acpi_device *devices, unsigned n)
{
	struct aml a = { pg->dsdt, sizeof(struct acpi_head) };
	size_t at;

	name(&a, "_S5_");
	byte(&a, 0x12);
	at = begin(&a);
	bytes(&a, "\x04\x0a", 2);
	byte(&a, ACPI_SLP);
	bytes(&a, "\x00\x00\x00", 3);
	end(&a, at);
	byte(&a, 0x10);
	at = begin(&a);
	bytes(&a, "\\_SB_", 5);
	for (unsigned i = 0; i < n && i < DEVICES; i++)
		device(&a, &devices[i], i);
	end(&a, at);
	finish((struct acpi_head *)(void *)pg->dsdt, "DSDT", 2, a.n);
}

/* ---- the other tables ---- */

static void write_fadt(struct fadt *f)
{
	f->facs = (uint32_t)AT(facs);
	f->dsdt = (uint32_t)AT(dsdt);
	f->x_dsdt = AT(dsdt);
	f->sci = ACPI_IRQ;
	f->pm1a_event = ACPI_PM1;
	f->pm1a_control = ACPI_PM1 + 4;
	f->pm1_event_len = 4;
	f->pm1_control_len = 2;
	f->c2_latency = 0xfff; /* neither of them */
	f->c3_latency = 0xfff;
	f->century = 0x32;
	/* ISA devices and the keyboard's controller are there, a screen is not */
	f->boot_flags = 1 << 0 | 1 << 1 | 1 << 2;
	/* caches can be flushed, HLT is there, no sleep button, no wake by the clock, a register
	 * that resets */
	f->flags = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10;
	f->reset = (struct acpi_address){ 1, 8, 0, 1, 0x64 };
	f->reset_value = 0xfe;
	finish(&f->head, "FACP", 3, sizeof(*f));
}

static void write_madt(struct madt *m, unsigned n)
{
	static const uint8_t overrides[] = {
		2, 10, 0,    0,        2,        0, 0, 0, 0, 0, /* the timer is at pin 2 */
		2, 10, 0,    ACPI_IRQ, ACPI_IRQ, 0, 0, 0, 5, 0, /* ACPI's: rising edges */
		4, 6,  0xff, 0,        0,        1,             /* NMI at LINT1 of all processors */
	};
	const uint32_t chip[3] = { 12 << 8 | 1 | n << 16, IOAPIC_ADDR, 0 };
	uint8_t *p = (uint8_t *)&m->cpu[n];

	m->lapic = LAPIC_ADDR;
	m->flags = 1; /* the old controllers are there too */
	for (unsigned i = 0; i < n; i++) {
		m->cpu[i].length = sizeof(m->cpu[i]);
		m->cpu[i].uid = m->cpu[i].id = (uint8_t)i;
		m->cpu[i].flags = 1;
	}
	memcpy(p, chip, sizeof(chip));
	memcpy(p + sizeof(chip), overrides, sizeof(overrides));
	p += sizeof(chip) + sizeof(overrides);
	finish(&m->head, "APIC", 3, (size_t)(p - (uint8_t *)m));
}

void acpi_write(const struct mem *m, unsigned n_vcpus, const struct acpi_device *devices,
		unsigned n)
{
	struct page *pg = mem_at(m, ACPI_RSDP, sizeof(*pg));

	memset(pg, 0, sizeof(*pg));
	memcpy(pg->facs.signature, "FACS", 4);
	pg->facs.length = sizeof(pg->facs);
	pg->facs.version = 1;
	write_dsdt(pg, devices, n);
	write_fadt(&pg->fadt);
	write_madt(&pg->madt, n_vcpus);
	pg->xsdt.table[0] = AT(fadt);
	pg->xsdt.table[1] = AT(madt);
	finish(&pg->xsdt.head, "XSDT", 1, sizeof(pg->xsdt));
	memcpy(pg->rsdp.signature, "RSD PTR ", 8);
	memcpy(pg->rsdp.oem, "COS   ", 6);
	pg->rsdp.revision = 2;
	pg->rsdp.length = sizeof(pg->rsdp);
	pg->rsdp.xsdt = AT(xsdt);
	pg->rsdp.sum = boot_sum(&pg->rsdp, 20);
	pg->rsdp.sum2 = boot_sum(&pg->rsdp, sizeof(pg->rsdp));
}
