/* cow-fs/disk.c - a template as the disk of machines: found and opened */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/disk.h"
#include "cow-fs/inner.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define OPEN_FILE (O_NOFOLLOW | O_CLOEXEC | O_NOCTTY)

static int open_image(const struct cowfs *c, const struct cowfs_layers *l)
{
	char path[COWFS_ID_SIZE + 16];
	int fd;

	str_fmt(path, sizeof(path), "%s/disk.img", l->id[0]);
	fd = openat(c->layers, path, O_RDONLY | OPEN_FILE);
	return fd < 0 ? -errno : fd;
}

int cowfs_disk_is_made(const struct cowfs *c, const char *template, struct cos_err *err)
{
	struct cowfs_layers l;
	int r = cowfs_template_find(c, template, &l, err);
	auto_close int fd = r < 0 ? -1 : open_image(c, &l);

	return r < 0 ? r : fd >= 0;
}

int cowfs_disk_open(const struct cowfs *c, const char *guest, int *ret_cow, int *ret_image,
		    struct cos_err *err)
{
	auto_close int cow = -1, image = -1;
	struct cowfs_record rec;
	char path[300];
	int r = cowfs_record_read(c, guest, &rec, err);

	if (r < 0)
		return r;
	image = rec.layers.n ? open_image(c, &rec.layers) : -ENOENT;
	if (image < 0)
		return cos_fail(err, COS_E_IMAGE, -image, "open the disk's image of %s",
				rec.template[0] ? rec.template : guest);
	str_fmt(path, sizeof(path), "%s/disk.cow", guest);
	cow = openat(c->guests, path, O_RDWR | O_CREAT | OPEN_FILE, 0600);
	if (cow < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s", path);
	*ret_cow = take_fd(cow);
	*ret_image = take_fd(image);
	return 0;
}
