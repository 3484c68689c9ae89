/* cow-fs/busybox.c - a template from the host's static busybox */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/busybox.h"
#include "cow-fs/fill.h"
#include "cow-fs/program.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define HEADERS_MAX 64
#define LIST_MAX    65536
#define BINARY      "bin/busybox"
#define COPY_PIECE  65536

/* ---- the program ---- */

static bool read_at(int fd, void *buf, size_t size, off_t at)
{
	return pread(fd, buf, size, at) == (ssize_t)size;
}

/* This program runs here: what it is made for is what busybox must be made for. */
static bool is_for_this_machine(const Elf64_Ehdr *e)
{
	auto_close int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr own;

	return self >= 0 && read_at(self, &own, sizeof(own), 0) &&
	       memcmp(e->e_ident, own.e_ident, EI_VERSION) == 0 && e->e_machine == own.e_machine;
}

/* Static-PIE programs are ET_DYN too: what a dynamic one has is an interpreter. */
static bool is_static(int fd, const Elf64_Ehdr *e)
{
	Elf64_Phdr p[HEADERS_MAX];

	if (e->e_phentsize != sizeof(p[0]) || e->e_phnum < 1 || e->e_phnum > HEADERS_MAX ||
	    !read_at(fd, p, e->e_phnum * sizeof(p[0]), (off_t)e->e_phoff))
		return false;
	for (unsigned i = 0; i < e->e_phnum; i++) {
		if (p[i].p_type == PT_INTERP)
			return false;
	}
	return e->e_type == ET_EXEC || e->e_type == ET_DYN;
}

int busybox_open(const char *path, struct cos_err *err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *why = NULL;
	Elf64_Ehdr e;
	int r;

	if (fd < 0)
		r = cos_fail(err, COS_E_UNSUPPORTED, errno, "open %s", path);
	else {
		if (!read_at(fd, &e, sizeof(e), 0) || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0)
			why = "is not an ELF program";
		else if (!is_for_this_machine(&e))
			why = "is for another machine";
		else if (!is_static(fd, &e))
			why = "is not a static program";
		if (!why)
			return take_fd(fd);
		r = cos_fail(err, COS_E_UNSUPPORTED, 0, "%s %s", path, why);
	}
	return cos_advise(err, r, "install the package busybox-static");
}

int busybox_list(int fd, char **ret, struct cos_err *err)
{
	char *argv[] = { (char[]){ "busybox" }, (char[]){ "--list-full" }, NULL };
	auto_free char *text = NULL;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = program_ask(path, argv, LIST_MAX, &text);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "run busybox --list-full");
	if (r > 0 || !text[0])
		return cos_fail(err, COS_E_UNSUPPORTED, 0,
				"busybox --list-full failed with status 0x%x", r);
	*ret = take_ptr(text);
	return 0;
}

/* ---- the tree ---- */

static const struct {
	const char *path;
	mode_t mode;
} dirs[] = {
	{ "", 0755 },        { "bin", 0755 },      { "dev", 0755 },      { "etc", 0755 },
	{ "home", 0755 },    { "mnt", 0755 },      { "proc", 0555 },     { "root", 0700 },
	{ "run", 0755 },     { "sbin", 0755 },     { "sys", 0555 },      { "tmp", 01777 },
	{ "usr", 0755 },     { "usr/bin", 0755 },  { "usr/sbin", 0755 }, { "var", 0755 },
	{ "var/log", 0755 }, { "var/tmp", 01777 },
};

static const struct {
	const char *path, *text;
} files[] = {
	{ "etc/passwd", "root:*:0:0:root:/root:/bin/sh\n"
			"nobody:*:65534:65534:nobody:/:/bin/false\n" },
	{ "etc/group", "root:x:0:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n" },
	{ "etc/profile", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
			 "PS1='\\u@\\h:\\w\\$ '\n" },
	/* The console gets a shell when somebody is there to ask for it. */
	{ "etc/inittab", "::askfirst:-/bin/sh\n"
			 "::ctrlaltdel:/sbin/reboot\n"
			 "::shutdown:/bin/umount -a -r\n" },
	{ "etc/os-release", "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=\"BusyBox, built by cos\"\n" },
};

static int put_binary(struct tree *t, int from, const struct tree_meta *m, struct cos_err *err)
{
	auto_close int fd = tree_file(t, BINARY, err);
	char buf[COPY_PIECE];
	off_t at = 0;
	ssize_t n;
	int r = fd < 0 ? fd : 0;

	while (r == 0 && (n = pread(from, buf, sizeof(buf), at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "read busybox");
		r = tree_write(t, fd, buf, (size_t)n, at, err);
		at += n;
	}
	return r < 0 ? r : tree_file_end(t, fd, m, err);
}

static int put_applets(struct tree *t, const char *list, const struct tree_meta *m,
		       struct cos_err *err)
{
	int r = 0;

	while (r == 0 && *list) {
		size_t n = strcspn(list, "\n");
		char line[256], path[TREE_PATH_SIZE];

		if (n >= sizeof(line))
			return cos_fail(err, COS_E_IMAGE, 0, "an applet's name is %zu bytes long",
					n);
		memcpy(line, list, n);
		line[n] = '\0';
		list += n + (list[n] == '\n');
		r = tree_path(line, path, err);
		/* Without a directory it is "linuxrc", for a kernel's initial disk. */
		if (r == 0 && strchr(path, '/') && strcmp(path, BINARY) != 0)
			r = tree_symlink(t, path, "/" BINARY, m, err);
	}
	return r;
}

int fill_from_busybox(struct tree *t, int fd, const char *applets, struct cos_err *err)
{
	struct tree_meta m = { 0 };
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "stat busybox");
	m.mtime = st.st_mtim;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dirs); i++) {
		m.mode = dirs[i].mode;
		r = tree_dir(t, dirs[i].path, &m, err);
		if (r >= 0) {
			close(r);
			r = 0;
		}
	}
	m.mode = 0755;
	if (r == 0)
		r = put_binary(t, fd, &m, err);
	if (r == 0)
		r = put_applets(t, applets, &m, err);
	m.mode = 0644;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
		r = tree_text(t, files[i].path, files[i].text, &m, err);
	return r;
}
