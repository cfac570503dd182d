/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the subcommands that deal with chains share.
 */
#ifndef _VHDCTL_CHAIN_H
#define _VHDCTL_CHAIN_H

#include "layers.h"
#include "create.h"

/* --parent FILE, --parent-dir DIR, --ignore-parent-id */
enum {
	OPT_PARENT = 2001,
	OPT_PARENT_DIR,
	OPT_IGNORE_PARENT_ID,
};

#define PARENT_OPTIONS							\
	{ "parent", required_argument, NULL, OPT_PARENT },		\
	{ "parent-dir", required_argument, NULL, OPT_PARENT_DIR },	\
	{ "ignore-parent-id", no_argument, NULL, OPT_IGNORE_PARENT_ID },
#define PARENT_HELP							\
	"     --parent FILE           a parent, whatever the image says where it\n" \
	"                             is; for longer chains more than once\n"	\
	"     --parent-dir DIR        look for parents in DIR first\n"		\
	"     --ignore-parent-id      take a parent although its id is not the\n" \
	"                             noted one: shows rubbish if it is another\n"

/** parent_option - take one of PARENT_OPTIONS; false if @c is none */
bool parent_option(struct vhd_parent_options *opt, int c, const char *arg);

/** parent_options_free - the lists, not the words in them */
void parent_options_free(struct vhd_parent_options *opt);

/**
 * chain_open - open and load @path, then its parents
 * @c: initialised here; to be closed whatever the result
 * @opt: or NULL
 * @flags: VHD_OPEN_*, of which VHD_OPEN_WRITE holds for @path only
 * Return: an exit code; why is told.
 */
int chain_open(struct vhd_layers *c, const char *path,
	       const struct vhd_parent_options *opt, unsigned int flags);

/** chain_parents - the second half of it: the parents of what is in @c */
int chain_parents(struct vhd_layers *c,
		  const struct vhd_parent_options *opt, unsigned int flags);

/** chain_push_new - the first half: a file to be opened, in @c */
struct vhd_file *chain_push_new(struct vhd_layers *c);

/** chain_error - say why vhd_layers_parents() failed with @err; an exit code */
int chain_error(const struct vhd_layers *c, int err);

/** chain_unused - a --parent that is nobody's parent is a mistake: tell it */
int chain_unused(const struct vhd_layers *c,
		 const struct vhd_parent_options *opt);

/**
 * chain_lock - keep others from writing to the layers from @first on
 * Return: an exit code; who is in the way is told.
 */
int chain_lock(struct vhd_layers *c, unsigned int first);

/** file_lock - the same for one file, which may be ours to write */
int file_lock(struct vhd_file *f, bool write);

/** chain_warn - tell sizes, times and ids that do not fit; are there any */
bool chain_warn(const struct vhd_layers *c);

/** child_defaults - what a child takes from its parent unless told otherwise */
void child_defaults(struct vhd_create *create, const struct vhd_image *parent);

/**
 * child_make - make a differencing image on top of a chain
 * @create: size, block size and id set, or 0 for what is usual
 * @absolute: no relative path to the parent
 * What is in the parent is durable before the child exists.
 * Return: an exit code.
 */
int child_make(const char *path, struct vhd_create *create,
	       struct vhd_layers *parents, bool absolute);

/** report_link - say why vhd_link_make() failed with @err; an exit code */
int report_link(const char *path, const char *what,
		const struct vhd_file *parent, int err);

/** report_create - say why vhd_create() failed with @err; an exit code */
int report_create(const char *path, const struct vhd_create *c, int err);

/**
 * refuse_children - name the images beside @f that depend on it
 * @c: the chain at work, whose layers are not meant; or NULL
 * @force: only warn
 * Return: VHDCTL_BUSY if there are some.
 */
int refuse_children(const struct vhd_file *f, const struct vhd_layers *c,
		    bool force);

/** relink - give an image loaded for writing another parent; an exit code */
int relink(struct vhd_file *child, const struct vhd_file *parent,
	   bool absolute);

/**
 * relink_recover - undo a relink() of @path that a power cut has ended
 * @path need not exist.  Return: an exit code.
 */
int relink_recover(const char *path);

/** file_remove - unlink a file whose content lies elsewhere now; an exit code */
int file_remove(const char *path);

/** is_device - is @path a block device, or the name of one of ours */
bool is_device(const char *path);

#endif /* _VHDCTL_CHAIN_H */
