/* cow-fs/image.h - a guest's files in an ext4 of their own: the sparse file disk.img in its
 * directory, on a loop device
 *
 * The device frees itself when nothing of it is mounted any more, so nothing that dies leaves one.
 * "loop" beside the file names the device that it has or had; it is written before the device gets
 * the file, so that there is never a second one on it. */
#pragma once

#include <stdbool.h>

#include "cow-fs/space.h"

#define IMAGE_MIN  (16ULL << 20)
#define IMAGE_SEED "seed"

/* "" if there can be such files, or why not. Leaf. */
const char *image_try(void);
bool image_is_there(int home);
/* That what is asked of GUEST needs its files beside those of others. */
int cowfs_say_own_disk(const char *guest, struct cos_err *err);
/* Makes it, MAX->bytes long, with what is in the directory IMAGE_SEED of HOME, which goes away. */
int image_make(int home, const struct cowfs_space *max, struct cos_err *err);
/* Whether it is on a device. Leaf. */
bool image_in_use(int home);
/* Opens that of HOME for reading, and an empty one in TO, whose descriptor is in *RET_TO. Leaf. */
int image_open_copy(int home, int to, int *ret_to);
/* Mounts it as a detached mount; several of these are of one file system. */
int image_mount(int home, struct cos_err *err);
/* Inodes for who mounts an overlay on the file system, whose topmost directory is TOP: that takes
 * some, and a guest that has used up all could not be started again. They are given before, and
 * taken back after, when nothing of the guest runs yet. Leaves. */
void image_spare_give(int top);
void image_spare_take(int top);
/* Makes the file as long as BYTES, if it is shorter, and the file system, which may be in use, as
 * large as the file; both or none. */
int image_grow(int home, uint64_t bytes, struct cos_err *err);
/* Bytes that it can hold at most, and has of the host's disk. Leaf. */
int image_size(int home, uint64_t *ret_bytes, uint64_t *ret_taken);
