// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <uuid.h>

#include <linux/minmax.h>

#include "chain.h"
#include "live.h"
#include "merge.h"
#include "meter.h"
#include "pending.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_DEPTH = OPT_LONG,
	OPT_INTO,
	OPT_KEEP,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "depth", required_argument, NULL, OPT_DEPTH },
	{ "into", required_argument, NULL, OPT_INTO },
	{ "keep", no_argument, NULL, OPT_KEEP },
	{ "force", no_argument, NULL, OPT_FORCE },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"commit [OPTION...] IMAGE|DEVICE\n"
	"\n"
	"Merge a differencing image into its parent, which then shows what IMAGE\n"
	"did, and remove IMAGE. It stays whole until the end: interrupted anywhere,\n"
	"the same command goes on.\n"
	"A DEVICE is merged while it is in use, and goes on in the parent; how\n"
	"long writes had to wait at the end is printed. Interrupted, it goes on in\n"
	"its image. To go one further down after that, --into must name where to.\n"
	"\n"
	"     --depth N               into the N-th ancestor, with all that are\n"
	"                             between; 1, the parent, is the default. More\n"
	"                             than that not with --keep, but --into\n"
	"     --into FILE             into this ancestor, or a new dynamic image that\n"
	"                             needs no parent; then nothing is removed.\n"
	"                             Of a DEVICE: its parent, to be sure\n"
	"     --keep                  remove nothing: IMAGE becomes a child of what\n"
	"                             it was merged into (of a DEVICE it is not: the\n"
	"                             parent is written to)\n"
	"     --force                 although other images depend on what is changed\n"
	"                             and will be spoiled, or space may be short\n"
	PARENT_HELP;

/**
 * struct wish - the options as given
 * @depth: what they come to for the chain as it is
 * @found_into: @depth is where the ancestor is that --into named
 * @pending: what a commit that was cut short has left, if this is to go on with it
 */
struct wish {
	unsigned long depth;
	const char *into;
	bool found_into;
	bool keep;
	bool force;
	struct vhd_parent_options parents;
	struct vhd_pending pending;
};

/* ---- before ---------------------------------------------------------- */

/* Which layer is --into, if it is one. */
static void find_into(struct wish *w, const struct vhd_layers *c)
{
	struct stat st;
	unsigned int i;

	if (!w->into || stat(w->into, &st))
		return;
	for (i = 1; i < c->nr; i++) {
		if (c->layers[i]->dev != st.st_dev ||
		    c->layers[i]->ino != st.st_ino)
			continue;
		w->depth = i;
		w->into = NULL;
		w->found_into = true;
		return;
	}
}

static bool same_id(const struct vhd_file *f, const u8 id[16])
{
	return !memcmp(f->image.footer.unique_id, id, 16);
}

/*
 * Was a commit of this image cut short after it had been hung on what it was
 * merged into?  Then the same command means that, although its --depth does not
 * count from there any more.
 */
static int find_pending(struct wish *w, const struct vhd_layers *c)
{
	struct vhd_pending *p = &w->pending;
	const char *path = c->layers[0]->path;
	int err = vhd_pending_read(p, path);

	if (err)
		return error_errno(path, "cannot read what a commit has left",
				   err);
	if (!p->nr || c->nr < 2 || !same_id(c->layers[0], p->top) ||
	    !same_id(c->layers[1], p->target) ||
	    (w->depth == 1 && !w->found_into) || w->into) {
		vhd_pending_free(p);
		return VHDCTL_OK;
	}
	if (w->depth != (w->found_into ? 1 : p->depth)) {
		error_msg(path, "was being merged into \"%s\", which was cut short: first the same again, --depth %u or --into",
			  c->layers[1]->path, p->depth);
		return VHDCTL_BAD;
	}
	warning_msg(path, "goes on with a commit that was cut short");
	w->depth = 1;
	return VHDCTL_OK;
}

static int check_depth(const struct wish *w, const struct vhd_layers *c)
{
	const struct vhd_file *top = c->layers[0], *target;

	if (c->nr == 1) {
		error_msg(top->path, "is a %s image: it has no parent to be merged into",
			  type_name(top->image.type));
		return VHDCTL_BAD;
	}
	if (w->depth >= c->nr) {
		error_msg(top->path, "--depth: found %lu, it has %u ancestors",
			  w->depth, c->nr - 1);
		return VHDCTL_BAD;
	}
	target = c->layers[w->depth];
	if (w->into || target->image.size >= top->image.size)
		return VHDCTL_OK;
	error_msg(target->path, "is smaller than what is to be merged into it: found %llu, expected at least %llu; resize it first",
		  (unsigned long long)target->image.size,
		  (unsigned long long)top->image.size);
	return VHDCTL_BAD;
}

/* Those that lay between hang on what was changed, but nobody wants them. */
static void add_pending(const struct wish *w, struct vhd_layers *all)
{
	struct vhd_file *f;
	u32 i;

	for (i = 0; i < w->pending.nr && all->nr < VHD_LAYERS_MAX; i++) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return;
		/* One that is not there is nobody's child. */
		vhd_file_open(f, w->pending.layers[i].path, false);
		all->layers[all->nr++] = f;
	}
}

/* Whose parent is about to change under them? */
static int check_children(const struct wish *w, const struct vhd_layers *c)
{
	struct vhd_layers all = *c;
	unsigned int i;
	int code = VHDCTL_OK;

	add_pending(w, &all);
	for (i = 0; i <= w->depth && !code; i++)
		code = refuse_children(c->layers[i], &all, w->force);
	while (all.nr > c->nr) {
		vhd_file_close(all.layers[--all.nr]);
		free(all.layers[all.nr]);
	}
	return code;
}

/* A layer, now for writing.  It must be the same file. */
static int reopen(struct vhd_layers *c, unsigned int n)
{
	struct vhd_file *f = c->layers[n];
	char *path = strdup(f->path);
	dev_t dev = f->dev;
	ino_t ino = f->ino;
	int code, err;

	if (!path)
		return error_errno(f->path, "cannot open", -ENOMEM);
	vhd_layers_changed(c);
	vhd_file_close(f);
	err = vhd_file_open(f, path, true);
	code = err ? report_open(f, path, err) : VHDCTL_OK;
	if (!code && (f->dev != dev || f->ino != ino)) {
		error_msg(path, "was replaced meanwhile");
		code = VHDCTL_BUSY;
	}
	if (!code)
		code = file_lock(f, true);
	if (!code) {
		err = vhd_file_load(f, VHD_OPEN_WRITE);
		code = err ? report_load(f, err) : VHDCTL_OK;
	}
	free(path);
	return code;
}

/* Bytes by which a target can grow. */
static int free_space(const struct vhd_file *f, u64 *have)
{
	const struct vhd_space *sp = &f->image.space;
	struct statvfs vfs;

	if (f->image.on_device) {
		*have = sp->tail - min(sp->data_end, sp->tail) +
			sp->gaps.nr * (u64)vhd_slot_bytes(&f->image);
		return 0;
	}
	if (fstatvfs(f->fd, &vfs))
		return -errno;
	*have = (u64)vfs.f_bavail * vfs.f_frsize;
	return 0;
}

/* -ENOSPC, told, if the target cannot grow as it may have to. */
static int check_space(const struct wish *w, struct vhd_merge *m,
		       const char *path)
{
	u64 need, have = 0;
	int err = vhd_merge_space(m, &need);

	if (err || free_space(m->target, &have))
		return err;
	if (need <= have || w->force)
		return 0;
	error_msg(path, "needs up to %llu bytes more, and there are %llu; --force tries",
		  (unsigned long long)need, (unsigned long long)have);
	return -ENOSPC;
}

/* ---- after ----------------------------------------------------------- */

/*
 * What was merged goes, the top last: as long as it is there, it shows that the
 * target is not free for others.
 */
static int remove_layers(const struct vhd_layers *c, unsigned int depth)
{
	int code = VHDCTL_OK;

	while (depth-- && !code)
		code = file_remove(c->layers[depth]->path);
	return code;
}

/* One that lay between and is noted; it must be what it was. */
static int remove_pending(const struct wish *w,
			  const struct vhd_pending_layer *l)
{
	struct vhd_file f;
	struct stat st;
	int code, err;

	if (lstat(l->path, &st) && errno == ENOENT)
		return VHDCTL_OK;
	err = vhd_file_open(&f, l->path, true);
	code = err ? report_open(&f, l->path, err) : file_lock(&f, true);
	if (!code) {
		err = vhd_file_load(&f, VHD_OPEN_FORCE);
		code = err ? report_load(&f, err) : VHDCTL_OK;
	}
	if (!code && !same_id(&f, l->id))
		warning_msg(l->path, "is another image than the one that was merged, and stays");
	else if (!code)
		code = refuse_children(&f, NULL, w->force) ?:
		       file_remove(l->path);
	vhd_file_close(&f);
	return code;
}

/* The upper ones first: so none has a child when its turn comes. */
static int remove_all_pending(const struct wish *w)
{
	int code = VHDCTL_OK;
	u32 i;

	for (i = 0; i < w->pending.nr && !code; i++)
		code = remove_pending(w, &w->pending.layers[i]);
	return code;
}

/* Until then the note is needed; one that is left does no harm. */
static void drop_note(const char *path)
{
	int err = vhd_pending_drop(path);

	if (err)
		warning_msg(path, "what was noted of its commit cannot be removed: %s",
			    strerror(-err));
}

/* ---- the merge ------------------------------------------------------- */

static int merge(const struct wish *w, struct vhd_merge *m)
{
	int err = check_space(w, m, m->target->path);

	if (err == -ENOSPC)
		return VHDCTL_RESOURCE;
	if (err)
		return error_errno(m->c->layers[0]->path, "cannot read", err);
	meter_start("merging", true);
	err = vhd_merge_run(m);
	meter_stop(!err);
	if (err == -EINTR) {
		error_msg(m->c->layers[0]->path, "interrupted: it is whole; the same command goes on");
		return VHDCTL_BAD;
	}
	return err ? error_errno(m->target->path, "cannot merge", err) :
		     VHDCTL_OK;
}

/* Its parent is what was merged into: so it stays whole without the others. */
static int hang_top(struct vhd_layers *c, unsigned int depth)
{
	int code = VHDCTL_OK, err;

	if (depth > 1) {
		err = vhd_pending_write(c, depth);
		if (err)
			code = error_errno(c->layers[0]->path,
					   "cannot note what is to be removed",
					   err);
	}
	if (!code)
		code = reopen(c, 0);
	return code ? code : relink(c->layers[0], c->layers[depth], false);
}

static int merge_down(const struct wish *w, struct vhd_layers *c)
{
	struct vhd_merge m = {
		.c = c,
		.depth = w->depth,
		.target = c->layers[w->depth],
	};
	int code = VHDCTL_OK;

	if (c->layers[0]->image.on_device && (w->keep || w->depth > 1)) {
		error_msg(c->layers[0]->path, "lies on a block device, where its parent cannot be changed: no --keep or --depth");
		return VHDCTL_BAD;
	}
	/* The top does not depend on them any more, and they show rubbish. */
	if (!w->keep)
		code = remove_all_pending(w);
	if (!code)
		code = check_children(w, c);
	if (!code)
		code = reopen(c, w->depth);
	if (!code)
		code = merge(w, &m);
	if (!code && (w->keep || w->depth > 1))
		code = hang_top(c, w->depth);
	if (!code && !w->keep)
		code = remove_layers(c, w->depth);
	if (!code)
		drop_note(c->layers[0]->path);
	return code;
}

/** struct fill - a new image to be filled; @short_of: space, which was told */
struct fill {
	const struct wish *wish;
	struct vhd_merge merge;
	bool short_of;
};

/* The new image gets its name when this has come to its end. */
static int fill_new(int fd, void *arg)
{
	struct fill *fill = arg;
	struct vhd_file *f = fill->merge.target;
	int err;

	fd = dup(fd);
	if (fd < 0)
		return -errno;
	err = vhd_file_adopt(f, fd, fill->wish->into);
	if (!err)
		err = vhd_file_load(f, VHD_OPEN_WRITE);
	if (!err) {
		err = check_space(fill->wish, &fill->merge, fill->wish->into);
		fill->short_of = err == -ENOSPC;
	}
	if (!err) {
		meter_start("merging", true);
		err = vhd_merge_run(&fill->merge);
		meter_stop(!err);
	}
	vhd_file_close(f);
	return err;
}

static int merge_new(const struct wish *w, struct vhd_layers *c)
{
	const struct vhd_image *top = &c->layers[0]->image;
	struct vhd_file target;
	struct fill fill = {
		.wish = w,
		.merge = { .c = c, .depth = c->nr, .target = &target },
	};
	struct vhd_create create = {
		.image.type = VHD_TYPE_DYNAMIC,
		.image.size = top->size,
		.image.block_size = vhd_block_bytes(top),
		.fill = fill_new,
		.fill_arg = &fill,
	};
	int err;

	uuid_generate(create.image.unique_id);
	err = vhd_create(w->into, &create);
	if (err == -EINTR)
		error_msg(w->into, "interrupted: it was not made");
	else if (err == -EEXIST)
		error_msg(w->into, "exists and is none of the image's ancestors");
	else if (fill.short_of)
		return VHDCTL_RESOURCE;
	else if (err)
		return error_errno(w->into, "cannot create", err);
	return err == -EEXIST ? VHDCTL_BUSY : err ? VHDCTL_BAD : VHDCTL_OK;
}

static int commit_image(const char *path, struct wish *w)
{
	struct vhd_layers c;
	int code = relink_recover(path);

	if (code)
		return code;
	code = chain_open(&c, path, &w->parents, 0);
	if (!code)
		find_into(w, &c);
	if (!code)
		code = find_pending(w, &c);
	if (!code)
		code = check_depth(w, &c);
	if (!code)
		chain_warn(&c);
	if (!code)
		code = chain_lock(&c, 0);
	if (!code)
		code = w->into ? merge_new(w, &c) : merge_down(w, &c);
	vhd_layers_close(&c);
	return code;
}

static int one_option(struct wish *w, int c)
{
	char *end;

	switch (c) {
	case OPT_DEPTH:
		w->depth = strtoul(optarg, &end, 10);
		if (!w->depth || *end || *optarg == '-')
			return usage_error(&cmd_commit,
					   "--depth: found \"%s\", expected 1 or more",
					   optarg);
		break;
	case OPT_INTO:
		w->into = optarg;
		break;
	case OPT_KEEP:
		w->keep = true;
		break;
	case OPT_FORCE:
		w->force = true;
		break;
	default:
		parent_option(&w->parents, c, optarg);
	}
	return VHDCTL_OK;
}

static int run_commit(int argc, char **argv)
{
	struct wish w = { };
	int c, code;

	while ((c = next_option(&cmd_commit, argc, argv, COMMON_SHORT,
				options)) != -1)
		if (one_option(&w, c))
			return VHDCTL_USAGE;
	if (argc - optind != 1)
		return usage_error(&cmd_commit, "expected one IMAGE");
	if (w.depth && w.into)
		return usage_error(&cmd_commit, "--depth or --into, not both");
	/* Done twice it would go further down: the image has another parent then. */
	if (w.depth > 1 && w.keep)
		return usage_error(&cmd_commit, "--keep: name the ancestor with --into, --depth counts anew after it");
	if (!w.depth)
		w.depth = 1;
	if (!is_device(argv[optind]))
		code = commit_image(argv[optind], &w);
	else if (w.depth > 1)
		code = usage_error(&cmd_commit,
				   "a device is merged into its parent; no --depth");
	else
		code = commit_device(argv[optind], w.into, w.keep, w.force);
	vhd_pending_free(&w.pending);
	parent_options_free(&w.parents);
	return code;
}

const struct command cmd_commit = {
	.name = "commit",
	.brief = "merge a differencing image into its parent",
	.help = help,
	.run = run_commit,
};
