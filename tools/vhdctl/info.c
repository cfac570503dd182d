// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <uuid.h>

#include <asm/byteorder.h>

#include "chain.h"
#include "columns.h"
#include "format.h"
#include "json.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_CHAIN = OPT_LONG,
};

static const struct option options[] = {
	{ "chain", no_argument, NULL, OPT_CHAIN },
	{ "json", no_argument, NULL, 'J' },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"info [OPTION...] IMAGE|DEVICE\n"
	"\n"
	"Tell what an image is and what is unusual or wrong with it.  Of a\n"
	"device, what status tells.\n"
	"\n"
	"     --chain                 of a differencing image, also its parents\n"
	PARENT_HELP
	" -J, --json                  JSON\n";

/**
 * struct info - what is told about an image, beyond its fields
 * @aligned: all data begin at multiples of 4 KiB
 * @tight: the footer follows the last block
 * @attach: how it can be attached
 */
struct info {
	const struct vhd_file *file;
	const struct vhd_footer *footer;
	const struct vhd_image *img;
	u64 disk_usage;
	bool aligned;
	bool tight;
	const char *attach;
	char id[37];
	char parent_id[37];
	char app[5];
	char os[5];
	char created[40];
	char parent_name[4 * VHD_PARENT_NAME_UNITS];
};

static bool data_aligned(const struct vhd_image *img)
{
	u32 i;

	for (i = 0; i < img->nr_blocks; i++)
		if (img->bat[i] < VHD_BAT_BAD &&
		    vhd_data_pos(img, img->bat[i]) % VHD_ALIGN)
			return false;
	return true;
}

static bool is_tight(const struct vhd_file *f)
{
	/* Nor is there anything to cut off. */
	if (f->image.on_device)
		return true;
	if (!f->image.bat)
		return f->size == f->image.size + VHD_SECTOR_SIZE;
	return f->size <= vhd_tail_pos(f->image.space.data_end) +
			  VHD_SECTOR_SIZE;
}

/* What attach would do without --force. */
static const char *attach_answer(const struct vhd_file *f)
{
	const struct vhd_findings *all = &f->findings;

	return attach_word(f, all->nr ?
			   vhd_finding_info(all->worst.code)->policy :
			   VHD_POLICY_INFO);
}

static void gather(struct info *i, const struct vhd_file *f)
{
	struct stat st;

	memset(i, 0, sizeof(*i));
	i->file = f;
	i->footer = &f->image.footer;
	i->img = &f->image;
	if (!fstat(f->fd, &st))
		i->disk_usage = st.st_blocks * 512ULL;
	i->aligned = data_aligned(&f->image);
	i->tight = is_tight(f);
	i->attach = attach_answer(f);
	/* In the order of its bytes, as RFC 4122 prints it. */
	uuid_unparse_lower(i->footer->unique_id, i->id);
	uuid_unparse_lower(f->image.header.parent_unique_id, i->parent_id);
	fourcc(be32_to_cpu(i->footer->creator_app), i->app);
	fourcc(be32_to_cpu(i->footer->creator_os), i->os);
	format_timestamp(be32_to_cpu(i->footer->timestamp), i->created,
			 sizeof(i->created));
	utf16_text(f->image.header.parent_name,
		   sizeof(f->image.header.parent_name), true, i->parent_name,
		   sizeof(i->parent_name));
}

static void print_size(const char *key, u64 bytes)
{
	char buf[32];

	printf("%s: %llu (%s)\n", key, (unsigned long long)bytes,
	       format_size(bytes, buf, sizeof(buf)));
}

static const char *yes_no(bool yes)
{
	return yes ? "yes" : "no";
}

static void print_blocks(const struct info *i)
{
	const struct vhd_image *img = i->img;

	print_size("block size", vhd_block_bytes(img));
	printf("blocks: %u of %u allocated\n", img->nr_allocated,
	       img->nr_blocks);
	print_size("allocated", (u64)img->nr_allocated << img->block_shift);
	printf("table offset: %llu\n", (unsigned long long)img->table_offset);
	printf("table entries: %u\n",
	       be32_to_cpu(img->header.max_table_entries));
}

/* The parent, or why it is none. */
static void print_resolved(const struct vhd_file *f, int n)
{
	char *path, *why;
	int err = vhd_place_resolve(f, n, &path, &why);

	if (err == -EOPNOTSUPP)
		printf("locator %d: is ignored\n", n);
	else if (!err)
		printf("locator %d: is %s\n", n, printable(path));
	else if (path)
		printf("locator %d: is %s, which is not the parent: %s\n", n,
		       printable(path), why ? printable(why) : strerror(-err));
	else
		printf("locator %d: leads nowhere: %s\n", n, why ? why :
		       err == -ENXIO ? "there is no such file" :
		       err == -ERANGE ? "too long, or outside the file" :
		       err == -EILSEQ ? "no path of a file" : strerror(-err));
	free(path);
	free(why);
}

static void print_locators(const struct info *i)
{
	char text[4096], code[5];
	int n;

	for (n = 0; n < VHD_NR_LOCATORS; n++) {
		const struct vhd_locator *l = &i->img->header.locators[n];

		if (!l->code)
			continue;
		locator_text(i->file->fd, l, text, sizeof(text));
		printf("locator %d: %s, %u bytes of %llu at %llu: \"%s\"\n", n,
		       fourcc(be32_to_cpu(l->code), code),
		       be32_to_cpu(l->data_length),
		       (unsigned long long)vhd_locator_space(l),
		       (unsigned long long)be64_to_cpu(l->data_offset),
		       printable(text));
		print_resolved(i->file, n);
	}
}

static void print_parent(struct info *i)
{
	printf("parent id: %s\n", i->parent_id);
	printf("parent name: %s\n", printable(i->parent_name));
	print_locators(i);
}

static void print_findings(const struct vhd_findings *all)
{
	char line[256];
	unsigned int n;

	for (n = 0; n < vhd_findings_kept(all); n++) {
		vhd_finding_line(&all->list[n], line, sizeof(line));
		printf("finding: %s: %s\n",
		       vhd_finding_info(all->list[n].code)->name, line);
	}
	if (all->nr > n)
		printf("finding: %llu more\n",
		       (unsigned long long)(all->nr - n));
}

static void print_text(struct info *i)
{
	struct vhd_geometry g = vhd_footer_geometry(i->footer);
	u32 version = be32_to_cpu(i->footer->creator_version);

	printf("image: %s\n", i->file->path);
	printf("type: %s\n", type_name(i->img->type));
	print_size("virtual size", i->img->size);
	print_size("file size", i->file->size);
	print_size("disk usage", i->disk_usage);
	printf("id: %s\n", i->id);
	printf("creator: \"%s\" %u.%u on \"%s\"\n", i->app, version >> 16,
	       version & 0xFFFF, i->os);
	printf("created: %s\n", i->created);
	printf("geometry: %u/%u/%u\n", g.cylinders, g.heads, g.sectors);
	printf("saved state: %s\n", yes_no(i->footer->saved_state));
	if (i->img->bat)
		print_blocks(i);
	printf("aligned: %s\n", yes_no(i->aligned));
	printf("tight: %s\n", yes_no(i->tight));
	if (i->img->type == VHD_TYPE_DIFFERENCING)
		print_parent(i);
	printf("attach: %s\n", i->attach);
	print_findings(&i->file->findings);
}

static void json_findings(struct json *j, const struct vhd_findings *all)
{
	const struct vhd_finding_info *info;
	const struct vhd_finding *f;
	unsigned int n;

	json_number(j, "findings-total", all->nr);
	json_open(j, "findings", '[');
	for (n = 0; n < vhd_findings_kept(all); n++) {
		f = &all->list[n];
		info = vhd_finding_info(f->code);
		json_open(j, NULL, '{');
		json_string(j, "code", info->name);
		json_string(j, "severity", severity_word(info->severity));
		json_string(j, "text", info->text);
		if (f->block != VHD_NO_BLOCK)
			json_number(j, "block", f->block);
		json_number(j, "offset", f->offset);
		json_number(j, "found", f->found);
		json_number(j, "expected", f->expected);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void json_blocks(struct json *j, const struct vhd_image *img)
{
	json_number(j, "block-size", vhd_block_bytes(img));
	json_number(j, "blocks", img->nr_blocks);
	json_number(j, "allocated-blocks", img->nr_allocated);
	json_number(j, "allocated", (u64)img->nr_allocated << img->block_shift);
	json_number(j, "table-offset", img->table_offset);
	json_number(j, "table-entries",
		    be32_to_cpu(img->header.max_table_entries));
}

static void json_resolved(struct json *j, const struct vhd_file *f, int n)
{
	char *path, *why;
	int err = vhd_place_resolve(f, n, &path, &why);

	if (path)
		json_string(j, "resolves-to", printable(path));
	json_bool(j, "is-parent", !err);
	if (why)
		json_string(j, "refused-because", printable(why));
	free(path);
	free(why);
}

static void json_parent(struct json *j, const struct info *i)
{
	char text[4096], code[5];
	int n;

	json_open(j, "parent", '{');
	json_string(j, "id", i->parent_id);
	json_string(j, "name", i->parent_name);
	json_open(j, "locators", '[');
	for (n = 0; n < VHD_NR_LOCATORS; n++) {
		const struct vhd_locator *l = &i->img->header.locators[n];

		if (!l->code)
			continue;
		json_open(j, NULL, '{');
		json_string(j, "code", fourcc(be32_to_cpu(l->code), code));
		json_number(j, "space", vhd_locator_space(l));
		json_number(j, "length", be32_to_cpu(l->data_length));
		json_number(j, "offset", be64_to_cpu(l->data_offset));
		json_string(j, "text", locator_text(i->file->fd, l, text,
						    sizeof(text)));
		json_resolved(j, i->file, n);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_close(j, '}');
}

static void json_image(struct json *j, const struct info *i)
{
	struct vhd_geometry g = vhd_footer_geometry(i->footer);

	json_string(j, "type", type_name(i->img->type));
	json_number(j, "virtual-size", i->img->size);
	json_number(j, "disk-usage", i->disk_usage);
	json_string(j, "id", i->id);
	json_string(j, "creator", i->app);
	json_number(j, "creator-version",
		    be32_to_cpu(i->footer->creator_version));
	json_string(j, "creator-os", i->os);
	json_string(j, "created", i->created);
	json_open(j, "geometry", '{');
	json_number(j, "cylinders", g.cylinders);
	json_number(j, "heads", g.heads);
	json_number(j, "sectors", g.sectors);
	json_close(j, '}');
	json_bool(j, "saved-state", i->footer->saved_state);
	if (i->img->bat)
		json_blocks(j, i->img);
	json_bool(j, "aligned", i->aligned);
	json_bool(j, "tight", i->tight);
	if (i->img->type == VHD_TYPE_DIFFERENCING)
		json_parent(j, i);
}

static void print_json(struct json *j, const struct vhd_file *f)
{
	struct info i;

	json_open(j, NULL, '{');
	json_string(j, "filename", f->path);
	json_number(j, "file-size", f->size);
	if (f->loaded) {
		gather(&i, f);
		json_image(j, &i);
	}
	json_string(j, "attach", attach_answer(f));
	json_findings(j, &f->findings);
	json_close(j, '}');
}

static int info_image(const char *path, bool json)
{
	struct json j = { .out = stdout };
	struct vhd_file f;
	struct info i;
	int code;

	code = open_image(&f, path);
	/* A refused image still has its findings told. */
	if (json && (!code || f.findings.nr)) {
		print_json(&j, &f);
	} else if (!code) {
		gather(&i, &f);
		print_text(&i);
	}
	vhd_file_close(&f);
	return code;
}

/* As many layers as can be had, the top first. */
static void print_layers(const struct vhd_layers *c, bool json)
{
	struct json j = { .out = stdout };
	struct info i;
	unsigned int n;

	if (json)
		json_open(&j, NULL, '[');
	for (n = 0; n < c->nr; n++) {
		if (json) {
			print_json(&j, c->layers[n]);
			continue;
		}
		gather(&i, c->layers[n]);
		if (n)
			putchar('\n');
		print_text(&i);
	}
	if (json)
		json_close(&j, ']');
}

static int info_chain(const char *path, bool json,
		      const struct vhd_parent_options *opt)
{
	struct vhd_layers c;
	int code;

	vhd_layers_init(&c);
	code = open_image(chain_push_new(&c), path);
	if (!code) {
		/* What is missing is told last. */
		int err = vhd_layers_parents(&c, opt, VHD_OPEN_FORCE);

		print_layers(&c, json);
		fflush(stdout);
		code = err ? chain_error(&c, err) : chain_unused(&c, opt);
		chain_warn(&c);
	}
	vhd_layers_close(&c);
	return code;
}

static int run_info(int argc, char **argv)
{
	struct vhd_parent_options opt = { };
	struct device d;
	struct stat st;
	bool json = false, chain = false;
	int c, code;

	while ((c = next_option(&cmd_info, argc, argv, "J" COMMON_SHORT,
				options)) != -1) {
		json |= c == 'J';
		chain |= c == OPT_CHAIN;
		chain |= parent_option(&opt, c, optarg);
	}
	if (argc - optind != 1)
		return usage_error(&cmd_info, "expected one IMAGE");
	if ((stat(argv[optind], &st) || (S_ISBLK(st.st_mode) &&
					 device_is_ours(st.st_rdev))) &&
	    !device_find(argv[optind], &d))
		return columns_pairs(&d, json);
	code = chain ? info_chain(argv[optind], json, &opt) :
		       info_image(argv[optind], json);
	parent_options_free(&opt);
	return code;
}

const struct command cmd_info = {
	.name = "info",
	.brief = "tell what an image is",
	.help = help,
	.run = run_info,
};
