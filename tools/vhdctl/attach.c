// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vhd.h>

#include "chain.h"
#include "columns.h"
#include "lock.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_NO_PARTSCAN = OPT_LONG,
	OPT_DIRECT_IO,
	OPT_AUTOCLEAR,
	OPT_DISCARD,
	OPT_FAST_LANE,
	OPT_SIZE_RULE,
	OPT_FORCE,
	OPT_NO_SETTLE,
	OPT_JSON,
	OPT_OVERLAY,
};

static const struct option options[] = {
	{ "read-only", no_argument, NULL, 'r' },
	{ "name", required_argument, NULL, 'n' },
	{ "sector-size", required_argument, NULL, 'b' },
	{ "partscan", no_argument, NULL, 'P' },
	{ "no-partscan", no_argument, NULL, OPT_NO_PARTSCAN },
	{ "direct-io", required_argument, NULL, OPT_DIRECT_IO },
	{ "autoclear", no_argument, NULL, OPT_AUTOCLEAR },
	{ "discard", required_argument, NULL, OPT_DISCARD },
	{ "fast-lane", required_argument, NULL, OPT_FAST_LANE },
	{ "size-rule", required_argument, NULL, OPT_SIZE_RULE },
	{ "force", no_argument, NULL, OPT_FORCE },
	PARENT_OPTIONS
	{ "overlay", optional_argument, NULL, OPT_OVERLAY },
	{ "no-settle", no_argument, NULL, OPT_NO_SETTLE },
	{ "json", no_argument, NULL, OPT_JSON },
	COMMON_OPTIONS
};

static const char help[] =
	"attach [OPTION...] IMAGE\n"
	"\n"
	"Make an image a block device and print the device's name.\n"
	"\n"
	" -r, --read-only             never write to the image\n"
	" -n, --name vhdN             this device rather than the first free one\n"
	" -b, --sector-size 512|4096  logical sector size of the device\n"
	" -P, --partscan              look for partitions (default)\n"
	"     --no-partscan           do not\n"
	"     --direct-io=auto|on|off read and write the image past the page\n"
	"                             cache; auto (default): where possible\n"
	"     --autoclear             detach when the last user is gone\n"
	"     --discard=on|off        on (default): discards return space to the\n"
	"                             image's file system, where it can punch\n"
	"                             holes; off: they are refused\n"
	"     --fast-lane=auto|on|off let requests go straight to the disk that the\n"
	"                             image is, or that its file system (XFS) is\n"
	"                             on; auto (default): where it is possible;\n"
	"                             on: or fail; off: never\n"
	"     --size-rule exact|chs   chs: the size is that of the geometry, for\n"
	"                             images of old Virtual PC\n"
	"     --force                 although a saved state depends on the\n"
	"                             image; with -r: although its header's\n"
	"                             checksum is wrong\n"
	PARENT_HELP
	"     --overlay[=FILE]        leave the image as it is: what is written goes\n"
	"                             to a child of it that vanishes at the detach,\n"
	"                             or is made as FILE and stays\n"
	"     --no-settle             do not wait for udev\n"
	"     --json                  print the device as list --json does\n";

/** struct wish - the options as given; @args as the driver takes them */
struct wish {
	struct vhd_attach_args args;
	struct vhd_parent_options parents;
	bool overlay;
	const char *overlay_file;
	bool no_settle;
	bool json;
};

static bool read_only(const struct wish *w)
{
	return w->args.flags & VHD_ATTACH_READ_ONLY;
}

/* "vhd3", "/dev/vhd3" or "3" */
static int name_option(struct wish *w, const char *arg)
{
	const char *s = arg;
	char *end;
	long n;

	if (!strncmp(s, "/dev/", 5))
		s += 5;
	if (!strncmp(s, "vhd", 3))
		s += 3;
	errno = 0;
	n = strtol(s, &end, 10);
	if (!isdigit((unsigned char)*s) || *end || errno || n > INT_MAX)
		return usage_error(&cmd_attach,
				   "--name: found \"%s\", expected vhdN", arg);
	w->args.index = n;
	return VHDCTL_OK;
}

static void direct_io_option(struct wish *w, const char *arg)
{
	static const char *const words[] = { "auto", "on", "off", NULL };
	static const u32 flags[] = { 0, VHD_ATTACH_DIO_ON, VHD_ATTACH_DIO_OFF };

	w->args.flags &= ~(VHD_ATTACH_DIO_ON | VHD_ATTACH_DIO_OFF);
	w->args.flags |= flags[parse_choice("--direct-io", arg, words)];
}

static void fast_lane_option(struct wish *w, const char *arg)
{
	static const char *const words[] = { "auto", "on", "off", NULL };
	static const u32 flags[] = { VHD_ATTACH_FAST_LANE,
				     VHD_ATTACH_FAST_LANE_ON, 0 };

	w->args.flags &= ~(VHD_ATTACH_FAST_LANE | VHD_ATTACH_FAST_LANE_ON);
	w->args.flags |= flags[parse_choice("--fast-lane", arg, words)];
}

static int one_option(struct wish *w, int c)
{
	static const char *const sectors[] = { "512", "4096", NULL };
	static const char *const switches[] = { "on", "off", NULL };
	static const char *const rules[] = { "exact", "chs", NULL };

	switch (c) {
	case 'r':
		w->args.flags |= VHD_ATTACH_READ_ONLY;
		break;
	case 'n':
		return name_option(w, optarg);
	case 'b':
		w->args.logical_block_size =
			parse_choice("--sector-size", optarg, sectors) ? 4096 : 512;
		break;
	case 'P':
		w->args.flags &= ~VHD_ATTACH_NO_PARTSCAN;
		break;
	case OPT_NO_PARTSCAN:
		w->args.flags |= VHD_ATTACH_NO_PARTSCAN;
		break;
	case OPT_DIRECT_IO:
		direct_io_option(w, optarg);
		break;
	case OPT_AUTOCLEAR:
		w->args.flags |= VHD_ATTACH_AUTOCLEAR;
		break;
	case OPT_DISCARD:
		w->args.flags &= ~VHD_ATTACH_NO_DISCARD;
		if (parse_choice("--discard", optarg, switches))
			w->args.flags |= VHD_ATTACH_NO_DISCARD;
		break;
	case OPT_FAST_LANE:
		fast_lane_option(w, optarg);
		break;
	case OPT_SIZE_RULE:
		w->args.flags &= ~VHD_ATTACH_SIZE_CHS;
		if (parse_choice("--size-rule", optarg, rules))
			w->args.flags |= VHD_ATTACH_SIZE_CHS;
		break;
	case OPT_FORCE:
		w->args.flags |= VHD_ATTACH_FORCE;
		break;
	case OPT_NO_SETTLE:
		w->no_settle = true;
		break;
	case OPT_JSON:
		w->json = true;
		break;
	case OPT_OVERLAY:
		w->overlay = true;
		w->overlay_file = optarg;
		break;
	default:
		parent_option(&w->parents, c, optarg);
		if (w->parents.ignore_id)
			w->args.flags |= VHD_ATTACH_IGNORE_PARENT_ID;
	}
	return VHDCTL_OK;
}

/* x.v01, x.v02 …: pieces of one image. */
static bool is_split_name(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && (dot[1] == 'v' || dot[1] == 'V') &&
	       isdigit((unsigned char)dot[2]) &&
	       isdigit((unsigned char)dot[3]) && !dot[4];
}

static int image_in_use(const struct vhd_file *f)
{
	struct device d;

	if (!device_of_file(f->dev, f->ino, &d))
		error_msg(f->path, "is already attached as /dev/%s", d.name);
	else if (S_ISBLK(f->mode))
		return report_claimed(f->path);
	else
		error_msg(f->path, "is in use by another process (qemu, or another attach)");
	return VHDCTL_BUSY;
}

static int claim(struct vhd_file *f, bool write)
{
	int err = vhd_lock_image(f->fd, write);

	if (err == -EBUSY)
		return image_in_use(f);
	if (err)
		warning_msg(f->path, "cannot be locked against other programs: %s",
			    strerror(-err));
	return VHDCTL_OK;
}

static unsigned int open_flags(const struct wish *w)
{
	unsigned int flags = 0;

	if (!read_only(w))
		flags |= VHD_OPEN_WRITE;
	if (w->args.flags & VHD_ATTACH_FORCE)
		flags |= VHD_OPEN_FORCE;
	if (w->args.flags & VHD_ATTACH_SIZE_CHS)
		flags |= VHD_OPEN_SIZE_CHS;
	return flags;
}

/* The driver validates again; here is where the user learns what is wrong. */
static int validate(struct vhd_file *f, const struct wish *w)
{
	int err;

	err = vhd_file_load(f, open_flags(w));
	if (err)
		return report_load(f, err);
	report_findings(f, VHD_POLICY_WARN, true);
	if (w->args.logical_block_size &&
	    f->image.size % w->args.logical_block_size) {
		error_msg(f->path, "footer.current_size: found %llu, expected a multiple of %u (--sector-size)",
			  (unsigned long long)f->image.size,
			  w->args.logical_block_size);
		return VHDCTL_BAD;
	}
	return VHDCTL_OK;
}

static int device_taken(const struct vhd_file *f, const struct wish *w)
{
	char name[32];
	struct device d;

	snprintf(name, sizeof(name), "vhd%d", w->args.index);
	if (w->args.index < 0 || device_find(name, &d))
		return image_in_use(f);
	error_msg(f->path, "/dev/%s is taken", name);
	return VHDCTL_BUSY;
}

static int attach_error(const struct vhd_file *f, const struct wish *w, int err)
{
	switch (err) {
	case -EBUSY:
		return device_taken(f, w);
	case -EPERM:
		error_msg(f->path, "permission denied: this needs CAP_SYS_ADMIN");
		return VHDCTL_PERMISSION;
	case -EROFS:
		error_msg(f->path, "can be attached only read-only: use -r");
		return VHDCTL_BAD;
	case -E2BIG:
		error_msg(f->path, "the driver is older than vhdctl and does not know an option");
		return VHDCTL_BAD;
	case -EOPNOTSUPP:
		if (w->args.flags & VHD_ATTACH_FAST_LANE_ON) {
			error_msg(f->path, "cannot have a fast lane; the kernel log has the reason");
			return VHDCTL_BAD;
		}
		error_msg(f->path, "direct I/O is not possible on its file system");
		return VHDCTL_BAD;
	default:
		error_msg(f->path, "refused by the driver: %s; the kernel log has the reason",
			  strerror(-err));
		return exit_code(err);
	}
}

static int print_device(const struct wish *w, const struct device *d)
{
	struct columns_style style = { .json = true, .bytes = true };

	if (!w->json) {
		printf("/dev/%s\n", d->name);
		return VHDCTL_OK;
	}
	columns_default(&style);
	return columns_table(&style, d, 1);
}

static int attach(struct wish *w, struct vhd_layers *c, int control)
{
	s32 fds[VHD_LAYERS_MAX];
	struct device d;
	unsigned int i;

	for (i = 0; i < c->nr; i++)
		fds[i] = c->layers[i]->fd;
	w->args.fds = (uintptr_t)fds;
	w->args.nr_layers = c->nr;
	/* Who only reads, and asks for nothing, leaves the file's flags alone. */
	if (w->args.flags & VHD_ATTACH_FAST_LANE_ON ||
	    (w->args.flags & VHD_ATTACH_FAST_LANE && !read_only(w)))
		keep_in_place(c->layers[0]->fd);
	if (ioctl(control, VHD_IOC_ATTACH, &w->args))
		return attach_error(c->layers[0], w, -errno);
	d.index = w->args.index;
	snprintf(d.name, sizeof(d.name), "vhd%d", d.index);
	if (!w->no_settle)
		nodes_wait(&d);
	return print_device(w, &d);
}

/* ---- throw-away writes ----------------------------------------------- */

static int open_unlinked(const char *dir)
{
	char *path;
	int fd;

	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	if (asprintf(&path, "%s/.vhdctl-XXXXXX", dir) < 0)
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd;
}

/* Beside the image, or where there is room for the like. */
static int overlay_fd(const struct vhd_file *image)
{
	char *copy = S_ISBLK(image->mode) ? NULL : strdup(image->path);
	int fd = copy ? open_unlinked(dirname(copy)) : -1;

	free(copy);
	return fd >= 0 ? fd : open_unlinked("/var/tmp");
}

/* An empty child that only names the id of its parent, as the top layer. */
static int overlay_make(struct vhd_file *f, const struct vhd_file *image)
{
	struct vhd_link link = { };
	struct vhd_create create = { .link = &link };
	int fd, err;

	if (image->image.size > VHD_MAX_DYNAMIC_SIZE)
		return -EFBIG;
	fd = overlay_fd(image);
	if (fd < 0)
		return -errno;
	memcpy(link.id, image->image.footer.unique_id, sizeof(link.id));
	child_defaults(&create, &image->image);
	err = vhd_create_fd(fd, &create);
	if (!err)
		err = vhd_file_adopt(f, fd, image->path);
	else
		close(fd);
	return err ? err : vhd_file_load(f, VHD_OPEN_WRITE);
}

static int overlay_file(struct wish *w, struct vhd_layers *parents)
{
	struct vhd_create create = { };

	return child_make(w->overlay_file, &create, parents, false);
}

/* ---- the layers ------------------------------------------------------ */

static int open_top(struct wish *w, struct vhd_file *f, const char *path,
		    bool write)
{
	int err = vhd_file_lend(f, path, write);
	int code = err ? report_open(f, path, err) : claim(f, write);

	return code ? code : validate(f, w);
}

static int open_parents(struct wish *w, struct vhd_layers *c)
{
	int code;

	code = chain_parents(c, &w->parents, open_flags(w));
	if (!code)
		code = chain_lock(c, 1);
	if (!code)
		chain_warn(c);
	return code;
}

/* The image and its parents, below a new child. */
static int open_overlay(struct wish *w, struct vhd_layers *c, const char *path)
{
	struct vhd_file *top = chain_push_new(c);
	struct vhd_file *image = chain_push_new(c);
	int code, err;

	code = open_top(w, image, path, false);
	if (!code)
		code = open_parents(w, c);
	if (code)
		return code;
	err = overlay_make(top, image);
	return err ? error_errno(path, "cannot make an overlay", err) :
		     VHDCTL_OK;
}

static int open_layers(struct wish *w, struct vhd_layers *c, const char *path)
{
	int code;

	if (w->overlay_file) {
		code = chain_open(c, path, &w->parents, 0);
		if (!code)
			code = chain_lock(c, 0);
		if (!code)
			code = overlay_file(w, c);
		vhd_layers_close(c);
		if (code)
			return code;
		vhd_layers_init(c);
		memset(w->parents.used, 0,
		       w->parents.nr_files * sizeof(*w->parents.used));
		path = w->overlay_file;
	} else if (w->overlay) {
		return open_overlay(w, c, path);
	}
	code = open_top(w, chain_push_new(c), path, !read_only(w));
	return code ? code : open_parents(w, c);
}

static int attach_image(struct wish *w, const char *path)
{
	struct vhd_layers c;
	int control, code;

	if (is_split_name(path)) {
		error_msg(path, "is a piece of a split image; join the pieces first");
		return VHDCTL_BAD;
	}
	vhd_layers_init(&c);
	code = open_layers(w, &c, path);
	if (!code) {
		control = control_open(&code);
		if (control >= 0) {
			code = attach(w, &c, control);
			close(control);
		}
	}
	vhd_layers_close(&c);
	return code;
}

static int run_attach(int argc, char **argv)
{
	struct wish w = {
		.args.size = sizeof(w.args),
		.args.flags = VHD_ATTACH_FAST_LANE,
		.args.index = -1,
	};
	int c;

	while ((c = next_option(&cmd_attach, argc, argv, "rn:b:P" COMMON_SHORT,
				options)) != -1)
		if (one_option(&w, c))
			return VHDCTL_USAGE;
	if (argc - optind != 1)
		return usage_error(&cmd_attach, "expected one IMAGE");
	if (w.overlay && read_only(&w))
		return usage_error(&cmd_attach, "--overlay: not together with --read-only");
	if (w.overlay && w.args.flags & VHD_ATTACH_SIZE_CHS)
		return usage_error(&cmd_attach, "--overlay: not together with --size-rule=chs");
	c = attach_image(&w, argv[optind]);
	parent_options_free(&w.parents);
	return c;
}

const struct command cmd_attach = {
	.name = "attach",
	.brief = "make an image a block device",
	.help = help,
	.run = run_attach,
};
