// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wctype.h>

#include <linux/kernel.h>
#include <linux/string.h>

#include "format.h"
#include "locator.h"
#include "parent.h"
#include "utf16.h"

/* What is said of a search at most; a name alone may have 4 KiB. */
#define MAX_TRIED	16384

/* ---- names without regard to case ------------------------------------ */

static wint_t fold(wint_t c)
{
	static locale_t locale;

	if (!locale)
		locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
	if (locale)
		return towlower_l(towupper_l(c, locale), locale);
	return c < 0x80 ? (wint_t)towlower(c) : c;
}

static bool same_name(const char *a, const char *b)
{
	s32 x, y;

	do {
		x = vhd_utf8_next(&a);
		y = vhd_utf8_next(&b);
		/* What is no text must be the same byte for byte. */
		if (x < 0 || y < 0) {
			if (x != y || a[-1] != b[-1])
				return false;
			continue;
		}
		if (fold(x) != fold(y))
			return false;
	} while (x && y);
	return x == y;
}

/* The entry of directory @dir that is @name but for case, or NULL. */
static char *find_entry(const char *dir, const char *name)
{
	DIR *d = opendir(*dir ? dir : "/");
	struct dirent *e;
	char *found = NULL;

	if (!d)
		return NULL;
	while (!found && (e = readdir(d)))
		if (same_name(e->d_name, name))
			found = strdup(e->d_name);
	closedir(d);
	return found;
}

/* One component more; as it is on disk. */
static char *add_component(char *path, const char *name)
{
	struct stat st;
	char *longer, *real;

	if (asprintf(&longer, "%s/%s", path, name) < 0)
		longer = NULL;
	if (longer && lstat(longer, &st) && errno == ENOENT) {
		free(longer);
		longer = NULL;
		real = find_entry(path, name);
		if (real && asprintf(&longer, "%s/%s", path, real) < 0)
			longer = NULL;
		free(real);
	}
	free(path);
	return longer;
}

/* An absolute path that may differ by case from what is there, or NULL. */
static char *without_case(const char *path)
{
	char *copy = strdup(path);
	char *found = strdup("");
	char *name, *rest = copy;

	while (found && (name = strsep(&rest, "/")))
		if (*name && strcmp(name, "."))
			found = add_component(found, name);
	free(copy);
	return found;
}

/* ---- one candidate --------------------------------------------------- */

static bool below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

/* Places where opening a file does something, or shows what is secret. */
static bool forbidden(const char *path)
{
	return below(path, "/dev") || below(path, "/proc") ||
	       below(path, "/sys");
}

__attribute__((format(printf, 1, 2)))
static char *words(const char *fmt, ...)
{
	va_list args;
	char *s;

	va_start(args, fmt);
	if (vasprintf(&s, fmt, args) < 0)
		s = NULL;
	va_end(args);
	return s;
}

static char *id_words(const char *what, const u8 found[16],
		      const u8 expected[16])
{
	char f[33], e[33];
	int i;

	for (i = 0; i < 16; i++) {
		sprintf(f + 2 * i, "%02x", found[i]);
		sprintf(e + 2 * i, "%02x", expected[i]);
	}
	return words("%s: found %.8s-%.4s-%.4s-%.4s-%s, expected %.8s-%.4s-%.4s-%.4s-%s",
		     what, f, f + 8, f + 12, f + 16, f + 20, e, e + 8, e + 12,
		     e + 16, e + 20);
}

/* Real path of a candidate, by case or without; NULL: there is none. */
static char *real_path(const char *path)
{
	char *real = realpath(path, NULL);
	char *other;

	if (real || errno != ENOENT || *path != '/')
		return real;
	other = without_case(path);
	if (other)
		real = realpath(other, NULL);
	else
		errno = ENOENT;
	free(other);
	return real;
}

static char *load_words(const struct vhd_file *f, int err)
{
	char line[256];

	if (err == -EMEDIUMTYPE)
		return words("is no VHD image");
	if (err != -EUCLEAN || !f->findings.nr)
		return words("%s", strerror(-err));
	vhd_finding_line(&f->findings.worst, line, sizeof(line));
	return words("%s", line);
}

/* One of the layers above, or NULL. */
static const struct vhd_file *is_above(const struct vhd_parent_search *s,
				       const struct vhd_file *f)
{
	unsigned int i;

	for (i = 0; i < s->nr_above; i++)
		if (s->above[i]->dev == f->dev && s->above[i]->ino == f->ino)
			return s->above[i];
	return NULL;
}

/*
 * A layer above: the chain bites its tail.  Or the parent has the same name
 * elsewhere, and was not found there.
 */
static int judge_above(const struct vhd_parent_search *s,
		       const struct vhd_file *layer, char **why)
{
	*why = words("is the image itself, or one that depends on it");
	return memcmp(layer->image.footer.unique_id,
		      s->child->image.header.parent_unique_id, 16) ?
	       -ENXIO : -ELOOP;
}

/* An image: is it the one?  -ENXIO and @why if not. */
static int judge_id(struct vhd_parent_search *s, const struct vhd_file *f,
		    char **why)
{
	const u8 *id = f->image.footer.unique_id;
	const u8 *wanted = s->child->image.header.parent_unique_id;
	bool null = !memchr_inv(id, 0, 16);

	if (!null && !memcmp(id, wanted, 16))
		return 0;
	s->id_differs = true;
	if (s->opt && s->opt->ignore_id)
		return 0;
	if (!memchr_inv(wanted, 0, 16))
		*why = words("is not its parent any more: what the image had was merged into that, which was written to since");
	else
		*why = null ? words("has a null id") :
			      id_words("unique id", id, wanted);
	return -ENXIO;
}

static bool is_block(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode);
}

/* Open and load what is at @path, and see whether it will do. */
static int try_file(struct vhd_parent_search *s, const char *path,
		    struct vhd_file *f, char **why)
{
	const struct vhd_file *layer;
	int err;

	s->id_differs = false;
	err = vhd_file_open(f, path, false);
	if (err == -EISDIR || err == -ENOTSUP)
		*why = words("is neither a regular file nor a block device");
	else if (err)
		*why = words("%s", strerror(-err));
	layer = err ? NULL : is_above(s, f);
	if (layer)
		err = judge_above(s, layer, why);
	if (!err) {
		err = vhd_file_load(f, s->flags & ~VHD_OPEN_WRITE);
		if (err)
			*why = load_words(f, err);
	}
	if (!err)
		err = judge_id(s, f, why);
	if (err)
		vhd_file_close(f);
	return err == -ENOMEM || err == -ELOOP ? err : err ? -ENXIO : 0;
}

/* The same for a path that comes from an image. */
static int try_strangers(struct vhd_parent_search *s, const char *path,
			 struct vhd_file *f, char **real, char **why)
{
	*real = real_path(path);
	if (!*real) {
		if (errno != ENOENT && errno != ENOTDIR)
			*why = words("%s", strerror(errno));
		return -ENXIO;
	}
	if (is_block(*real)) {
		/* An image that lies on one may well depend on another. */
		if (!S_ISBLK(s->child->mode)) {
			*why = words("is a block device: only --parent opens it");
			return -ENXIO;
		}
	} else if (forbidden(*real) && !below(*real, s->dir)) {
		*why = words("is not looked at");
		return -ENXIO;
	}
	return try_file(s, *real, f, why);
}

/* ---- the search ------------------------------------------------------ */

/* Add to what the message tells. */
static void note(struct vhd_parent_search *s, const char *what, char *why)
{
	size_t len = s->tried ? strlen(s->tried) : 0;
	char *more;

	/* Several names may lead to one place. */
	if (len > MAX_TRIED || (!why && len && strstr(s->tried, what)))
		goto out;
	if (asprintf(&more, "%s%s%s%s%s", s->tried ? s->tried : "",
		     s->tried ? ", " : "", what, why ? ": " : "",
		     why ? why : "") >= 0) {
		free(s->tried);
		s->tried = more;
	}
out:
	free(why);
}

/* Returns 0 or -ENOMEM or -ELOOP to end the search, -ENXIO to go on. */
static int try_path(struct vhd_parent_search *s, const char *path,
		    const char *label, struct vhd_file *f)
{
	char *real = NULL, *why = NULL;
	int err;

	err = try_strangers(s, path, f, &real, &why);
	free(real);
	if (err)
		note(s, label, why);
	return err;
}

/* The directory of an image, without links. */
static char *image_dir(const struct vhd_file *f)
{
	char *real = realpath(f->path, NULL);
	char *dir = real ? strdup(dirname(real)) : NULL;

	free(real);
	return dir;
}

static int try_in(struct vhd_parent_search *s, const char *dir,
		  const char *path, const char *label, struct vhd_file *f)
{
	char *whole;
	int err = -ENOMEM;

	if (asprintf(&whole, "%s/%s", dir, path) >= 0) {
		err = try_path(s, whole, label ? label : whole, f);
		free(whole);
	}
	return err;
}

/* Where a locator leads; for an absolute one also beside the child. */
static int try_place(struct vhd_parent_search *s, const struct vhd_place *p,
		     struct vhd_file *f)
{
	int err = -ENXIO;

	if (p->code != VHD_LOC_NONE && p->path && p->relative)
		return try_in(s, s->dir, p->path, p->text, f);
	if (p->code != VHD_LOC_NONE && p->path)
		err = try_path(s, p->path, p->text, f);
	if (err == -ENXIO && p->code != VHD_LOC_MACX)
		err = try_in(s, s->dir, p->name, NULL, f);
	return err;
}

static int read_place(const struct vhd_file *child, u32 code,
		      unsigned int *next, struct vhd_place *p)
{
	for (; code != VHD_LOC_NONE && *next < VHD_NR_LOCATORS; (*next)++)
		if (!vhd_locator_read(child, *next, p)) {
			if (p->code == code) {
				(*next)++;
				return 0;
			}
			vhd_place_free(p);
		}
	if (code != VHD_LOC_NONE || (*next)++)
		return -ENOENT;
	return vhd_parent_name_read(child, p);
}

static const u32 order[] = {
	VHD_LOC_W2RU, VHD_LOC_MACX, VHD_LOC_W2KU, VHD_LOC_NONE,
};

static int search_dirs(struct vhd_parent_search *s, const struct vhd_place *p,
		       struct vhd_file *f)
{
	unsigned int i;
	int err = -ENXIO;
	char *dir;

	for (i = 0; s->opt && i < s->opt->nr_dirs && err == -ENXIO; i++) {
		dir = realpath(s->opt->dirs[i], NULL);
		if (dir)
			err = try_in(s, dir, p->name, NULL, f);
		free(dir);
	}
	return err;
}

/* All that the child tells, in order; @dirs: in the user's directories. */
static int search_places(struct vhd_parent_search *s, bool dirs,
			 struct vhd_file *f)
{
	struct vhd_place p;
	unsigned int i, n;
	int err = -ENXIO;

	for (i = 0; i < ARRAY_SIZE(order); i++) {
		for (n = 0; !read_place(s->child, order[i], &n, &p);) {
			err = dirs ? search_dirs(s, &p, f) :
				     try_place(s, &p, f);
			s->found = p.code;
			vhd_place_free(&p);
			if (err != -ENXIO)
				return err;
		}
	}
	return err;
}

/* The user's files.  Those that are not this layer's may be another's. */
static int search_files(struct vhd_parent_search *s, struct vhd_file *f)
{
	char *why = NULL;
	unsigned int i;
	int err;

	for (i = 0; s->opt && i < s->opt->nr_files; i++) {
		if (s->opt->used[i])
			continue;
		err = try_file(s, s->opt->files[i], f, &why);
		if (!err) {
			s->opt->used[i] = true;
			s->found = VHD_PARENT_GIVEN;
		}
		if (err != -ENXIO)
			return err;
		note(s, s->opt->files[i], why);
		why = NULL;
	}
	return -ENXIO;
}

int vhd_parent_open(struct vhd_parent_search *s, struct vhd_file *parent)
{
	int err;

	s->tried = NULL;
	s->dir = image_dir(s->child);
	if (!s->dir)
		return -errno;
	err = search_files(s, parent);
	if (err == -ENXIO && s->opt && s->opt->nr_dirs)
		err = search_places(s, true, parent);
	if (err == -ENXIO)
		err = search_places(s, false, parent);
	free(s->dir);
	s->dir = NULL;
	return err;
}

/* ---- for messages ---------------------------------------------------- */

char *vhd_parent_label(const struct vhd_file *child)
{
	struct vhd_place p;
	char *label = NULL;
	unsigned int n;

	if (!vhd_parent_name_read(child, &p)) {
		label = strdup(p.name);
		vhd_place_free(&p);
	}
	for (n = 0; !label && n < VHD_NR_LOCATORS; n++) {
		if (vhd_locator_read(child, n, &p))
			continue;
		label = strdup(p.name);
		vhd_place_free(&p);
	}
	return label ? label : strdup("");
}

int vhd_place_resolve(const struct vhd_file *child, unsigned int n, char **path,
		      char **why)
{
	struct vhd_file *above = (struct vhd_file *)child;
	struct vhd_parent_search s = {
		.child = child,
		.above = &above,
		.nr_above = 1,
		.flags = VHD_OPEN_FORCE,
		.dir = image_dir(child),
	};
	char *whole = NULL;
	struct vhd_place p;
	struct vhd_file f;
	int err;

	*path = *why = NULL;
	err = vhd_locator_read(child, n, &p);
	if (!err && !s.dir)
		err = -ENOMEM;
	if (err)
		goto out;
	if (p.path && asprintf(&whole, "%s/%s", p.relative ? s.dir : "",
			       p.path) < 0)
		whole = NULL;
	err = whole ? try_strangers(&s, whole, &f, path, why) : -ENXIO;
	if (!err)
		vhd_file_close(&f);
	free(whole);
	vhd_place_free(&p);
out:
	free(s.dir);
	return err;
}
