// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Attach an image so that it goes with its last mount, and mount one of its
 * file systems: as "vhdctl mount", and as /sbin/mount.vhd for mount(8).
 */
#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/kernel.h>

#include "mount.h"
#include "mounts.h"
#include "partition.h"
#include "spawn.h"
#include "vhdctl.h"

/* Two mounts of one image at a time: the second one finds it attached. */
#define LOCK_FILE	"/run/vhd-mount.lock"
/* mount(8)'s exit codes, where they are not ours */
#define MOUNT_USAGE	1
#define MOUNT_FAILED	32

#define MAX_ARGS	32

/** struct words - arguments for another program */
struct words {
	char *argv[MAX_ARGS + 1];
	int nr;
};

/**
 * struct mount_wish - what shall be mounted where
 * @part: number of the partition; 0: the disk; -1: whichever there is
 * @partname: name of the partition, or NULL
 * @fstype: or NULL: what is found there
 * @options: for mount(8), comma-separated; NULL: none
 * @attach: options for vhdctl attach
 * @mount: options for mount(8)
 * @helper: called by mount(8)
 */
struct mount_wish {
	const char *image;
	const char *dir;
	int part;
	char *partname;
	char *fstype;
	char *options;
	struct words attach;
	struct words mount;
	bool read_only;
	bool nofail;
	bool fake;
	bool helper;
};

static const struct option options[] = {
	{ "partition", required_argument, NULL, 'p' },
	{ "types", required_argument, NULL, 't' },
	{ "options", required_argument, NULL, 'o' },
	{ "read-only", no_argument, NULL, 'r' },
	COMMON_OPTIONS
};

static const char help[] =
	"mount [OPTION...] IMAGE DIR\n"
	"\n"
	"Attach an image and mount one of its file systems. When it is unmounted\n"
	"the image is detached. In /etc/fstab the type is vhd:\n"
	"  /srv/a.vhd /mnt/a vhd part=2,fstype=ntfs3,ro,nofail 0 0\n"
	"\n"
	" -p, --partition N           this partition; 0: the whole disk\n"
	" -t, --types FS              type of the file system, if it is not found\n"
	" -o, --options OPTIONS       comma-separated: part=N, partlabel=NAME,\n"
	"                             fstype=FS, parent=FILE, parent-dir=DIR,\n"
	"                             ignore-parent-id, overlay[=FILE],\n"
	"                             direct-io=auto|on|off,\n"
	"                             fast-lane=auto|on|off,\n"
	"                             size-rule=exact|chs, sector-size=512|4096\n"
	"                             and what the file system takes\n"
	" -r, --read-only             never write to the image\n";

static void add_word(struct words *w, char *word)
{
	if (w->nr < MAX_ARGS)
		w->argv[w->nr++] = word;
}

/* --- options ------------------------------------------------------------- */

/* Options of "attach" that go by the same name */
static const char *const attach_options[] = {
	"direct-io", "fast-lane", "ignore-parent-id", "overlay", "parent", "parent-dir",
	"size-rule", "sector-size",
};

static bool is_option(const char *name, size_t len, const char *word)
{
	return strlen(word) == len && !strncmp(name, word, len);
}

static int number_option(struct mount_wish *w, const char *value)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (!*value || *end || errno || n < 0 || n > INT_MAX) {
		error_msg(NULL, "part: found \"%s\", expected the number of a partition",
			  value);
		return VHDCTL_USAGE;
	}
	w->part = n;
	return VHDCTL_OK;
}

static int attach_option(struct mount_wish *w, const char *word,
			 const char *value)
{
	char *arg;

	if (asprintf(&arg, "--%s%s%s", word, value ? "=" : "", value ?: "") < 0)
		return VHDCTL_RESOURCE;
	add_word(&w->attach, arg);
	return VHDCTL_OK;
}

/* What is not ours is left to mount(8). */
static int other_option(struct mount_wish *w, const char *name, size_t len,
			const char *value)
{
	char key[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(attach_options); i++)
		if (is_option(name, len, attach_options[i]))
			return attach_option(w, attach_options[i], value);
	snprintf(key, sizeof(key), "%.*s", (int)len, name);
	return mnt_optstr_append_option(&w->options, key, value) ?
	       VHDCTL_RESOURCE : VHDCTL_OK;
}

static int one_word(struct mount_wish *w, const char *name, size_t len,
		    char *value)
{
	if (is_option(name, len, "part"))
		return number_option(w, value ?: "");
	if (is_option(name, len, "partlabel"))
		w->partname = value;
	else if (is_option(name, len, "fstype"))
		w->fstype = value;
	else if (is_option(name, len, "nofail"))
		w->nofail = true;
	else if (is_option(name, len, "ro"))
		w->read_only = true;
	else if (is_option(name, len, "rw"))
		w->read_only = false;
	else
		return other_option(w, name, len, value);
	return VHDCTL_OK;
}

/* The values live as long as we do. */
static int parse_options(struct mount_wish *w, char *str)
{
	size_t name_len, value_len;
	char *name, *value;
	int code = VHDCTL_OK;

	while (!code && !mnt_optstr_next_option(&str, &name, &name_len, &value,
						&value_len)) {
		value = value ? strndup(value, value_len) : NULL;
		code = one_word(w, name, name_len, value);
	}
	return code;
}

/* --- which file system --------------------------------------------------- */

/* What blkid calls a file system, and who can mount it, the best first */
static const struct {
	const char *found;
	const char *types[4];
} drivers[] = {
	{ "ntfs", { "ntfs3", "ntfs-3g", "ntfs" } },
	{ "exfat", { "exfat", "exfat-fuse" } },
};

static bool in_proc_filesystems(const char *type)
{
	FILE *f = fopen("/proc/filesystems", "re");
	char line[128];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		found = !strncmp(line, "\t", 1) && !strcmp(line + 1, type);
	}
	if (f)
		fclose(f);
	return found;
}

static bool type_known(const char *type)
{
	char module[64], path[64];
	char *argv[] = { "modprobe", "-q", module, NULL };

	if (in_proc_filesystems(type))
		return true;
	snprintf(path, sizeof(path), "/sbin/mount.%s", type);
	if (!access(path, X_OK))
		return true;
	snprintf(module, sizeof(module), "fs-%s", type);
	return !run_program(argv, NULL, 0) && in_proc_filesystems(type);
}

/* The type to give to mount(8), or NULL after a message */
static const char *choose_type(const struct volume *v)
{
	const char *const *t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (strcmp(v->type, drivers[i].found))
			continue;
		for (t = drivers[i].types; *t; t++)
			if (type_known(*t))
				return *t;
		error_msg(v->node, "no driver for %s in this kernel, and no %s",
			  v->type, drivers[i].types[1]);
		return NULL;
	}
	return v->type;
}

static const char *file_system(const struct mount_wish *w,
			       const struct volume *v)
{
	if (w->fstype)
		return w->fstype;
	if (v->mountable)
		return choose_type(v);
	if (!strcmp(v->type, "BitLocker") || !strcmp(v->type, "crypto_LUKS"))
		error_msg(v->node, "is encrypted (%s): attach the image and open it with cryptsetup",
			  v->type);
	else if (*v->type)
		error_msg(v->node, "holds %s, not a file system", v->type);
	else
		error_msg(v->node, "no file system found; fstype= tells which one it is");
	return NULL;
}

/* --- which partition ----------------------------------------------------- */

static void print_volume(const char *image, const struct volume *v)
{
	char size[32], text[400];

	format_size(v->bytes, size, sizeof(size));
	snprintf(text, sizeof(text), "part=%d: %s, %s%s%s%s%s", v->nr, size,
		 *v->type ? v->type : "nothing known",
		 *v->label ? ", label " : "", v->label,
		 *v->name ? ", partlabel " : "", v->name);
	error_msg(image, "%s", printable(text));
}

static void print_volumes(const char *image, const struct volume *v, int n)
{
	int i;

	for (i = n > 1; i < n; i++)
		print_volume(image, &v[i]);
}

static const struct volume *named(const struct mount_wish *w,
				  const struct volume *v, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (w->partname ? v[i].nr && !strcmp(v[i].name, w->partname) :
				  v[i].nr == w->part)
			return &v[i];
	if (w->partname)
		error_msg(w->image, "has no partition of the name \"%s\"",
			  w->partname);
	else
		error_msg(w->image, "has no partition %d", w->part);
	print_volumes(w->image, v, n);
	return NULL;
}

/* Nobody said which: the only one that can be meant */
static const struct volume *only(const struct mount_wish *w,
				 const struct volume *v, int n)
{
	const struct volume *found = NULL;
	int i;

	if (n == 1 || v[0].mountable)
		return &v[0];
	if (n == 2)
		return &v[1];
	for (i = 1; i < n; i++) {
		if (!v[i].mountable)
			continue;
		if (found) {
			error_msg(w->image, "has several file systems; part= tells which one");
			print_volumes(w->image, v, n);
			return NULL;
		}
		found = &v[i];
	}
	if (!found) {
		error_msg(w->image, "has no file system that can be mounted");
		print_volumes(w->image, v, n);
	}
	return found;
}

/* --- doing it ------------------------------------------------------------ */

/**
 * struct attached - the device that is to be mounted from
 * @fd: the disk, open: it must not go while nothing is mounted yet
 * @ours: attached here
 */
struct attached {
	struct device device;
	int fd;
	bool ours;
};

static int open_disk(struct attached *a)
{
	char node[32];

	snprintf(node, sizeof(node), "/dev/%s", a->device.name);
	a->fd = open(node, O_RDONLY | O_CLOEXEC);
	return a->fd < 0 ? -errno : 0;
}

static bool find_attached(const struct mount_wish *w, struct attached *a)
{
	struct stat st;

	return !stat(w->image, &st) &&
	       (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) &&
	       !device_of_file(st.st_dev, st.st_ino, &a->device) &&
	       !open_disk(a);
}

static int attach_new(struct mount_wish *w, struct attached *a)
{
	struct words cmd = { { SELF, "attach", "--autoclear" }, 3 };
	char node[64];
	int i, code;

	if (w->read_only)
		add_word(&cmd, "--read-only");
	for (i = 0; i < w->attach.nr; i++)
		add_word(&cmd, w->attach.argv[i]);
	add_word(&cmd, "--");
	add_word(&cmd, (char *)w->image);
	code = run_program(cmd.argv, node, sizeof(node));
	if (code < 0)
		return error_errno(w->image, "cannot attach", code);
	if (code)
		return code;
	a->ours = true;
	if (device_find(node, &a->device) || open_disk(a)) {
		error_msg(w->image, "%s went away at once", node);
		return VHDCTL_BAD;
	}
	return VHDCTL_OK;
}

static int find_or_attach(struct mount_wish *w, struct attached *a)
{
	int lock = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int code = VHDCTL_OK;

	if (lock >= 0)
		flock(lock, LOCK_EX);
	if (!find_attached(w, a))
		code = attach_new(w, a);
	if (lock >= 0)
		close(lock);
	return code;
}

/* A device that is not mounted after all goes when we let go of it. */
static void let_go(struct attached *a, bool mounted)
{
	char *argv[] = { SELF, "--quiet", "detach", "--deferred",
			 a->device.name, NULL };

	if (a->fd < 0)
		return;
	if (a->ours && !mounted)
		run_program(argv, NULL, 0);
	close(a->fd);
}

static int run_mount(struct mount_wish *w, const struct volume *v,
		     const char *type)
{
	struct words cmd = { { "mount", "-t", (char *)type }, 3 };
	int i, status;

	for (i = 0; i < w->mount.nr; i++)
		add_word(&cmd, w->mount.argv[i]);
	if (w->options) {
		add_word(&cmd, "-o");
		add_word(&cmd, w->options);
	}
	if (w->read_only)
		add_word(&cmd, "-r");
	add_word(&cmd, "--");
	add_word(&cmd, (char *)v->node);
	add_word(&cmd, (char *)w->dir);
	verbose_msg(w->image, "mounting %s (%s) on %s", v->node, type, w->dir);
	status = run_program(cmd.argv, NULL, 0);
	if (status < 0 || status == 127) {
		error_msg(NULL, "cannot run mount");
		return VHDCTL_BAD;
	}
	return status ? VHDCTL_BAD : VHDCTL_OK;
}

static int mount_volume(struct mount_wish *w, const struct volume *v)
{
	const char *type;

	if (mounted_at(v->node, w->dir)) {
		/* mount -a calls for what is there already */
		if (w->helper)
			return VHDCTL_OK;
		error_msg(w->image, "is mounted on %s already", w->dir);
		return VHDCTL_BUSY;
	}
	type = file_system(w, v);
	return type ? run_mount(w, v, type) : VHDCTL_BAD;
}

static int mount_device(struct mount_wish *w, const struct device *d)
{
	const struct volume *v;
	struct volume *all;
	int n, code;

	n = volume_list(d, &all);
	if (n < 0)
		return error_errno(d->name, "cannot look for partitions", n);
	if (w->part >= 0 || w->partname)
		v = named(w, all, n);
	else
		v = only(w, all, n);
	code = v ? mount_volume(w, v) : VHDCTL_BAD;
	free(all);
	return code;
}

static int mount_image(struct mount_wish *w)
{
	struct attached a = { .fd = -1 };
	int code;

	if (w->fstype && !strcmp(w->fstype, "vhd")) {
		error_msg(w->image, "fstype: found \"vhd\", expected the type of the file system in it");
		return VHDCTL_USAGE;
	}
	if (w->nofail && access(w->image, F_OK) && errno == ENOENT)
		return VHDCTL_OK;
	if (w->fake)
		return VHDCTL_OK;
	code = find_or_attach(w, &a);
	if (!code)
		code = mount_device(w, &a.device);
	let_go(&a, !code);
	return code;
}

/* --- as vhdctl mount ----------------------------------------------------- */

static int one_option(struct mount_wish *w, int c)
{
	switch (c) {
	case 'p':
		return number_option(w, optarg);
	case 't':
		w->fstype = optarg;
		break;
	case 'o':
		return parse_options(w, optarg);
	case 'r':
		w->read_only = true;
		break;
	}
	return VHDCTL_OK;
}

static int run_mount_command(int argc, char **argv)
{
	struct mount_wish w = { .part = -1 };
	int c, code;

	while ((c = next_option(&cmd_mount, argc, argv, "p:t:o:r" COMMON_SHORT,
				options)) != -1) {
		code = one_option(&w, c);
		if (code)
			return code;
	}
	if (argc - optind != 2)
		return usage_error(&cmd_mount, "expected IMAGE and DIR");
	w.image = argv[optind];
	w.dir = argv[optind + 1];
	return mount_image(&w);
}

const struct command cmd_mount = {
	.name = "mount",
	.brief = "attach an image and mount a file system of it",
	.help = help,
	.run = run_mount_command,
};

/* --- as mount.vhd -------------------------------------------------------- */

static int helper_usage(void)
{
	fprintf(stderr, "Usage: mount.vhd IMAGE DIR [-fnsv] [-o OPTIONS] [-t TYPE]\n"
			"To be called by mount(8): mount -t vhd IMAGE DIR\n");
	return MOUNT_USAGE;
}

static int helper_option(struct mount_wish *w, int c)
{
	switch (c) {
	case 'f':
		w->fake = true;
		break;
	case 'n':
		add_word(&w->mount, "-n");
		break;
	case 's':
		add_word(&w->mount, "-s");
		break;
	case 'v':
		verbosity = 1;
		add_word(&w->mount, "-v");
		break;
	case 'o':
		return parse_options(w, optarg) ? MOUNT_USAGE : 0;
	case 't':
	case 'N':
		break;
	default:
		return helper_usage();
	}
	return 0;
}

static int helper_status(int code)
{
	switch (code) {
	case VHDCTL_OK:
		return 0;
	case VHDCTL_USAGE:
	case VHDCTL_PERMISSION:
		return MOUNT_USAGE;
	default:
		return MOUNT_FAILED;
	}
}

int mount_helper(int argc, char **argv)
{
	struct mount_wish w = { .part = -1, .helper = true };
	int c, status;

	while ((c = getopt(argc, argv, "fnsvo:t:N:")) != -1) {
		status = helper_option(&w, c);
		if (status)
			return status;
	}
	if (argc - optind != 2)
		return helper_usage();
	w.image = argv[optind];
	w.dir = argv[optind + 1];
	return helper_status(mount_image(&w));
}
