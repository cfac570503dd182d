// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dynamic header, where it lies, and the disk's size beside it.
 *
 *	1 flags, 1 type, 2 its sector, 4 sectors of the disk, 1024 header,
 *	operations
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	u8 flags = input_u8(&in);
	u8 type = input_u8(&in);
	u16 at = input_u16(&in);
	u32 sectors = input_u32(&in);
	struct image i;

	image_good(&i, type & 1 ? VHD_TYPE_DIFFERENCING : VHD_TYPE_DYNAMIC,
		   512 << 10);
	i.flags = flags & (IMAGE_RAW_HEADER | IMAGE_TAP);
	if (at)
		i.tail.data_offset = cpu_to_be64(at * 512ULL);
	if (sectors)
		i.tail.current_size = cpu_to_be64(sectors * 512ULL);
	input_bytes(&in, &i.header, sizeof(i.header));
	exercise(&i, &in);
	return 0;
}
