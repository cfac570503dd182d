// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uuid.h>

#include <asm/byteorder.h>
#include <linux/align.h>
#include <linux/log2.h>

#include "chain.h"
#include "convert.h"
#include "convert_difference.h"
#include "disk.h"
#include "lock.h"
#include "meter.h"
#include "report.h"
#include "vhdctl.h"

#define MIB		(1U << 20)

enum {
	OPT_AZURE = OPT_LONG,
	OPT_REALIGN,
	OPT_BLOCK_SIZE,
	OPT_UUID,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "format", required_argument, NULL, 'f' },
	{ "output", required_argument, NULL, 'O' },
	{ "azure", no_argument, NULL, OPT_AZURE },
	{ "realign", no_argument, NULL, OPT_REALIGN },
	{ "block-size", required_argument, NULL, OPT_BLOCK_SIZE },
	{ "uuid", required_argument, NULL, OPT_UUID },
	{ "force", no_argument, NULL, OPT_FORCE },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"convert [OPTION...] SOURCE TARGET\n"
	"\n"
	"Copy a disk into a new file.  SOURCE is an image, a raw file or block\n"
	"device, or \"-\", a raw disk from the standard input.  Holes and zeros take no\n"
	"space in TARGET, which is complete and on the disk when the command ends,\n"
	"or not there.  SOURCE is not changed.\n"
	"\n"
	" -O, --output dynamic|fixed|raw|diff\n"
	"                             what TARGET shall be (dynamic); diff: what\n"
	"                             SOURCE has otherwise than the image --parent\n"
	" -f, --format raw|vhd        what SOURCE is; found out otherwise: what has\n"
	"                             a footer of an image is one\n"
	"     --block-size SIZE       of a dynamic image: 512K, 1M or 2M; default: as\n"
	"                             SOURCE, else 2M\n"
	"     --azure                 as Azure wants it: fixed, the size rounded up\n"
	"                             to whole MiB\n"
	"     --realign               of a dynamic image: the same type, block size\n"
	"                             and id, with all blocks at multiples of 4 KiB\n"
	"     --uuid UUID             TARGET's unique id; default: random\n"
	"     --force                 replace an existing file, or write over a block\n"
	"                             device\n"
	"\n"
	"Of a differencing image, the whole disk is copied.  Its parents, but with\n"
	"-O diff TARGET's parent:\n"
	PARENT_HELP;

/** struct wish - the options as given */
struct wish {
	struct vhd_convert convert;
	enum vhd_source_format format;
	bool typed;
	bool azure;
	bool realign;
	u32 block_size;
	struct vhd_parent_options parents;
};

static void output_option(struct wish *w, const char *arg)
{
	static const char *const words[] = {
		"dynamic", "fixed", "raw", "diff", NULL
	};
	static const enum vhd_disk_type types[] = {
		VHD_TYPE_DYNAMIC, VHD_TYPE_FIXED, VHD_TYPE_FIXED,
		VHD_TYPE_DIFFERENCING,
	};
	int i = parse_choice("--output", arg, words);

	w->convert.image.type = types[i];
	w->convert.raw = i == 2;
	w->typed = true;
}

static int block_size_option(struct wish *w, const char *arg)
{
	u64 size;

	if (parse_size(arg, &size) || !is_power_of_2(size) ||
	    size < VHD_MIN_RW_BLOCK_SIZE || size > VHD_MAX_RW_BLOCK_SIZE)
		return usage_error(&cmd_convert,
				   "--block-size: found %s, expected 512K, 1M or 2M",
				   arg);
	w->block_size = size;
	return VHDCTL_OK;
}

static int uuid_option(struct wish *w, const char *arg)
{
	if (uuid_parse(arg, w->convert.image.unique_id) ||
	    uuid_is_null(w->convert.image.unique_id))
		return usage_error(&cmd_convert,
				   "--uuid: \"%s\" is not an id, or the null id",
				   arg);
	return VHDCTL_OK;
}

static int one_option(struct wish *w, int c)
{
	switch (c) {
	case 'O':
		output_option(w, optarg);
		break;
	case 'f':
		w->format = source_format(optarg);
		break;
	case OPT_AZURE:
		w->azure = true;
		break;
	case OPT_REALIGN:
		w->realign = true;
		break;
	case OPT_BLOCK_SIZE:
		return block_size_option(w, optarg);
	case OPT_UUID:
		return uuid_option(w, optarg);
	case OPT_FORCE:
		w->convert.replace = true;
		break;
	default:
		parent_option(&w->parents, c, optarg);
		break;
	}
	return VHDCTL_OK;
}

static int check_combination(struct wish *w)
{
	bool dynamic = w->convert.image.type == VHD_TYPE_DYNAMIC;
	bool diff = w->convert.image.type == VHD_TYPE_DIFFERENCING;

	if (diff && w->parents.nr_files != 1)
		return usage_error(&cmd_convert,
				   "--output diff: expected one --parent");
	if (w->azure && w->realign)
		return usage_error(&cmd_convert,
				   "--azure: not together with --realign");
	if (w->azure && w->typed && (dynamic || diff || w->convert.raw))
		return usage_error(&cmd_convert,
				   "--azure: only a fixed image will do");
	if (w->azure)
		w->convert.image.type = VHD_TYPE_FIXED;
	if (w->realign && (!dynamic || w->block_size ||
			   !uuid_is_null(w->convert.image.unique_id)))
		return usage_error(&cmd_convert,
				   "--realign: type, block size and id stay as they are");
	if (w->block_size && ((!dynamic && !diff) || w->azure))
		return usage_error(&cmd_convert,
				   "--block-size: only a dynamic image has blocks");
	if (w->convert.raw && !uuid_is_null(w->convert.image.unique_id))
		return usage_error(&cmd_convert, "--uuid: a raw file has none");
	return VHDCTL_OK;
}

/* ---- what the target shall be ---------------------------------------- */

static int settle_realign(struct wish *w, const struct vhd_source *s)
{
	const struct vhd_image *img = &s->file.image;

	if (s->raw || img->type != VHD_TYPE_DYNAMIC) {
		error_msg(s->file.path, "--realign: is not a dynamic image");
		return VHDCTL_BAD;
	}
	memcpy(w->convert.image.unique_id, img->footer.unique_id, 16);
	return VHDCTL_OK;
}

static u32 settle_block_size(const struct wish *w, const struct vhd_source *s)
{
	const struct vhd_image *img = &s->file.image;

	if (w->block_size)
		return w->block_size;
	if (s->raw || !img->bat || vhd_block_bytes(img) < VHD_MIN_RW_BLOCK_SIZE ||
	    vhd_block_bytes(img) > VHD_MAX_RW_BLOCK_SIZE)
		return VHD_DEFAULT_BLOCK_SIZE;
	return vhd_block_bytes(img);
}

static int settle(struct wish *w, const struct vhd_source *s)
{
	struct vhd_new_image *n = &w->convert.image;

	if (w->realign && settle_realign(w, s))
		return VHDCTL_BAD;
	if (!s->stream && !s->size) {
		error_msg(s->file.path, "is empty");
		return VHDCTL_BAD;
	}
	n->size = w->azure ? ALIGN(s->size, (u64)MIB) : s->size;
	n->block_size = settle_block_size(w, s);
	if (uuid_is_null(n->unique_id))
		uuid_generate(n->unique_id);
	if (n->type != VHD_TYPE_FIXED && n->size > VHD_MAX_DYNAMIC_SIZE) {
		error_msg(s->file.path, "has %llu bytes; a dynamic image has at most %llu (2040 GiB): try -O fixed",
			  (unsigned long long)n->size, VHD_MAX_DYNAMIC_SIZE);
		return VHDCTL_BAD;
	}
	if (n->size != s->size && !s->stream)
		verbose_msg(s->file.path, "size rounded up from %llu to %llu bytes",
			    (unsigned long long)s->size,
			    (unsigned long long)n->size);
	return VHDCTL_OK;
}

/* A file that is replaced must be nobody's, and not the source. */
static int check_target(const char *path, const struct vhd_source *s)
{
	struct vhd_file f;
	unsigned int i;
	struct stat st;
	int err;

	if (stat(path, &st))
		return VHDCTL_OK;
	if (s->file.ino == st.st_ino && s->file.dev == st.st_dev) {
		error_msg(path, "is the source; choose another name");
		return VHDCTL_BUSY;
	}
	for (i = 1; s->chained && i < s->layers.nr; i++) {
		if (s->layers.layers[i]->ino != st.st_ino ||
		    s->layers.layers[i]->dev != st.st_dev)
			continue;
		error_msg(path, "is a parent of the source; choose another name");
		return VHDCTL_BUSY;
	}
	err = vhd_file_open(&f, path, false);
	if (!err)
		err = vhd_lock_image(f.fd, true);
	vhd_file_close(&f);
	if (err != -EBUSY)
		return VHDCTL_OK;
	error_msg(path, "is in use by another process or attached");
	return VHDCTL_BUSY;
}

/* ---- doing it -------------------------------------------------------- */

static int report_convert(const struct wish *w, const char *path, int err)
{
	const struct vhd_convert *c = &w->convert;
	const char *source = c->source->file.path;

	if (err == -EEXIST || (err == -EBUSY && !c->reading))
		return report_create(path, &(struct vhd_create) {
			.replace = c->replace }, err);
	if (err == -ENODATA) {
		error_msg(source, "is empty");
		return VHDCTL_BAD;
	}
	if (err == -EINTR) {
		error_msg(path, "interrupted: not made; %s is as it was", source);
		return VHDCTL_BAD;
	}
	if (err == -EFBIG && c->image.type == VHD_TYPE_DYNAMIC && !c->raw) {
		error_msg(path, "is too large for a dynamic image (at %llu): try -O fixed",
			  (unsigned long long)c->at);
		return VHDCTL_RESOURCE;
	}
	if (!c->reading)
		return error_errno(path, "cannot write", err);
	error_msg(source, "cannot read at %llu of the disk: %s",
		  (unsigned long long)c->at, strerror(-err));
	return exit_code(err);
}

static int convert(struct wish *w, const char *path)
{
	struct vhd_convert *c = &w->convert;
	char size[16], written[16], shared[16];
	int err;

	meter_start("converting", true);
	err = vhd_convert(c, path);
	meter_stop(!err);
	if (err)
		return report_convert(w, path, err);
	format_size(c->size, size, sizeof(size));
	format_size(c->written, written, sizeof(written));
	format_size(c->shared, shared, sizeof(shared));
	if (c->cloned)
		verbose_msg(path, "%s; the data are shared with %s", size,
			    c->source->file.path);
	else if (c->shared)
		verbose_msg(path, "%s, %s of them data, and %s shared with %s",
			    size, written, shared, c->source->file.path);
	else
		verbose_msg(path, "%s, %s of them data", size, written);
	return VHDCTL_OK;
}

/* --parent is the target's. */
static int convert_diff(struct wish *w, struct vhd_source *s, const char *path)
{
	struct vhd_create create = {
		.image = w->convert.image,
		.replace = w->convert.replace,
	};

	if (s->stream) {
		error_msg(path, "--output diff: not from a stream");
		return VHDCTL_BAD;
	}
	create.image.block_size = w->block_size;
	return convert_difference(s, w->parents.files[0], path, &create);
}

/* Of the source; a parent that is not its is the target's or a mistake. */
static int open_from(struct wish *w, struct vhd_source *s, const char *path)
{
	bool diff = w->convert.image.type == VHD_TYPE_DIFFERENCING;
	struct vhd_parent_options opt = w->parents;
	int code;

	if (diff)
		opt.nr_files = 0;
	code = open_source(s, path, w->format, &opt);
	if (code || !opt.nr_files)
		return code;
	if (s->chained)
		return chain_unused(&s->layers, &opt);
	return usage_error(&cmd_convert,
			   "--parent: \"%s\" is no differencing image", path);
}

static int convert_from(struct wish *w, const char *from, const char *to)
{
	struct vhd_source *s = calloc(1, sizeof(*s));
	int code;

	if (!s)
		return error_errno(from, "cannot open", -ENOMEM);
	w->convert.source = s;
	code = open_from(w, s, from);
	if (!code)
		code = settle(w, s);
	if (!code && w->convert.replace)
		code = check_target(to, s);
	if (!code && w->convert.image.type == VHD_TYPE_DIFFERENCING)
		code = convert_diff(w, s, to);
	else if (!code)
		code = convert(w, to);
	vhd_source_close(s);
	free(s);
	return code;
}

static int run_convert(int argc, char **argv)
{
	struct wish w = { .convert.image.type = VHD_TYPE_DYNAMIC };
	int c, code;

	while ((c = next_option(&cmd_convert, argc, argv, "O:f:" COMMON_SHORT,
				options)) != -1)
		if (one_option(&w, c))
			return VHDCTL_USAGE;
	if (argc - optind != 2)
		return usage_error(&cmd_convert, "expected SOURCE and TARGET");
	if (check_combination(&w))
		return VHDCTL_USAGE;
	if (w.format == VHD_SOURCE_VHD && !strcmp(argv[optind], "-"))
		return usage_error(&cmd_convert,
				   "--format: the standard input is always raw");
	code = convert_from(&w, argv[optind], argv[optind + 1]);
	parent_options_free(&w.parents);
	return code;
}

const struct command cmd_convert = {
	.name = "convert",
	.brief = "copy a disk into a file of another kind",
	.help = help,
	.run = run_convert,
};
