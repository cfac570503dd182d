// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "chain.h"
#include "device.h"
#include "disk.h"
#include "lock.h"
#include "open.h"
#include "report.h"
#include "vhdctl.h"

enum vhd_source_format source_format(const char *word)
{
	static const char *const words[] = { "raw", "vhd", NULL };

	return parse_choice("--format", word, words) ? VHD_SOURCE_VHD :
						       VHD_SOURCE_RAW;
}

/* Does the name promise an image? */
static bool named_image(const char *path)
{
	static const char *const endings[] = { ".vhd", ".avhd", ".vud", ".vhdx" };
	const char *dot = strrchr(path, '.');
	unsigned int i;

	for (i = 0; dot && i < sizeof(endings) / sizeof(*endings); i++)
		if (!strcasecmp(dot, endings[i]))
			return true;
	return false;
}

static int report_source(struct vhd_source *s, const char *path, int err)
{
	if (err == -EBUSY) {
		error_msg(path, "is being written by another process, or attached");
		return VHDCTL_BUSY;
	}
	if (s->file.fd < 0 || !s->file.path)
		return report_open(&s->file, path, err);
	return report_load(&s->file, err);
}

/* Of a differencing image the disk is that of the chain. */
static int open_parents(struct vhd_source *s, const char *path,
			const struct vhd_parent_options *opt)
{
	int code;

	s->chained = true;
	code = chain_open(&s->layers, path, opt, VHD_OPEN_FORCE);
	if (!code)
		code = chain_lock(&s->layers, 0);
	if (!code)
		chain_warn(&s->layers);
	return code;
}

int open_source(struct vhd_source *s, const char *path,
		enum vhd_source_format format,
		const struct vhd_parent_options *opt)
{
	int err;

	err = vhd_source_open(s, path, format);
	if (err)
		return report_source(s, path, err);
	if (s->raw && format == VHD_SOURCE_AUTO && named_image(path)) {
		error_msg(path, "is no VHD image, as its name says; --format raw takes it for a raw disk");
		return VHDCTL_BAD;
	}
	if (s->raw)
		return VHDCTL_OK;
	report_findings(&s->file, VHD_POLICY_READ_ONLY, true);
	if (s->file.image.type != VHD_TYPE_DIFFERENCING)
		return VHDCTL_OK;
	return open_parents(s, path, opt);
}

static int lock_exclusive(struct vhd_file *f, const char *path)
{
	int err = vhd_lock_image(f->fd, true);
	struct device d;

	if (!device_of_file(f->dev, f->ino, &d)) {
		error_msg(path, "is attached as /dev/%s; detach it first",
			  d.name);
		return VHDCTL_BUSY;
	}
	if (err == -EBUSY) {
		error_msg(path, "is in use by another process");
		return VHDCTL_BUSY;
	}
	if (err)
		warning_msg(path, "cannot be locked against other programs: %s",
			    strerror(-err));
	return VHDCTL_OK;
}

int open_exclusive(struct vhd_source *s, const char *path)
{
	struct vhd_file *f = &s->file;
	int err, code;

	s->seek_fd = -1;
	err = vhd_file_open(f, path, true);
	if (err)
		return report_open(f, path, err);
	code = lock_exclusive(f, path);
	if (code)
		return code;
	err = vhd_file_load(f, VHD_OPEN_WRITE);
	if (err == -EROFS) {
		report_findings(f, VHD_POLICY_READ_ONLY, false);
		error_msg(path, "is not changed because of this");
		return VHDCTL_BAD;
	}
	if (err)
		return report_load(f, err);
	s->flat = !f->image.bat;
	s->size = f->image.size;
	return VHDCTL_OK;
}
