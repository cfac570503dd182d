/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _VHDCTL_RESIZE_DEVICE_H
#define _VHDCTL_RESIZE_DEVICE_H

#include "layers.h"

/**
 * struct wish - a new size, and the options as given
 * @size: bytes
 * @shrink: it may be smaller
 * @force: whatever is cut off
 * @parents: where those of a differencing image are
 */
struct wish {
	u64 size;
	bool shrink;
	bool force;
	struct vhd_parent_options parents;
};

/** resize_device - the same for an image that is attached; an exit code */
int resize_device(const struct wish *w, const char *name);

#endif /* _VHDCTL_RESIZE_DEVICE_H */
