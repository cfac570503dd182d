// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <uuid.h>

#include <linux/log2.h>

#include "chain.h"
#include "file.h"
#include "lock.h"
#include "meter.h"
#include "vhdctl.h"

enum {
	OPT_BLOCK_SIZE = OPT_LONG,
	OPT_UUID,
	OPT_SIZE_RULE,
	OPT_AZURE,
	OPT_PREALLOCATE,
	OPT_RESERVE,
	OPT_ABSOLUTE,
};

static const struct option options[] = {
	{ "size", required_argument, NULL, 's' },
	{ "type", required_argument, NULL, 't' },
	{ "block-size", required_argument, NULL, OPT_BLOCK_SIZE },
	{ "uuid", required_argument, NULL, OPT_UUID },
	{ "size-rule", required_argument, NULL, OPT_SIZE_RULE },
	{ "azure", no_argument, NULL, OPT_AZURE },
	{ "preallocate", required_argument, NULL, OPT_PREALLOCATE },
	{ "reserve", required_argument, NULL, OPT_RESERVE },
	{ "parent", required_argument, NULL, OPT_PARENT },
	{ "absolute", no_argument, NULL, OPT_ABSOLUTE },
	{ "force", no_argument, NULL, 'f' },
	COMMON_OPTIONS
};

static const char help[] =
	"create --size SIZE [OPTION...] IMAGE\n"
	"   or: vhdctl create --type diff --parent PARENT [OPTION...] IMAGE\n"
	"\n"
	"Make a new, empty image file, or one that holds only what will differ\n"
	"from PARENT, which must not be written any more.\n"
	"\n"
	" -s, --size SIZE             virtual size, at most 2040G: bytes, 512s\n"
	"                             (sectors), 10K, 10M, 10G, 10T, 10MB (1000s)\n"
	" -t, --type dynamic|fixed|diff\n"
	"                             dynamic grows with use (default); fixed has\n"
	"                             the data at their places, sparse; diff needs\n"
	"                             a parent and takes its size and block size\n"
	"     --parent PARENT         of a differencing image\n"
	"     --absolute              tell only the parent's absolute path: the\n"
	"                             image can be moved without its parent,\n"
	"                             rather than together with it\n"
	"     --block-size SIZE       of a dynamic or differencing image: 512K,\n"
	"                             1M or 2M (default)\n"
	"     --uuid UUID             the image's unique id; default: random\n"
	"     --size-rule exact|chs   chs: round up to what cylinders, heads and\n"
	"                             sectors address, for old Virtual PC\n"
	"     --azure                 as Azure wants it: fixed, whole MiB\n"
	"     --preallocate off|metadata|full\n"
	"                             metadata: dynamic: all blocks in the table,\n"
	"                             data sparse; fixed: space reserved;\n"
	"                             full: zeros written to all of it\n"
	"     --reserve SIZE          room in the table to grow to SIZE later\n"
	" -f, --force                 replace an existing file, or write over a block\n"
	"                             device\n";

/** struct wish - the options as given */
struct wish {
	struct vhd_create create;
	u64 reserve;
	const char *parent;
	bool absolute;
	bool typed;
	bool sized;
	bool azure;
	bool chs;
	bool blocked;
};

static int size_option(const char *name, const char *arg, u64 *size)
{
	int err = parse_size(arg, size);

	if (!err)
		return VHDCTL_OK;
	return usage_error(&cmd_create, "%s: \"%s\" is %s", name, arg,
			   err == -ERANGE ? "too large" : "not a size");
}

static int block_size_option(struct wish *w, const char *arg)
{
	u64 size;

	if (size_option("--block-size", arg, &size))
		return VHDCTL_USAGE;
	if (!is_power_of_2(size) || size < VHD_MIN_RW_BLOCK_SIZE ||
	    size > VHD_MAX_RW_BLOCK_SIZE)
		return usage_error(&cmd_create,
				   "--block-size: found %s, expected 512K, 1M or 2M",
				   arg);
	w->create.image.block_size = size;
	w->blocked = true;
	return VHDCTL_OK;
}

static int uuid_option(struct wish *w, const char *arg)
{
	if (uuid_parse(arg, w->create.image.unique_id) ||
	    uuid_is_null(w->create.image.unique_id))
		return usage_error(&cmd_create,
				   "--uuid: \"%s\" is not an id, or the null id",
				   arg);
	return VHDCTL_OK;
}

static void type_option(struct wish *w, const char *arg)
{
	static const char *const words[] = { "dynamic", "fixed", "diff", NULL };
	static const enum vhd_disk_type types[] = {
		VHD_TYPE_DYNAMIC, VHD_TYPE_FIXED, VHD_TYPE_DIFFERENCING,
	};

	w->create.image.type = types[parse_choice("--type", arg, words)];
	w->typed = true;
}

static int one_option(struct wish *w, int c)
{
	static const char *const rules[] = { "exact", "chs", NULL };
	static const char *const pre[] = { "off", "metadata", "full", NULL };

	switch (c) {
	case 's':
		w->sized = true;
		return size_option("--size", optarg, &w->create.image.size);
	case 't':
		type_option(w, optarg);
		break;
	case OPT_BLOCK_SIZE:
		return block_size_option(w, optarg);
	case OPT_UUID:
		return uuid_option(w, optarg);
	case OPT_SIZE_RULE:
		w->chs = parse_choice("--size-rule", optarg, rules);
		break;
	case OPT_AZURE:
		w->azure = true;
		break;
	case OPT_PREALLOCATE:
		w->create.preallocation = parse_choice("--preallocate", optarg,
						       pre);
		break;
	case OPT_RESERVE:
		return size_option("--reserve", optarg, &w->reserve);
	case OPT_PARENT:
		w->parent = optarg;
		break;
	case OPT_ABSOLUTE:
		w->absolute = true;
		break;
	case 'f':
		w->create.replace = true;
		break;
	}
	return VHDCTL_OK;
}

/* --parent alone says what is wanted. */
static int check_child(struct wish *w)
{
	struct vhd_new_image *n = &w->create.image;

	if (w->parent && !w->typed && !w->azure)
		n->type = VHD_TYPE_DIFFERENCING;
	if (n->type != VHD_TYPE_DIFFERENCING) {
		if (w->parent || w->absolute)
			return usage_error(&cmd_create,
					   "%s: only with --type diff",
					   w->parent ? "--parent" : "--absolute");
		return VHDCTL_OK;
	}
	if (!w->parent)
		return usage_error(&cmd_create, "--parent is needed with --type diff");
	if (w->create.preallocation != VHD_PREALLOC_OFF)
		return usage_error(&cmd_create,
				   "--preallocate: a differencing image begins empty");
	if (w->chs && !w->sized)
		return usage_error(&cmd_create,
				   "--size-rule: not without --size: the size is the parent's");
	return VHDCTL_OK;
}

static int check_combination(struct wish *w)
{
	if (check_child(w))
		return VHDCTL_USAGE;
	if (w->azure && w->typed && w->create.image.type != VHD_TYPE_FIXED)
		return usage_error(&cmd_create,
				   "--azure: only a fixed image will do");
	if (w->azure && w->chs)
		return usage_error(&cmd_create,
				   "--azure: not together with --size-rule=chs");
	if (w->azure)
		w->create.image.type = VHD_TYPE_FIXED;
	if (w->create.image.type != VHD_TYPE_FIXED)
		return VHDCTL_OK;
	if (w->blocked)
		return usage_error(&cmd_create,
				   "--block-size: a fixed image has no blocks");
	if (w->reserve)
		return usage_error(&cmd_create,
				   "--reserve: a fixed image has no table");
	return VHDCTL_OK;
}

static int check_size(struct wish *w)
{
	u64 size = w->create.image.size;

	if (!size)
		return usage_error(&cmd_create, "--size: found 0, expected at least 512");
	if (size % VHD_SECTOR_SIZE)
		return usage_error(&cmd_create,
				   "--size: found %llu, expected a multiple of 512",
				   (unsigned long long)size);
	if (w->azure && size % (1U << 20))
		return usage_error(&cmd_create,
				   "--size: found %llu, expected whole MiB (--azure)",
				   (unsigned long long)size);
	if (w->chs && size <= VHD_MAX_DYNAMIC_SIZE)
		size = vhd_size_chs(size);
	if (size > VHD_MAX_DYNAMIC_SIZE)
		return usage_error(&cmd_create,
				   "--size: found %llu, expected at most %llu (2040 GiB)",
				   (unsigned long long)size,
				   VHD_MAX_DYNAMIC_SIZE);
	w->create.image.size = size;
	return VHDCTL_OK;
}

static int check_reserve(struct wish *w)
{
	struct vhd_new_image *n = &w->create.image;

	if (!w->reserve)
		return VHDCTL_OK;
	if (n->type == VHD_TYPE_DIFFERENCING && (!n->size || !w->blocked))
		return usage_error(&cmd_create,
				   "--reserve: with --type diff also --size and --block-size are needed");
	if (w->reserve < n->size || w->reserve > VHD_MAX_DYNAMIC_SIZE)
		return usage_error(&cmd_create,
				   "--reserve: found %llu, expected the size or more, at most 2040G",
				   (unsigned long long)w->reserve);
	n->max_table_entries = vhd_nr_blocks(w->reserve, n->block_size);
	return VHDCTL_OK;
}

/* What is about to be replaced must be nobody's. */
static int check_unused(const char *path)
{
	struct vhd_file f;
	int err;

	err = vhd_file_open(&f, path, false);
	if (!err)
		err = vhd_lock_image(f.fd, true);
	vhd_file_close(&f);
	if (err != -EBUSY)
		return VHDCTL_OK;
	error_msg(path, "is in use by another process or attached");
	return VHDCTL_BUSY;
}

/* Would replacing @path replace one of the parents? */
static int check_replaced(const char *path, const struct vhd_layers *c)
{
	struct stat st;
	unsigned int i;

	for (i = 0; i < c->nr && !stat(path, &st); i++) {
		if (st.st_dev != c->layers[i]->dev ||
		    st.st_ino != c->layers[i]->ino)
			continue;
		error_msg(path, "is the parent, or one of its parents");
		return VHDCTL_BUSY;
	}
	return VHDCTL_OK;
}

static int make_child(const char *path, struct wish *w)
{
	struct vhd_layers parents;
	int code;

	if (!w->blocked)
		w->create.image.block_size = 0;
	code = chain_open(&parents, w->parent, NULL, 0);
	if (!code)
		code = chain_lock(&parents, 0);
	if (!code)
		code = check_replaced(path, &parents);
	if (!code)
		chain_warn(&parents);
	if (!code && w->sized &&
	    w->create.image.size != parents.layers[0]->image.size)
		warning_msg(path, "has another size than its parent: Windows will refuse it");
	if (!code)
		code = child_make(path, &w->create, &parents, w->absolute);
	vhd_layers_close(&parents);
	return code;
}

static int make_image(const char *path, struct wish *w)
{
	int err;

	if (w->create.replace && check_unused(path))
		return VHDCTL_BUSY;
	if (w->parent)
		return make_child(path, w);
	if (uuid_is_null(w->create.image.unique_id))
		uuid_generate(w->create.image.unique_id);
	meter_start("creating", true);
	err = vhd_create(path, &w->create);
	meter_stop(!err);
	if (err)
		return report_create(path, &w->create, err);
	verbose_msg(path, "%llu bytes",
		    (unsigned long long)w->create.image.size);
	return VHDCTL_OK;
}

static int run_create(int argc, char **argv)
{
	struct wish w = {
		.create.image.type = VHD_TYPE_DYNAMIC,
		.create.image.block_size = VHD_DEFAULT_BLOCK_SIZE,
	};
	int c;

	while ((c = next_option(&cmd_create, argc, argv, "s:t:f" COMMON_SHORT,
				options)) != -1)
		if (one_option(&w, c))
			return VHDCTL_USAGE;
	if (argc - optind != 1)
		return usage_error(&cmd_create, "expected one IMAGE");
	if (check_combination(&w))
		return VHDCTL_USAGE;
	if (!w.sized && !w.parent)
		return usage_error(&cmd_create, "--size is needed");
	if ((w.sized && check_size(&w)) || check_reserve(&w))
		return VHDCTL_USAGE;
	return make_image(argv[optind], &w);
}

const struct command cmd_create = {
	.name = "create",
	.brief = "make a new image",
	.help = help,
	.run = run_create,
};
