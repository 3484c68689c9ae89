/* lib/base/own.h - ownership that ends with the scope
 *
 * A variable marked auto_* is released when its scope ends; take_ptr and take_fd hand the value on
 * and leave the variable empty, so that its cleanup does nothing. All cleanups keep errno. */
#pragma once

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define auto_free  __attribute__((cleanup(own_free_p)))
#define auto_close __attribute__((cleanup(own_close_p)))
#define auto_json  __attribute__((cleanup(own_json_p)))

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void own_free_p(void *p)
{
	free(*(void **)p);
}

static inline void own_close_p(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void own_json_p(json_t **j)
{
	json_decref(*j);
}

#define take_ptr(p)                                                                                \
	({                                                                                         \
		__auto_type taken_ = (p);                                                          \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#define take_fd(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

/* Closes and forgets a descriptor that a struct holds. */
static inline void close_p(int *fd)
{
	own_close_p(fd);
	*fd = -1;
}
