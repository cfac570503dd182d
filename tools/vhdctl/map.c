// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <linux/minmax.h>

#include "chain.h"
#include "graph.h"
#include "io.h"
#include "json.h"
#include "report.h"
#include "vhdctl.h"

static const struct option options[] = {
	{ "graph", no_argument, NULL, 'g' },
	{ "json", no_argument, NULL, 'J' },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"map [OPTION...] IMAGE\n"
	"\n"
	"Tell where the data of the disk are in the image file, or in which file\n"
	"of its chain, in bytes.\n"
	"\n"
	PARENT_HELP
	" -g, --graph                 a picture: where the disk holds data, and in\n"
	"                             which order they lie in the file\n"
	" -J, --json                  JSON, as qemu-img map prints it: zeros too\n";

/**
 * struct run - a run of the virtual disk of one kind, bytes
 * @placed: it has a place in the file, at @pos
 * @layer: whose it is
 */
struct run {
	enum vhd_map_kind kind;
	bool placed;
	unsigned int layer;
	u64 start;
	u64 length;
	u64 pos;
};

/**
 * struct printer - prints runs, joined to the longest
 * @json, @graph: how, or text
 */
struct printer {
	struct json *json;
	struct graph *graph;
	const struct vhd_layers *chain;
	struct run last;
	bool bad;
};

static const char *run_path(const struct printer *p, const struct run *r)
{
	return p->chain->layers[r->layer]->path;
}

static void print_json(const struct printer *p, const struct run *r)
{
	struct json *j = p->json;

	json_open(j, NULL, '{');
	json_number(j, "start", r->start);
	json_number(j, "length", r->length);
	json_number(j, "depth", r->layer);
	/* qemu-img's words: a hole of a fixed image is data that are zero. */
	json_bool(j, "present", true);
	json_bool(j, "zero", r->kind == VHD_MAP_ZERO);
	json_bool(j, "data", r->placed);
	if (r->placed)
		json_number(j, "offset", r->pos);
	if (r->placed && p->chain->nr > 1)
		json_string(j, "filename", run_path(p, r));
	json_close(j, '}');
}

static void print_run(struct printer *p, const struct run *r)
{
	if (!r->length)
		return;
	if (r->kind == VHD_MAP_BAD) {
		p->bad = true;
		error_msg(run_path(p, r), "damaged: %#llx to %#llx",
			  (unsigned long long)r->start,
			  (unsigned long long)(r->start + r->length));
	}
	if (p->graph && r->kind == VHD_MAP_DATA)
		graph_add(p->graph, r->start, r->length,
			  r->layer ? -1 : (s64)r->pos);
	else if (p->graph)
		return;
	else if (p->json)
		print_json(p, r);
	else if (r->kind == VHD_MAP_DATA)
		printf("%#-15llx %#-15llx %#-15llx %s\n",
		       (unsigned long long)r->start,
		       (unsigned long long)r->length,
		       (unsigned long long)r->pos, run_path(p, r));
}

/* Print what came before unless @r goes on with it. */
static void add_run(struct printer *p, const struct run *r)
{
	struct run *last = &p->last;

	if (last->length && r->kind == last->kind &&
	    r->placed == last->placed && r->layer == last->layer &&
	    (!r->placed || r->pos == last->pos + last->length)) {
		last->length += r->length;
		return;
	}
	print_run(p, last);
	*last = *r;
}

/* The data of a fixed image: holes of the file are zeros. */
static int map_fixed(struct vhd_file *f, struct printer *p)
{
	off_t size = f->image.size;
	off_t pos = 0, data, end;

	while (pos < size) {
		if (vhd_interrupted)
			return -EINTR;
		data = lseek(f->fd, pos, SEEK_DATA);
		if (data < 0)
			data = errno == ENXIO ? size : pos;
		data = min(data, size);
		if (data > pos)
			add_run(p, &(struct run) { VHD_MAP_ZERO, true, 0, pos,
						   data - pos, pos });
		if (data == size)
			break;
		end = lseek(f->fd, data, SEEK_HOLE);
		if (end <= data)
			end = size;
		end = min(end, size);
		add_run(p, &(struct run) { VHD_MAP_DATA, true, 0, data,
					   end - data, data });
		pos = end;
	}
	return 0;
}

static int map_blocks(struct vhd_layers *c, struct printer *p)
{
	u64 sectors = c->layers[0]->image.size >> VHD_SECTOR_SHIFT;
	struct vhd_extent ext;
	struct run r;
	u64 sector;
	int err;

	for (sector = 0; sector < sectors; sector += ext.sectors) {
		if (vhd_interrupted)
			return -EINTR;
		err = vhd_layers_map(c, 0, sector, sectors - sector, &ext,
				    &r.layer);
		if (err)
			return err;
		r.kind = ext.kind;
		r.placed = ext.kind == VHD_MAP_DATA;
		r.start = sector << VHD_SECTOR_SHIFT;
		r.length = (u64)ext.sectors << VHD_SECTOR_SHIFT;
		r.pos = ext.pos;
		add_run(p, &r);
	}
	return 0;
}

/* @how: one of the options' letters, or 0 */
static int map_image(struct vhd_layers *c, int how)
{
	struct json json = { .out = stdout, .flat = true };
	struct vhd_file *top = c->layers[0];
	bool as_json = how == 'J';
	struct printer p = {
		.json = as_json ? &json : NULL,
		.chain = c,
	};
	int err;

	if (how == 'g') {
		p.graph = graph_new(top->image.size, top->size);
		if (!p.graph)
			return error_errno(top->path, "cannot map", -ENOMEM);
	}
	if (as_json)
		json_open(&json, NULL, '[');
	else if (!p.graph)
		printf("%-15s %-15s %-15s %s\n", "Offset", "Length",
		       "Mapped to", "File");
	if (top->image.type == VHD_TYPE_FIXED)
		err = map_fixed(top, &p);
	else
		err = map_blocks(c, &p);
	if (!err)
		print_run(&p, &p.last);
	if (as_json)
		json_close(&json, ']');
	if (p.graph)
		graph_print(p.graph, top->path);
	if (err)
		return error_errno(top->path, "cannot map", err);
	return p.bad ? VHDCTL_BAD : VHDCTL_OK;
}

static int run_map(int argc, char **argv)
{
	struct vhd_parent_options opt = { };
	struct vhd_layers chain;
	int c, code, how = 0;

	while ((c = next_option(&cmd_map, argc, argv, "gJ" COMMON_SHORT,
				options)) != -1)
		if (!parent_option(&opt, c, optarg))
			how = c;
	if (argc - optind != 1)
		return usage_error(&cmd_map, "expected one IMAGE");
	vhd_layers_init(&chain);
	code = open_image(chain_push_new(&chain), argv[optind]);
	if (!code)
		code = chain_parents(&chain, &opt, VHD_OPEN_FORCE);
	if (!code)
		code = map_image(&chain, how);
	vhd_layers_close(&chain);
	parent_options_free(&opt);
	return code;
}

const struct command cmd_map = {
	.name = "map",
	.brief = "tell where the data are in the image file",
	.help = help,
	.run = run_map,
};
