/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commit of a device that is in use.
 */
#ifndef _VHDCTL_LIVE_H
#define _VHDCTL_LIVE_H

#include <stdbool.h>

/**
 * commit_device - merge a device's image into its parent, to go on in that
 * @into: the parent, as a check of what is meant; or NULL.  It is needed if the
 *	device was merged before, since a call that is made twice by mistake would
 *	go one image further.
 * @keep: do not remove the image
 * @force: although other images depend on the parent
 * Return: an exit code.
 */
int commit_device(const char *name, const char *into, bool keep, bool force);

#endif /* _VHDCTL_LIVE_H */
