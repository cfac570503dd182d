/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One VHD image in memory: the state that all parts of the core share.
 *
 * Who owns what:
 *
 *	constants	written by the open plan, read by anyone afterwards
 *	bat, full	bat.c    written under @lock, read without (vhd_map_fast)
 *	new blocks	new.c    under @lock
 *	bitmaps		bitmap.c under @lock
 *	space		space.c  under @lock; the prepare, punch and tidy plans
 *				 have one runner at a time between them
 *	unmaps		unmap.c  under @lock; @taken by the running commit
 *	commit		commit.c under @lock; one runner at a time
 *
 * @lock is a leaf: nothing is called and no other lock is taken under it.  It
 * is taken with interrupts off, since writes complete in interrupt context.
 */
#ifndef _VHD_CORE_IMAGE_H
#define _VHD_CORE_IMAGE_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <vhd/format.h>

#include "finding.h"
#include "plan.h"

/* In-memory table value of a block that must not be touched (EIO). */
#define VHD_BAT_BAD		0xFFFFFFFEU

/* Blocks that may be allocated between two commits. */
#define VHD_NR_NEW		1024U
#define VHD_NEW_BUCKETS		256U
/* Of so few new blocks at a time growth writes the bitmaps (vhd_space.mark_ahead). */
#define VHD_FEW_NEW		8U
/* Free slots made ready ahead of need. */
#define VHD_NR_READY		32U
/* Blocks that may be unmapped between two commits. */
#define VHD_NR_UNMAPS		16384U
/* Gaps between blocks that opening looks for. */
#define VHD_MAX_GAPS		65536U
/* Bitmaps that may be dirty before writers wait for a commit. */
#define VHD_MAX_DIRTY_BITMAPS	256U
#define VHD_BITMAP_BUCKETS	1024U
/* Bitmaps kept in memory; the clean ones are evicted first in, first out. */
#define VHD_MAX_BITMAPS		16384U
/* And by each layer of a chain at least. */
#define VHD_MIN_BITMAPS		256U
/* And their bytes: those of the largest blocks have 64 KiB each. */
#define VHD_MAX_BITMAP_BYTES	(16U << 20)

/* Flags of vhd_open_init(). */
#define VHD_OPEN_WRITE		(1U << 0)
#define VHD_OPEN_FORCE		(1U << 1)
/* The virtual size is that of the geometry (old Virtual PC). */
#define VHD_OPEN_SIZE_CHS	(1U << 2)
/* Not in a file: the backing is a block device, all of it (space.h). */
#define VHD_OPEN_DEVICE		(1U << 3)

/**
 * enum vhd_new_state - life of a block allocated since the last commit
 * @VHD_NEW_FREE: the record is on the free list
 * @VHD_NEW_EMPTY: has a slot; no write into it has completed
 * @VHD_NEW_WRITTEN: a write has completed: the next commit publishes it
 * @VHD_NEW_TAKEN: the running commit publishes it
 * @VHD_NEW_DURABLE: published; the record lives while requests hold it
 * @VHD_NEW_LEFT: unmapped while the running commit publishes it; the commit's
 *	end is the record's
 * @VHD_NEW_DROPPED: unmapped before any commit; the slot is free with the last
 *	request that holds the record
 */
enum vhd_new_state {
	VHD_NEW_FREE,
	VHD_NEW_EMPTY,
	VHD_NEW_WRITTEN,
	VHD_NEW_TAKEN,
	VHD_NEW_DURABLE,
	VHD_NEW_LEFT,
	VHD_NEW_DROPPED,
};

/**
 * enum vhd_slot_mark - what has been done for a slot
 * @VHD_SLOT_PLAIN: nothing
 * @VHD_SLOT_MARKED: its bitmap is written, by growth or with the first data, and
 *	needs a flush at the most
 * @VHD_SLOT_FRESH: its bitmap is durable, and until data have come it reads as
 *	zeros, after a crash, too
 */
enum vhd_slot_mark {
	VHD_SLOT_PLAIN,
	VHD_SLOT_MARKED,
	VHD_SLOT_FRESH,
};

/**
 * struct vhd_new_block - a block whose table entry is not durable
 * @block: its number
 * @sector: absolute sector of its bitmap
 * @users: requests, reads and writes, between map and done
 * @link: next record of the bucket or of the free list, index + 1, 0: none
 * @state: enum vhd_new_state
 * @mark: enum vhd_slot_mark, of its slot
 * @exposed: a commit began to write its entry and failed: it may be on disk
 */
struct vhd_new_block {
	u32 block;
	u32 sector;
	u32 users;
	u16 link;
	u8 state;
	u8 mark : 2;
	bool exposed : 1;
};

/**
 * struct vhd_new_blocks - the new blocks of an image
 * @records: VHD_NR_NEW of them
 * @buckets: heads of the hash chains by block number, index + 1
 * @free: head of the free list, index + 1
 * @nr_used: records that are not free
 * @nr_written: records in VHD_NEW_WRITTEN: dirty metadata
 */
struct vhd_new_blocks {
	struct vhd_new_block *records;
	u16 buckets[VHD_NEW_BUCKETS];
	u16 free;
	u32 nr_used;
	u32 nr_written;
};

/**
 * struct vhd_bitmap - a cached sector bitmap
 * @hash_next: next one of the bucket
 * @lru: in vhd_bitmaps.lru
 * @block: number of the block
 * @entry: the block's entry when it was allocated
 * @loaded_at: value of vhd_bitmaps.evictions then
 * @users: requests between map and done; not evicted while there are some
 * @changed: @live has bits that a load of before may lack
 * @dirty: @live has bits that no commit has taken
 * @taken_valid: the running commit has a copy in @taken
 * @early: which it writes in phase 1: nothing on disk points at it yet
 * @taken_next: next bitmap that the running commit has taken
 * @live: bits of completed writes, in on-disk order (MSB first)
 * @taken: as the running commit writes it
 */
struct vhd_bitmap {
	struct vhd_bitmap *hash_next;
	struct list_head lru;
	u32 block;
	u32 entry;
	u32 loaded_at;
	u32 users;
	bool changed;
	bool dirty;
	bool taken_valid;
	bool early;
	struct vhd_bitmap *taken_next;
	u8 *live;
	u8 *taken;
};

/**
 * struct vhd_bitmaps - the bitmap cache
 * @buckets: heads of the hash chains by block number
 * @lru: all of them, the oldest first
 * @nr: how many there are
 * @max: from so many on the clean ones are evicted; shared out between the
 *	layers of a chain
 * @nr_dirty: so many have bits that no commit has taken
 * @evictions: changed bitmaps that left the cache; who loads one from disk
 *	compares, since a bitmap that came, changed and went meanwhile is newer
 */
struct vhd_bitmaps {
	struct vhd_bitmap **buckets;
	struct list_head lru;
	u32 nr;
	u32 max;
	u32 nr_dirty;
	u32 evictions;
};

/**
 * struct vhd_unmapped - a block whose entry is changed in memory only
 * @block: its number
 * @sector: the slot that it had, in quarantine: the table on disk may point there
 */
struct vhd_unmapped {
	u32 block;
	u32 sector;
};

/**
 * struct vhd_unmaps - blocks unmapped, or moved, since the last commit (unmap.h,
 *	move.h)
 * @pending: for the next commit; room for VHD_NR_UNMAPS, allocated when needed
 * @taken: the running commit writes their entries
 * @nr_pending: so many
 * @nr_taken: so many
 */
struct vhd_unmaps {
	struct vhd_unmapped *pending;
	struct vhd_unmapped *taken;
	u32 nr_pending;
	u32 nr_taken;
};

/** struct vhd_slots - bitmap sectors of slots, as a heap: the lowest is first */
struct vhd_slots {
	u32 *at;
	u32 nr;
	u32 max;
};

/**
 * struct vhd_space - where blocks may go
 * @data_end: first byte behind the last block and all metadata that is in use
 * @tail: file offset of the tail footer; slots up to it may be handed out
 * @file_size: bytes, as the core knows it
 * @meta_end: first byte behind all metadata: blocks may leave, this stays
 * @pad_from: from here on the 4 KiB before the data of a block that begins on a
 *	4 KiB boundary are its bitmap's alone
 * @stale: between @data_end and @tail lie bytes of unknown content (an earlier
 *	crash); they must be cut off before a slot is handed out there
 * @unsettled: there is free space that an entry may still point to on disk: the
 *	table was read, but nothing says that it is durable as it was read (a
 *	commit before may have failed half way); flush before it is used
 * @ragged: the file may be longer than @file_size, with a footer of before at its
 *	end: a growth failed, and so did cutting off what it had come to
 * @enospc: the last growth failed for want of space: do not grow ahead of need
 * @chunk: slots to prepare at the next growth; doubles with use
 * @mark_ahead: growth of a dynamic image writes bitmaps: commits come for few
 *	blocks each, and are spared a flush.  Where they come for many, who writes
 *	a block's first sector writes the bitmap with it, which is less to do.
 * @mark_from: slots between here and @mark_end that were never handed out have
 *	their bitmap written, as growth does
 * @mark_end: behind these; not behind @tail
 * @mark_reserved: the file system has reserved the space of these, and so keeps
 *	what was not written from being read
 * @marks: growths that have written bitmaps
 * @marks_durable: so many of them a flush has covered
 * @ready: free slots that read as zeros and have their space: to be handed out
 * @holes: free slots that read as zeros, their space given back; on a device
 *	discarded, which says nothing of what they read as
 * @freed: free slots that must be zeroed first
 * @gaps: the same, found between blocks when the image was opened: they stay as
 *	they are until they are needed
 * @draining: slots of blocks whose entry on disk leads elsewhere now, oldest
 *	first, no heap: free when the requests of before have ended
 *	(vhd_unmap_release)
 * @drained: so many have become free so
 */
struct vhd_space {
	u64 data_end;
	u64 tail;
	u64 file_size;
	u64 meta_end;
	u64 pad_from;
	bool stale;
	bool unsettled;
	bool ragged;
	bool enospc;
	u32 chunk;
	bool mark_ahead;
	u64 mark_from;
	u64 mark_end;
	bool mark_reserved;
	u64 marks;
	u64 marks_durable;
	struct vhd_slots ready;
	struct vhd_slots holes;
	struct vhd_slots freed;
	struct vhd_slots gaps;
	struct vhd_slots draining;
	u64 drained;
};

/**
 * struct vhd_counters - for sysfs; under vhd_image.lock
 * @commits: commits that made something durable
 * @allocations: blocks given a slot
 * @rollbacks: of these, taken back: the first write failed
 * @growths: how often the file was made longer
 * @unmaps: blocks that lost their slot
 * @moves: blocks that got another one
 * @bitmap_hits: lookups that found the bitmap they needed in the cache
 * @bitmap_misses: bitmaps that were loaded, since a lookup did not
 */
struct vhd_counters {
	u64 commits;
	u64 allocations;
	u64 rollbacks;
	u64 growths;
	u64 unmaps;
	u64 moves;
	u64 bitmap_hits;
	u64 bitmap_misses;
};

/**
 * struct vhd_image - one layer
 * @type: of the disk
 * @size: virtual size, bytes: what table and bitmaps cover
 * @disk_size: what users see, bytes: @size, or that of the geometry
 * @block_shift: log2 of the block size in bytes; 0 for a fixed image
 * @nr_blocks: ceil(size / block size); 0 for a fixed image
 * @bitmap_sectors: sectors of one sector bitmap
 * @aligned: data of all blocks lies on 4 KiB boundaries, present and future
 * @on_device: the backing is a block device: its end does not move, and of what
 *	no block has nothing is known
 * @writable: opened for writing and nothing speaks against it
 * @table_offset: bytes to the table
 * @footer: as on disk, but for what commits put in
 * @header: as on disk; of no meaning in a fixed image
 * @lock: changes of all that follows; interrupts off
 * @failed: negative errno of the flush that failed; nothing is committed any
 *	more and every write fails with it
 * @bat: entry of each block in CPU order: absolute sector of its bitmap,
 *	VHD_BAT_UNUSED or VHD_BAT_BAD; NULL for a fixed image
 * @full: bit per block: all its sectors are in this layer and its entry is
 *	durable; set after the entry, so that who sees the bit sees the entry
 * @nr_allocated: entries in use
 * @new_blocks: blocks whose entry is not durable
 * @bitmaps: the cache
 * @space: where new blocks go
 * @unmaps: blocks whose entry is still to be cleared on disk
 * @counters: since it was opened
 */
struct vhd_image {
	/* constants */
	enum vhd_disk_type type;
	u64 size;
	u64 disk_size;
	u32 block_shift;
	u32 nr_blocks;
	u32 bitmap_sectors;
	bool aligned;
	bool on_device;
	bool writable;
	u64 table_offset;
	struct vhd_footer footer;
	struct vhd_dyn_header header;

	spinlock_t lock;
	int failed;
	u32 *bat;
	unsigned long *full;
	u32 nr_allocated;
	struct vhd_new_blocks new_blocks;
	struct vhd_bitmaps bitmaps;
	struct vhd_space space;
	struct vhd_unmaps unmaps;
	struct vhd_counters counters;
};

static inline u32 vhd_block_sectors(const struct vhd_image *img)
{
	return 1U << (img->block_shift - VHD_SECTOR_SHIFT);
}

static inline u32 vhd_block_bytes(const struct vhd_image *img)
{
	return 1U << img->block_shift;
}

/** vhd_slot_bytes - bitmap and data of one block */
static inline u32 vhd_slot_bytes(const struct vhd_image *img)
{
	return (img->bitmap_sectors << VHD_SECTOR_SHIFT) + vhd_block_bytes(img);
}

/** vhd_data_pos - file offset of the data of the block whose entry is @entry */
static inline u64 vhd_data_pos(const struct vhd_image *img, u32 entry)
{
	return ((u64)entry + img->bitmap_sectors) << VHD_SECTOR_SHIFT;
}

/** vhd_image_free - release all memory of an image; process context */
void vhd_image_free(struct vhd_image *img);

#endif /* _VHD_CORE_IMAGE_H */
