/* vmm/devices.c - the virtio devices of a machine: where each is, its pin, its thread */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "vmm/devices.h"
#include "vmm/vm.h"

/* Pins that nothing else on the board has. */
static const uint8_t pins[] = { 5, 6, 7, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23 };

static_assert(ARRAY_SIZE(pins) >= DEVICES_MAX, "a pin for each device");

/* Gives V a page of registers, a pin, and W to serve it. */
static int plug(struct devices *d, struct vdev *v, struct worker *w, struct cos_err *err)
{
	uint64_t base = DEVICES_BASE + d->n * VIRTIO_PAGE;
	struct trap t = { base, VIRTIO_PAGE, v->name, vdev_io, v };
	int r = traps_add(&d->vm->mmio, &t);

	if (r < 0)
		return cos_fail(err, COS_E_INTERNAL, -r, "the table of devices");
	v->irq = vm_irq(d->vm, pins[d->n], err);
	if (v->irq < 0)
		return v->irq;
	for (unsigned q = 0; r == 0 && q < v->kind->n_queues; q++) {
		r = loop_add(&w->loop, &v->kick[q].src, EPOLLIN);
		/* where KVM cannot, the write exits: vdev_io() raises it */
		if (r == 0)
			vm_write_event(d->vm, base + 0x50, q, v->kick[q].src.fd);
	}
	d->at[d->n++] = v;
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "%s", v->name) : 0;
}

static int add_small(struct devices *d, const struct options *o, struct console *console,
		     struct cos_err *err)
{
	const struct mem *mem = &d->vm->mem;
	struct console_taker taker = vconsole_taker(&d->console);
	int r = vconsole_init(&d->console, mem, console);

	console_add_taker(console, &taker, o->virtio_input);
	if (r == 0 && !o->no_balloon)
		r = vballoon_init(&d->balloon, mem);
	if (r == 0 && !o->no_rng)
		r = vrng_init(&d->rng, mem);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "devices");
	d->has_balloon = !o->no_balloon;
	d->has_rng = !o->no_rng;
	r = plug(d, &d->console.d, d->shared, err);
	if (r == 0 && d->has_balloon)
		r = plug(d, &d->balloon.d, d->shared, err);
	if (r == 0 && d->has_rng)
		r = plug(d, &d->rng.d, d->shared, err);
	return r;
}

static int open_disk(const struct option_disk *o, struct disk *ret, struct cos_err *err)
{
	auto_close int fd = source_open(o->image, o->ro ? O_RDONLY : O_RDWR, "disk", err);
	auto_close int base = -1;

	if (fd < 0)
		return fd;
	if (!o->base)
		return disk_open_raw(ret, take_fd(fd), o->ro, err);
	base = source_open(o->base, O_RDONLY, "disk's image", err);
	if (base < 0)
		return base;
	return disk_open_cow(ret, take_fd(fd), take_fd(base), o->size, err);
}

static int add_disk(struct devices *d, const struct option_disk *o, void (*broken)(void *arg),
		    void *arg, struct cos_err *err)
{
	struct vblk *v = &d->disk[d->n_disks];
	struct worker *w = &d->disk_worker[d->n_disks];
	struct disk disk;
	int r = open_disk(o, &disk, err);

	if (r < 0)
		return r;
	r = vblk_init(v, d->n_disks, &d->vm->mem, &disk);
	d->n_disks++;
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "disk");
	r = worker_init(w, v->d.name, broken, arg, err);
	if (r < 0)
		return r;
	w->last = vblk_last;
	w->last_arg = v;
	return plug(d, &v->d, w, err);
}

static int add_net(struct devices *d, const struct option_net *o, void (*broken)(void *arg),
		   void *arg, struct cos_err *err)
{
	struct vnet *v = &d->net[d->n_nets];
	struct worker *w = &d->net_worker[d->n_nets];
	int tap = vnet_open_tap(o->tap, err), r;

	if (tap < 0)
		return tap;
	r = vnet_init(v, d->n_nets, &d->vm->mem, tap, o);
	d->n_nets++;
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "net");
	r = worker_init(w, v->d.name, broken, arg, err);
	if (r < 0)
		return r;
	r = loop_add(&w->loop, &v->tap, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "net") : plug(d, &v->d, w, err);
}

int devices_init(struct devices *d, struct vm *vm, const struct options *o, struct console *console,
		 struct worker *shared, void (*broken)(void *arg), void *arg, struct cos_err *err)
{
	int r;

	d->vm = vm;
	d->shared = shared;
	r = add_small(d, o, console, err);
	for (unsigned i = 0; r == 0 && i < o->n_disks; i++)
		r = add_disk(d, &o->disk[i], broken, arg, err);
	for (unsigned i = 0; r == 0 && i < o->n_nets; i++)
		r = add_net(d, &o->net[i], broken, arg, err);
	return r;
}

int devices_start(struct devices *d, const struct filter *filter, struct cos_err *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < d->n_disks; i++)
		r = worker_start(&d->disk_worker[i], filter, err);
	for (unsigned i = 0; r == 0 && i < d->n_nets; i++)
		r = worker_start(&d->net_worker[i], filter, err);
	return r;
}

int devices_stop(struct devices *d, uint64_t deadline_usec)
{
	int r = 0, one;

	for (unsigned i = 0; i < d->n_disks; i++) {
		one = worker_stop(&d->disk_worker[i], deadline_usec);
		r = one < 0 ? one : r;
	}
	for (unsigned i = 0; i < d->n_nets; i++) {
		one = worker_stop(&d->net_worker[i], deadline_usec);
		r = one < 0 ? one : r;
	}
	return r;
}

void devices_done(struct devices *d)
{
	vdev_done(&d->console.d);
	vdev_done(&d->balloon.d);
	vdev_done(&d->rng.d);
	for (unsigned i = 0; i < d->n_disks; i++) {
		vblk_done(&d->disk[i]);
		worker_done(&d->disk_worker[i]);
	}
	for (unsigned i = 0; i < d->n_nets; i++) {
		vnet_done(&d->net[i]);
		worker_done(&d->net_worker[i]);
	}
}

int devices_cmdline(const struct devices *d, const char *cmdline, char *to, size_t size)
{
	size_t used = strlen(cmdline);

	if (used >= size)
		return -E2BIG;
	memcpy(to, cmdline, used + 1);
	for (unsigned i = 0; i < d->n; i++) {
		if (!str_fmt(to + used, size - used, "%svirtio_mmio.device=4K@%#llx:%u",
			     used ? " " : "", DEVICES_BASE + i * VIRTIO_PAGE, pins[i]))
			return -E2BIG;
		used += strlen(to + used);
	}
	return 0;
}

unsigned devices_list(const struct devices *d, struct acpi_device *to)
{
	for (unsigned i = 0; i < d->n; i++)
		to[i] = (struct acpi_device){ DEVICES_BASE + i * VIRTIO_PAGE, pins[i] };
	return d->n;
}

uint64_t devices_cpu_usec(const struct devices *d)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < d->n_disks; i++)
		sum += thread_cpu_usec(&d->disk_worker[i].thread);
	for (unsigned i = 0; i < d->n_nets; i++)
		sum += thread_cpu_usec(&d->net_worker[i].thread);
	return sum;
}
