/* tests/kern/cow-fs.t.c - the store, guests' roots and the sweep, on real directories */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/root.h"
#include "tests/kern/cow-fixture.h"

#define ID_A "00000000000000000000000000000aaa"
#define ID_B "00000000000000000000000000000bbb"
#define DEEP 1500

static void put(int dir, const char *name, const char *text)
{
	if (io_replace_at(dir, name, text, strlen(text), 0600, false) < 0)
		printf("Bail out! cannot write %s\n", name);
}

/* A layer as an import leaves it, without one. */
static void make_layer(const char *id)
{
	int dir = io_dir_at(store.layers, id, 0700), root = io_dir_at(dir, "root", 0711);

	fchown(root, 7, 8);
	fchmod(root, 0711);
	put(root, "file", "content");
	put(dir, "meta.json", "{\"files\":2,\"bytes\":7,\"created\":5,\"source\":\"tar\"}");
	close(root);
	close(dir);
}

static void make_template(const char *name, const char *ids)
{
	char file[160], text[160];

	snprintf(file, sizeof(file), "%s.json", name);
	snprintf(text, sizeof(text), "{\"layers\":[%s],\"created\":5,\"arch\":\"x86_64\"}", ids);
	put(store.templates, file, text);
}

static void the_layout_is_made_and_checked(void)
{
	int state = openat(fixture_dir, "state", O_RDONLY | O_DIRECTORY);
	struct cowfs again;

	ok(stat_of(state, "cow").st_mode == (S_IFDIR | 0700), "cow is root's only");
	ok(says(store.dir, "format", "1\n"), "the format is written");
	fchmod(store.dir, 0755);
	ok(cowfs_open(state, &again, &err) == 0, "opened a second time");
	ok(stat_of(state, "cow").st_mode == (S_IFDIR | 0700), "a wider mode is narrowed");
	cowfs_close(&again);
	put(store.dir, "format", "2\n");
	ok(cowfs_open(state, &again, &err) == 0, "a store with a pool is one of ours");
	cowfs_close(&again);
	put(store.dir, "format", "3\n");
	ok(cowfs_open(state, &again, &err) == -EOPNOTSUPP && err.code == COS_E_UNSUPPORTED &&
		   strstr(cos_err_todo(&err), "upgrade cos"),
	   "a newer format is refused: %s", err.why);
	put(store.dir, "format", "1\n");
	close(state);
}

static void names_are_checked(void)
{
	static const char *const bad[] = { "",     "A",      ".",        "..",  "../x", "a/b",
					   "-x",   "a b",    "a\n",      ":a",  "a:",   "a:b:c",
					   "a.js", "format", "\xc3\xa4", "a/.." };
	struct cowfs_layers l;
	struct cowfs_root root;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cowfs_source from = { .template = bad[i] };
		int r = cowfs_template_find(&store, bad[i], &l, &err);

		ok(r < 0 && (err.code == COS_E_INVALID || err.code == COS_E_NO_TEMPLATE),
		   "template name %zu is refused", i);
		ok(cowfs_root_make(&store, "g", &from, false, &err) < 0, "also for a guest");
		ok(cowfs_root_open(&store, bad[i], &root, &err) < 0, "and as a guest's");
	}
	ok(entries_in(store.guests) == 0 && entries_in(store.tmp) == 0, "nothing was made");
}

static void a_guest_stands_on_its_template(void)
{
	const struct cowfs_source from = { .template = "t:1" };
	struct cowfs_root root;
	struct stat st;
	int r;

	make_layer(ID_A);
	make_layer(ID_B);
	make_template("t:1", "\"" ID_A "\",\"" ID_B "\"");
	r = cowfs_root_make(&store, "g1", &from, false, &err);
	ok(r == 0, "made: %s", r < 0 ? err.why : "");
	ok(cowfs_root_make(&store, "g1", &from, false, &err) == -EEXIST && err.code == COS_E_EXISTS,
	   "a second one of the name is refused");
	ok(cowfs_root_make(&store, "g2", &from, true, &err) == 0, "made durably");
	r = cowfs_root_open(&store, "g1", &root, &err);
	ok(r == 0 && root.n_lower == 2, "opened with both layers");
	fstat(root.upper, &st);
	ok(st.st_mode == (S_IFDIR | 0711) && st.st_uid == 7 && st.st_gid == 8,
	   "the upper directory looks like the template's root");
	ok(says(root.lower[0], "file", "content") && has(root.home, "up") && has(root.home, "wk"),
	   "descriptors lead where they should");
	cowfs_root_close(&root);
	ok(root.home == -1 && root.n_lower == 0, "closed and empty");
	ok(entries_in(store.tmp) == 0, "nothing is left in tmp (but in trash)");
}

static void a_guest_stands_on_a_directory(void)
{
	char path[128], link[128];
	struct cowfs_source from = { .rootfs = path };
	struct cowfs_root root;

	mkdirat(fixture_dir, "rootfs", 0750);
	symlinkat("rootfs", fixture_dir, "link");
	snprintf(path, sizeof(path), "%s/rootfs", fixture_path);
	snprintf(link, sizeof(link), "%s/link", fixture_path);
	ok(cowfs_root_make(&store, "r1", &from, false, &err) == 0, "made");
	ok(cowfs_root_open(&store, "r1", &root, &err) == 0 && root.n_lower == 1, "opened");
	ok(stat_of(root.home, "up").st_mode == (S_IFDIR | 0750), "looks like the directory");
	cowfs_root_close(&root);
	unlinkat(fixture_dir, "rootfs", AT_REMOVEDIR);
	ok(cowfs_root_open(&store, "r1", &root, &err) < 0 && err.code == COS_E_IMAGE &&
		   strstr(err.why, path),
	   "its loss is told by name: %s", err.why);
	mkdirat(fixture_dir, "rootfs", 0750);
	from.rootfs = link;
	ok(cowfs_root_make(&store, "r2", &from, false, &err) == -ELOOP && err.code == COS_E_IMAGE,
	   "a symbolic link is refused");
	from.rootfs = "rootfs";
	ok(cowfs_root_make(&store, "r2", &from, false, &err) == -EINVAL, "so is a relative path");
	ok(cowfs_root_remove(&store, "r1", &err) == 0 && !has(store.guests, "r1"), "removed");
	ok(cowfs_root_remove(&store, "r1", &err) == 0, "twice is fine");
	ok(cowfs_root_open(&store, "r1", &root, &err) == -ENOENT && err.code == COS_E_NO_GUEST,
	   "gone");
}

static void what_is_used_is_kept(void)
{
	const struct cowfs_source from = { .template = "t:1" };
	json_t *list = NULL;

	cowfs_root_make(&store, "g3", &from, false, &err);
	cowfs_root_make(&store, "g4", &from, false, &err);
	ok(cowfs_template_list(&store, &list, &err) == 0 && json_array_size(list) == 1, "listed");
	ok(json_integer_value(json_object_get(json_array_get(list, 0), "users")) == 4 &&
		   json_integer_value(json_object_get(json_array_get(list, 0), "files")) == 4,
	   "with its guests and the sum of its layers");
	json_decref(list);
	ok(cowfs_template_delete(&store, "t:1", &err) == -EBUSY && err.code == COS_E_IN_USE &&
		   strstr(err.why, "4 guests") && strstr(err.why, "..."),
	   "not deleted: %s", err.why);
	make_template("other", "\"" ID_B "\"");
	for (int i = 1; i <= 4; i++) {
		char name[8];

		snprintf(name, sizeof(name), "g%d", i);
		ok(cowfs_root_remove(&store, name, &err) == 0, "%s removed", name);
	}
	ok(cowfs_template_delete(&store, "t:1", &err) == 0, "deleted when nobody stands on it");
	ok(!has(store.layers, ID_A) && has(store.layers, ID_B),
	   "its own layer is gone, the shared one is not");
	ok(cowfs_template_delete(&store, "t:1", &err) == -ENOENT && err.code == COS_E_NO_TEMPLATE,
	   "deleted once");
	sweep_all();
	ok(entries_in(store.trash) == 0, "a sweep frees the space");
}

static void a_damaged_record_keeps_layers(void)
{
	int dir = io_dir_at(store.guests, "broken", 0700);

	put(dir, "root.json", "{\"template\": 7}");
	make_layer(ID_A);
	ok(cowfs_template_delete(&store, "other", &err) == -EUCLEAN && err.code == COS_E_KERNEL,
	   "no template is deleted while it is unknown who stands on it: %s", err.why);
	cowfs_sweep(&store, 0);
	ok(has(store.layers, ID_A), "no layer is swept then");
	cowfs_root_remove(&store, "broken", &err);
	sweep_all();
	ok(!has(store.layers, ID_A) && has(store.layers, ID_B),
	   "a layer that nothing names is swept, one in use is not");
	close(dir);
}

/* A guest may nest directories without end. */
static void make_deep(int dir)
{
	int at = dup(dir);

	for (int i = 0; i < DEEP; i++) {
		int next = io_dir_at(at, "d", 0700);

		put(at, "f", "x");
		close(at);
		at = next;
	}
	close(at);
}

static void trash_of_any_depth_goes_in_pieces(void)
{
	int dir = io_dir_at(store.trash, "deep", 0700), rounds = 0, r;

	make_deep(dir);
	close(dir);
	do
		r = cowfs_sweep(&store, 100);
	while (r == -EAGAIN && ++rounds < DEEP);
	ok(r == 0 && rounds > 10, "a bound of 100 entries is kept (%d rounds)", rounds);
	ok(entries_in(store.trash) == 0, "all %d levels are gone", DEEP);
}

static void the_abandoned_goes_the_living_stays(void)
{
	int live = io_dir_at(store.tmp, ID_A, 0700), r;
	struct cowfs other;
	int state = openat(fixture_dir, "state", O_RDONLY | O_DIRECTORY);

	mkdirat(store.tmp, ID_B, 0700);
	mkdirat(store.tmp, "g-1", 0700);
	flock(live, LOCK_EX);
	sweep_all();
	ok(has(store.tmp, ID_A) && !has(store.tmp, ID_B), "a locked import stays");
	ok(!has(store.tmp, "g-1"), "a guest that nobody makes any more goes");
	mkdirat(store.tmp, "g-1", 0700);
	ok(cowfs_open(state, &other, &err) == 0 && cowfs_lock(&other, LOCK_SH) == 0,
	   "somebody makes a guest");
	r = cowfs_sweep(&store, 0);
	ok(r == -EAGAIN && has(store.tmp, "g-1"), "then it stays, and the sweep is not over");
	cowfs_close(&other);
	close(live);
	sweep_all();
	ok(entries_in(store.tmp) == 0 && entries_in(store.trash) == 0, "in the end all goes");
	close(state);
}

int main(void)
{
	fixture_init();
	the_layout_is_made_and_checked();
	names_are_checked();
	a_guest_stands_on_its_template();
	a_guest_stands_on_a_directory();
	what_is_used_is_kept();
	a_damaged_record_keeps_layers();
	trash_of_any_depth_goes_in_pieces();
	the_abandoned_goes_the_living_stays();
	cowfs_close(&store);
	return tap_done();
}
