/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each sector of the disk may hold: after a crash the value that was
 * flushed last or any that was written since; now the one written last.
 */
#ifndef _TESTS_SIM_MODEL_H
#define _TESTS_SIM_MODEL_H

#include <linux/types.h>

#define MAX_VERSIONS	12
#define MAX_CELLS	32768
/* Sectors that a disk may grow to, if it has not more anyway. */
#define MAX_GROWN	(136U * 1024)

/**
 * struct cell - a sector with values that are not flushed, or in use
 * @id: values written, the oldest first, the flushed one not among them
 * @now: how many of them were written when the last success was; 0: none
 * @taken: @now when the running commit began
 * @busy: a request that changes it is under way
 * @reads: reads under way
 */
struct cell {
	u32 sector;
	u32 id[MAX_VERSIONS];
	u8 n;
	u8 now;
	u8 taken;
	bool busy;
	u8 reads;
};

/**
 * struct model - the disk as its user must see it
 * @floor: the flushed value of each sector
 * @slot: index of its cell, + 1
 * @parent: a differencing image: the parent's sector n holds this and n; else 0
 * @parent_nr: sectors that the parent has
 * @chained: its parent is a former top: @below is what that one shows
 * @foreign: blocks that others made: their bitmaps may have clear bits
 */
struct model {
	u32 nr;
	u32 max;
	u32 *floor;
	u16 *slot;
	u32 block_sectors;
	u32 nr_cells;
	u32 parent;
	u32 parent_nr;
	bool chained;
	u32 *below;
	struct cell *cells;
	u8 foreign[512];
};

/** model_init - all sectors hold 0 */
void model_init(struct model *m, u32 sectors, u32 block_sectors);
void model_free(struct model *m);

/**
 * model_idle - can a request begin
 * @over_reads: one that reads may overlap
 */
bool model_idle(const struct model *m, u32 sector, u32 n, bool over_reads);
void model_busy(struct model *m, u32 sector, u32 n, bool busy);
void model_reading(struct model *m, u32 sector, u32 n, int change);
/** model_write - data number @id and following are being written */
void model_write(struct model *m, u32 sector, u32 n, u32 id);
/** model_zero - zeros are being written */
void model_zero(struct model *m, u32 sector, u32 n);
/** model_wrote - with success */
void model_wrote(struct model *m, u32 sector, u32 n);

void model_commit_begins(struct model *m);
void model_commit_succeeded(struct model *m);

/** model_allows - may @sector hold @id after a crash */
bool model_allows(const struct model *m, u32 sector, u32 id);
/** model_absent - what @sector holds that the image itself does not have */
u32 model_absent(const struct model *m, u32 sector);
/** model_now - what @sector holds */
u32 model_now(const struct model *m, u32 sector);
/** model_found - @ids are what is durable after a crash: nothing else counts */
void model_found(struct model *m, const u32 *ids);
/** model_seen - @ids are there now, but may not be durable */
void model_seen(struct model *m, const u32 *ids);

#endif /* _TESTS_SIM_MODEL_H */
