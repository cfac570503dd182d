// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <asm/byteorder.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "format.h"
#include "io.h"
#include "locator.h"
#include "utf16.h"

#define URL_PREFIX	"file://"
#define URL_HOST	"localhost"
/* What vfat rounds times to. */
#define STAMP_SLACK	2

static const u32 link_codes[VHD_NR_LINKS] = {
	[VHD_LINK_W2KU] = VHD_LOC_W2KU,
	[VHD_LINK_W2RU] = VHD_LOC_W2RU,
	[VHD_LINK_MACX] = VHD_LOC_MACX,
};

/* ---- reading --------------------------------------------------------- */

void vhd_place_free(struct vhd_place *place)
{
	free(place->text);
	free(place->path);
	free(place->name);
	memset(place, 0, sizeof(*place));
}

static void slashes(char *s)
{
	for (; *s; s++)
		if (*s == '\\')
			*s = '/';
}

/* "C:\dir\x" is /dir/x here; "\\server\share" and "\\?\Volume" nothing. */
static void windows_path(struct vhd_place *place)
{
	char *s = place->path;

	slashes(s);
	if (!strncmp(s, "//?/", 4) && isalpha((unsigned char)s[4]) &&
	    s[5] == ':')
		memmove(s, s + 4, strlen(s + 4) + 1);
	if (isalpha((unsigned char)s[0]) && s[1] == ':')
		memmove(s, s + 2, strlen(s + 2) + 1);
	place->relative = *s != '/';
	if (s[0] == '/' && s[1] == '/') {
		free(place->path);
		place->path = NULL;
	}
}

static int hex_digit(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	return isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

/* %41 is A; what would end the string is refused. */
static int url_decode(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (*s == '%' && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0) {
			*out = hex_digit(s[1]) << 4 | hex_digit(s[2]);
			if (!*out++)
				return -EILSEQ;
			s += 2;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
	return 0;
}

/* file:///x, file://localhost/x, and blktap's file://./x, which is relative */
static int url_path(struct vhd_place *place)
{
	char *s = place->path;

	if (strncasecmp(s, URL_PREFIX, strlen(URL_PREFIX)))
		return -EILSEQ;
	s += strlen(URL_PREFIX);
	if (!strncasecmp(s, URL_HOST "/", strlen(URL_HOST "/")))
		s += strlen(URL_HOST);
	memmove(place->path, s, strlen(s) + 1);
	s = place->path;
	place->relative = *s == '.';
	if (*s != '.' && *s != '/') {
		/* another host's */
		free(place->path);
		place->path = NULL;
		return 0;
	}
	return url_decode(s);
}

/* The name behind the last separator of @place->text. */
static int last_name(struct vhd_place *place)
{
	const char *s = place->path ? place->path : place->text;
	const char *end = strrchr(s, '/');
	const char *back = strrchr(s, '\\');

	if (place->path)
		back = NULL;
	if (back && (!end || back > end))
		end = back;
	end = end ? end + 1 : s;
	if (!*end || !strcmp(end, ".") || !strcmp(end, ".."))
		return -EILSEQ;
	place->name = strdup(end);
	return place->name ? 0 : -ENOMEM;
}

/* @place->text is there: the rest from it. */
static int place_finish(struct vhd_place *place)
{
	int err = 0;

	if (!place->text)
		return -ENOMEM;
	place->path = strdup(place->text);
	if (!place->path)
		return -ENOMEM;
	if (place->code == VHD_LOC_MACX)
		err = url_path(place);
	else
		windows_path(place);
	return err ? err : last_name(place);
}

static int read_text(const struct vhd_file *f, const struct vhd_locator *l,
		     struct vhd_place *place)
{
	u32 bytes = be32_to_cpu(l->data_length);
	u64 pos = be64_to_cpu(l->data_offset);
	char *data;
	int err;

	if (bytes > VHD_MAX_LOCATOR_BYTES || bytes > vhd_locator_space(l) ||
	    pos > f->size || bytes > f->size - pos)
		return -ERANGE;
	data = calloc(1, (size_t)bytes + 1);
	if (!data)
		return -ENOMEM;
	err = vhd_pread(f->fd, data, bytes, pos);
	if (err || place->code == VHD_LOC_MACX) {
		place->text = data;
		return err;
	}
	place->text = vhd_utf16_decode(data, bytes, false);
	free(data);
	return 0;
}

int vhd_locator_read(const struct vhd_file *f, unsigned int n,
		     struct vhd_place *place)
{
	const struct vhd_locator *l = &f->image.header.locators[n];
	int err;

	memset(place, 0, sizeof(*place));
	place->code = be32_to_cpu(l->code);
	if (place->code == VHD_LOC_NONE)
		return -ENOENT;
	if (place->code != VHD_LOC_W2RU && place->code != VHD_LOC_W2KU &&
	    place->code != VHD_LOC_MACX)
		return -EOPNOTSUPP;
	err = read_text(f, l, place);
	if (!err)
		err = place_finish(place);
	if (err)
		vhd_place_free(place);
	return err;
}

int vhd_parent_name_read(const struct vhd_file *f, struct vhd_place *place)
{
	const struct vhd_dyn_header *h = &f->image.header;
	int err;

	memset(place, 0, sizeof(*place));
	if (!h->parent_name[0])
		return -ENOENT;
	place->text = vhd_utf16_decode(h->parent_name, sizeof(h->parent_name),
				       true);
	err = place_finish(place);
	if (err)
		vhd_place_free(place);
	return err;
}

/* ---- making ---------------------------------------------------------- */

/* What Windows' paths and URLs can both say. */
static int check_path(const char *path)
{
	const char *s = path;
	s32 c;

	while ((c = vhd_utf8_next(&s)) > 0)
		if (c == '\\')
			return -EILSEQ;
	return c;
}

/* @to from the directory @from, both absolute and without links: "../x/p" */
static char *relative_path(const char *from, const char *to)
{
	size_t same = 0, i, ups = 0;
	char *out, *o;

	for (i = 0; from[i] && from[i] == to[i]; i++)
		if (from[i] == '/')
			same = i + 1;
	if (!from[i] && to[i] == '/')
		same = i + 1;
	if (from[i] || same != i + 1)
		for (ups = 1, i = same; from[i]; i++)
			ups += from[i] == '/';
	/* The root is the one directory whose path ends with a slash. */
	if (!strcmp(from, "/"))
		same = 1, ups = 0;
	out = malloc(3 * ups + strlen(to + same) + 1);
	for (o = out; out && ups; ups--)
		o = stpcpy(o, "../");
	if (out)
		strcpy(o, to + same);
	return out;
}

/* prefix + path with backslashes, UTF-16LE */
static int put_windows(struct vhd_link *link, unsigned int n,
		       const char *prefix, const char *path)
{
	size_t bytes;
	char *text;
	int err;

	if (asprintf(&text, "%s%s", prefix, path) < 0)
		return -ENOMEM;
	for (char *s = text; *s; s++)
		if (*s == '/')
			*s = '\\';
	err = vhd_utf16_encode(text, false, &link->data[n], &bytes);
	free(text);
	if (!err && bytes > VHD_MAX_LOCATOR_BYTES)
		return -ENAMETOOLONG;
	link->bytes[n] = bytes;
	return err;
}

static int put_url(struct vhd_link *link, const char *prefix, const char *path)
{
	char *url = malloc(strlen(prefix) + 3 * strlen(path) + 1);
	char *o;

	if (!url)
		return -ENOMEM;
	for (o = stpcpy(url, prefix); *path; path++) {
		if (isalnum((unsigned char)*path) || strchr("-._~/", *path))
			*o++ = *path;
		else
			o += sprintf(o, "%%%02X", (unsigned char)*path);
	}
	*o = '\0';
	link->data[VHD_LINK_MACX] = (u8 *)url;
	link->bytes[VHD_LINK_MACX] = o - url;
	return o - url > (ptrdiff_t)VHD_MAX_LOCATOR_BYTES ? -ENAMETOOLONG : 0;
}

static int put_name(struct vhd_link *link, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	size_t bytes;
	u8 *units;
	int err;

	err = vhd_utf16_encode(name, true, &units, &bytes);
	if (err)
		return err;
	/* NAME_MAX is 255 bytes: it fits wherever such names can be. */
	if (bytes <= sizeof(link->name))
		memcpy(link->name, units, bytes);
	else
		err = -ENAMETOOLONG;
	free(units);
	return err;
}

static int put_paths(struct vhd_link *link, const char *dir, const char *path,
		     bool absolute)
{
	char *relative;
	int err;

	err = put_windows(link, VHD_LINK_W2KU, "C:", path);
	if (err)
		return err;
	/* Windows' layout has no room for more; the others will do. */
	if (link->bytes[VHD_LINK_W2KU] > VHD_W2KU_SPACE) {
		free(link->data[VHD_LINK_W2KU]);
		link->data[VHD_LINK_W2KU] = NULL;
	}
	if (absolute)
		return put_url(link, URL_PREFIX URL_HOST, path);
	relative = relative_path(dir, path);
	if (!relative)
		return -ENOMEM;
	err = put_windows(link, VHD_LINK_W2RU, ".\\", relative);
	if (!err)
		err = put_url(link, URL_PREFIX "./", relative);
	free(relative);
	return err;
}

u32 vhd_parent_stamp(int fd)
{
	struct stat st;

	if (fstat(fd, &st) || S_ISBLK(st.st_mode) ||
	    st.st_mtime <= VHD_EPOCH)
		return 0;
	return min_t(u64, st.st_mtime - VHD_EPOCH, U32_MAX);
}

/* Where a link to a logical volume leads is another place after each boot. */
static char *parent_path(const struct vhd_file *parent)
{
	char *one = NULL, *two = NULL, *dir, *path = NULL;

	if (!S_ISBLK(parent->mode))
		return realpath(parent->path, NULL);
	one = strdup(parent->path);
	two = strdup(parent->path);
	dir = one && two ? realpath(dirname(one), NULL) : NULL;
	if (dir && asprintf(&path, "%s/%s", dir, basename(two)) < 0)
		path = NULL;
	free(dir);
	free(two);
	free(one);
	return path;
}

static int link_paths(struct vhd_link *link, const char *child,
		      const struct vhd_file *parent, bool absolute)
{
	char *copy = strdup(child);
	char *dir = copy ? realpath(dirname(copy), NULL) : NULL;
	int err = dir ? 0 : -errno;
	char *path = parent_path(parent);

	if (!err && !path)
		err = -errno;
	if (!err)
		err = check_path(path);
	if (!err)
		err = put_name(link, path);
	if (!err)
		err = put_paths(link, dir, path, absolute);
	free(path);
	free(dir);
	free(copy);
	return err;
}

int vhd_link_make(struct vhd_link *link, const char *child,
		  const struct vhd_file *parent, bool absolute)
{
	int err;

	memset(link, 0, sizeof(*link));
	memcpy(link->id, parent->image.footer.unique_id, sizeof(link->id));
	if (!memchr_inv(link->id, 0, sizeof(link->id)))
		return -EADDRNOTAVAIL;
	link->timestamp = vhd_parent_stamp(parent->fd);
	err = link_paths(link, child, parent, absolute);
	if (err)
		vhd_link_free(link);
	return err;
}

void vhd_link_free(struct vhd_link *link)
{
	unsigned int i;

	for (i = 0; i < VHD_NR_LINKS; i++)
		free(link->data[i]);
	memset(link, 0, sizeof(*link));
}

void vhd_link_put(const struct vhd_link *link, struct vhd_dyn_header *h,
		  const u64 pos[VHD_NR_LINKS], const u32 space[VHD_NR_LINKS])
{
	struct vhd_locator *l = h->locators;
	unsigned int i;

	memcpy(h->parent_unique_id, link->id, sizeof(link->id));
	h->parent_timestamp = cpu_to_be32(link->timestamp);
	memcpy(h->parent_name, link->name, sizeof(link->name));
	memset(h->locators, 0, sizeof(h->locators));
	for (i = 0; i < VHD_NR_LINKS; i++) {
		if (!link->data[i])
			continue;
		l->code = cpu_to_be32(link_codes[i]);
		l->data_space = cpu_to_be32(space[i]);
		l->data_length = cpu_to_be32(link->bytes[i]);
		l->data_offset = cpu_to_be64(pos[i]);
		l++;
	}
}

/* ---- times ----------------------------------------------------------- */

bool vhd_stamp_fits(const struct vhd_file *child, const struct vhd_file *parent)
{
	u32 noted = be32_to_cpu(child->image.header.parent_timestamp);

	u32 stamp = vhd_parent_stamp(parent->fd);

	/* The times of a device's node tell nothing of what it holds. */
	return !noted || S_ISBLK(parent->mode) ||
	       max(noted, stamp) - min(noted, stamp) <= STAMP_SLACK;
}
