// SPDX-License-Identifier: GPL-2.0-or-later
#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "partition.h"

static void probe_value(blkid_probe pr, const char *name, char *buf, size_t len)
{
	const char *value;

	if (blkid_probe_lookup_value(pr, name, &value, NULL))
		value = "";
	snprintf(buf, len, "%s", value);
}

/* Nothing found, or not readable: no type. */
static void probe(struct volume *v)
{
	blkid_probe pr = blkid_new_probe_from_filename(v->node);
	char usage[32];

	if (!pr)
		return;
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE |
					  BLKID_SUBLKS_USAGE |
					  BLKID_SUBLKS_LABEL);
	if (!blkid_do_safeprobe(pr)) {
		probe_value(pr, "TYPE", v->type, sizeof(v->type));
		probe_value(pr, "LABEL", v->label, sizeof(v->label));
		probe_value(pr, "USAGE", usage, sizeof(usage));
		v->mountable = !strcmp(usage, "filesystem");
	}
	blkid_free_probe(pr);
}

/* PARTNAME of a partition's uevent */
static void partition_name(const struct device *d, const char *part,
			   char *name, size_t len)
{
	char attr[64], text[1024], *line;

	snprintf(attr, sizeof(attr), "%.40s/uevent", part);
	device_attr(d, attr, text, sizeof(text));
	*name = '\0';
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (!strncmp(line, "PARTNAME=", 9))
			snprintf(name, len, "%s", line + 9);
}

/* @part: as its directory in sysfs; NULL: the disk */
static void fill(struct volume *v, const struct device *d, const char *part)
{
	char attr[64];

	memset(v, 0, sizeof(*v));
	snprintf(v->node, sizeof(v->node), "/dev/%.20s", part ?: d->name);
	if (part) {
		snprintf(attr, sizeof(attr), "%.40s/partition", part);
		v->nr = device_number(d, attr);
		partition_name(d, part, v->name, sizeof(v->name));
		snprintf(attr, sizeof(attr), "%.40s/size", part);
	} else {
		snprintf(attr, sizeof(attr), "size");
	}
	v->bytes = device_number(d, attr) << 9;
	probe(v);
}

static int by_number(const void *a, const void *b)
{
	const struct volume *x = a, *y = b;

	return x->nr < y->nr ? -1 : x->nr > y->nr;
}

static int append(struct volume **list, int n, const struct device *d,
		  const char *part)
{
	struct volume *more = reallocarray(*list, n + 1, sizeof(**list));

	if (!more)
		return -ENOMEM;
	*list = more;
	fill(&more[n], d, part);
	return 0;
}

static bool is_partition(const struct device *d, const char *name)
{
	size_t len = strlen(d->name);

	return !strncmp(name, d->name, len) && name[len] == 'p';
}

int volume_list(const struct device *d, struct volume **volumes)
{
	struct dirent *de;
	char path[64];
	int n = 1, err;
	DIR *dir;

	*volumes = NULL;
	err = append(volumes, 0, d, NULL);
	if (err)
		return err;
	snprintf(path, sizeof(path), "/sys/block/%s", d->name);
	dir = opendir(path);
	while (dir && !err && (de = readdir(dir))) {
		if (!is_partition(d, de->d_name))
			continue;
		err = append(volumes, n, d, de->d_name);
		n += !err;
	}
	if (dir)
		closedir(dir);
	qsort(*volumes, n, sizeof(**volumes), by_number);
	return err ?: n;
}
