/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block allocation table: entries in memory, sectors on disk, and the new
 * blocks whose entries no commit has published yet.
 */
#ifndef _VHD_CORE_BAT_H
#define _VHD_CORE_BAT_H

#include "image.h"

#define VHD_BAT_PER_SECTOR	(VHD_SECTOR_SIZE / 4)

/** vhd_bat_sector_pos - file offset of the table's sector @n */
static inline u64 vhd_bat_sector_pos(const struct vhd_image *img, u32 n)
{
	return img->table_offset + ((u64)n << VHD_SECTOR_SHIFT);
}

/**
 * vhd_bat_fill_sector - the table's sector @n as a commit writes it
 * @img: the image
 * @n: its number
 * @buf: 512 bytes
 *
 * Blocks that no commit has published, nor the running one publishes, appear
 * as unused.  Under img->lock.
 */
void vhd_bat_fill_sector(struct vhd_image *img, u32 n, __be32 *buf);

/** vhd_bat_table_bytes - bytes of the table on disk, padding excluded */
u64 vhd_bat_table_bytes(const struct vhd_image *img);

/* New blocks; all under img->lock except init and free. */
int vhd_new_init(struct vhd_image *img);
void vhd_new_free(struct vhd_image *img);
struct vhd_new_block *vhd_new_find(struct vhd_image *img, u32 block);
/** vhd_new_add - a record for @block in the slot @sector, NULL if none is left */
struct vhd_new_block *vhd_new_add(struct vhd_image *img, u32 block, u32 sector);
/** vhd_new_put - a request is done with @nb; frees records out of the table */
void vhd_new_put(struct vhd_image *img, struct vhd_new_block *nb);
/*
 * vhd_new_remove - take @nb out of the table: it is durable or rolled back
 * The record is freed with its last user.
 */
void vhd_new_remove(struct vhd_image *img, struct vhd_new_block *nb);
/*
 * vhd_new_drop - take @nb out of the table: its block is unmapped
 * Return: true if the table on disk may point to its slot, now or when the
 * running commit ends: the slot needs the quarantine.  False: it is given back,
 * with the last request that holds the record.
 */
bool vhd_new_drop(struct vhd_image *img, struct vhd_new_block *nb);
/** vhd_new_left - the commit that had taken the unmapped @nb has ended */
void vhd_new_left(struct vhd_image *img, struct vhd_new_block *nb);

#endif /* _VHD_CORE_BAT_H */
