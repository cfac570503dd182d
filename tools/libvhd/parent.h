/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding the parent of a differencing image.
 *
 * The order: files that the user names; the names that the image tells, in
 * directories that the user names; the relative path (W2ru), the URL (MacX), the
 * absolute path (W2ku) and its last component beside the image; the last
 * component of header.parent_name beside the image.  A path that is not there is
 * looked for again without regard to case.
 *
 * What an image says is a stranger's word: only a regular file is opened, none
 * below /dev, /proc or /sys, and only an image whose unique id is the one that
 * the child has noted is taken.  A raw file is never a parent.
 */
#ifndef _LIBVHD_PARENT_H
#define _LIBVHD_PARENT_H

#include "file.h"

/**
 * struct vhd_parent_options - the user's word
 * @files: parents; taken for the layer whose noted id is theirs
 * @used: which of them were taken; as many as @files, set here
 * @dirs: where to look first for what has the right name
 * @ignore_id: take what is found although its id is another; of @files the
 *	first that is not taken yet
 */
struct vhd_parent_options {
	const char **files;
	bool *used;
	unsigned int nr_files;
	const char **dirs;
	unsigned int nr_dirs;
	bool ignore_id;
};

/**
 * struct vhd_parent_search - a search and what it met with
 * @child: loaded, differencing
 * @above: the layers from the top down to @child, for cycles
 * @nr_above: how many
 * @tried: what was tried and why it was not taken, for a message; or NULL
 * @found: how the parent was found: VHD_LOC_*, VHD_LOC_NONE for its name;
 *	VHD_PARENT_GIVEN
 * @id_differs: it was taken with @ignore_id
 * @dir: directory of the child while the search goes on
 */
struct vhd_parent_search {
	const struct vhd_parent_options *opt;
	const struct vhd_file *child;
	struct vhd_file *const *above;
	unsigned int nr_above;
	unsigned int flags;
	char *tried;
	u32 found;
	bool id_differs;
	char *dir;
};

#define VHD_PARENT_GIVEN	1U	/* no platform code */

/**
 * vhd_parent_open - find, open and load the parent of s->child
 * @s: child, above, nr_above, opt (may be NULL) and flags (VHD_OPEN_*) set
 * @parent: open and loaded after 0; else closed
 *
 * Return: 0; -ENXIO if none is found; -ELOOP if it is one of those above; -ENOMEM.
 * s->tried is the caller's to free, whatever the result.
 */
int vhd_parent_open(struct vhd_parent_search *s, struct vhd_file *parent);

/**
 * vhd_place_resolve - the file that a locator leads to, whatever it is
 * @path: to be freed, or NULL
 * @why: what speaks against it, in words, or NULL; to be freed
 * Return: 0 if it is the child's parent.
 */
int vhd_place_resolve(const struct vhd_file *child, unsigned int n, char **path,
		      char **why);

/** vhd_parent_label - what to call the parent of an image in a message; to be freed */
char *vhd_parent_label(const struct vhd_file *child);

#endif /* _LIBVHD_PARENT_H */
