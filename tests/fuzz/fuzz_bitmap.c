// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sector bitmaps: the functions on bits, and images whose bitmaps say anything.
 *
 *	1 block size, 2 sectors the disk is shorter, 2 + 2 a range, 512 bits,
 *	operations
 */
#include <string.h>

#include "fuzz.h"

#define BITS	(8U * VHD_SECTOR_SIZE)

static bool bit(const u8 *bits, u32 n)
{
	return bits[n / 8] >> (7 - n % 8) & 1;
}

static void check_bits(const u8 *bits, u32 first, u32 count)
{
	bool set, clear = false;
	u8 copy[VHD_SECTOR_SIZE];
	u32 n;

	n = vhd_bits_run(bits, first, count, &set);
	assert_in_range(n, 1, count);
	assert_true(n == count || bit(bits, first + n) != set);
	while (n--) {
		assert_true(bit(bits, first + n) == set);
		assert_true(vhd_bits_test(bits, first + n) == set);
	}
	memcpy(copy, bits, sizeof(copy));
	for (n = first; n < first + count; n++)
		clear |= !bit(bits, n);
	assert_true(vhd_bits_set(copy, first, count) == clear);
	for (n = 0; n < BITS; n++)
		assert_true(bit(copy, n) == (bit(bits, n) ||
			    (n >= first && n < first + count)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const u32 sizes[] = { 512 << 10, 1 << 20, 2 << 20, 4096, 16384 };
	struct input in = { data, size };
	u32 block_size = sizes[input_u8(&in) % ARRAY_SIZE(sizes)];
	u32 less = input_u16(&in) % (block_size / 512);
	u32 first = input_u16(&in) % BITS;
	u32 count = input_u16(&in) % (BITS - first) + 1;
	struct image i;

	image_good(&i, VHD_TYPE_DYNAMIC, block_size);
	i.tail.current_size = cpu_to_be64(6ULL * block_size - 512ULL * less);
	input_bytes(&in, i.bits, sizeof(i.bits));
	check_bits(i.bits, first, min(count, (u32)(BITS - first)));
	exercise(&i, &in);
	return 0;
}
