/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A chain of image files: a differencing image and all that it depends on.
 */
#ifndef _LIBVHD_LAYERS_H
#define _LIBVHD_LAYERS_H

#include <errno.h>

#include "chain.h"
#include "file.h"
#include "parent.h"

/* As many as the driver takes. */
#define VHD_LAYERS_MAX	256U

/**
 * struct vhd_layers - open images, the top first
 * @layers: each open and loaded, parents for reading only
 * @found: how each was found (struct vhd_parent_search); of the top nothing
 * @id_differs: it is a parent only because ids are ignored
 * @trouble: why a parent is missing, in words; or NULL
 * @core: the core's chain of the layers from @core_from on, if @ready
 */
struct vhd_layers {
	struct vhd_file *layers[VHD_LAYERS_MAX];
	u32 found[VHD_LAYERS_MAX];
	bool id_differs[VHD_LAYERS_MAX];
	unsigned int nr;
	char *trouble;
	struct vhd_chain core;
	unsigned int core_from;
	bool ready;
};

/** vhd_layers_init - nothing is open */
void vhd_layers_init(struct vhd_layers *c);

/**
 * vhd_layers_push - put an image below the others
 * @f: from malloc(), open and loaded; the chain's from now on, also on failure
 * Return: 0 or -EMLINK if there are VHD_LAYERS_MAX.
 */
int vhd_layers_push(struct vhd_layers *c, struct vhd_file *f);

/**
 * vhd_layers_parents - open what the lowest image depends on, down to the end
 * @opt: or NULL
 * @flags: VHD_OPEN_*, for the parents
 *
 * Return: 0; -ENXIO or -ELOOP: c->trouble tells; -EMLINK; -ENOMEM.  What was
 * found stays open.
 */
int vhd_layers_parents(struct vhd_layers *c,
		      const struct vhd_parent_options *opt, unsigned int flags);

/**
 * vhd_layers_judge - report how a layer and its parent fit
 * @layer: which
 * @err: as vhd_layers_parents() returned: what is missing below the last layer
 */
void vhd_layers_judge(const struct vhd_layers *c, unsigned int layer, int err,
		      struct vhd_reporter *rep);

/** vhd_layers_judged - is that error of vhd_layers_parents() a finding */
static inline bool vhd_layers_judged(int err)
{
	return err == -ENXIO || err == -ELOOP || err == -EMLINK;
}

/** vhd_layers_changed - a layer was opened anew: forget what is known of it */
void vhd_layers_changed(struct vhd_layers *c);

/** vhd_layers_close - close all of them */
void vhd_layers_close(struct vhd_layers *c);

/**
 * vhd_layers_map - what the first run of a range is, seen from layer @from
 * @from: 0 is the top
 * @ext: kind is VHD_MAP_DATA, VHD_MAP_ZERO or VHD_MAP_BAD
 * @layer: out: whose data or damage it is
 *
 * Beyond the end of a parent there are zeros.
 */
int vhd_layers_map(struct vhd_layers *c, unsigned int from, u64 sector,
		  u64 sectors, struct vhd_extent *ext, unsigned int *layer);

/** vhd_layers_read - read what layer @from shows; as vhd_file_read() */
int vhd_layers_read(struct vhd_layers *c, unsigned int from, void *buf,
		   size_t len, u64 pos);

#endif /* _LIBVHD_LAYERS_H */
