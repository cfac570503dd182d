/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images built byte by byte, and an image opened on a backing file in memory
 * with the small shell around the core that does what requests do.
 */
#ifndef _TESTS_UNIT_RIG_H
#define _TESTS_UNIT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <asm/byteorder.h>

#include "bat.h"
#include "bitmap.h"
#include "commit.h"
#include "format.h"
#include "map.h"
#include "mem.h"
#include "open.h"
#include "space.h"
#include "unmap.h"

#define KIB	1024ULL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

/* Of the image most tests use. */
#define BS	((u32)(2 * MIB))	/* block size */
#define BLKS	(BS / VHD_SECTOR_SIZE)	/* sectors of a block */
#define STRIDE	(BS + 4096ULL)

/* ---- images ----------------------------------------------------------- */

/**
 * struct build - an image to be
 * @bat: entries as build_write() writes them, all of max_table_entries
 * @end: first byte behind what is placed
 * @tail: where the footer goes; 0: where it belongs
 * @tail_bytes: 512, or 511, or 0 for no footer
 * @no_head: no copy of the footer at 0
 * @raw: checksums are written as they stand
 */
struct build {
	struct vhd_footer footer;
	struct vhd_dyn_header header;
	u32 *bat;
	u32 nr_bat;
	u64 end;
	u64 tail;
	u32 tail_bytes;
	bool no_head;
	bool raw;
};

/** build_init - a fresh image as FORMAT.md §11 lays it out */
void build_init(struct build *b, enum vhd_disk_type type, u64 size,
		u32 block_size);
void build_free(struct build *b);

/** build_block - allocate @block behind all others; returns its sector */
u32 build_block(struct build *b, u32 block);
/** build_block_at - allocate @block at @sector */
void build_block_at(struct build *b, u32 block, u32 sector);
/** build_locator - parent locator @i: @len bytes at @pos in @space */
void build_locator(struct build *b, u32 i, u32 code, u64 pos, u32 space,
		   u32 len);

/** build_write - seal and write it all; @m becomes durable */
void build_write(struct build *b, struct mem *m);
/** build_bits - set or clear bits of an allocated block's bitmap */
void build_bits(struct build *b, struct mem *m, u32 block, u32 first, u32 count,
		bool set);
/** build_tag - write @tag to sectors of an allocated block's data */
void build_tag(struct build *b, struct mem *m, u32 block, u32 first, u32 count,
	       u64 tag);
/** build_data_pos - file offset of an allocated block's data */
u64 build_data_pos(const struct build *b, u32 block);

/* ---- sectors that tell what they are ---------------------------------- */

/** tag_fill - fill @sectors sectors with @tag; 0: zeros */
void tag_fill(void *buf, u32 sectors, u64 tag);
/** tag_of - the tag of one sector; TAG_MIXED if it has none */
u64 tag_of(const void *sector);
#define TAG_MIXED	(~0ULL)

/* ---- an open image ---------------------------------------------------- */

#define RIG_MAX_FOUND	256

/**
 * struct rig - an image, its backing file, and what its findings were
 * @parent: where the image leaves a sector to its parent, it reads as this tag
 *	plus the sector's number; 0: as zeros
 * @parent_end: so many sectors has the parent, and zeros follow; 0: no end
 */
struct rig {
	struct mem mem;
	u64 parent;
	u64 parent_end;
	struct vhd_image img;
	struct vhd_open open;
	struct vhd_commit commit;
	struct vhd_reporter rep;
	struct vhd_finding found[RIG_MAX_FOUND];
	u32 nr_found;
	bool leads;
};

/** struct rig_req - a request between map and done */
struct rig_req {
	struct vhd_hold hold;
	struct vhd_extent ext;
	u64 sector;
	u32 sectors;
};

void rig_init(struct rig *r);
/** rig_make - a fresh image in the backing file, not opened */
void rig_make(struct rig *r, enum vhd_disk_type type, u64 size, u32 block_size);
/** rig_open - run the open plan; rig_close() must follow whatever comes */
int rig_open(struct rig *r, unsigned int flags);
/** rig_close - forget the open image, without commit or tidy */
void rig_close(struct rig *r);
void rig_free(struct rig *r);
/** rig_reopen - close, open again, assert that it works */
void rig_reopen(struct rig *r, unsigned int flags);
/** rig_dynamic - init, make a dynamic image of @blocks blocks, open to write */
void rig_dynamic(struct rig *r, u32 blocks, u32 block_size);

/** rig_found - the last finding of this code, or NULL */
const struct vhd_finding *rig_found(const struct rig *r,
				    enum vhd_finding_code code);
u32 rig_count_found(const struct rig *r, enum vhd_finding_code code);
/** rig_harmless - was nothing found that speaks against writing */
bool rig_harmless(const struct rig *r);

/** rig_map - map a write, loading bitmaps, making space, committing as asked */
int rig_map(struct rig *r, struct rig_req *q, u64 sector, u32 sectors);
/** rig_data - the backing file's write of a mapped request; with the lead, if r->leads */
int rig_data(struct rig *r, struct rig_req *q, u64 tag);
bool rig_done(struct rig *r, struct rig_req *q, int err);
/** rig_load - load the bitmap of @block, as VHD_MAP_BITMAP asks */
int rig_load(struct rig *r, u32 block);

/* Whole requests; ranges may cross blocks. */
int rig_write(struct rig *r, u64 sector, u32 sectors, u64 tag);
int rig_read(struct rig *r, u64 sector, u32 sectors, u8 *buf);
/** rig_parent_run - what the parent holds */
void rig_parent_run(const struct rig *r, u64 sector, u32 sectors, u8 *buf);
/** rig_expect - assert that sectors read as @tag */
void rig_expect(struct rig *r, u64 sector, u32 sectors, u64 tag);

/* As if growth had written no bitmap of a new block: commits write them all. */
void rig_unmark(struct rig *r);
int rig_commit(struct rig *r);
int rig_prepare(struct rig *r);
/** rig_zero - zero or discard (VHD_ZERO_*); ranges may cross blocks */
int rig_zero(struct rig *r, u64 sector, u64 sectors, unsigned int flags);
/** rig_release - all requests have ended: what drains is free */
void rig_release(struct rig *r);
int rig_punch(struct rig *r);
int rig_tidy(struct rig *r);

/** rig_disk_entry - the table's entry of @block in the backing file */
u32 rig_disk_entry(struct rig *r, u32 block);
/** rig_assert_footer - assert that a good footer ends the backing file */
void rig_assert_footer(struct rig *r);

/* ---- groups of tests -------------------------------------------------- */

#define run_group(name, tests) \
	_cmocka_run_group_tests(name, tests, ARRAY_SIZE(tests), NULL, NULL)

#endif /* _TESTS_UNIT_RIG_H */
