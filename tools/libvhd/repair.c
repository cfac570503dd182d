// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In stages, each of which opens the image anew and so builds on what the one
 * before has mended:
 *
 *	lost	a footer that is not at the end, of a fixed image
 *	footer	the end's first, flushed, then the copy: one is always good
 *	header	one sector at a time where it can be
 *	bat	copies of overlapping blocks are durable before the table is
 *	bitmap	data under clear bits become zeros
 *	tail	footer behind the last block, flushed, then the rest is cut off
 *
 * Before a byte of the image is changed, the undo file has what was there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/align.h>
#include <linux/container_of.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "bat.h"
#include "bitmap.h"
#include "format.h"
#include "io.h"
#include "lost.h"
#include "repair.h"

/* Overlapping blocks that are copied without being told by name. */
#define MAX_COPIES	1024U
/* Ranges zeroed at a time, with one flush of the undo file. */
#define MAX_RANGES	1024U

#define R(_code, _part, _named, _text) \
	[VHD_FIND_##_code] = { VHD_REPAIR_##_part, _named, _text }

static const struct vhd_repair_info repairs[VHD_NR_FINDINGS] = {
	R(NO_FOOTER, FOOTER, false,
	  "finds the footer of a fixed image that a resize was making larger, and cuts off the zeros behind it; on a device that has become larger, puts it to the end"),
	R(TAIL_BAD, FOOTER, false, "writes the footer from its copy"),
	R(TAIL_CHECKSUM_ZERO, FOOTER, false, "writes the footer from its copy"),
	R(HEAD_BAD, FOOTER, false, "writes the copy from the footer"),
	R(HEAD_DIFFERS, FOOTER, true,
	  "writes the one over the other that is named (footer:head, footer:tail)"),
	R(FOOTER_511, FOOTER, false, "adds the last byte"),
	R(FOOTER_FEATURES_ZERO, FOOTER, false, "sets the bit"),
	R(FOOTER_FIXED_OFFSET, FOOTER, false, "sets all bits"),
	R(NULL_ID, FOOTER, false, "gives the image a random id"),
	R(FIXED_TRUNCATED, TAIL, true,
	  "makes the file longer; what is missing reads as zeros"),
	R(HEADER_COOKIE, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(HEADER_CHECKSUM, HEADER, true,
	  "restores a field if the checksum confirms it; by name: takes the fields as they are"),
	R(HEADER_VERSION, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(HEADER_DATA_OFFSET, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(BLOCK_SIZE, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(TABLE_OFFSET, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(TABLE_SMALL, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(TABLE_METADATA, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(TABLE_LARGE, HEADER, false,
	  "restores the field if the checksum confirms it"),
	R(TABLE_END, HEADER, false, "states the table that the disk needs"),
	R(LOCATOR, HEADER, false, "removes the locator"),
	R(LOCATOR_OVERLAP, HEADER, false, "removes the locator"),
	R(TABLE_SURPLUS, BAT, false, "marks the entry unused"),
	R(BLOCK_METADATA, BAT, true,
	  "marks the block unused: it reads as zeros, or as the parent"),
	R(BLOCK_END, BAT, true,
	  "marks the block unused: it reads as zeros, or as the parent"),
	R(BLOCK_OVERLAP, BAT, false,
	  "copies one of them elsewhere: each reads as before, though one is wrong"),
	R(BITMAP_DATA, BITMAP, false, "zeroes the data under clear bits"),
	R(SLACK, TAIL, false, "cuts the file behind the last block"),
};

const struct vhd_repair_info *vhd_repair_info(enum vhd_finding_code code)
{
	return &repairs[code];
}

/* ---- writing --------------------------------------------------------- */

static void told(struct vhd_repair *r, const char *what, u64 pos)
{
	r->changes++;
	if (r->tell)
		r->tell(what, pos);
}

static int flush(struct vhd_repair *r)
{
	return fdatasync(r->file->fd) ? -errno : 0;
}

/* Write over what the undo file has not yet, and make it durable. */
static int replace(struct vhd_repair *r, const void *buf, size_t len, u64 pos)
{
	int err;

	err = vhd_undo_save(&r->undo, pos, len);
	if (!err)
		err = vhd_undo_sync(&r->undo);
	if (!err)
		err = vhd_pwrite(r->file->fd, buf, len, pos);
	return err ? err : flush(r);
}

/* Cut the file; the undo file has what lies behind. */
static int cut(struct vhd_repair *r, u64 size)
{
	return ftruncate(r->file->fd, size) ? -errno : flush(r);
}

/* ---- looking --------------------------------------------------------- */

static bool has(const struct vhd_repair *r, enum vhd_finding_code code)
{
	return r->check.counts[code];
}

/* Remember which blocks are damaged; they may be more than are kept. */
static void mark_block(struct vhd_check *c, const struct vhd_finding *f)
{
	struct vhd_repair *r = container_of(c, struct vhd_repair, check);

	if (f->block < VHD_MAX_BLOCKS &&
	    (f->code == VHD_FIND_BLOCK_END ||
	     f->code == VHD_FIND_BLOCK_METADATA ||
	     f->code == VHD_FIND_BLOCK_OVERLAP)) {
		r->marks[f->block] = f->code;
		r->nr_marks = max(r->nr_marks, f->block + 1);
	}
}

static void unload(struct vhd_file *f)
{
	if (f->loaded)
		vhd_image_free(&f->image);
	f->loaded = false;
}

/* Open the image as it is now.  Return: as vhd_check(). */
static int look(struct vhd_repair *r)
{
	struct vhd_check *c = &r->check;
	int err;

	unload(r->file);
	err = vhd_fd_size(r->file->fd, &r->file->size);
	if (err)
		return err;
	memset(c, 0, sizeof(*c));
	memset(r->marks, 0, r->nr_marks);
	r->nr_marks = 0;
	c->quick = true;
	c->each = mark_block;
	return vhd_check(c, r->file);
}

static bool refused(int err)
{
	return err == -EUCLEAN || err == -EMEDIUMTYPE || err == -ENXIO;
}

/* ---- footer ---------------------------------------------------------- */

static int random_id(u8 id[16])
{
	if (getrandom(id, 16, 0) != 16)
		return -EIO;
	id[6] = (id[6] & 0x0F) | 0x40;
	id[8] = (id[8] & 0x3F) | 0x80;
	return 0;
}

/* What any footer of the image should have. */
static void footer_mended(struct vhd_footer *f)
{
	f->features |= cpu_to_be32(VHD_FEATURE_RESERVED);
	vhd_seal_footer(f);
}

/* A repair was interrupted between the two: the end's is the mended one. */
static bool footer_half_mended(const struct vhd_open *o)
{
	struct vhd_footer head = o->head;
	struct vhd_footer tail = o->tail;

	if (!memchr_inv(head.unique_id, 0, sizeof(head.unique_id)))
		memcpy(head.unique_id, tail.unique_id, sizeof(head.unique_id));
	footer_mended(&head);
	footer_mended(&tail);
	return !memcmp(&head, &tail, sizeof(head));
}

/* What the footers should be: the chosen one may have faults that the other lacks. */
static int footer_wanted(struct vhd_repair *r, struct vhd_footer *f)
{
	int err = 0;

	*f = r->file->image.footer;
	if (has(r, VHD_FIND_HEAD_DIFFERS) && r->choice == VHD_CHOOSE_HEAD)
		*f = r->check.open.head;
	footer_mended(f);
	if (f->disk_type == cpu_to_be32(VHD_TYPE_FIXED))
		f->data_offset = cpu_to_be64(VHD_NO_OFFSET);
	if (!memchr_inv(f->unique_id, 0, sizeof(f->unique_id)))
		err = random_id(f->unique_id);
	vhd_seal_footer(f);
	return err;
}

/*
 * The end of the one block that the end of the file cuts off, or 0.  Only where
 * no footer is left, and only if the block meets no other: then the file was
 * cut, and the block is not just badly addressed.
 */
static u64 cut_block_end(const struct vhd_repair *r, const u32 *table)
{
	const struct vhd_image *img = &r->file->image;
	u64 start, cut = 0, others = 0;
	u32 i;

	for (i = 0; i < img->nr_blocks; i++) {
		start = (u64)table[i] << VHD_SECTOR_SHIFT;
		if (table[i] == VHD_BAT_UNUSED || start >= r->file->size)
			continue;
		if (r->marks[i] != VHD_FIND_BLOCK_END)
			others = max(others, start + vhd_slot_bytes(img));
		else
			cut = cut ? U64_MAX : start;	/* only one may be */
	}
	if (cut == U64_MAX || cut < others)
		return 0;
	return cut ? cut + vhd_slot_bytes(img) : 0;
}

/* The table's entries as they are on disk, those that the disk needs. */
static int read_table(struct vhd_repair *r, u32 **table)
{
	const struct vhd_image *img = &r->file->image;
	size_t bytes = img->nr_blocks * sizeof(__be32);
	u32 *t = malloc(bytes);
	u32 i;
	int err;

	if (!t)
		return -ENOMEM;
	err = vhd_pread(r->file->fd, t, bytes, img->table_offset);
	if (err) {
		free(t);
		return err;
	}
	for (i = 0; i < img->nr_blocks; i++)
		t[i] = be32_to_cpu(((__be32 *)t)[i]);
	*table = t;
	return 0;
}

/* Nothing at the end tells where the footer was: where shall it be? */
static int footer_place(struct vhd_repair *r, u64 *pos)
{
	const struct vhd_image *img = &r->file->image;
	u64 size = r->file->size;
	u32 *table;
	u64 end;
	int err;

	if (!img->bat)
		return -EUCLEAN;
	err = read_table(r, &table);
	if (err)
		return err;
	end = max(img->space.data_end, cut_block_end(r, table));
	free(table);
	*pos = round_up(max(size, end), (u64)VHD_SECTOR_SIZE);
	/* The last sector is nobody's: it was the footer. */
	if (size >= VHD_SECTOR_SIZE &&
	    round_down(size, (u64)VHD_SECTOR_SIZE) - VHD_SECTOR_SIZE >= end)
		*pos = round_down(size, (u64)VHD_SECTOR_SIZE) - VHD_SECTOR_SIZE;
	return 0;
}

static int mend_tail_footer(struct vhd_repair *r, const struct vhd_footer *f)
{
	const struct vhd_open *o = &r->check.open;
	u64 pos = o->tail_pos;
	int err = 0;

	if (o->tail_ok && !o->tail_short && !memcmp(f, &o->tail, sizeof(*f)))
		return 0;
	if (!o->tail_ok && pos == r->file->size) {
		err = footer_place(r, &pos);
		if (err)
			return err;
	}
	told(r, "footer at the end", pos);
	/* It is only found where the file ends. */
	if (r->file->size > pos)
		err = vhd_undo_save(&r->undo, pos, r->file->size - pos);
	if (!err)
		err = replace(r, f, sizeof(*f), pos);
	if (!err && r->file->size > pos + sizeof(*f))
		err = cut(r, pos + sizeof(*f));
	return err;
}

static int mend_head_footer(struct vhd_repair *r, const struct vhd_footer *f)
{
	if (r->file->image.type == VHD_TYPE_FIXED ||
	    !memcmp(f, &r->check.open.head, sizeof(*f)))
		return 0;
	told(r, "copy of the footer", 0);
	return replace(r, f, sizeof(*f), 0);
}

/* Is it known which footer is good? */
static bool footer_known(const struct vhd_repair *r)
{
	if (!r->file->image.type || has(r, VHD_FIND_FOOTER_POISON))
		return false;
	return !has(r, VHD_FIND_HEAD_DIFFERS) || r->choice != VHD_CHOOSE_NONE ||
	       footer_half_mended(&r->check.open);
}

static int mend_footer(struct vhd_repair *r, int looked)
{
	struct vhd_footer f;
	int err;

	if (!footer_known(r))
		return 0;
	/* Where the image cannot be opened, nobody knows where it ends. */
	if (looked && !r->check.open.tail_ok)
		return 0;
	err = footer_wanted(r, &f);
	if (!err)
		err = mend_tail_footer(r, &f);
	return err ? err : mend_head_footer(r, &f);
}

/* What is cut off is zeros, so that to undo it the size is enough. */
static int cut_zeros(struct vhd_repair *r, u64 pos)
{
	u64 size = r->file->size;
	int err;

	told(r, "end of the file, behind the footer that is left", pos);
	pos += VHD_SECTOR_SIZE;
	err = vhd_undo_save(&r->undo, pos, min_t(u64, size - pos,
						 VHD_SECTOR_SIZE));
	if (!err)
		err = vhd_undo_sync(&r->undo);
	return err ? err : cut(r, pos);
}

/* A device is not cut; what lies in between may be anything. */
static int copy_to_end(struct vhd_repair *r, u64 from)
{
	struct vhd_footer f;
	u64 tail;
	int err;

	err = vhd_fd_tail(r->file->fd, &tail);
	if (!err)
		err = vhd_pread(r->file->fd, &f, sizeof(f), from);
	if (err)
		return err;
	told(r, "footer at the end of the device", tail);
	return replace(r, &f, sizeof(f), tail);
}

/*
 * A fixed image, or its device, was being made larger: there was no other
 * footer yet.
 */
static int find_footer(struct vhd_repair *r)
{
	bool device = S_ISBLK(r->file->mode);
	u64 pos;
	int err;

	err = vhd_lost_footer(r->file->fd, r->file->size, device, &pos);
	if (err)
		return err == -ENODATA ? 0 : err;
	return device ? copy_to_end(r, pos) : cut_zeros(r, pos);
}

static int mend_lost_footer(struct vhd_repair *r)
{
	if (!(r->parts & VHD_REPAIR_FOOTER) || look(r) != -EMEDIUMTYPE ||
	    !has(r, VHD_FIND_NO_FOOTER))
		return 0;
	return find_footer(r);
}

/* ---- header ---------------------------------------------------------- */

static bool header_good(const struct vhd_dyn_header *h)
{
	return be32_to_cpu(h->checksum) == vhd_header_checksum(h);
}

/* The fields that can have one value only. */
static void header_constants(struct vhd_dyn_header *h)
{
	memcpy(h->cookie, VHD_HEADER_COOKIE, sizeof(h->cookie));
	h->data_offset = cpu_to_be64(VHD_NO_OFFSET);
	h->header_version = cpu_to_be32(VHD_HEADER_VERSION);
}

/**
 * struct header_guess - the one header that the checksum confirms
 * @matches: different ones that it confirms; it is only a sum of bytes, so that
 *	several are none
 */
struct header_guess {
	struct vhd_dyn_header header;
	unsigned int matches;
};

static void guess(struct header_guess *g, const struct vhd_dyn_header *h)
{
	if (!header_good(h) ||
	    (g->matches && !memcmp(h, &g->header, sizeof(*h))))
		return;
	g->header = *h;
	g->matches++;
}

static void guess_block_size(struct header_guess *g, struct vhd_dyn_header h)
{
	static const u32 sizes[] = { 2U << 20, 512U << 10, 1U << 20 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		h.block_size = cpu_to_be32(sizes[i]);
		guess(g, &h);
	}
}

static void guess_table(struct header_guess *g, struct vhd_dyn_header h,
			u64 header)
{
	const u64 offsets[] = { 0x600, header + sizeof(h), 0x1000, 0x2000 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		h.table_offset = cpu_to_be64(offsets[i]);
		guess(g, &h);
	}
}

static void guess_entries(struct header_guess *g, struct vhd_dyn_header h,
			  u64 size)
{
	u32 block = be32_to_cpu(h.block_size);

	if (!block)
		return;
	h.max_table_entries = cpu_to_be32(vhd_nr_blocks(size, block));
	guess(g, &h);
}

/*
 * Find the header that the checksum in it was made for: fields that can have
 * one value only, or the usual values of the one for which it is refused.
 */
static bool header_restore(const struct vhd_repair *r, struct vhd_dyn_header *h)
{
	u64 size = be64_to_cpu(r->file->image.footer.current_size);
	u64 header = be64_to_cpu(r->file->image.footer.data_offset);
	struct header_guess g = { };
	struct vhd_dyn_header plain;

	if (header_good(h))
		return false;	/* it was made for just this */
	header_constants(h);
	guess(&g, h);
	plain = *h;
	plain.reserved1 = 0;
	memset(plain.reserved2, 0, sizeof(plain.reserved2));
	guess(&g, &plain);
	if (has(r, VHD_FIND_BLOCK_SIZE) || has(r, VHD_FIND_TABLE_SMALL) ||
	    has(r, VHD_FIND_TABLE_LARGE))
		guess_block_size(&g, *h);
	if (has(r, VHD_FIND_TABLE_SMALL) || has(r, VHD_FIND_TABLE_END))
		guess_entries(&g, *h, size);
	if (has(r, VHD_FIND_TABLE_OFFSET) || has(r, VHD_FIND_TABLE_METADATA))
		guess_table(&g, *h, header);
	*h = g.header;
	return g.matches == 1;
}

static int write_header(struct vhd_repair *r, const struct vhd_dyn_header *h,
			const char *what)
{
	u64 pos = be64_to_cpu(r->file->image.footer.data_offset);

	told(r, what, pos);
	return replace(r, h, sizeof(*h), pos);
}

/* The checksum of the header is wrong, or the image is refused for it. */
static int mend_header_fields(struct vhd_repair *r, int looked)
{
	const struct vhd_footer *f = &r->file->image.footer;
	u64 pos = be64_to_cpu(f->data_offset);
	struct vhd_dyn_header h;
	int err;

	err = vhd_pread(r->file->fd, &h, sizeof(h), pos);
	if (err)
		return err;
	if (header_restore(r, &h))
		return write_header(r, &h, "field of the header, as its checksum says");
	if (looked || !has(r, VHD_FIND_HEADER_CHECKSUM) ||
	    !(r->named & VHD_REPAIR_HEADER))
		return 0;
	h = r->file->image.header;
	vhd_seal_header(&h);
	return write_header(r, &h, "checksum of the header");
}

static unsigned int drop_locators(const struct vhd_repair *r,
				  struct vhd_dyn_header *h,
				  enum vhd_finding_code code)
{
	u64 first = be64_to_cpu(r->file->image.footer.data_offset) +
		    offsetof(struct vhd_dyn_header, locators);
	unsigned int i, n;

	for (i = 0; i < vhd_check_kept(&r->check, code); i++) {
		n = (r->check.kept[code][i].offset - first) /
		    sizeof(struct vhd_locator);
		if (n < VHD_NR_LOCATORS)
			memset(&h->locators[n], 0, sizeof(h->locators[n]));
	}
	return i;
}

static int mend_header_values(struct vhd_repair *r)
{
	struct vhd_dyn_header h = r->file->image.header;
	int err = 0;

	if (drop_locators(r, &h, VHD_FIND_LOCATOR) +
	    drop_locators(r, &h, VHD_FIND_LOCATOR_OVERLAP)) {
		vhd_seal_header(&h);
		err = write_header(r, &h, "parent locators of the header");
	}
	if (!err && has(r, VHD_FIND_TABLE_END)) {
		h.max_table_entries = cpu_to_be32(r->file->image.nr_blocks);
		vhd_seal_header(&h);
		err = write_header(r, &h, "max_table_entries of the header");
	}
	return err;
}

static int mend_header(struct vhd_repair *r, int looked)
{
	u32 type = r->file->image.type;

	if (type != VHD_TYPE_DYNAMIC && type != VHD_TYPE_DIFFERENCING)
		return 0;
	/* Only the footer tells where it is and how large the disk is. */
	if (has(r, VHD_FIND_FOOTER_DATA_OFFSET) ||
	    has(r, VHD_FIND_HEAD_DIFFERS))
		return 0;
	if (looked || has(r, VHD_FIND_HEADER_CHECKSUM))
		return mend_header_fields(r, looked);
	return mend_header_values(r);
}

/* ---- table ----------------------------------------------------------- */

/* Write the changed sectors of the table. */
static int write_table(struct vhd_repair *r, const u32 *old, const u32 *new)
{
	const struct vhd_image *img = &r->file->image;
	__be32 *raw;
	u32 i, first = img->nr_blocks, last = 0;
	u64 pos;
	int err;

	for (i = 0; i < img->nr_blocks; i++) {
		if (old[i] == new[i])
			continue;
		first = min(first, i);
		last = i + 1;
	}
	if (first >= last)
		return 0;
	raw = malloc((last - first) * sizeof(*raw));
	if (!raw)
		return -ENOMEM;
	for (i = first; i < last; i++)
		raw[i - first] = cpu_to_be32(new[i]);
	pos = img->table_offset + first * (u64)sizeof(*raw);
	err = replace(r, raw, (last - first) * sizeof(*raw), pos);
	free(raw);
	return err;
}

static u64 entry_at(const struct vhd_repair *r, u32 block)
{
	return r->file->image.table_offset + block * (u64)sizeof(__be32);
}

static void drop_blocks(struct vhd_repair *r, u32 *table)
{
	u32 i;

	for (i = 0; i < r->file->image.nr_blocks; i++) {
		if (r->marks[i] != VHD_FIND_BLOCK_END &&
		    r->marks[i] != VHD_FIND_BLOCK_METADATA)
			continue;
		table[i] = VHD_BAT_UNUSED;
		told(r, "table entry, now unused", entry_at(r, i));
	}
}

/* Entries behind those that the disk needs. */
static int drop_surplus(struct vhd_repair *r)
{
	const struct vhd_image *img = &r->file->image;
	u64 pos = img->table_offset + img->nr_blocks * (u64)sizeof(__be32);
	u64 end = vhd_check_table_end(&r->check);
	u8 buf[VHD_IO_MAX];
	size_t n;
	int err;

	for (; pos < end; pos += n) {
		if (vhd_interrupted)
			return -EINTR;
		n = min_t(u64, end - pos, sizeof(buf));
		err = vhd_pread(r->file->fd, buf, n, pos);
		if (err)
			return err;
		if (!memchr_inv(buf, 0xFF, n))
			continue;
		memset(buf, 0xFF, n);
		told(r, "table behind the disk's end", pos);
		err = replace(r, buf, n, pos);
		if (err)
			return err;
	}
	return 0;
}

/**
 * struct copies - blocks to be copied because others lie over them
 * @blocks: sorted by place; the first @nr_moved entries of @moved are to go
 */
struct copies {
	u32 *blocks;
	u32 nr;
	u32 *moved;
	u32 nr_moved;
	u64 end;
};

static const u32 *sort_table;

static int by_place(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	if (sort_table[x] != sort_table[y])
		return sort_table[x] < sort_table[y] ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* Of blocks that overlap the one that begins first stays. */
static void choose_copies(struct copies *k, const struct vhd_image *img,
			  const u32 *table)
{
	u64 start, kept = 0;
	u32 i;

	for (i = 0; i < k->nr; i++) {
		start = (u64)table[k->blocks[i]] << VHD_SECTOR_SHIFT;
		k->end = max(k->end, start + vhd_slot_bytes(img));
		if (start < kept)
			k->moved[k->nr_moved++] = k->blocks[i];
		else
			kept = start + vhd_slot_bytes(img);
	}
}

static int find_copies(const struct vhd_repair *r, const u32 *table,
		       struct copies *k)
{
	const struct vhd_image *img = &r->file->image;
	u32 i;

	k->blocks = malloc(img->nr_blocks * sizeof(u32));
	k->moved = malloc(img->nr_blocks * sizeof(u32));
	if (!k->blocks || !k->moved)
		return -ENOMEM;
	for (i = 0; i < img->nr_blocks; i++)
		if (table[i] != VHD_BAT_UNUSED &&
		    (!r->marks[i] || r->marks[i] == VHD_FIND_BLOCK_OVERLAP))
			k->blocks[k->nr++] = i;
	sort_table = table;
	qsort(k->blocks, k->nr, sizeof(u32), by_place);
	k->end = img->space.meta_end;
	choose_copies(k, img, table);
	return 0;
}

/* Copy one slot; @fresh: from here on the target reads as zeros. */
static int copy_slot(struct vhd_repair *r, u64 from, u64 to, u64 len, u64 fresh)
{
	static u8 buf[VHD_IO_MAX];
	size_t n;
	int err = 0;

	for (; len && !err; from += n, to += n, len -= n) {
		if (vhd_interrupted)
			return -EINTR;
		n = min_t(u64, len, sizeof(buf));
		err = vhd_pread(r->file->fd, buf, n, from);
		if (!err && (to < fresh || memchr_inv(buf, 0, n)))
			err = vhd_pwrite(r->file->fd, buf, n, to);
	}
	return err;
}

/* The file grows: the footer is at the new end before its old place is used. */
static int make_room(struct vhd_repair *r, u64 first, u64 end)
{
	u64 old = r->file->size;
	u64 tail = vhd_tail_pos(end);
	int err;

	/* Of a device what lies behind that is not touched. */
	if (r->file->image.on_device)
		old = min(old, end);

	if (tail <= r->check.open.tail_pos)
		tail = r->check.open.tail_pos;
	err = vhd_undo_save(&r->undo, first, old > first ? old - first : 0);
	if (!err)
		err = vhd_undo_sync(&r->undo);
	if (!err && tail != r->check.open.tail_pos)
		err = vhd_pwrite(r->file->fd, &r->file->image.footer,
				 VHD_SECTOR_SIZE, tail);
	return err ? err : flush(r);
}

static int copy_blocks(struct vhd_repair *r, struct copies *k, u32 *table)
{
	const struct vhd_image *img = &r->file->image;
	u64 first = vhd_tail_pos(k->end);
	u64 stride = vhd_block_bytes(img) + (u64)round_up(img->bitmap_sectors *
							  VHD_SECTOR_SIZE,
							  VHD_ALIGN);
	u64 old = r->file->size;
	u64 to = first;
	u32 i;
	int err;

	if ((first + k->nr_moved * stride) >> VHD_SECTOR_SHIFT >= VHD_BAT_BAD)
		return -EFBIG;
	err = make_room(r, first, first + k->nr_moved * stride);
	for (i = 0; i < k->nr_moved && !err; i++, to += stride) {
		u32 block = k->moved[i];

		told(r, "copy of an overlapping block", to);
		err = copy_slot(r, (u64)table[block] << VHD_SECTOR_SHIFT, to,
				vhd_slot_bytes(img), old);
		table[block] = to >> VHD_SECTOR_SHIFT;
	}
	return err ? err : flush(r);
}

static int mend_overlaps(struct vhd_repair *r, u32 *table)
{
	struct copies k = { };
	int err;

	err = find_copies(r, table, &k);
	if (!err && k.nr_moved &&
	    (k.nr_moved <= MAX_COPIES || r->named & VHD_REPAIR_BAT))
		err = copy_blocks(r, &k, table);
	free(k.blocks);
	free(k.moved);
	return err;
}

static int mend_table(struct vhd_repair *r, u32 *old)
{
	size_t bytes = r->file->image.nr_blocks * sizeof(*old);
	u32 *new = malloc(bytes);
	int err = 0;

	if (!new)
		return -ENOMEM;
	memcpy(new, old, bytes);
	/*
	 * Copies go to the end of the file, and there a block that is said to
	 * be beyond it would come to lie in them: it must be forgotten, too.
	 */
	if (has(r, VHD_FIND_BLOCK_OVERLAP) &&
	    (r->named & VHD_REPAIR_BAT || !has(r, VHD_FIND_BLOCK_END)))
		err = mend_overlaps(r, new);
	if (r->named & VHD_REPAIR_BAT)
		drop_blocks(r, new);
	if (!err)
		err = write_table(r, old, new);
	free(new);
	return err;
}

static int mend_bat(struct vhd_repair *r, int looked)
{
	u32 *table;
	int err;

	if (looked || !r->file->image.bat)
		return 0;
	/* Where the end is not known, nothing may be put there. */
	if (!r->check.open.tail_ok)
		return 0;
	err = read_table(r, &table);
	if (err)
		return err;
	err = mend_table(r, table);
	free(table);
	if (!err && has(r, VHD_FIND_TABLE_SURPLUS))
		err = drop_surplus(r);
	return err;
}

/* ---- bitmaps --------------------------------------------------------- */

struct zero_range {
	u64 pos;
	u64 len;
};

/** struct zeroing - ranges to be zeroed, once the undo file has them */
struct zeroing {
	struct zero_range ranges[MAX_RANGES];
	unsigned int nr;
};

static int zero_now(struct vhd_repair *r, struct zeroing *z)
{
	unsigned int i;
	int err;

	err = vhd_undo_sync(&r->undo);
	for (i = 0; i < z->nr && !err; i++)
		err = vhd_zero(r->file->fd, z->ranges[i].pos, z->ranges[i].len);
	z->nr = 0;
	return err;
}

static int zero_later(struct vhd_repair *r, struct zeroing *z, u64 pos, u64 len)
{
	int err;

	err = vhd_undo_save(&r->undo, pos, len);
	if (err)
		return err;
	z->ranges[z->nr++] = (struct zero_range) { pos, len };
	return z->nr == MAX_RANGES ? zero_now(r, z) : 0;
}

/* The pieces of [pos, end) that are not zeros. */
static int zero_data(struct vhd_repair *r, struct zeroing *z, u64 pos, u64 end,
		     bool *any)
{
	static u8 buf[VHD_IO_MAX];
	off_t data;
	size_t n;
	int err;

	for (; pos < end; pos += n) {
		data = lseek(r->file->fd, pos, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data > (off_t)pos)
			pos = round_down(data, (off_t)VHD_SECTOR_SIZE);
		if (pos >= end)
			return 0;
		n = min_t(u64, end - pos, sizeof(buf));
		err = vhd_pread(r->file->fd, buf, n, pos);
		if (err)
			return err;
		if (!memchr_inv(buf, 0, n))
			continue;
		*any = true;
		err = zero_later(r, z, pos, n);
		if (err)
			return err;
	}
	return 0;
}

static int mend_block_bits(struct vhd_repair *r, struct zeroing *z, u32 block,
			   const u8 *bits)
{
	const struct vhd_image *img = &r->file->image;
	u32 sectors = vhd_disk_sectors(img, block);
	u64 data = vhd_data_pos(img, img->bat[block]);
	bool any = false;
	u32 n, run;
	u64 pos;
	bool set;
	int err;

	for (n = 0; n < sectors; n += run) {
		run = vhd_bits_run(bits, n, sectors - n, &set);
		pos = data + ((u64)n << VHD_SECTOR_SHIFT);
		if (set)
			continue;
		err = zero_data(r, z, pos, pos + ((u64)run << VHD_SECTOR_SHIFT),
				&any);
		if (err)
			return err;
	}
	if (any)
		told(r, "data under clear bits of a block", data);
	return 0;
}

static int mend_bitmaps(struct vhd_repair *r, struct zeroing *z, u8 *bits)
{
	struct vhd_image *img = &r->file->image;
	u32 block, len;
	u64 pos;
	int err;

	for (block = 0; block < img->nr_blocks; block++) {
		if (vhd_interrupted)
			return -EINTR;
		if (img->bat[block] >= VHD_BAT_BAD)
			continue;
		pos = vhd_bitmap_pos(img, block, &len);
		err = vhd_pread(r->file->fd, bits, len, pos);
		if (!err && !vhd_bitmap_full(img, block, bits))
			err = mend_block_bits(r, z, block, bits);
		if (err)
			return err;
	}
	return z->nr ? zero_now(r, z) : 0;
}

static int mend_bitmap(struct vhd_repair *r, int looked)
{
	const struct vhd_image *img = &r->file->image;
	struct zeroing *z;
	u8 *bits;
	int err = -ENOMEM;

	if (looked || !img->bat || img->type != VHD_TYPE_DYNAMIC)
		return 0;
	z = calloc(1, sizeof(*z));
	bits = malloc(img->bitmap_sectors << VHD_SECTOR_SHIFT);
	if (z && bits)
		err = mend_bitmaps(r, z, bits);
	free(bits);
	free(z);
	return err ? err : flush(r);
}

/* ---- tail ------------------------------------------------------------ */

static int move_footer(struct vhd_repair *r, u64 pos)
{
	struct vhd_footer f = r->file->image.footer;

	told(r, "footer, moved", pos);
	return replace(r, &f, sizeof(f), pos);
}

/*
 * A fixed image's file is too short: the footer stands where data should.  It
 * has no copy: should a crash keep the new size and lose the new footer, the
 * undo file helps.
 */
static int lengthen(struct vhd_repair *r)
{
	u64 old = r->check.open.tail_pos;
	u64 size = r->file->image.size;
	int err;

	err = move_footer(r, size);
	if (!err)
		err = vhd_undo_save(&r->undo, old, VHD_SECTOR_SIZE);
	if (!err)
		err = vhd_undo_sync(&r->undo);
	if (!err)
		err = vhd_zero(r->file->fd, old,
			       min_t(u64, VHD_SECTOR_SIZE, size - old));
	return err ? err : flush(r);
}

static int tighten(struct vhd_repair *r)
{
	u64 pos = vhd_tail_pos(r->file->image.space.data_end);
	int err;

	/* What lies behind is kept before the footer goes over any of it. */
	err = vhd_undo_save(&r->undo, pos, r->file->size - pos);
	if (!err)
		err = move_footer(r, pos);
	return err ? err : cut(r, pos + VHD_SECTOR_SIZE);
}

static int mend_tail(struct vhd_repair *r, int looked)
{
	if (looked || !r->check.open.tail_ok)
		return 0;
	if (has(r, VHD_FIND_FIXED_TRUNCATED))
		return r->named & VHD_REPAIR_TAIL ? lengthen(r) : 0;
	/* Blocks that are damaged may be anywhere. */
	if (!has(r, VHD_FIND_SLACK) || has(r, VHD_FIND_BLOCK_END) ||
	    has(r, VHD_FIND_BLOCK_METADATA) || has(r, VHD_FIND_BLOCK_OVERLAP))
		return 0;
	return tighten(r);
}

/* ---- all of it ------------------------------------------------------- */

static const struct {
	enum vhd_repair_part part;
	int (*mend)(struct vhd_repair *r, int looked);
} stages[] = {
	/* The footer's place is known once the header is right. */
	{ VHD_REPAIR_HEADER, mend_header },
	{ VHD_REPAIR_FOOTER, mend_footer },
	/*
	 * What was refused before could not be looked at: the checksum, by a
	 * footer that led elsewhere; then the locators, by the checksum.
	 */
	{ VHD_REPAIR_HEADER, mend_header },
	{ VHD_REPAIR_HEADER, mend_header },
	{ VHD_REPAIR_BAT, mend_bat },
	{ VHD_REPAIR_BITMAP, mend_bitmap },
	{ VHD_REPAIR_TAIL, mend_tail },
};

static int repair_stages(struct vhd_repair *r)
{
	size_t i;
	int looked, err;

	err = mend_lost_footer(r);
	for (i = 0; i < ARRAY_SIZE(stages) && !err; i++) {
		if (!(r->parts & stages[i].part))
			continue;
		looked = look(r);
		if (looked && !refused(looked))
			return looked;
		/* Before it is known which footer is right, nothing else is. */
		if (!footer_known(r))
			return 0;
		err = stages[i].mend(r, looked);
	}
	return err;
}

int vhd_repair(struct vhd_repair *r, struct vhd_file *f, const char *undo)
{
	int err = -ENOMEM;

	r->file = f;
	r->changes = 0;
	vhd_undo_init(&r->undo, undo, f->fd);
	r->marks = calloc(VHD_MAX_BLOCKS, 1);
	r->nr_marks = 0;
	if (r->marks)
		err = repair_stages(r);
	if (!err)
		err = vhd_undo_finish(&r->undo);
	vhd_undo_close(&r->undo);
	unload(f);
	free(r->marks);
	return err;
}
