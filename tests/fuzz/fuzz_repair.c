// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libvhd over a file: check, repair, repair again, and everything undone.
 *
 * Input as fuzz_image's.  What must hold: check and open agree about attaching;
 * a repair of what can be mended without loss loses no sector that could be
 * read; a second one changes nothing; an undo brings every byte back.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "whole.h"
#include "repair.h"

#define MAX_LOOK	64U

/* Sectors that are compared, and what they held. */
struct look {
	u64 sector[MAX_LOOK];
	u8 data[MAX_LOOK][VHD_SECTOR_SIZE];
	int err[MAX_LOOK];
	u64 size;
	u32 nr;
};

static void put_fd(void *arg, u64 pos, const void *buf, size_t len)
{
	assert_int_equal(pwrite(*(int *)arg, buf, len, pos), len);
}

static int make_file(struct image *i)
{
	int fd = memfd_create("image", 0);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, i->size), 0);
	image_write(i, put_fd, &fd);
	return fd;
}

static void open_file(struct vhd_file *f, int fd, bool write)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(vhd_file_open(f, path, write), 0);
}

/* ---- looking ----------------------------------------------------------- */

/* A few sectors all over the disk, some of each block. */
static void choose(struct look *l, u64 size)
{
	u64 sectors = size / 512, k;

	memset(l, 0, sizeof(*l));
	l->size = size;
	for (k = 0; k < MAX_LOOK; k++)
		l->sector[l->nr++] = sectors * k / MAX_LOOK + k % 3 < sectors ?
			sectors * k / MAX_LOOK + k % 3 : 0;
}

static void read_all(struct vhd_file *f, struct look *l)
{
	u32 i;

	for (i = 0; i < l->nr; i++)
		l->err[i] = vhd_file_read(f, l->data[i], 512,
					  l->sector[i] * 512);
}

/* What the disk holds; false if the image is refused altogether. */
static bool look(int fd, struct look *l)
{
	static struct vhd_file f;
	int err;

	open_file(&f, fd, false);
	err = vhd_file_load(&f, 0);
	if (!err) {
		if (!l->nr)
			choose(l, f.image.size);
		assert_int_equal(l->size, f.image.size);
		read_all(&f, l);
	}
	vhd_file_close(&f);
	return !err;
}

static bool may_write(int fd)
{
	static struct vhd_file f;
	int err;

	open_file(&f, fd, true);
	err = vhd_file_load(&f, VHD_OPEN_WRITE);
	vhd_file_close(&f);
	return !err;
}

static int check(int fd, struct vhd_check *c)
{
	static struct vhd_file f;
	int err;

	memset(c, 0, sizeof(*c));
	c->azure = true;
	c->windows = true;
	c->now = 0x30000000;
	open_file(&f, fd, false);
	err = vhd_check(c, &f);
	vhd_file_close(&f);
	return err;
}

/* ---- repairing --------------------------------------------------------- */

/* Beside the memory the images are in; the process has its own. */
static char undo_path[64], kept_path[64];

static void name_files(void)
{
	snprintf(undo_path, sizeof(undo_path), "/dev/shm/vhd-fuzz.%d",
		 getpid());
	snprintf(kept_path, sizeof(kept_path), "/dev/shm/vhd-fuzz.%d.kept",
		 getpid());
	unlink(undo_path);
}

/* Return: how many changes were made, or a negative errno. */
static s64 repair(int fd, unsigned int named, enum vhd_repair_choice choice)
{
	static struct vhd_repair r;
	static struct vhd_file f;
	int err;

	memset(&r, 0, sizeof(r));
	r.parts = VHD_REPAIR_ALL;
	r.named = named;
	r.choice = choice;
	open_file(&f, fd, true);
	err = vhd_repair(&r, &f, undo_path);
	vhd_file_close(&f);
	/* Nothing is changed that cannot be taken back. */
	if (r.changes)
		assert_int_equal(access(undo_path, F_OK), 0);
	return err ? err : (s64)r.changes;
}

static void expect_same_bytes(int fd, int good)
{
	off_t size = lseek(good, 0, SEEK_END);
	void *a, *b;

	assert_int_equal(lseek(fd, 0, SEEK_END), size);
	if (!size)
		return;
	a = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	b = mmap(NULL, size, PROT_READ, MAP_SHARED, good, 0);
	assert_true(a != MAP_FAILED && b != MAP_FAILED);
	assert_true(!memcmp(a, b, size));
	munmap(a, size);
	munmap(b, size);
}

static void undo(int fd, int good)
{
	if (access(undo_path, F_OK))
		return;
	assert_int_equal(vhd_undo_apply(undo_path, fd, true), 0);
	unlink(undo_path);
	expect_same_bytes(fd, good);
}

static void expect_kept(const struct look *before, const struct look *after)
{
	u32 i;

	for (i = 0; i < before->nr; i++) {
		if (before->err[i])
			continue;
		assert_int_equal(after->err[i], 0);
		assert_true(!memcmp(before->data[i], after->data[i], 512));
	}
}

/*
 * What repair says it mends without being told to is not there any more; unless
 * what nobody can mend is in the way, or a question that nobody has answered:
 * which of two footers is right decides what is slack.
 */
static void expect_mended(const struct vhd_check *c, int err)
{
	const struct vhd_repair_info *info;
	u32 i;

	if (err || vhd_check_count(c, VHD_SEV_CORRUPT) ||
	    c->counts[VHD_FIND_HEAD_DIFFERS])
		return;
	for (i = 0; i < VHD_NR_FINDINGS; i++) {
		info = vhd_repair_info(i);
		if (info->text && !info->named && c->counts[i])
			fail_msg("after repair: %s",
				 vhd_finding_info(i)->name);
	}
}

static void mend(int fd, int good, unsigned int named,
		 enum vhd_repair_choice choice)
{
	static struct look before, after;
	static struct vhd_check c;
	bool readable;
	s64 changes;

	before.nr = 0;
	readable = look(fd, &before);
	changes = repair(fd, named, choice);
	if (changes > 0)
		assert_int_equal(rename(undo_path, kept_path),
				 0);
	if (changes >= 0) {
		assert_int_equal(repair(fd, named, choice), 0);
		expect_mended(&c, check(fd, &c));
	}
	if (changes > 0)
		assert_int_equal(rename(kept_path, undo_path),
				 0);
	if (readable && !named && choice == VHD_CHOOSE_NONE) {
		after.nr = before.nr;
		after.size = before.size;
		memcpy(after.sector, before.sector, sizeof(after.sector));
		assert_true(look(fd, &after));
		expect_kept(&before, &after);
	}
	undo(fd, good);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vhd_check c;
	struct input in = { data, size };
	struct image i;
	int fd, good, err;
	u8 how;

	name_files();
	whole_image(&i, &in);
	how = input_u8(&in);
	fd = make_file(&i);
	good = make_file(&i);
	err = check(fd, &c);
	if (!err)
		assert_int_equal(vhd_check_policy(&c) < VHD_POLICY_READ_ONLY,
				 may_write(fd));
	mend(fd, good, 0, VHD_CHOOSE_NONE);
	mend(fd, good, how & VHD_REPAIR_ALL,
	     how & 0x80 ? VHD_CHOOSE_HEAD : VHD_CHOOSE_TAIL);
	expect_same_bytes(fd, good);
	close(fd);
	close(good);
	return 0;
}
