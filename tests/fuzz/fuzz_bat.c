// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The block allocation table.
 *
 *	1 log2 of the block size above 4 KiB, 1 the table's sector, 1 sectors
 *	more of the file, 1 flags, 2 sectors of the disk, 512 table, operations
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	u32 block_size = 4096U << input_u8(&in) % 11;
	u8 at = input_u8(&in);
	u8 more = input_u8(&in);
	u8 flags = input_u8(&in);
	u16 sectors = input_u16(&in);
	struct image i;

	image_good(&i, flags & 1 ? VHD_TYPE_DIFFERENCING : VHD_TYPE_DYNAMIC,
		   block_size);
	i.flags = flags & (IMAGE_TAP | IMAGE_NO_TAIL);
	i.size += more * 512ULL;
	if (at)
		i.header.table_offset = cpu_to_be64(at * 512ULL);
	if (sectors)
		i.tail.current_size = cpu_to_be64(sectors * 512ULL);
	i.header.max_table_entries = cpu_to_be32(IMAGE_ENTRIES);
	input_bytes(&in, i.bat, sizeof(i.bat));
	exercise(&i, &in);
	return 0;
}
