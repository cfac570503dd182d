// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uuid.h>

#include <asm/byteorder.h>

#include "chain.h"
#include "children.h"
#include "device.h"
#include "io.h"
#include "lock.h"
#include "output.h"
#include "relink.h"
#include "report.h"
#include "vhdctl.h"

/* ---- options --------------------------------------------------------- */

static void add_word(const char ***list, unsigned int *nr, const char *word)
{
	*list = reallocarray(*list, *nr + 1, sizeof(**list));
	if (!*list)
		abort();
	(*list)[(*nr)++] = word;
}

bool parent_option(struct vhd_parent_options *opt, int c, const char *arg)
{
	switch (c) {
	case OPT_PARENT:
		add_word(&opt->files, &opt->nr_files, arg);
		free(opt->used);
		opt->used = calloc(opt->nr_files, sizeof(*opt->used));
		if (!opt->used)
			abort();
		return true;
	case OPT_PARENT_DIR:
		add_word(&opt->dirs, &opt->nr_dirs, arg);
		return true;
	case OPT_IGNORE_PARENT_ID:
		opt->ignore_id = true;
		return true;
	default:
		return false;
	}
}

void parent_options_free(struct vhd_parent_options *opt)
{
	free(opt->files);
	free(opt->used);
	free(opt->dirs);
	memset(opt, 0, sizeof(*opt));
}

/* ---- opening --------------------------------------------------------- */

struct vhd_file *chain_push_new(struct vhd_layers *c)
{
	struct vhd_file *f = calloc(1, sizeof(*f));

	if (!f)
		abort();
	f->fd = -1;
	vhd_layers_push(c, f);
	return f;
}

int chain_unused(const struct vhd_layers *c,
		 const struct vhd_parent_options *opt)
{
	unsigned int i;

	for (i = 0; opt && i < opt->nr_files; i++) {
		if (opt->used[i])
			continue;
		error_msg(c->layers[0]->path, "--parent: \"%s\" is no parent of it or of its parents",
			  opt->files[i]);
		return VHDCTL_BAD;
	}
	return VHDCTL_OK;
}

int chain_error(const struct vhd_layers *c, int err)
{
	const char *path = c->layers[c->nr - 1]->path;

	if (c->trouble) {
		error_msg(path, "%s", printable(c->trouble));
		return VHDCTL_BAD;
	}
	if (err == -EMLINK) {
		error_msg(path, "the chain has more than %u images",
			  VHD_LAYERS_MAX);
		return VHDCTL_BAD;
	}
	return error_errno(path, "cannot look for its parent", err);
}

int chain_parents(struct vhd_layers *c,
		  const struct vhd_parent_options *opt, unsigned int flags)
{
	int err = vhd_layers_parents(c, opt, flags & ~VHD_OPEN_WRITE);

	return err ? chain_error(c, err) : chain_unused(c, opt);
}

int chain_open(struct vhd_layers *c, const char *path,
	       const struct vhd_parent_options *opt, unsigned int flags)
{
	bool write = flags & VHD_OPEN_WRITE;
	struct vhd_file *f;
	int err;

	vhd_layers_init(c);
	f = chain_push_new(c);
	err = vhd_file_open(f, path, write);
	if (err)
		return report_open(f, path, err);
	err = vhd_file_load(f, flags);
	if (err)
		return report_load(f, err);
	return chain_parents(c, opt, flags);
}

/* ---- locks ----------------------------------------------------------- */

int file_lock(struct vhd_file *f, bool write)
{
	int err = vhd_lock_image(f->fd, write);
	struct device d;

	if (err && err != -EBUSY)
		warning_msg(f->path, "cannot be locked against other programs: %s",
			    strerror(-err));
	if (err != -EBUSY)
		return VHDCTL_OK;
	if (!device_of_file(f->dev, f->ino, &d))
		error_msg(f->path, "is attached as /dev/%s", d.name);
	else if (!write)
		error_msg(f->path, "is being written by another process, or attached");
	else
		error_msg(f->path, "is in use by another process, or by an attached image that depends on it");
	return VHDCTL_BUSY;
}

/* What was loaded before the lock was there: does it hold? */
static int check_unchanged(const struct vhd_file *f)
{
	struct stat st;
	u64 size;

	if (!fstat(f->fd, &st) && !vhd_fd_size(f->fd, &size) &&
	    size == f->size && st.st_mtim.tv_sec == f->mtime.tv_sec &&
	    st.st_mtim.tv_nsec == f->mtime.tv_nsec)
		return VHDCTL_OK;
	error_msg(f->path, "was changed just now by another process");
	return VHDCTL_BUSY;
}

int chain_lock(struct vhd_layers *c, unsigned int first)
{
	unsigned int i;
	int code = VHDCTL_OK;

	for (i = first; i < c->nr && !code; i++) {
		code = file_lock(c->layers[i], false);
		if (!code)
			code = check_unchanged(c->layers[i]);
	}
	return code;
}

/* ---- what does not fit ----------------------------------------------- */

static bool warn_pair(const struct vhd_file *child,
		      const struct vhd_file *parent, bool id_differs)
{
	u64 size = child->image.size, parent_size = parent->image.size;
	bool fits = vhd_stamp_fits(child, parent);

	if (id_differs)
		warning_msg(child->path, "header.parent_unique_id is not the id of \"%s\"",
			    parent->path);
	if (size != parent_size)
		warning_msg(child->path, "footer.current_size: found %llu, its parent \"%s\" has %llu",
			    (unsigned long long)size, parent->path,
			    (unsigned long long)parent_size);
	if (!fits)
		warning_msg(child->path, "its parent \"%s\" was changed after it was made (header.parent_timestamp: found %u, expected %u)",
			    parent->path,
			    be32_to_cpu(child->image.header.parent_timestamp),
			    vhd_parent_stamp(parent->fd));
	return id_differs || size != parent_size || !fits;
}

bool chain_warn(const struct vhd_layers *c)
{
	bool warned = false;
	unsigned int i;

	for (i = 0; i < c->nr; i++) {
		if (i)
			report_findings(c->layers[i], VHD_POLICY_WARN, true);
		if (i + 1 < c->nr)
			warned |= warn_pair(c->layers[i], c->layers[i + 1],
					    c->id_differs[i + 1]);
	}
	return warned;
}

/* ---- children -------------------------------------------------------- */

static bool is_block(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode);
}

int report_create(const char *path, const struct vhd_create *c, int err)
{
	if (err == -EBUSY && is_block(path))
		return report_claimed(path);
	if (err == -ENOSPC && is_block(path)) {
		error_msg(path, "is too small for the image");
		return VHDCTL_RESOURCE;
	}
	if (err != -EEXIST)
		return error_errno(path, "cannot create", err);
	error_msg(path, "exists%s", c->replace ?
		  " and is neither a regular file nor a block device" :
		  is_block(path) ? " and is a block device; --force writes over all of it" :
		  "; --force replaces it");
	return VHDCTL_BUSY;
}

int report_link(const char *path, const char *what,
		const struct vhd_file *parent, int err)
{
	switch (err) {
	case -EADDRNOTAVAIL:
		error_msg(parent->path, "footer.unique_id is null: such an image cannot be a parent; vhdctl uuid --random gives it an id");
		return VHDCTL_BAD;
	case -EILSEQ:
		error_msg(parent->path, "the name is not UTF-8, or has a backslash in it: an image cannot name such a parent");
		return VHDCTL_BAD;
	case -ENAMETOOLONG:
		error_msg(parent->path, "the path is too long for an image to name it");
		return VHDCTL_BAD;
	default:
		return error_errno(path, what, err);
	}
}

void child_defaults(struct vhd_create *create, const struct vhd_image *parent)
{
	struct vhd_new_image *n = &create->image;

	n->type = VHD_TYPE_DIFFERENCING;
	if (!n->size)
		n->size = parent->size;
	if (!n->block_size && parent->bat &&
	    vhd_block_bytes(parent) >= VHD_MIN_RW_BLOCK_SIZE &&
	    vhd_block_bytes(parent) <= VHD_MAX_RW_BLOCK_SIZE)
		n->block_size = vhd_block_bytes(parent);
	if (!n->block_size)
		n->block_size = VHD_DEFAULT_BLOCK_SIZE;
	if (uuid_is_null(n->unique_id))
		uuid_generate(n->unique_id);
}

int child_make(const char *path, struct vhd_create *create,
	       struct vhd_layers *parents, bool absolute)
{
	struct vhd_file *parent = parents->layers[0];
	struct vhd_link link;
	int err;

	if (parents->nr == VHD_LAYERS_MAX) {
		error_msg(parent->path, "has %u parents already, the most there can be",
			  VHD_LAYERS_MAX - 1);
		return VHDCTL_BAD;
	}
	child_defaults(create, &parent->image);
	if (create->image.size > VHD_MAX_DYNAMIC_SIZE) {
		error_msg(parent->path, "is too large for a differencing image: found %llu, expected at most %llu (2040 GiB)",
			  (unsigned long long)create->image.size,
			  VHD_MAX_DYNAMIC_SIZE);
		return VHDCTL_BAD;
	}
	if (fsync(parent->fd))
		return error_errno(parent->path, "cannot sync", -errno);
	err = vhd_link_make(&link, path, parent, absolute);
	if (err)
		return report_link(path, "cannot create", parent, err);
	create->link = &link;
	err = vhd_create(path, create);
	create->link = NULL;
	vhd_link_free(&link);
	return err ? report_create(path, create, err) : VHDCTL_OK;
}

/* ---- changing ------------------------------------------------------- */

static void name_child(const char *path, void *arg)
{
	if (*(bool *)arg)
		warning_msg(path, "depends on what is changed, and is spoiled");
	else
		error_msg(path, "depends on it");
}

int refuse_children(const struct vhd_file *f, const struct vhd_layers *c,
		    bool force)
{
	int n = vhd_children_find(f, c, name_child, &force);

	if (n == -ENOTDIR)
		warning_msg(f->path, "images that depend on it are not looked for among the devices of /dev");
	else if (n < 0)
		warning_msg(f->path, "cannot look for images that depend on it: %s",
			    strerror(-n));
	if (n <= 0 || force)
		return VHDCTL_OK;
	error_msg(f->path, "other images depend on it; --force spoils them");
	return VHDCTL_BUSY;
}

int relink(struct vhd_file *child, const struct vhd_file *parent, bool absolute)
{
	struct vhd_link link;
	int err = vhd_link_make(&link, child->path, parent, absolute);

	if (err)
		return report_link(child->path, "cannot change its parent",
				   parent, err);
	err = vhd_relink(child, &link);
	vhd_link_free(&link);
	if (err == -EOPNOTSUPP) {
		error_msg(child->path, "lies on a block device, where its parent cannot be changed; convert it");
		return VHDCTL_BAD;
	}
	return err ? error_errno(child->path, "cannot change its parent", err) :
		     VHDCTL_OK;
}

int relink_recover(const char *path)
{
	char *undo = vhd_relink_undo(path);
	struct vhd_file f;
	struct stat st;
	int code, err;

	if (!undo || stat(undo, &st)) {
		free(undo);
		return VHDCTL_OK;
	}
	free(undo);
	err = vhd_file_open(&f, path, true);
	code = err ? report_open(&f, path, err) : file_lock(&f, true);
	if (!code) {
		err = vhd_relink_recover(&f);
		if (err > 0)
			warning_msg(path, "has its old parent again: the last change of it was cut short");
		if (err < 0)
			code = error_errno(path, "cannot take back a change of its parent that was cut short",
					   err);
	}
	vhd_file_close(&f);
	return code;
}

int file_remove(const char *path)
{
	char *copy = strdup(path);
	int dir, err = 0;
	struct stat st;

	if (!stat(path, &st) && S_ISBLK(st.st_mode)) {
		free(copy);
		err = vhd_output_wipe(path);
		return err ? error_errno(path, "merged, but cannot be wiped",
					 err) : VHDCTL_OK;
	}
	if (unlink(path))
		err = -errno;
	dir = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir >= 0) {
		fsync(dir);
		close(dir);
	}
	free(copy);
	return err ? error_errno(path, "merged, but cannot be removed", err) :
		     VHDCTL_OK;
}

bool is_device(const char *path)
{
	struct device d;
	struct stat st;

	if (!stat(path, &st))
		return S_ISBLK(st.st_mode) && device_is_ours(st.st_rdev);
	return !device_find(path, &d);
}
