// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/math.h>
#include <linux/minmax.h>

#include "format.h"
#include "io.h"
#include "lost.h"

/* Read at once; and looked at for being a hole at once. */
#define PIECE		(1U << 20)
#define STRETCH		(1ULL << 30)

static bool is_hole(int fd, u64 start, u64 end)
{
	off_t data = lseek(fd, start, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (u64)data >= end;
}

/* Where the last sector of [start, *end) begins that is not zeros. */
static int last_in(int fd, u8 *buf, u64 start, u64 end, u64 *last)
{
	u64 at;
	u32 n;
	int err;

	for (; end > start; end = at) {
		if (vhd_interrupted)
			return -EINTR;
		at = max(start, round_down(end - 1, (u64)PIECE));
		err = vhd_pread(fd, buf, end - at, at);
		if (err)
			return err;
		for (n = end - at; n; n--) {
			if (!buf[n - 1])
				continue;
			*last = round_down(at + n - 1, (u64)VHD_SECTOR_SIZE);
			return 0;
		}
	}
	return -ENODATA;
}

static int last_data(int fd, u64 size, u64 *last)
{
	u8 *buf = malloc(PIECE);
	int err = buf ? -ENODATA : -ENOMEM;
	u64 start;

	for (; size && err == -ENODATA; size = start) {
		start = round_down(size - 1, STRETCH);
		if (!is_hole(fd, start, size))
			err = last_in(fd, buf, start, size, last);
	}
	free(buf);
	return err;
}

int vhd_lost_footer(int fd, u64 size, bool device, u64 *pos)
{
	struct vhd_footer f;
	u64 disk;
	int err;

	err = last_data(fd, size, pos);
	if (!err && size - *pos < sizeof(f))
		err = -ENODATA;
	if (!err)
		err = vhd_pread(fd, &f, sizeof(f), *pos);
	if (err)
		return err;
	disk = be64_to_cpu(f.current_size);
	if (!vhd_footer_valid(&f) ||
	    f.disk_type != cpu_to_be32(VHD_TYPE_FIXED) ||
	    (device ? disk > *pos : disk != *pos))
		return -ENODATA;
	return 0;
}
