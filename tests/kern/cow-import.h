/* tests/kern/cow-import.h - importing into the store of the fixture */
#pragma once

#include "cow-fs/import.h"
#include "tests/kern/cow-fixture.h"

static struct tree_count counted;

/* Takes FD. */
static inline int import_from(const char *name, enum import_kind kind, int fd)
{
	const struct import_source src = { .kind = kind, .fd = fd };
	int r;

	err = (struct cos_err){ 0 };
	r = cowfs_import(&store, name, &src, NULL, NULL, &counted, &err);
	close(fd);
	return r;
}

static inline int import_tar(const char *name, struct tar *t)
{
	return import_from(name, IMPORT_TAR, tar_file(t));
}

static inline void drop(const char *name)
{
	cowfs_template_delete(&store, name, &err);
	sweep_all();
}

static inline bool nothing_is_left(void)
{
	return entries_in(store.tmp) == 0 && entries_in(store.trash) == 0 &&
	       entries_in(store.layers) == entries_in(store.templates);
}
