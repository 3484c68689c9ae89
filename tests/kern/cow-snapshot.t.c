/* tests/kern/cow-snapshot.t.c - snapshots, clones, objects nobody needs and damaged ones */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/clone.h"
#include "cow-fs/flatten.h"
#include "cow-fs/gc.h"
#include "cow-fs/inner.h"
#include "cow-fs/manifest.h"
#include "cow-fs/pool.h"
#include "cow-fs/snapshot.h"
#include "tests/kern/cow-guest.h"

#define ID_A "00000000000000000000000000000aaa"
#define BIG  50000UL

static int unify(const char *guest)
{
	const struct cowfs_unify u = { 0 };
	struct cowfs_unified n;

	let_settle();
	return cowfs_unify(&store, guest, &u, &n, &err);
}

static int clone_guest(const char *from, const char *to, bool durable)
{
	const struct cowfs_cloning k = { .from = from, .to = to, .durable = durable };

	return cowfs_clone(&store, &k, &err);
}

static void put_text(const char *guest, const char *name, const char *text)
{
	int up = upper_of(guest);

	io_replace_at(up, name, text, strlen(text), 0644, false);
	close(up);
}

static bool reads(const char *guest, const char *name, const char *text)
{
	int m = mount_guest(guest);
	bool good = m >= 0 && says(m, name, text);

	if (m < 0)
		printf("# %s\n", err.why);
	close(m);
	return good;
}

static void snapshots_keep_what_was(void)
{
	json_t *list = NULL;
	char value[8];
	int m;

	make_guest("a", "t", NULL);
	put_data(upper_of("a"), "big", 1, BIG, 0755);
	put_text("a", "f", "one");
	fsetxattr(upper_of("a"), "user.k", "v", 1, 0);
	ok(unify("a") == 0, "with a stub in it");
	ok(cowfs_snapshot_make(&store, "a", "s1", &err) == 0, "taken: %s", err.why);
	ok(cowfs_snapshot_make(&store, "a", "s1", &err) == -EEXIST, "the name is taken");
	ok(reads("a", "f", "one"), "the guest has its files");
	ok(fgetxattr(upper_of("a"), "user.k", value, sizeof(value)) == 1,
	   "and the attributes of /");
	put_text("a", "f", "two");
	ok(cowfs_snapshot_make(&store, "a", "s2", &err) == 0, "a second one");
	ok(cowfs_snapshot_make(&store, "a", "same", &err) == 0, "without a change");
	m = mount_guest("a");
	unlinkat(m, "f", 0);
	ok(cowfs_snapshot_make(&store, "a", "s3", &err) == -EBUSY && err.code == COS_E_IN_USE,
	   "not while it runs: %s", err.why);
	close(m);
	ok(cowfs_snapshot_make(&store, "a", "s3", &err) == 0, "a third one, with a file less");
	ok(cowfs_snapshot_list(&store, "a", &list, &err) == 0 && json_array_size(list) == 4 &&
		   strcmp(json_string_value(json_object_get(json_array_get(list, 0), "name")),
			  "s1") == 0,
	   "listed, oldest first");
	ok(json_array_size(json_object_get(json_array_get(list, 2), "layers")) == 3,
	   "one without a change has no layer of its own");
	ok(json_is_true(json_object_get(json_array_get(list, 3), "current")) &&
		   json_is_false(json_object_get(json_array_get(list, 0), "current")),
	   "the last one is what the guest is");
	json_decref(list);
	ok(cowfs_snapshot_restore(&store, "a", "s1", &err) == 0 && reads("a", "f", "one"),
	   "the first one is back");
	m = mount_guest("a");
	ok(has_data(m, "big", 1, BIG) && !has(m, OBJECT_FOLDER), "with what its stubs stood for");
	close(m);
	ok(cowfs_snapshot_restore(&store, "a", "s3", &err) == 0 && !reads("a", "f", "one") &&
		   !reads("a", "f", "two"),
	   "the third one");
	ok(cowfs_snapshot_restore(&store, "a", "s2", &err) == 0 && reads("a", "f", "two"),
	   "the second one");
	ok(cowfs_snapshot_restore(&store, "a", "s9", &err) == -ENOENT, "there is no ninth: %s",
	   err.why);
	ok(cowfs_snapshot_make(&store, "a", "../x", &err) == -EINVAL &&
		   cowfs_snapshot_make(&store, "nobody", "x", &err) == -ENOENT,
	   "names are checked");
}

static void layers_go_with_their_last_name(void)
{
	unsigned before = entries_in(store.layers);

	sweep_all();
	ok(entries_in(store.layers) == before && before == 4, "a template and three layers");
	ok(cowfs_snapshot_delete(&store, "a", "s3", &err) == 0, "the third one is deleted");
	sweep_all();
	ok(entries_in(store.layers) == before - 1, "its layer goes");
	ok(cowfs_snapshot_restore(&store, "a", "s1", &err) == 0, "back to the first");
	cowfs_snapshot_delete(&store, "a", "s2", &err);
	ok(cowfs_snapshot_delete(&store, "a", "s2", &err) == -ENOENT, "deleted once");
	cowfs_snapshot_delete(&store, "a", "same", &err);
	sweep_all();
	ok(entries_in(store.layers) == before - 2 && reads("a", "f", "one"),
	   "those of the others too, but not the guest's");
}

static void clones_go_their_own_way(void)
{
	int m;

	ok(clone_guest("a", "b", true) == 0, "cloned: %s", err.why);
	ok(clone_guest("a", "b", true) == -EEXIST, "once");
	put_text("b", "f", "of b");
	ok(reads("a", "f", "one") && reads("b", "f", "of b"), "each has its own file");
	m = mount_guest("b");
	ok(has_data(m, "big", 1, BIG), "and shares the rest");
	close(m);
	ok(clone_guest("b", "c", false) == 0 && cowfs_root_remove(&store, "b", &err) == 0,
	   "a clone of the clone, which is removed");
	sweep_all();
	ok(reads("c", "f", "of b"), "is not harmed");
	m = mount_guest("c");
	mkdirat(upper_of("c"), "made-by-host", 0755);
	close(m);
	unlinkat(upper_of("c"), OBJECT_FOLDER, 0);
	mkdirat(upper_of("c"), OBJECT_FOLDER, 0755);
	ok(clone_guest("c", "d", false) < 0 && err.code == COS_E_STATE,
	   "a guest with a /.c of its own: %s", err.why);
	unlinkat(upper_of("c"), OBJECT_FOLDER, AT_REMOVEDIR);
	ok(entries_in(store.tmp) == 0, "nothing is left in tmp");
}

/* What the guest makes of the places where the identity is, as PUT says, and a clone of it. */
static int clone_anew(const char *name, void (*put)(int root))
{
	struct cowfs_cloning k = { .from = name, .anew = true, .features = features };
	char to[16];

	snprintf(to, sizeof(to), "%s2", name);
	k.to = to;
	make_guest(name, "t", NULL);
	put(upper_of(name));
	return cowfs_clone(&store, &k, &err);
}

static void put_identity(int root)
{
	mkdirat(root, "etc", 0755);
	mkdirat(root, "etc/ssh", 0755);
	io_replace_at(root, "etc/machine-id", "abc\n", 4, 0444, false);
	io_replace_at(root, "etc/ssh/ssh_host_rsa_key", "key", 3, 0600, false);
	io_replace_at(root, "etc/ssh/ssh_host_rsa_key.pub", "pub", 3, 0644, false);
	io_replace_at(root, "etc/ssh/sshd_config", "conf", 4, 0644, false);
}

static void put_links(int root)
{
	put_identity(root);
	renameat(root, "etc", root, "elsewhere");
	symlinkat("/elsewhere", root, "etc");
}

static void put_link_as_id(int root)
{
	put_identity(root);
	unlinkat(root, "etc/machine-id", 0);
	symlinkat("/etc/ssh/sshd_config", root, "etc/machine-id");
	mkdirat(root, "etc/ssh/ssh_host_dir", 0755);
}

static void clones_have_identities_of_their_own(void)
{
	struct stat st;
	int m, k;

	ok(clone_anew("i", put_identity) == 0, "cloned: %s", err.why);
	m = mount_guest("i");
	k = mount_guest("i2");
	ok(fstatat(k, "etc/machine-id", &st, 0) == 0 && st.st_size == 0 &&
		   (st.st_mode & 0777) == 0444,
	   "the machine-id is empty");
	ok(!has(k, "etc/ssh/ssh_host_rsa_key") && !has(k, "etc/ssh/ssh_host_rsa_key.pub") &&
		   says(k, "etc/ssh/sshd_config", "conf"),
	   "keys are removed, and nothing else");
	ok(says(m, "etc/machine-id", "abc\n") && says(m, "etc/ssh/ssh_host_rsa_key", "key"),
	   "those of the one it was made of stay");
	close(m);
	close(k);
	ok(clone_anew("j", put_links) == 0, "with a link to another directory: %s", err.why);
	k = mount_guest("j2");
	ok(says(k, "elsewhere/machine-id", "abc\n"), "which is not followed");
	close(k);
	ok(clone_anew("l", put_link_as_id) == 0, "with a link as the machine-id: %s", err.why);
	k = mount_guest("l2");
	ok(says(k, "etc/ssh/sshd_config", "conf") && has(k, "etc/ssh/ssh_host_dir"),
	   "what it leads to stays, as does a directory");
	close(k);
	ok(entries_in(store.tmp) == 0, "nothing is left in tmp");
}

static void running_guests_are_copied(void)
{
	int m = mount_guest("c"), k;
	struct stat one, two;
	char path[64];

	symlinkat("target", upper_of("c"), "link");
	put_data(upper_of("c"), "own", 5, BIG, 04755);
	linkat(upper_of("c"), "own", upper_of("c"), "own2", 0);
	mknodat(upper_of("c"), "fifo", S_IFIFO | 0622, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/fifo", upper_of("c"));
	setxattr(path, "trusted.k", "v", 1, 0);
	close(m);
	m = mount_guest("c");
	unlinkat(m, "f", 0);
	ok(clone_guest("c", "e", false) == -EBUSY, "a running guest is no stopped one");
	ok(cowfs_clone_live(&store, &(struct cowfs_cloning){ .from = "c", .to = "e" }, NULL,
			    &err) == 0,
	   "copied: %s", err.why);
	k = mount_guest("e");
	ok(k >= 0 && has_data(k, "big", 1, BIG) && has_data(k, "own", 5, BIG) && !has(k, "f"),
	   "files, stubs and what was removed");
	one = stat_of(k, "own");
	two = stat_of(k, "own2");
	ok(one.st_ino == two.st_ino && one.st_nlink == 2 && one.st_mode == (S_IFREG | 04755),
	   "hard links and modes");
	ok(S_ISLNK(stat_of(k, "link").st_mode) && S_ISFIFO(stat_of(k, "fifo").st_mode), "the rest");
	snprintf(path, sizeof(path), "/proc/self/fd/%d/fifo", upper_of("e"));
	ok(getxattr(path, "trusted.k", NULL, 0) == 1, "with its attributes");
	put_text("e", "other", "x");
	ok(!has(m, "other"), "the guest that runs is another one");
	close(k);
	close(m);
	ok(entries_in(store.tmp) == 0, "nothing is left in tmp");
}

static void unneeded_objects_are_collected(void)
{
	struct cowfs_gc o = { .dry_run = true };
	struct cowfs_collected n;
	struct digest_set names = { 0 };
	struct cowfs_pool p;
	int m;

	make_guest("g1", "t", NULL);
	make_guest("g2", "t", NULL);
	put_data(upper_of("g1"), "x", 100, BIG, 0644);
	put_data(upper_of("g2"), "x", 100, BIG, 0644);
	put_data(upper_of("g2"), "y", 101, BIG, 0644);
	unify("g1");
	unify("g2");
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == 0 && n.objects == 3 && n.marked == 3 &&
		   n.removed == 0,
	   "all three are needed");
	manifest_read(home_of("g2"), &names);
	cowfs_root_remove(&store, "g2", &err);
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == 0 && n.removed == 1 && n.freed_bytes >= BIG,
	   "a guest less: one would go");
	m = io_dir_at(store.tmp, ID_A, 0700);
	ok(names.n == 2 && manifest_replace(m, &names) == 0 &&
		   cowfs_gc(&store, NULL, &o, &n, &err) == 0 && n.marked == 3 && n.removed == 0,
	   "not while an import that has it is about to be published");
	close(m);
	io_remove_tree(store.tmp, ID_A, 0);
	digest_set_done(&names);
	o = (struct cowfs_gc){ .grace_usec = 3600ULL * 1000000 };
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == 0 && n.removed == 0 && n.young == 1,
	   "not in its time of grace");
	o.grace_usec = 0;
	cowfs_pool_open(&store, NULL, COWFS_POOL_ADD, &p, &err);
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == -EBUSY && err.code == COS_E_IN_USE,
	   "not while somebody adds: %s", err.why);
	cowfs_pool_close(&p);
	m = mount_guest("g1");
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == 0 && n.removed == 1 && n.marked == 2, "it goes");
	ok(has_data(m, "x", 100, BIG), "a running guest does not notice");
	close(m);
	m = mount_guest("g1");
	unlinkat(m, "x", 0);
	o.trim = true;
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == 0 && n.trimmed == 0 && n.removed == 0,
	   "what a running guest removed stays in its manifest");
	close(m);
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == 0 && n.trimmed == 1 && n.removed == 1,
	   "a stopped one's is written anew");
	m = openat(home_of("g1"), "manifest", O_WRONLY);
	pwrite(m, "nonsense........", 16, 0);
	close(m);
	ok(cowfs_gc(&store, NULL, &o, &n, &err) == -EUCLEAN && n.removed == 0,
	   "with a damaged manifest nothing goes: %s", err.why);
	cowfs_root_remove(&store, "g1", &err);
}

static void rot(const char *object, const char *what)
{
	int fd = openat(store.pool, object, O_WRONLY);

	pwrite(fd, what, 3, 20000);
	close(fd);
}

/* Its name below pool/. */
static void object_of(const char *guest, const char *name, char ret[64])
{
	char to[64];
	int fd = openat(upper_of(guest), name, O_RDONLY);
	ssize_t len = fgetxattr(fd, "trusted.overlay.redirect", to, sizeof(to) - 1);

	close(fd);
	snprintf(ret, 64, "%.*s", (int)len - 1, to + 1);
}

static char mended_meanwhile[64], whole_bytes[3];

static int mend_meanwhile(uint64_t objects, uint64_t bytes, void *arg)
{
	(void)bytes;
	(void)arg;
	if (objects == 3)
		rot(mended_meanwhile, whole_bytes);
	return 0;
}

static void damaged_objects_are_found(void)
{
	struct cowfs_scrub o = { .from = -1 };
	struct cowfs_scrubbed n;
	int root = tree_of("t"), m, fd;
	char path[64];

	make_guest("s", "t", NULL);
	put_data(root, "in-template", 7, BIG, 0644);
	put_data(upper_of("s"), "can-be-mended", 7, BIG, 0644);
	put_data(upper_of("s"), "cannot", 8, BIG, 0644);
	unify("s");
	ok(cowfs_scrub(&store, NULL, &o, &n, &err) == 0 && n.objects == 3 && n.bad == 0,
	   "all are whole");
	object_of("s", "cannot", path);
	strcpy(mended_meanwhile, path);
	fd = openat(store.pool, path, O_RDONLY);
	pread(fd, whole_bytes, 3, 20000);
	close(fd);
	rot(path, "rot");
	o.progress = mend_meanwhile;
	ok(cowfs_scrub(&store, NULL, &o, &n, &err) == 0 && n.bad == 1 && n.quarantined == 0,
	   "one that another run mended is not put aside: %s", err.why);
	o.progress = NULL;
	m = mount_guest("s");
	ok(has_data(m, "cannot", 8, BIG), "and can be read");
	close(m);
	for (int i = 0; i < 2; i++) {
		object_of("s", i ? "cannot" : "can-be-mended", path);
		rot(path, "rot");
	}
	o.dry_run = true;
	ok(cowfs_scrub(&store, NULL, &o, &n, &err) == 0 && n.bad == 2 && n.repaired == 0,
	   "two are not");
	o.dry_run = false;
	ok(cowfs_scrub(&store, NULL, &o, &n, &err) == 0 && n.bad == 2 && n.repaired == 1 &&
		   n.quarantined == 1,
	   "one is mended from the template, one is put aside");
	m = mount_guest("s");
	ok(has_data(m, "can-be-mended", 7, BIG), "the mended one is right");
	fd = openat(m, "cannot", O_RDONLY);
	ok(fd < 0 || read(fd, path, 1) < 0, "of the other one no wrong byte is read");
	close(m);
	ok(cowfs_scrub(&store, NULL, &o, &n, &err) == 0 && n.bad == 0, "then all are whole again");
	put_data(upper_of("s"), "again", 8, BIG, 0644);
	unify("s");
	m = mount_guest("s");
	ok(has_data(m, "cannot", 8, BIG), "the content comes back: so does the file");
	close(m);
}

static void layers_become_one(void)
{
	json_t *list = NULL;
	int m, root = tree_of("t");

	io_replace_at(root, "below", "x", 1, 0644, false);
	io_dir_at(root, "dir", 0755);
	io_replace_at(root, "dir/a", "a", 1, 0644, false);
	io_replace_at(root, "moved", "from", 4, 0640, false);
	make_guest("l", "t", NULL);
	put_data(upper_of("l"), "big", 1, BIG, 0755);
	unify("l");
	cowfs_snapshot_make(&store, "l", "one", &err);
	m = mount_guest("l");
	unlinkat(m, "below", 0);
	renameat(m, "dir", m, "dir2");
	close(m);
	cowfs_snapshot_make(&store, "l", "two", &err);
	m = mount_guest("l");
	fchmodat(m, "moved", 0600, 0);
	renameat(m, "dir2", m, "dir3");
	close(m);
	ok(cowfs_flatten(&store, "l", features, &err) == 0, "flattened: %s", err.why);
	cowfs_snapshot_make(&store, "l", "three", &err);
	cowfs_snapshot_list(&store, "l", &list, &err);
	ok(json_array_size(json_object_get(json_array_get(list, 2), "layers")) == 2,
	   "one layer, and one of what came after");
	json_decref(list);
	m = mount_guest("l");
	ok(has_data(m, "big", 1, BIG) && !has(m, "below") && says(m, "dir3/a", "a") &&
		   !has(m, "dir") && !has(m, "dir2") && says(m, "moved", "from") &&
		   stat_of(m, "moved").st_mode == (S_IFREG | 0600) && !has(m, OBJECT_FOLDER),
	   "the guest sees what it saw");
	close(m);
	ok(cowfs_snapshot_restore(&store, "l", "one", &err) == 0 && reads("l", "below", "x"),
	   "older snapshots stand on what they stood on");
}

static void a_kill_leaves_a_guest(void)
{
	unsigned good = 0;

	make_guest("k", "t", NULL);
	put_text("k", "f", "kept");
	for (int round = 0; round < 24; round++) {
		char name[16], text[16];
		pid_t pid;

		snprintf(name, sizeof(name), "k%d", round);
		snprintf(text, sizeof(text), "%d", round);
		put_text("k", "n", text);
		pid = fork();
		if (pid == 0)
			_exit(clone_guest("k", name, round % 2) < 0);
		usleep(round * 60);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		good += reads("k", "f", "kept") && reads("k", "n", text);
		if (has(store.guests, name))
			good -= !reads(name, "n", text);
		if (round % 8 == 7) {
			cowfs_snapshot_make(&store, "k", "back", &err);
			cowfs_snapshot_restore(&store, "k", "back", &err);
			cowfs_snapshot_delete(&store, "k", "back", &err);
		}
		sweep_all();
	}
	ok(good == 24, "a guest that is cloned while that is killed is whole: %u", good);
}

int main(void)
{
	fixture_init();
	guests_init();
	close(make_layer(ID_A));
	make_template("t", ID_A);
	snapshots_keep_what_was();
	layers_go_with_their_last_name();
	clones_go_their_own_way();
	clones_have_identities_of_their_own();
	running_guests_are_copied();
	unneeded_objects_are_collected();
	damaged_objects_are_found();
	layers_become_one();
	a_kill_leaves_a_guest();
	cowfs_close(&store);
	return tap_done();
}
