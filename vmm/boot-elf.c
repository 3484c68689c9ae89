/* vmm/boot-elf.c - ELF64 kernels: segments to their physical addresses, and the entry */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/own.h"
#include "vmm/boot-inner.h"

#define SEGMENTS_MAX 64
#define NOTES_MAX    65536 /* bytes of one PT_NOTE */
#define NOTE_ENTRY   18    /* XEN_ELFNOTE_PHYS32_ENTRY */

static int check_header(const Elf64_Ehdr *h, struct cos_err *err)
{
	const char *why = NULL;

	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		why = "no ELF file";
	else if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
		 h->e_machine != EM_X86_64)
		why = "not for x86-64";
	else if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		why = "neither executable nor relocatable as a whole";
	else if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0)
		why = "no program headers";
	else if (h->e_phnum > SEGMENTS_MAX)
		why = "more than 64 program headers";
	return why ? cos_fail(err, COS_E_IMAGE, 0, "kernel: %s", why) : 0;
}

static int load_segment(struct placed *p, int fd, uint64_t size, const Elf64_Phdr *ph,
			struct cos_err *err)
{
	int r;

	if (ph->p_memsz == 0)
		return 0;
	if (ph->p_filesz > ph->p_memsz)
		return cos_fail(err, COS_E_IMAGE, 0,
				"kernel: a segment has more bytes in the file than in memory");
	if (ph->p_offset > size || ph->p_filesz > size - ph->p_offset)
		return cos_fail(err, COS_E_IMAGE, 0,
				"kernel: the segment for %#" PRIx64 " ends behind the file",
				ph->p_paddr);
	r = place(p, ph->p_paddr, ph->p_memsz, "kernel", err);
	if (r < 0 || ph->p_filesz == 0)
		return r;
	/* What is not in the file is zero: so is fresh memory. */
	return read_exactly(fd, ph->p_offset, mem_at(p->m, ph->p_paddr, ph->p_memsz), ph->p_filesz,
			    "kernel", err);
}

static uint64_t align4(uint64_t v)
{
	return (v + 3) & ~3ULL;
}

/* Looks for Xen's note in the SIZE bytes at S; true when *RET is its entry. */
static bool find_note(const uint8_t *s, uint64_t size, uint64_t *ret)
{
	Elf64_Nhdr h;

	while (size >= sizeof(h)) {
		uint64_t name, desc;

		memcpy(&h, s, sizeof(h));
		s += sizeof(h);
		size -= sizeof(h);
		name = align4(h.n_namesz);
		desc = align4(h.n_descsz);
		if (name > size || desc > size - name)
			return false;
		if (h.n_type == NOTE_ENTRY && h.n_namesz == 4 && memcmp(s, "Xen", 4) == 0 &&
		    (h.n_descsz == 4 || h.n_descsz == 8)) {
			*ret = 0;
			memcpy(ret, s + name, h.n_descsz);
			return true;
		}
		s += name + desc;
		size -= name + desc;
	}
	return false;
}

static int pvh_entry(int fd, uint64_t size, const Elf64_Phdr *ph, unsigned n, uint64_t *ret,
		     struct cos_err *err)
{
	for (unsigned i = 0; i < n; i++) {
		auto_free uint8_t *notes = NULL;
		int r;

		if (ph[i].p_type != PT_NOTE || ph[i].p_filesz > NOTES_MAX ||
		    ph[i].p_offset > size || ph[i].p_filesz > size - ph[i].p_offset)
			continue;
		notes = malloc(ph[i].p_filesz + 1);
		if (!notes)
			return cos_fail(err, COS_E_KERNEL, ENOMEM, "kernel: notes");
		r = read_exactly(fd, ph[i].p_offset, notes, ph[i].p_filesz, "kernel", err);
		if (r < 0)
			return r;
		if (find_note(notes, ph[i].p_filesz, ret))
			return 0;
	}
	return cos_fail(err, COS_E_IMAGE, 0, "kernel: no note with a PVH entry");
}

int elf_load(struct placed *p, int fd, uint64_t size, bool pvh, uint64_t *ret_entry,
	     struct cos_err *err)
{
	Elf64_Phdr ph[SEGMENTS_MAX] = { 0 };
	Elf64_Ehdr h = { 0 };
	uint64_t entry;
	int r = read_exactly(fd, 0, &h, sizeof(h), "kernel", err);

	if (r == 0)
		r = check_header(&h, err);
	if (r == 0)
		r = read_exactly(fd, h.e_phoff, ph, h.e_phnum * sizeof(ph[0]), "kernel", err);
	for (unsigned i = 0; r == 0 && i < h.e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD)
			r = load_segment(p, fd, size, &ph[i], err);
	}
	if (r < 0)
		return r;
	entry = h.e_entry;
	if (pvh)
		r = pvh_entry(fd, size, ph, h.e_phnum, &entry, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < p->n; i++) {
		if (entry >= p->range[i].from && entry < p->range[i].to) {
			*ret_entry = entry;
			return 0;
		}
	}
	return cos_fail(err, COS_E_IMAGE, 0, "kernel: its entry %#" PRIx64 " is in no segment",
			entry);
}
