/* lib/kern/shadow.h - whether a sanitizer that keeps a shadow of the memory is built in
 *
 * It makes calls of its own and reserves terabytes of address space: what confines a process has to
 * leave it both. */
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define WITH_SHADOW
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_SHADOW
#endif
#endif
