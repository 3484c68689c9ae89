/* lib/wire/idl.h - the API's description in varlink's language, made from methods.def and the
 * errors */
#pragma once

#include <stdbool.h>

#include <jansson.h>

/* "interface io.cos.Guest ..." or NULL if there is no such interface; the caller frees it. */
char *idl_text(const char *interface);
/* Array of the interfaces' names. */
json_t *idl_interfaces(void);
