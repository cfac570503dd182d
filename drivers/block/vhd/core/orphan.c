// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <asm/byteorder.h>

#include "commit.h"
#include "format.h"
#include "orphan.h"

enum vhd_orphan_step {
	VHD_ORPHAN_WRITE,
	VHD_ORPHAN_FLUSH,
	VHD_ORPHAN_END,
	VHD_ORPHAN_BACK,
};

/* Checksum and id lie in the header's first sector. */
static int vhd_orphan_write(struct vhd_orphan *o, struct vhd_io *io)
{
	u64 pos = be64_to_cpu(o->img->footer.data_offset);

	return vhd_io_set(io, VHD_IO_WRITE, pos, VHD_SECTOR_SIZE, &o->header);
}

static int vhd_orphan_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_orphan *o = container_of(plan, struct vhd_orphan, plan);
	struct vhd_image *img = o->img;

	switch (o->step++) {
	case VHD_ORPHAN_WRITE:
		err = READ_ONCE(img->failed);
		return err ?: vhd_orphan_write(o, io);
	case VHD_ORPHAN_FLUSH:
		if (!err)
			return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
		o->error = err;
		o->step = VHD_ORPHAN_BACK;
		o->header = img->header;
		return vhd_orphan_write(o, io);
	case VHD_ORPHAN_END:
		if (err)
			return vhd_image_fail(img, err);
		img->header = o->header;
		return 0;
	default:
		if (err)
			vhd_image_fail(img, err);
		return o->error;
	}
}

void vhd_orphan_init(struct vhd_orphan *o, struct vhd_image *img)
{
	memset(o, 0, sizeof(*o));
	o->plan.next = vhd_orphan_next;
	o->img = img;
	o->header = img->header;
	memset(o->header.parent_unique_id, 0,
	       sizeof(o->header.parent_unique_id));
	vhd_seal_header(&o->header);
}
