// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Parent locators: where they lie, what they say, and what the tool opens for
 * it.
 *
 *	8 * 24 locators, 512 text, 512 parent's name, operations
 *
 * Beside the child lies p.vhd, its parent, and q.vhd, which has another id.  No
 * file but the parent is ever taken, whatever is said.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "locator.h"
#include "parent.h"
#include "utf16.h"

/* Where child and parents are; not below /dev, where no parent may be. */
static char directory[64], child_path[80], parent_path[80], other_path[80];

static void put_fd(void *arg, u64 pos, const void *buf, size_t len)
{
	assert_int_equal(pwrite(*(int *)arg, buf, len, pos), len);
}

static void write_file(const char *path, struct image *i)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, i->size), 0);
	image_write(i, put_fd, &fd);
	close(fd);
}

static void remove_files(void)
{
	unlink(child_path);
	unlink(parent_path);
	unlink(other_path);
	rmdir(directory);
}

static void make_parents(void)
{
	struct image i;

	if (*directory)
		return;
	snprintf(directory, sizeof(directory), "/tmp/vhd-fuzz.%d.XXXXXX",
		 getpid());
	assert_non_null(mkdtemp(directory));
	snprintf(child_path, sizeof(child_path), "%s/child.vhd", directory);
	snprintf(parent_path, sizeof(parent_path), "%s/p.vhd", directory);
	snprintf(other_path, sizeof(other_path), "%s/q.vhd", directory);
	image_good(&i, VHD_TYPE_DYNAMIC, 512 << 10);
	write_file(other_path, &i);
	memcpy(i.tail.unique_id, "parent-parent-pa", 16);
	write_file(parent_path, &i);
	atexit(remove_files);
}

/* ---- what a locator says ------------------------------------------------ */

static void check_place(struct vhd_place *place)
{
	assert_true(*place->name && !strchr(place->name, '/'));
	assert_true(strcmp(place->name, ".") && strcmp(place->name, ".."));
	assert_true(!place->path || place->relative == (*place->path != '/'));
	vhd_place_free(place);
}

static void read_places(const struct vhd_file *f)
{
	struct vhd_place place;
	char *path, *why;
	u32 n;

	for (n = 0; n < VHD_NR_LOCATORS; n++) {
		if (!vhd_locator_read(f, n, &place))
			check_place(&place);
		if (!vhd_place_resolve(f, n, &path, &why))
			assert_non_null(path);
		free(path);
		free(why);
	}
	if (!vhd_parent_name_read(f, &place))
		check_place(&place);
	free(vhd_parent_label(f));
}

/* There and back again gives the same units. */
static void check_text(const u8 *text, size_t bytes)
{
	char *utf8 = vhd_utf16_decode(text, bytes, false);
	size_t units = 0, len;
	u8 *back;

	assert_non_null(utf8);
	while (units < bytes / 2 && (text[2 * units] || text[2 * units + 1]))
		units++;
	assert_int_equal(vhd_utf16_encode(utf8, false, &back, &len), 0);
	assert_int_equal(len, 2 * units);
	assert_true(!memcmp(back, text, len));
	free(back);
	/* And bytes that may be no text at all. */
	len = strnlen((const char *)text, bytes);
	free(utf8);
	utf8 = strndup((const char *)text, len);
	if (!vhd_utf16_encode(utf8, true, &back, &len))
		free(back);
	free(utf8);
}

/* ---- what is opened ------------------------------------------------------ */

static void find_parent(const struct vhd_file *child)
{
	struct vhd_file *above[] = { (struct vhd_file *)child };
	struct vhd_parent_search s = {
		.child = child,
		.above = above,
		.nr_above = 1,
	};
	static struct vhd_file parent;
	struct stat st;
	int err = vhd_parent_open(&s, &parent);

	if (!err) {
		assert_int_equal(stat(parent_path, &st), 0);
		assert_true(parent.dev == st.st_dev && parent.ino == st.st_ino);
		assert_true(!memcmp(parent.image.footer.unique_id,
				    child->image.header.parent_unique_id, 16));
		vhd_file_close(&parent);
	} else {
		assert_true(err == -ENXIO || err == -ELOOP);
	}
	free(s.tried);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vhd_file child;
	struct input in = { data, size };
	struct image i;

	make_parents();
	image_good(&i, VHD_TYPE_DIFFERENCING, 512 << 10);
	input_bytes(&in, i.header.locators, sizeof(i.header.locators));
	input_bytes(&in, i.text, sizeof(i.text));
	input_bytes(&in, i.header.parent_name, sizeof(i.header.parent_name));
	check_text(i.text, sizeof(i.text));
	write_file(child_path, &i);
	assert_int_equal(vhd_file_open(&child, child_path, false), 0);
	if (!vhd_file_load(&child, 0)) {
		read_places(&child);
		find_parent(&child);
	}
	vhd_file_close(&child);
	exercise(&i, &in);
	return 0;
}
