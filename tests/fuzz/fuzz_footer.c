// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The two footers and what the file's end may look like.
 *
 *	1 flags, 1 type, 2 bytes more or less, 512 tail, 512 head, operations
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum vhd_disk_type types[] = {
		VHD_TYPE_DYNAMIC, VHD_TYPE_FIXED, VHD_TYPE_DIFFERENCING,
	};
	struct input in = { data, size };
	u8 flags = input_u8(&in);
	struct image i;

	image_good(&i, types[input_u8(&in) % ARRAY_SIZE(types)], 512 << 10);
	i.flags = flags;
	i.size += (s16)input_u16(&in);
	input_bytes(&in, &i.tail, sizeof(i.tail));
	input_bytes(&in, &i.head, sizeof(i.head));
	exercise(&i, &in);
	return 0;
}
