// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "fuzz.h"

u8 input_u8(struct input *in)
{
	u8 v = 0;

	input_bytes(in, &v, sizeof(v));
	return v;
}

u16 input_u16(struct input *in)
{
	u8 v[2] = { 0 };

	input_bytes(in, v, sizeof(v));
	return v[0] << 8 | v[1];
}

u32 input_u32(struct input *in)
{
	u32 high = input_u16(in);

	return high << 16 | input_u16(in);
}

void input_bytes(struct input *in, void *buf, size_t len)
{
	size_t n = min(len, in->left);

	if (!n)
		return;
	memcpy(buf, in->data, n);
	in->data += n;
	in->left -= n;
}

/* ---- images ------------------------------------------------------------ */

static void image_locator(struct image *i)
{
	static const u8 path[] = ".\0\\\0p\0.\0v\0h\0d";

	memcpy(i->header.parent_unique_id, "parent-parent-pa", 16);
	memcpy(i->text, path, sizeof(path));
	i->header.locators[0] = (struct vhd_locator) {
		.code = cpu_to_be32(VHD_LOC_W2RU),
		.data_space = cpu_to_be32(512),
		.data_length = cpu_to_be32(sizeof(path)),
		.data_offset = cpu_to_be64(0x800),
	};
}

void image_good(struct image *i, enum vhd_disk_type type, u32 block_size)
{
	static const u32 used[] = { 3, 0, 5 };
	struct vhd_new_image n = {
		.type = type,
		.size = 8ULL * block_size,
		.block_size = block_size,
		.timestamp = 0x12345678,
		.unique_id = "0123456789abcde",
	};
	u32 stride = vhd_bitmap_bytes(block_size) + block_size;
	u64 end = 0x2000;
	u32 k;

	memset(i, 0, sizeof(*i));
	memset(i->bat, 0xFF, sizeof(i->bat));
	memset(i->bits, 0xFF, sizeof(i->bits));
	memcpy(i->batmap.cookie, VHD_BATMAP_COOKIE, sizeof(i->batmap.cookie));
	if (type == VHD_TYPE_FIXED)
		n.size = 0x20000;
	vhd_make_footer(&i->tail, &n);
	i->head = i->tail;
	i->size = n.size + sizeof(i->tail);
	if (type == VHD_TYPE_FIXED)
		return;
	vhd_make_header(&i->header, &n, 0x600);
	for (k = 0; k < ARRAY_SIZE(used); k++, end += stride)
		i->bat[used[k]] = cpu_to_be32(end >> VHD_SECTOR_SHIFT);
	if (type == VHD_TYPE_DIFFERENCING)
		image_locator(i);
	i->size = end + sizeof(i->tail);
}

/* Clip a piece to the file: what lies beyond its end is not there. */
static void put_piece(const struct image *i,
		      void (*put)(void *arg, u64 pos, const void *buf,
				  size_t len),
		      void *arg, u64 pos, const void *buf, size_t len)
{
	if (pos >= i->size)
		return;
	put(arg, pos, buf, min_t(u64, len, i->size - pos));
}

static void image_seal(struct image *i)
{
	if (i->flags & IMAGE_TAP)
		i->tail.creator_app = cpu_to_be32(VHD_CREATOR_TAP);
	if (!(i->flags & IMAGE_RAW_TAIL))
		vhd_seal_footer(&i->tail);
	if (!(i->flags & IMAGE_OWN_HEAD))
		i->head = i->tail;
	if (!(i->flags & IMAGE_RAW_HEAD) && i->flags & IMAGE_OWN_HEAD)
		vhd_seal_footer(&i->head);
	if (!(i->flags & IMAGE_RAW_HEADER))
		vhd_seal_header(&i->header);
}

void image_write(struct image *i,
		 void (*put)(void *arg, u64 pos, const void *buf, size_t len),
		 void *arg)
{
	u64 table = be64_to_cpu(i->header.table_offset);
	u64 bytes = ALIGN(be32_to_cpu(i->header.max_table_entries) * 4ULL,
			  512ULL);
	u32 tail = i->flags & IMAGE_SHORT_TAIL ? 511 : 512;
	u32 k;

	image_seal(i);
	for (k = 0; k < IMAGE_ENTRIES; k++)
		if (~i->bat[k])
			put_piece(i, put, arg,
				  (u64)be32_to_cpu(i->bat[k]) << 9, i->bits,
				  sizeof(i->bits));
	for (k = 0; k < VHD_NR_LOCATORS; k++)
		if (i->header.locators[k].code)
			put_piece(i, put, arg,
				  be64_to_cpu(i->header.locators[k].data_offset),
				  i->text, sizeof(i->text));
	if (i->flags & IMAGE_TAP)
		put_piece(i, put, arg, table + bytes, &i->batmap,
			  sizeof(i->batmap));
	if (be32_to_cpu(i->tail.disk_type) != VHD_TYPE_FIXED) {
		put_piece(i, put, arg, table, i->bat, sizeof(i->bat));
		put_piece(i, put, arg, be64_to_cpu(i->tail.data_offset),
			  &i->header, sizeof(i->header));
	}
	if (!(i->flags & IMAGE_NO_HEAD))
		put_piece(i, put, arg, 0, &i->head, sizeof(i->head));
	if (!(i->flags & IMAGE_NO_TAIL) && i->size >= tail)
		put_piece(i, put, arg, i->size - tail, &i->tail, tail);
}
