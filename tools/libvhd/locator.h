/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parent locators: what a differencing image says about where its parent is.
 *
 * Everything that is read here is a stranger's word.
 */
#ifndef _LIBVHD_LOCATOR_H
#define _LIBVHD_LOCATOR_H

#include "file.h"

/**
 * struct vhd_place - what one locator, or the parent's name, says
 * @code: VHD_LOC_*, or VHD_LOC_NONE for header.parent_name
 * @text: as it stands there, as UTF-8
 * @path: the same as a path of this system: with slashes, without drive; NULL if
 *	it is none (a share, a volume)
 * @name: the last component of @text, never empty
 * @relative: @path begins at the directory of the image
 */
struct vhd_place {
	u32 code;
	char *text;
	char *path;
	char *name;
	bool relative;
};

/**
 * vhd_locator_read - read a locator of a loaded differencing image
 * @n: 0 to VHD_NR_LOCATORS - 1
 *
 * Return: 0; -ENOENT if it is not in use; -EOPNOTSUPP for a kind that is
 * ignored; -ERANGE if it is too long or lies outside the file; -EILSEQ if it is
 * no text, or names no file; -ENOMEM, or an error of a read.  Only after 0 there
 * is something to free.
 */
int vhd_locator_read(const struct vhd_file *f, unsigned int n,
		     struct vhd_place *place);

/** vhd_parent_name_read - the same for header.parent_name */
int vhd_parent_name_read(const struct vhd_file *f, struct vhd_place *place);

void vhd_place_free(struct vhd_place *place);

/* Locators that we write, and the space that Windows gives two of them. */
#define VHD_NR_LINKS	3
#define VHD_W2KU_SPACE	4096U
#define VHD_W2RU_SPACE	65536U

/**
 * struct vhd_link - what a child is to say about its parent
 * @data: texts of the locators in the order of VHD_LINK_*; NULL if left out
 * @bytes: their lengths
 */
struct vhd_link {
	u8 id[16];
	u32 timestamp;
	__be16 name[VHD_PARENT_NAME_UNITS];
	u8 *data[VHD_NR_LINKS];
	u32 bytes[VHD_NR_LINKS];
};

enum {
	VHD_LINK_W2KU,
	VHD_LINK_W2RU,
	VHD_LINK_MACX,
};

/**
 * vhd_link_make - how @child names @parent
 * @child: path of the child, which need not exist; its directory must
 * @parent: loaded
 * @absolute: no relative path: the child is to be moved without its parent
 *
 * Return: 0; -EILSEQ if the parent's path is not UTF-8 or has a backslash in it:
 * Windows could not name it; -ENAMETOOLONG; -EADDRNOTAVAIL if its unique id is
 * null; another negative errno if a path cannot be resolved.
 */
int vhd_link_make(struct vhd_link *link, const char *child,
		  const struct vhd_file *parent, bool absolute);

void vhd_link_free(struct vhd_link *link);

/**
 * vhd_link_put - write the link's fields into a header, but for the checksum
 * @pos: file offsets of the locators' data
 * @space: bytes reserved for them
 */
void vhd_link_put(const struct vhd_link *link, struct vhd_dyn_header *h,
		  const u64 pos[VHD_NR_LINKS], const u32 space[VHD_NR_LINKS]);

/**
 * vhd_parent_stamp - a parent's time of modification, in seconds of the format
 * 0 if it cannot be told.
 */
u32 vhd_parent_stamp(int fd);

/**
 * vhd_stamp_fits - does the time that a child has noted fit the parent
 * Children of Windows 10 note none.
 */
bool vhd_stamp_fits(const struct vhd_file *child, const struct vhd_file *parent);

#endif /* _LIBVHD_LOCATOR_H */
