/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing what an image says of itself: its parent, its id.
 */
#ifndef _LIBVHD_RELINK_H
#define _LIBVHD_RELINK_H

#include "layers.h"
#include "locator.h"

/**
 * vhd_relink - give a differencing image another parent
 * @f: loaded for writing, everything committed; to be closed afterwards
 *
 * The new locators go behind the last block, and a footer behind them, before
 * the header is written: until then the old parent is named, after that the new
 * one.  The header has two sectors; in case that only one of them reaches the
 * disk, the old one is kept in an undo file beside the image meanwhile.  Return:
 * 0 or a negative errno.
 */
int vhd_relink(struct vhd_file *f, const struct vhd_link *link);

/** vhd_relink_undo - name of the undo file for @path; to be freed */
char *vhd_relink_undo(const char *path);

/**
 * vhd_relink_recover - put the old header back where vhd_relink() was cut short
 * @f: open for writing, not loaded
 * Return: 1 if that was so, 0 if not, or a negative errno.
 */
int vhd_relink_recover(struct vhd_file *f);

/**
 * vhd_rebase - make a differencing image show over @to what it shows now
 * @c: the image, loaded for writing, and its parents
 * @to: the parent that it is to get, and that one's parents
 *
 * Sectors that are the parents' and differ are written to the image.  It shows
 * the same all the time, and where this is interrupted it can be done again.
 */
int vhd_rebase(struct vhd_layers *c, struct vhd_layers *to);

/**
 * vhd_set_id - give an image another unique id
 * @f: loaded for writing; to be closed afterwards
 *
 * The copy at 0 is blank meanwhile: were both good and different, nobody would
 * know which is right.  Cut short it is restored by a repair, or by doing this
 * again, also with @f loaded for reading only because of that.
 */
int vhd_set_id(struct vhd_file *f, const u8 id[16]);

#endif /* _LIBVHD_RELINK_H */
