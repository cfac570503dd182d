// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <asm/byteorder.h>

#include "bat.h"
#include "space.h"

u64 vhd_bat_table_bytes(const struct vhd_image *img)
{
	return (u64)be32_to_cpu(img->header.max_table_entries) * sizeof(__be32);
}

/* What a commit may show of a block's entry. */
static u32 vhd_bat_published(struct vhd_image *img, u32 block)
{
	u32 entry = READ_ONCE(img->bat[block]);
	struct vhd_new_block *nb;

	if (entry == VHD_BAT_UNUSED)
		return entry;
	nb = vhd_new_find(img, block);
	return nb && nb->state < VHD_NEW_TAKEN ? VHD_BAT_UNUSED : entry;
}

void vhd_bat_fill_sector(struct vhd_image *img, u32 n, __be32 *buf)
{
	u32 block = n * VHD_BAT_PER_SECTOR;
	u32 i, entry;

	lockdep_assert_held(&img->lock);
	for (i = 0; i < VHD_BAT_PER_SECTOR; i++, block++) {
		entry = VHD_BAT_UNUSED;
		if (block < img->nr_blocks)
			entry = vhd_bat_published(img, block);
		buf[i] = cpu_to_be32(entry);
	}
}

int vhd_new_init(struct vhd_image *img)
{
	struct vhd_new_blocks *new = &img->new_blocks;
	u32 i;

	new->records = kvcalloc(VHD_NR_NEW, sizeof(*new->records), GFP_KERNEL);
	if (!new->records)
		return -ENOMEM;
	for (i = 0; i < VHD_NR_NEW - 1; i++)
		new->records[i].link = i + 2;
	new->free = 1;
	return 0;
}

void vhd_new_free(struct vhd_image *img)
{
	kvfree(img->new_blocks.records);
	img->new_blocks.records = NULL;
}

static u16 *vhd_new_bucket(struct vhd_image *img, u32 block)
{
	return &img->new_blocks.buckets[block % VHD_NEW_BUCKETS];
}

struct vhd_new_block *vhd_new_find(struct vhd_image *img, u32 block)
{
	struct vhd_new_block *records = img->new_blocks.records;
	u16 link;

	lockdep_assert_held(&img->lock);
	for (link = *vhd_new_bucket(img, block); link;
	     link = records[link - 1].link)
		if (records[link - 1].block == block)
			return &records[link - 1];
	return NULL;
}

struct vhd_new_block *vhd_new_add(struct vhd_image *img, u32 block, u32 sector)
{
	struct vhd_new_blocks *new = &img->new_blocks;
	u16 *bucket = vhd_new_bucket(img, block);
	struct vhd_new_block *nb;
	u16 index = new->free;

	lockdep_assert_held(&img->lock);
	if (!index)
		return NULL;
	nb = &new->records[index - 1];
	new->free = nb->link;
	new->nr_used++;
	*nb = (struct vhd_new_block) {
		.block = block,
		.sector = sector,
		.link = *bucket,
		.state = VHD_NEW_EMPTY,
	};
	*bucket = index;
	return nb;
}

static void vhd_new_release(struct vhd_image *img, struct vhd_new_block *nb)
{
	struct vhd_new_blocks *new = &img->new_blocks;

	nb->state = VHD_NEW_FREE;
	nb->link = new->free;
	new->free = nb - new->records + 1;
	new->nr_used--;
}

static void vhd_new_unlink(struct vhd_image *img, struct vhd_new_block *nb)
{
	struct vhd_new_block *records = img->new_blocks.records;
	u16 index = nb - records + 1;
	u16 *link = vhd_new_bucket(img, nb->block);

	lockdep_assert_held(&img->lock);
	while (*link != index)
		link = &records[*link - 1].link;
	*link = nb->link;
}

/* Out of the table: nothing but requests may still hold it. */
static void vhd_new_leave(struct vhd_image *img, struct vhd_new_block *nb)
{
	if (nb->users)
		nb->state = VHD_NEW_DURABLE;
	else
		vhd_new_release(img, nb);
}

void vhd_new_remove(struct vhd_image *img, struct vhd_new_block *nb)
{
	vhd_new_unlink(img, nb);
	vhd_new_leave(img, nb);
}

void vhd_new_left(struct vhd_image *img, struct vhd_new_block *nb)
{
	lockdep_assert_held(&img->lock);
	vhd_new_leave(img, nb);
}

bool vhd_new_drop(struct vhd_image *img, struct vhd_new_block *nb)
{
	vhd_new_unlink(img, nb);
	if (nb->state == VHD_NEW_TAKEN) {
		nb->state = VHD_NEW_LEFT;
		return true;
	}
	img->new_blocks.nr_written -= nb->state == VHD_NEW_WRITTEN;
	if (nb->exposed) {
		vhd_new_leave(img, nb);
		return true;
	}
	nb->state = VHD_NEW_DROPPED;
	if (!nb->users) {
		vhd_space_give(img, nb->sector);
		vhd_new_release(img, nb);
	}
	return false;
}

void vhd_new_put(struct vhd_image *img, struct vhd_new_block *nb)
{
	lockdep_assert_held(&img->lock);
	nb->users--;
	if (nb->users)
		return;
	if (nb->state == VHD_NEW_DROPPED)
		vhd_space_give(img, nb->sector);
	if (nb->state == VHD_NEW_DROPPED || nb->state == VHD_NEW_DURABLE)
		vhd_new_release(img, nb);
}
