/* cow-fs/identity.h - what must differ from guest to guest */
#pragma once

#include "cow-fs/inner.h"

/* Empties etc/machine-id and removes etc/ssh/ssh_host_* below the directory ROOT, whatever links
 * somebody has put there; each makes its own again. On failure *RET_AT is the path. Leaf. */
int identity_forget(int root, const char **ret_at);

/* The same for the guest whose home is NAME in DIR, by way of its root, mounted by FEATURES of
 * cowfs_probe(); it must not be mounted otherwise. NAME is a name as guests have. */
int identity_forget_home(const struct cowfs *c, int dir, const char *name, unsigned features,
			 struct cos_err *err);
