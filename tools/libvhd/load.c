// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

int vhd_load_init(struct vhd_load *l, u32 size)
{
	u8 *buf = aligned_alloc(VHD_ALIGN, VHD_LOAD_ROOM + size);

	if (!buf)
		return -ENOMEM;
	*l = (struct vhd_load) { .data = buf + VHD_LOAD_ROOM, .size = size };
	return 0;
}

void vhd_load_free(struct vhd_load *l)
{
	free(l->data - VHD_LOAD_ROOM);
	free(l->runs);
}

static int load_add_run(struct vhd_load *l, const struct vhd_piece *p,
			u32 start)
{
	struct vhd_run *more;

	if (l->nr_runs == l->max_runs) {
		l->max_runs = l->max_runs ? 2 * l->max_runs : 16;
		more = realloc(l->runs, l->max_runs * sizeof(*more));
		if (!more)
			return -ENOMEM;
		l->runs = more;
	}
	l->runs[l->nr_runs++] = (struct vhd_run) { *p, start };
	return 0;
}

int vhd_load_map(struct vhd_load *l, struct vhd_source *s, u64 at, u32 len)
{
	struct vhd_piece p;
	u32 done;
	int err = 0;

	l->at = at;
	l->len = len;
	l->nr_runs = 0;
	for (done = 0; done < len && !err; done += p.len) {
		err = vhd_source_map(s, at + done, len - done, &p);
		if (!err && !p.zero)
			err = load_add_run(l, &p, done);
	}
	return err;
}

int vhd_load_read(struct vhd_load *l, const struct vhd_source *s)
{
	u32 i, pos = 0;
	int err = 0;

	for (i = 0; i < l->nr_runs && !err; i++) {
		const struct vhd_run *r = &l->runs[i];

		memset(l->data + pos, 0, r->start - pos);
		err = vhd_piece_read(s, &r->piece, l->data + r->start,
				     r->piece.len);
		pos = r->start + r->piece.len;
	}
	memset(l->data + pos, 0, l->size - pos);
	return err;
}

bool vhd_all_zero(const void *buf, size_t len)
{
	const u8 *p = buf;
	u64 w[8], any;
	size_t i;

	for (; len; p += sizeof(w), len -= sizeof(w)) {
		memcpy(w, p, sizeof(w));
		for (any = 0, i = 0; i < 8; i++)
			any |= w[i];
		if (any)
			return false;
	}
	return true;
}
