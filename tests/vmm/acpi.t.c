/* tests/vmm/acpi.t.c - the tables as a kernel would find and check them */
#include <string.h>

#include "lib/base/own.h"
#include "tests/tap.h"
#include "vmm/acpi.h"
#include "vmm/vm.h"

static struct mem mem;

static bool sums_up(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (p && n-- > 0)
		sum += *p++;
	return p && sum == 0;
}

static uint64_t number(const uint8_t *p, size_t at, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, p + at, n);
	return v;
}

/* The table at GPA if it is there, is SIGNATURE, and its sum is right; its length in *RET. */
static const uint8_t *table(uint64_t gpa, const char *signature, uint64_t *ret)
{
	const uint8_t *p = mem_at(&mem, gpa, 36);

	if (!p || memcmp(p, signature, 4) != 0)
		return NULL;
	*ret = number(p, 4, 4);
	return *ret >= 36 && mem_at(&mem, gpa, *ret) && sums_up(p, *ret) ? p : NULL;
}

/* How often the entry of TYPE is in the MADT; -1: its entries do not fill it. */
static int entries(const uint8_t *madt, uint64_t len, unsigned type)
{
	uint64_t at = 44;
	int n = 0;

	for (; at + 2 <= len && madt[at + 1] >= 2; at += madt[at + 1])
		n += madt[at] == type;
	return at == len ? n : -1;
}

static unsigned count(const uint8_t *p, uint64_t len, const char *word)
{
	unsigned n = 0;

	for (uint64_t i = 0; i + strlen(word) <= len; i++)
		n += memcmp(p + i, word, strlen(word)) == 0;
	return n;
}

/* PkgLength at AT, as acpi.c writes it: two bytes. */
static uint64_t package(const uint8_t *p, uint64_t at)
{
	return (p[at] & 15U) | (uint64_t)p[at + 1] << 4;
}

static void tables_for(unsigned n_vcpus, unsigned n_devices)
{
	struct acpi_device devices[16];
	const uint8_t *rsdp = mem_at(&mem, ACPI_RSDP, 36), *xsdt, *fadt, *madt, *dsdt;
	uint64_t len = 0, dsdt_len = 0;

	for (unsigned i = 0; i < n_devices; i++)
		devices[i] = (struct acpi_device){ 0xd0000000 + i * 0x1000UL, (uint8_t)(5 + i) };
	acpi_write(&mem, n_vcpus, devices, n_devices);
	ok(memcmp(rsdp, "RSD PTR ", 8) == 0 && sums_up(rsdp, 20) && sums_up(rsdp, 36),
	   "%u vCPUs, %u devices: root pointer", n_vcpus, n_devices);
	xsdt = table(number(rsdp, 24, 8), "XSDT", &len);
	ok(xsdt && len == 52, "XSDT with two tables");
	if (!xsdt)
		return;
	fadt = table(number(xsdt, 36, 8), "FACP", &len);
	ok(fadt && len == 244 && number(fadt, 56, 4) == ACPI_PM1 && number(fadt, 46, 2) == ACPI_IRQ,
	   "FADT with its registers");
	madt = table(number(xsdt, 44, 8), "APIC", &len);
	ok(madt && entries(madt, len, 0) == (int)n_vcpus && entries(madt, len, 1) == 1 &&
		   entries(madt, len, 2) == 2,
	   "MADT with each processor, filled by its entries");
	dsdt = fadt ? table(number(fadt, 40, 4), "DSDT", &dsdt_len) : NULL;
	ok(dsdt && count(dsdt, dsdt_len, "LNRO0005") == n_devices, "DSDT with each device");
	ok(dsdt && memcmp(dsdt + 36, "\x08_S5_\x12", 6) == 0 &&
		   dsdt[42 + package(dsdt, 42)] == 0x10 &&
		   43 + package(dsdt, 42) + package(dsdt, 43 + package(dsdt, 42)) == dsdt_len,
	   "whose packages end where it ends");
}

int main(void)
{
	struct cos_err err;

	if (mem_init(&mem, MEM_MIN, false, &err) < 0)
		return 1;
	tables_for(1, 0);
	tables_for(2, 5);
	tables_for(VM_VCPUS_MAX, 16);
	mem_done(&mem);
	return tap_done();
}
