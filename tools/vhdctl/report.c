// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <asm/byteorder.h>
#include <linux/minmax.h>

#include "device.h"
#include "format.h"
#include "io.h"
#include "layers.h"
#include "lock.h"
#include "report.h"
#include "vhdctl.h"

/* More findings than these are only counted. */
#define MAX_SHOWN	10

int report_claimed(const char *path)
{
	struct device d;
	struct stat st;

	if (!stat(path, &st) && !device_of_file(st.st_dev, st.st_ino, &d))
		error_msg(path, "is attached as /dev/%s", d.name);
	else
		error_msg(path, "is in use: mounted, or claimed by a driver (LVM, RAID, swap, another VHD device)");
	return VHDCTL_BUSY;
}

int report_open(const struct vhd_file *f, const char *path, int err)
{
	switch (err) {
	case -EISDIR:
		error_msg(path, "is a directory, not an image file");
		return VHDCTL_BAD;
	case -ENOTSUP:
		error_msg(path, "is neither a regular file nor a block device");
		return VHDCTL_BAD;
	case -EBUSY:
		if (S_ISBLK(f->mode))
			return report_claimed(path);
		return error_errno(path, "cannot open", err);
	case -EROFS:
		error_msg(path, "is on a read-only file system; use -r");
		return VHDCTL_PERMISSION;
	default:
		return error_errno(path, "cannot open", err);
	}
}

void report_findings(const struct vhd_file *f, enum vhd_policy min,
		     bool as_warning)
{
	const struct vhd_findings *all = &f->findings;
	unsigned int i, shown = 0;
	char line[256];

	for (i = 0; i < vhd_findings_kept(all) && shown < MAX_SHOWN; i++) {
		if (vhd_finding_info(all->list[i].code)->policy < min)
			continue;
		vhd_finding_line(&all->list[i], line, sizeof(line));
		if (as_warning)
			warning_msg(f->path, "%s", line);
		else
			error_msg(f->path, "%s", line);
		shown++;
	}
	if (shown == MAX_SHOWN && i < all->nr)
		error_msg(f->path, "and up to %llu more findings",
			  (unsigned long long)(all->nr - i));
}

int report_load(const struct vhd_file *f, int err)
{
	enum vhd_policy worst;

	if (err != -EROFS && err != -EMEDIUMTYPE && err != -EUCLEAN &&
	    err != -ENXIO)
		return error_errno(f->path, "cannot read", err);
	report_findings(f, VHD_POLICY_READ_ONLY, false);
	worst = vhd_finding_info(f->findings.worst.code)->policy;
	if (err == -EROFS && worst == VHD_POLICY_FORCE_RW)
		error_msg(f->path, "can be attached read-only (-r), or read-write with --force");
	else if (err == -EROFS)
		error_msg(f->path, "can be attached only read-only: use -r");
	else if (worst == VHD_POLICY_FORCE_RO)
		error_msg(f->path, "is refused; -r --force attaches it read-only all the same");
	return VHDCTL_BAD;
}

int open_image(struct vhd_file *f, const char *path)
{
	int err;

	err = vhd_file_open(f, path, false);
	if (err)
		return report_open(f, path, err);
	if (vhd_lock_writer(f->fd))
		warning_msg(path, "is being written by another process or attached; what is shown may be out of date");
	err = vhd_file_load(f, VHD_OPEN_FORCE);
	return err ? report_load(f, err) : VHDCTL_OK;
}

const char *severity_word(enum vhd_severity severity)
{
	static const char *const words[] = {
		[VHD_SEV_NOTE]		= "note",
		[VHD_SEV_COSMETIC]	= "cosmetic",
		[VHD_SEV_REPAIRABLE]	= "repairable",
		[VHD_SEV_CORRUPT]	= "corrupt",
	};

	return words[severity];
}

const char *policy_word(enum vhd_policy policy)
{
	static const char *const words[] = {
		[VHD_POLICY_INFO]	= "ok",
		[VHD_POLICY_WARN]	= "warn",
		[VHD_POLICY_READ_ONLY]	= "read-only",
		[VHD_POLICY_FORCE_RW]	= "force-rw",
		[VHD_POLICY_FORCE_RO]	= "force-ro",
		[VHD_POLICY_REFUSE]	= "refuse",
	};

	return words[policy];
}

/* Are all parents there? */
static bool has_parents(const struct vhd_file *f)
{
	struct vhd_layers c;
	int err;

	if (!f->loaded || f->image.type != VHD_TYPE_DIFFERENCING)
		return true;
	vhd_layers_init(&c);
	/* Lent: it is not the chain's to close. */
	c.layers[0] = (struct vhd_file *)f;
	c.nr = 1;
	err = vhd_layers_parents(&c, NULL, 0);
	memmove(c.layers, c.layers + 1, --c.nr * sizeof(*c.layers));
	vhd_layers_close(&c);
	return !err;
}

const char *attach_word(const struct vhd_file *f, enum vhd_policy worst)
{
	return has_parents(f) ? attach_policy_word(worst) : "refused";
}

const char *attach_policy_word(enum vhd_policy worst)
{
	switch (worst) {
	case VHD_POLICY_INFO:
	case VHD_POLICY_WARN:
		return "read-write";
	case VHD_POLICY_READ_ONLY:
	case VHD_POLICY_FORCE_RW:
		return "read-only";
	default:
		return "refused";
	}
}

const char *type_name(u32 type)
{
	switch (type) {
	case VHD_TYPE_FIXED:
		return "fixed";
	case VHD_TYPE_DYNAMIC:
		return "dynamic";
	case VHD_TYPE_DIFFERENCING:
		return "differencing";
	default:
		return "unknown";
	}
}

char *fourcc(u32 code, char buf[5])
{
	int i;

	for (i = 0; i < 4; i++) {
		u8 c = code >> (24 - 8 * i);

		buf[i] = c >= 0x20 && c < 0x7F ? c : '.';
	}
	buf[4] = '\0';
	return buf;
}

char *format_timestamp(u32 stamp, char *buf, size_t len)
{
	time_t t = stamp + VHD_EPOCH;
	struct tm tm;

	if (!gmtime_r(&t, &tm) ||
	    !strftime(buf, len, "%Y-%m-%d %H:%M:%S UTC", &tm))
		*buf = '\0';
	return buf;
}

static size_t put_utf8(u32 c, char *out)
{
	if (c < 0x80) {
		out[0] = c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = 0xC0 | c >> 6;
		out[1] = 0x80 | (c & 0x3F);
		return 2;
	}
	if (c < 0x10000) {
		out[0] = 0xE0 | c >> 12;
		out[1] = 0x80 | (c >> 6 & 0x3F);
		out[2] = 0x80 | (c & 0x3F);
		return 3;
	}
	out[0] = 0xF0 | c >> 18;
	out[1] = 0x80 | (c >> 12 & 0x3F);
	out[2] = 0x80 | (c >> 6 & 0x3F);
	out[3] = 0x80 | (c & 0x3F);
	return 4;
}

static u32 utf16_unit(const u8 *in, size_t i, bool big_endian)
{
	return big_endian ? in[i] << 8 | in[i + 1] : in[i + 1] << 8 | in[i];
}

char *utf16_text(const void *in, size_t bytes, bool big_endian, char *out,
		 size_t len)
{
	size_t i, n = 0;
	u32 c, low;

	for (i = 0; i + 1 < bytes && n + 4 < len; i += 2) {
		c = utf16_unit(in, i, big_endian);
		if (!c)
			break;
		low = i + 3 < bytes ? utf16_unit(in, i + 2, big_endian) : 0;
		if (c >= 0xD800 && c < 0xDC00 && low >= 0xDC00 &&
		    low < 0xE000) {
			c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
			i += 2;
		} else if (c >= 0xD800 && c < 0xE000) {
			c = 0xFFFD;
		}
		n += put_utf8(c, out + n);
	}
	out[n] = '\0';
	return out;
}

char *locator_text(int fd, const struct vhd_locator *l, char *out, size_t len)
{
	u32 code = be32_to_cpu(l->code);
	u32 bytes = min(be32_to_cpu(l->data_length), VHD_MAX_LOCATOR_BYTES);
	u64 pos = be64_to_cpu(l->data_offset);
	char *data;

	*out = '\0';
	if (code != VHD_LOC_W2RU && code != VHD_LOC_W2KU &&
	    code != VHD_LOC_MACX)
		return out;
	data = calloc(1, (size_t)bytes + 1);
	if (!data || pos > INT64_MAX || vhd_pread(fd, data, bytes, pos))
		goto out_free;
	if (code == VHD_LOC_MACX)
		snprintf(out, len, "%s", data);
	else
		utf16_text(data, bytes, false, out, len);
out_free:
	free(data);
	return out;
}
