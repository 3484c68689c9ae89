/* vmm/option.c - the command line of cos-vmm */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "vmm/option.def"
#include "vmm/option.h"

typedef int set_fn(struct options *o, char *arg, struct cos_err *err);

static int bad(struct cos_err *err, const char *name, const char *arg)
{
	return cos_fail(err, COS_E_INVALID, 0, "--%s: \"%.100s\" is not a value for it", name, arg);
}

#define TEXT(name)                                                                                 \
	static int set_##name(struct options *o, char *arg, struct cos_err *err)                   \
	{                                                                                          \
		o->name = arg;                                                                     \
		return *arg ? 0 : bad(err, #name, arg);                                            \
	}
#define FLAG(fn, name)                                                                             \
	static int set_##fn(struct options *o, char *arg, struct cos_err *err)                     \
	{                                                                                          \
		(void)arg;                                                                         \
		(void)err;                                                                         \
		o->name = true;                                                                    \
		return 0;                                                                          \
	}

TEXT(kernel)
TEXT(initrd)
TEXT(console)
TEXT(control)
TEXT(kvm)
FLAG(acpi, acpi)
FLAG(mergeable, mergeable)
FLAG(no_balloon, no_balloon)
FLAG(no_rng, no_rng)
FLAG(isolate, isolate)
FLAG(json, json_errors)
FLAG(help, help)

static int set_cmdline(struct options *o, char *arg, struct cos_err *err)
{
	(void)err;
	o->cmdline = arg;
	return 0;
}

static int set_boot(struct options *o, char *arg, struct cos_err *err)
{
	static const char *const kinds[] = { [BOOT_AUTO] = "auto",
					     [BOOT_ELF] = "elf",
					     [BOOT_BZIMAGE] = "bzimage",
					     [BOOT_PVH] = "pvh" };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i], arg) == 0) {
			o->boot = i;
			return 0;
		}
	}
	return bad(err, "boot", arg);
}

static int set_memory(struct options *o, char *arg, struct cos_err *err)
{
	return str_to_bytes(arg, &o->memory) < 0 ? bad(err, "memory", arg) : 0;
}

static int set_vcpus(struct options *o, char *arg, struct cos_err *err)
{
	return str_to_u64(arg, &o->vcpus) < 0 || o->vcpus > UINT_MAX ? bad(err, "vcpus", arg) : 0;
}

static int set_grace(struct options *o, char *arg, struct cos_err *err)
{
	return str_to_usec(arg, &o->grace_usec) < 0 ? bad(err, "grace", arg) : 0;
}

static int set_input(struct options *o, char *arg, struct cos_err *err)
{
	o->virtio_input = strcmp(arg, "virtio") == 0;
	return o->virtio_input || strcmp(arg, "serial") == 0 ? 0 : bad(err, "input", arg);
}

static int set_sync(struct options *o, char *arg, struct cos_err *err)
{
	o->sync = arg;
	return source_fd(arg) < 0 ? bad(err, "sync", arg) : 0;
}

static int set_user(struct options *o, char *arg, struct cos_err *err)
{
	char *colon = strchr(arg, ':');
	uint64_t uid = 0, gid = 0;

	if (colon)
		*colon = '\0';
	if (!colon || str_to_u64(arg, &uid) < 0 || str_to_u64(colon + 1, &gid) < 0 ||
	    uid >= UINT32_MAX || gid >= UINT32_MAX)
		return bad(err, "user", arg);
	o->uid = (uid_t)uid;
	o->gid = (gid_t)gid;
	o->has_user = true;
	return 0;
}

static int set_disk(struct options *o, char *arg, struct cos_err *err)
{
	struct option_disk d = { .image = strsep(&arg, ",") };

	while (arg) {
		char *word = strsep(&arg, ",");

		if (strcmp(word, "ro") == 0)
			d.ro = true;
		else if (strncmp(word, "base=", 5) == 0 && word[5])
			d.base = word + 5;
		else if (strncmp(word, "size=", 5) != 0 || str_to_bytes(word + 5, &d.size) < 0)
			return bad(err, "disk", word);
	}
	if (!d.image[0] || (d.size && !d.base) || (d.ro && d.base))
		return bad(err, "disk", d.image);
	if (o->n_disks == OPTION_DISKS)
		return cos_fail(err, COS_E_INVALID, 0, "--disk: more than %d", OPTION_DISKS);
	o->disk[o->n_disks++] = d;
	return 0;
}

static bool parse_mac(const char *s, uint8_t mac[6])
{
	int end = 0;

	/* not for groups of receivers */
	return sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		      &mac[3], &mac[4], &mac[5], &end) == 6 &&
	       s[end] == '\0' && !(mac[0] & 1);
}

/* From what a link of IPv4 has at least. */
static bool parse_mtu(const char *s, uint16_t *mtu)
{
	uint64_t n;

	if (str_to_u64(s, &n) < 0 || n < 68 || n > UINT16_MAX)
		return false;
	*mtu = (uint16_t)n;
	return true;
}

static int set_net(struct options *o, char *arg, struct cos_err *err)
{
	struct option_net n = { .tap = strsep(&arg, ","),
				/* locally administered */
				.mac = { 0x02, 0xc0, 0x50, 0, 0, (uint8_t)(o->n_nets + 1) } };

	while (arg) {
		char *word = strsep(&arg, ",");

		if (!(strncmp(word, "mac=", 4) == 0 && parse_mac(word + 4, n.mac)) &&
		    !(strncmp(word, "mtu=", 4) == 0 && parse_mtu(word + 4, &n.mtu)))
			return bad(err, "net", word);
	}
	if (!n.tap[0])
		return bad(err, "net", n.tap);
	if (o->n_nets == OPTION_NETS)
		return cos_fail(err, COS_E_INVALID, 0, "--net: more than %d", OPTION_NETS);
	o->net[o->n_nets++] = n;
	return 0;
}

static const struct {
	const char *name, *arg;
	set_fn *fn;
	const char *help;
} rows[] = {
#define X(name, arg, fn, help) { name, arg, fn, help },
	VMM_OPTIONS(X)
#undef X
};

int options_parse(struct options *o, int argc, char **argv, struct cos_err *err)
{
	struct option longs[ARRAY_SIZE(rows) + 1] = { 0 };
	int at = 0, c, r;

	*o = (struct options){
		.cmdline = "console=ttyS0 reboot=k panic=-1",
		.memory = 128ULL << 20,
		.vcpus = 1,
		.grace_usec = 10 * USEC_PER_SEC,
		.kvm = "/dev/kvm",
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		longs[i] =
			(struct option){ rows[i].name,
					 rows[i].arg ? required_argument : no_argument, NULL, 0 };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", longs, &at)) != -1) {
		if (c == 'h') {
			o->help = true;
			continue;
		}
		if (c != 0)
			return cos_fail(err, COS_E_INVALID, 0, "%.100s: %s", argv[optind - 1],
					c == ':' ? "its value is missing" : "no such option");
		r = rows[at].fn(o, optarg, err);
		if (r < 0)
			return r;
	}
	if (optind < argc)
		return cos_fail(err, COS_E_INVALID, 0, "%.100s: not an option", argv[optind]);
	if (!o->help && !o->kernel)
		return cos_fail(err, COS_E_INVALID, 0, "--kernel is missing");
	return 0;
}

void options_usage(void)
{
	puts("usage: cos-vmm --kernel SOURCE [OPTION]...\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		printf("  --%s%s%s\n        %s\n", rows[i].name, rows[i].arg ? " " : "",
		       rows[i].arg ?: "", rows[i].help);
	puts("\nSOURCE is a path, or fd:N for an open descriptor. See cos-vmm(8).");
}

int source_fd(const char *source)
{
	uint64_t n;

	if (strncmp(source, "fd:", 3) != 0 || str_to_u64(source + 3, &n) < 0 || n > INT_MAX)
		return -1;
	return (int)n;
}

int source_open(const char *source, int flags, const char *what, struct cos_err *err)
{
	int fd = source_fd(source);

	if (fd >= 0) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return cos_fail(err, COS_E_INVALID, errno, "%s: %.100s", what, source);
		return fd;
	}
	fd = open(source, flags | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0)
		return fd;
	fd = cos_fail(err, COS_E_INVALID, errno, "%s: open %.200s", what, source);
	return cos_advise(err, fd, "give a file that is there and that you may open, or fd:N");
}
