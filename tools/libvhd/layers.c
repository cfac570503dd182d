// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <asm/byteorder.h>
#include <linux/minmax.h>

#include "layers.h"
#include "io.h"
#include "locator.h"

/* Longest run that is asked for: keeps its sectors in 32 bits. */
#define MAX_RUN		(1U << 22)

void vhd_layers_init(struct vhd_layers *c)
{
	memset(c, 0, sizeof(*c));
}

void vhd_layers_changed(struct vhd_layers *c)
{
	if (c->ready)
		vhd_chain_free(&c->core);
	c->ready = false;
}

int vhd_layers_push(struct vhd_layers *c, struct vhd_file *f)
{
	vhd_layers_changed(c);
	if (c->nr == VHD_LAYERS_MAX) {
		vhd_file_close(f);
		free(f);
		return -EMLINK;
	}
	c->layers[c->nr++] = f;
	return 0;
}

void vhd_layers_close(struct vhd_layers *c)
{
	vhd_layers_changed(c);
	while (c->nr) {
		vhd_file_close(c->layers[--c->nr]);
		free(c->layers[c->nr]);
	}
	free(c->trouble);
	c->trouble = NULL;
}

/* What is said where no parent was found. */
static void tell_trouble(struct vhd_layers *c, int err, char *tried)
{
	const struct vhd_file *child = c->layers[c->nr - 1];
	char *label = vhd_parent_label(child);
	int n;

	if (err == -ELOOP)
		n = asprintf(&c->trouble, "parent \"%s\": the chain leads back to itself (%s)",
			     label ? label : "", tried ? tried : "");
	else if (!tried)
		n = asprintf(&c->trouble, "names no parent that could be looked for; use --parent");
	else
		n = asprintf(&c->trouble, "parent \"%s\" not found (tried %s); use --parent",
			     label ? label : "", tried);
	if (n < 0)
		c->trouble = NULL;
	free(label);
}

static int open_parent(struct vhd_layers *c,
		       const struct vhd_parent_options *opt, unsigned int flags)
{
	struct vhd_parent_search s = {
		.opt = opt,
		.child = c->layers[c->nr - 1],
		.above = c->layers,
		.nr_above = c->nr,
		.flags = flags,
	};
	struct vhd_file *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	err = vhd_parent_open(&s, f);
	if (err) {
		free(f);
		if (err == -ENXIO || err == -ELOOP)
			tell_trouble(c, err, s.tried);
	} else {
		err = vhd_layers_push(c, f);
	}
	if (!err) {
		c->found[c->nr - 1] = s.found;
		c->id_differs[c->nr - 1] = s.id_differs;
	}
	free(s.tried);
	return err;
}

int vhd_layers_parents(struct vhd_layers *c,
		      const struct vhd_parent_options *opt, unsigned int flags)
{
	int err = 0;

	while (!err && c->layers[c->nr - 1]->image.type == VHD_TYPE_DIFFERENCING)
		err = open_parent(c, opt, flags);
	return err;
}

/* ---- do they belong together ------------------------------------------ */

static void judge(struct vhd_reporter *rep, enum vhd_finding_code code,
		  u64 offset, u64 found, u64 expected)
{
	struct vhd_finding f = {
		.code = code,
		.block = VHD_NO_BLOCK,
		.offset = offset,
		.found = found,
		.expected = expected,
	};

	rep->report(rep, &f);
}

static u64 header_offset(const struct vhd_file *f, size_t field)
{
	return be64_to_cpu(f->image.footer.data_offset) + field;
}

static void judge_pair(const struct vhd_file *child,
		       const struct vhd_file *parent, struct vhd_reporter *rep)
{
	const struct vhd_dyn_header *h = &child->image.header;
	struct vhd_finding f;

	if (vhd_chain_check_id(&child->image, &parent->image, &f))
		rep->report(rep, &f);
	if (child->image.size != parent->image.size)
		judge(rep, VHD_FIND_PARENT_SIZE,
		      offsetof(struct vhd_footer, current_size),
		      child->image.size, parent->image.size);
	if (!vhd_stamp_fits(child, parent))
		judge(rep, VHD_FIND_PARENT_TIME,
		      header_offset(child, offsetof(struct vhd_dyn_header,
						    parent_timestamp)),
		      be32_to_cpu(h->parent_timestamp),
		      vhd_parent_stamp(parent->fd));
}

void vhd_layers_judge(const struct vhd_layers *c, unsigned int layer, int err,
		      struct vhd_reporter *rep)
{
	const struct vhd_file *f = c->layers[layer];
	u64 at = header_offset(f, offsetof(struct vhd_dyn_header,
					   parent_unique_id));

	if (layer + 1 < c->nr)
		judge_pair(f, c->layers[layer + 1], rep);
	else if (err == -ENXIO)
		judge(rep, VHD_FIND_PARENT_MISSING, at, c->nr, c->nr + 1);
	else if (err == -ELOOP)
		judge(rep, VHD_FIND_PARENT_CYCLE, at, c->nr, c->nr + 1);
	else if (err == -EMLINK)
		judge(rep, VHD_FIND_PARENT_DEPTH, at, c->nr + 1,
		      VHD_LAYERS_MAX);
}

/* ---- the core's chain --------------------------------------------------- */

static int make_core(struct vhd_layers *c, unsigned int from)
{
	struct vhd_image *images[VHD_LAYERS_MAX];
	unsigned int i;
	int err;

	if (c->ready && c->core_from == from)
		return 0;
	vhd_layers_changed(c);
	for (i = from; i < c->nr; i++)
		images[i - from] = &c->layers[i]->image;
	err = vhd_chain_init(&c->core, images, c->nr - from);
	if (err) {
		vhd_chain_free(&c->core);
		return err;
	}
	c->core_from = from;
	c->ready = true;
	return 0;
}

int vhd_layers_map(struct vhd_layers *c, unsigned int from, u64 sector,
		   u64 sectors, struct vhd_extent *ext, unsigned int *layer)
{
	u32 run = min_t(u64, sectors, MAX_RUN);
	struct vhd_hold hold = { };
	int err = make_core(c, from);

	while (!err) {
		vhd_chain_map_read(&c->core, sector, run, &hold, ext);
		*layer = from + ext->layer;
		if (ext->kind != VHD_MAP_BITMAP)
			break;
		err = vhd_file_load_bitmap(c->layers[*layer], sector);
	}
	vhd_chain_map_done(&hold, 0);
	return err;
}

int vhd_layers_read(struct vhd_layers *c, unsigned int from, void *buf,
		   size_t len, u64 pos)
{
	u64 size = c->layers[from]->image.size;
	struct vhd_extent ext;
	unsigned int layer;
	char *p = buf;
	size_t n;
	int err;

	if (len % VHD_SECTOR_SIZE || pos % VHD_SECTOR_SIZE || pos > size ||
	    len > size - pos)
		return -EINVAL;
	for (; len; p += n, pos += n, len -= n) {
		err = vhd_layers_map(c, from, pos >> VHD_SECTOR_SHIFT,
				    len >> VHD_SECTOR_SHIFT, &ext, &layer);
		if (err)
			return err;
		n = (size_t)ext.sectors << VHD_SECTOR_SHIFT;
		if (ext.kind == VHD_MAP_BAD)
			return -EIO;
		if (ext.kind == VHD_MAP_ZERO)
			memset(p, 0, n);
		else
			err = vhd_pread(c->layers[layer]->fd, p, n, ext.pos);
		if (err)
			return err;
	}
	return 0;
}
