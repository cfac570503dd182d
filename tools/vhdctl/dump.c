// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The structures of an image as they are on disk, right or wrong.  Nothing is
 * validated but what keeps the reading itself within bounds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uuid.h>

#include <asm/byteorder.h>
#include <linux/kernel.h>
#include <linux/log2.h>

#include "format.h"
#include "io.h"
#include "report.h"
#include "vhdctl.h"

static const struct option options[] = { COMMON_OPTIONS };

static const char help[] =
	"dump footer|header|bat|locators IMAGE\n"
	"       vhdctl dump bitmap BLOCK IMAGE\n"
	"\n"
	"Print a structure of an image as it is on disk, also of a damaged one.\n"
	"\n"
	" footer                      the footer and how its copy differs\n"
	" header                      the dynamic header\n"
	" bat                         the allocated entries of the table\n"
	"                             (-v: all)\n"
	" locators                    where the parent's paths are\n"
	" bitmap BLOCK                runs of sectors that are present\n";

/** struct raw - what an image begins and ends with */
struct raw {
	struct vhd_file file;
	struct vhd_footer footer;
	u64 footer_pos;
	bool from_head;
	struct vhd_dyn_header header;
	u64 header_pos;
};

static bool has_cookie(const struct vhd_footer *f)
{
	return !memcmp(f->cookie, VHD_FOOTER_COOKIE, sizeof(f->cookie)) ||
	       !memcmp(f->cookie, VHD_POISON_COOKIE, sizeof(f->cookie));
}

/* At the end, of 512 or 511 bytes; else the copy at the beginning. */
static int find_footer(struct raw *r)
{
	static const int lengths[] = { 512, 511 };
	u64 size = r->file.size;
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		if (size < (u64)lengths[i])
			continue;
		r->footer_pos = size - lengths[i];
		memset(&r->footer, 0, sizeof(r->footer));
		err = vhd_pread(r->file.fd, &r->footer, lengths[i],
				r->footer_pos);
		if (err || has_cookie(&r->footer))
			return err;
	}
	r->footer_pos = 0;
	r->from_head = true;
	err = vhd_pread(r->file.fd, &r->footer, sizeof(r->footer), 0);
	if (!err && !has_cookie(&r->footer))
		err = -EMEDIUMTYPE;
	return err;
}

static int find_header(struct raw *r)
{
	r->header_pos = be64_to_cpu(r->footer.data_offset);
	if (r->header_pos > r->file.size ||
	    r->file.size - r->header_pos < sizeof(r->header))
		return -ENXIO;
	return vhd_pread(r->file.fd, &r->header, sizeof(r->header),
			 r->header_pos);
}

static void print_u32(const char *field, __be32 value)
{
	printf("%s: %#x\n", field, be32_to_cpu(value));
}

static void print_number(const char *field, u64 value)
{
	printf("%s: %llu\n", field, (unsigned long long)value);
}

static void print_hex64(const char *field, __be64 value)
{
	printf("%s: %#llx\n", field, (unsigned long long)be64_to_cpu(value));
}

static void print_cookie(const u8 cookie[8])
{
	char text[9];

	memcpy(text, cookie, 8);
	text[8] = '\0';
	printf("cookie: \"%s\"\n", printable(text));
}

static void print_checksum(__be32 found, u32 right)
{
	if (be32_to_cpu(found) == right)
		printf("checksum: %#x (right)\n", right);
	else
		printf("checksum: found %#x, expected %#x\n",
		       be32_to_cpu(found), right);
}

static void print_uuid(const char *field, const u8 id[16])
{
	char text[37];

	uuid_unparse_lower(id, text);
	printf("%s: %s\n", field, text);
}

static void print_code(const char *field, __be32 code)
{
	char text[5];

	printf("%s: %#x \"%s\"\n", field, be32_to_cpu(code),
	       fourcc(be32_to_cpu(code), text));
}

static void print_timestamp(const char *field, __be32 stamp)
{
	char text[40];

	printf("%s: %u (%s)\n", field, be32_to_cpu(stamp),
	       format_timestamp(be32_to_cpu(stamp), text, sizeof(text)));
}

static bool all_zero(const u8 *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

static void print_footer(const struct vhd_footer *f)
{
	struct vhd_geometry g = vhd_footer_geometry(f);

	print_cookie(f->cookie);
	print_u32("features", f->features);
	print_u32("version", f->version);
	print_hex64("data_offset", f->data_offset);
	print_timestamp("timestamp", f->timestamp);
	print_code("creator_app", f->creator_app);
	print_u32("creator_version", f->creator_version);
	print_code("creator_os", f->creator_os);
	print_number("original_size", be64_to_cpu(f->original_size));
	print_number("current_size", be64_to_cpu(f->current_size));
	printf("geometry: %u/%u/%u\n", g.cylinders, g.heads, g.sectors);
	printf("disk_type: %u (%s)\n", be32_to_cpu(f->disk_type),
	       type_name(be32_to_cpu(f->disk_type)));
	print_checksum(f->checksum, vhd_footer_checksum(f));
	print_uuid("unique_id", f->unique_id);
	print_number("saved_state", f->saved_state);
	print_number("hidden", f->hidden);
	printf("reserved: %s\n", all_zero(f->reserved, sizeof(f->reserved)) ?
	       "zero" : "not zero");
}

/* How the copy at 0 compares; a fixed image has none. */
static int print_copy(struct raw *r)
{
	struct vhd_footer copy;
	int err;

	if (r->from_head) {
		printf("copy: this is it; there is no footer at the end\n");
		return 0;
	}
	if (be32_to_cpu(r->footer.disk_type) == VHD_TYPE_FIXED)
		return 0;
	err = vhd_pread(r->file.fd, &copy, sizeof(copy), 0);
	if (err)
		return err;
	if (!memcmp(&copy, &r->footer, sizeof(copy)))
		printf("copy: identical\n");
	else if (vhd_footer_valid(&copy))
		printf("copy: differs, valid\n");
	else
		printf("copy: differs, not valid\n");
	return 0;
}

static int dump_footer(struct raw *r, u32 block)
{
	print_number("at", r->footer_pos);
	print_footer(&r->footer);
	return print_copy(r);
}

static int dump_header(struct raw *r, u32 block)
{
	const struct vhd_dyn_header *h = &r->header;
	char name[4 * VHD_PARENT_NAME_UNITS];
	int err = find_header(r);

	if (err)
		return err;
	print_number("at", r->header_pos);
	print_cookie(h->cookie);
	print_hex64("data_offset", h->data_offset);
	print_number("table_offset", be64_to_cpu(h->table_offset));
	print_u32("header_version", h->header_version);
	print_number("max_table_entries", be32_to_cpu(h->max_table_entries));
	print_number("block_size", be32_to_cpu(h->block_size));
	print_checksum(h->checksum, vhd_header_checksum(h));
	print_uuid("parent_unique_id", h->parent_unique_id);
	print_timestamp("parent_timestamp", h->parent_timestamp);
	printf("parent_name: \"%s\"\n",
	       printable(utf16_text(h->parent_name, sizeof(h->parent_name),
				    true, name, sizeof(name))));
	return 0;
}

static int dump_locators(struct raw *r, u32 block)
{
	char text[4096];
	int i, err = find_header(r);

	if (err)
		return err;
	for (i = 0; i < VHD_NR_LOCATORS; i++) {
		const struct vhd_locator *l = &r->header.locators[i];

		if (!l->code && !verbosity)
			continue;
		print_number("locator", i);
		print_code("code", l->code);
		print_number("data_space", be32_to_cpu(l->data_space));
		print_number("data_length", be32_to_cpu(l->data_length));
		print_number("data_offset", be64_to_cpu(l->data_offset));
		locator_text(r->file.fd, l, text, sizeof(text));
		printf("text: \"%s\"\n", printable(text));
	}
	return 0;
}

/* Entries that the header claims and the file can hold. */
static u64 table_entries(const struct raw *r)
{
	u64 pos = be64_to_cpu(r->header.table_offset);
	u64 room = 0;

	if (pos <= r->file.size)
		room = (r->file.size - pos) / sizeof(__be32);
	return min_t(u64, be32_to_cpu(r->header.max_table_entries), room);
}

static int read_entry(struct raw *r, u64 block, u32 *entry)
{
	u64 pos = be64_to_cpu(r->header.table_offset);
	__be32 value;
	int err;

	if (block >= table_entries(r))
		return -ERANGE;
	err = vhd_pread(r->file.fd, &value, sizeof(value), pos + block * 4);
	*entry = be32_to_cpu(value);
	return err;
}

static void print_entry(u64 block, u32 entry)
{
	if (entry != VHD_BAT_UNUSED)
		printf("%llu %u %llu\n", (unsigned long long)block, entry,
		       (unsigned long long)entry << VHD_SECTOR_SHIFT);
	else if (verbosity > 0)
		printf("%llu unused\n", (unsigned long long)block);
}

static int dump_bat(struct raw *r, u32 unused_block)
{
	__be32 buf[VHD_IO_MAX / sizeof(__be32)];
	u64 pos, block, n, i, entries;
	int err = find_header(r);

	if (err)
		return err;
	pos = be64_to_cpu(r->header.table_offset);
	entries = table_entries(r);
	printf("# block sector offset, of %llu entries at %llu\n",
	       (unsigned long long)entries, (unsigned long long)pos);
	for (block = 0; block < entries; block += n) {
		if (vhd_interrupted)
			return -EINTR;
		n = min_t(u64, entries - block, ARRAY_SIZE(buf));
		err = vhd_pread(r->file.fd, buf, n * sizeof(*buf),
				pos + block * sizeof(*buf));
		if (err)
			return err;
		for (i = 0; i < n; i++)
			print_entry(block + i, be32_to_cpu(buf[i]));
	}
	return 0;
}

static void print_bits(const u8 *bits, u32 sectors)
{
	u32 first, n;
	bool set;

	for (first = 0; first < sectors; first += n) {
		set = bits[first / 8] & (0x80 >> first % 8);
		for (n = 1; first + n < sectors; n++)
			if (!!(bits[(first + n) / 8] &
			       (0x80 >> (first + n) % 8)) != set)
				break;
		if (set || verbosity > 0)
			printf("%u-%u %s\n", first, first + n - 1,
			       set ? "set" : "clear");
	}
}

static int dump_bitmap(struct raw *r, u32 block)
{
	u32 size, entry, bytes;
	u8 *bits;
	int err = find_header(r);

	if (!err)
		err = read_entry(r, block, &entry);
	if (err)
		return err;
	size = be32_to_cpu(r->header.block_size);
	if (!is_power_of_2(size) || size < VHD_MIN_BLOCK_SIZE ||
	    size > VHD_MAX_BLOCK_SIZE)
		return -EUCLEAN;
	if (entry == VHD_BAT_UNUSED) {
		printf("# block %u: not allocated\n", block);
		return 0;
	}
	bytes = vhd_bitmap_bytes(size);
	bits = malloc(bytes);
	if (!bits)
		return -ENOMEM;
	printf("# block %u: sectors of %u, bitmap at %llu\n", block,
	       size >> VHD_SECTOR_SHIFT,
	       (unsigned long long)entry << VHD_SECTOR_SHIFT);
	err = vhd_pread(r->file.fd, bits, bytes,
			(u64)entry << VHD_SECTOR_SHIFT);
	if (!err)
		print_bits(bits, size >> VHD_SECTOR_SHIFT);
	free(bits);
	return err;
}

static const struct {
	const char *name;
	int args;
	int (*dump)(struct raw *r, u32 block);
} parts[] = {
	{ "footer", 2, dump_footer },
	{ "header", 2, dump_header },
	{ "bat", 2, dump_bat },
	{ "locators", 2, dump_locators },
	{ "bitmap", 3, dump_bitmap },
};

static int dump_error(const struct raw *r, const char *part, int err)
{
	const char *path = r->file.path;

	switch (err) {
	case 0:
		return VHDCTL_OK;
	case -EMEDIUMTYPE:
		error_msg(path, "not a VHD: no footer at the end or the beginning");
		return VHDCTL_BAD;
	case -ENXIO:
		error_msg(path, "footer.data_offset: found %#llx, no dynamic header there",
			  (unsigned long long)r->header_pos);
		return VHDCTL_BAD;
	case -ERANGE:
		error_msg(path, "the table has %llu entries",
			  (unsigned long long)table_entries(r));
		return VHDCTL_BAD;
	case -EUCLEAN:
		error_msg(path, "header.block_size: found %u, expected a power of two from %u to %u",
			  be32_to_cpu(r->header.block_size), VHD_MIN_BLOCK_SIZE,
			  VHD_MAX_BLOCK_SIZE);
		return VHDCTL_BAD;
	default:
		return error_errno(path, part, err);
	}
}

static int dump_part(size_t part, const char *path, u32 block)
{
	struct raw r = { };
	int code, err;

	err = vhd_file_open(&r.file, path, false);
	if (err) {
		code = report_open(&r.file, path, err);
	} else {
		err = find_footer(&r);
		if (!err)
			err = parts[part].dump(&r, block);
		code = dump_error(&r, parts[part].name, err);
	}
	vhd_file_close(&r.file);
	return code;
}

static int run_dump(int argc, char **argv)
{
	unsigned long block = 0;
	char **args;
	char *end;
	size_t i;

	while (next_option(&cmd_dump, argc, argv, COMMON_SHORT, options) != -1)
		;
	args = argv + optind;
	argc -= optind;
	for (i = 0; argc && i < ARRAY_SIZE(parts); i++)
		if (!strcmp(args[0], parts[i].name))
			break;
	if (!argc || i == ARRAY_SIZE(parts))
		return usage_error(&cmd_dump,
				   "expected footer, header, bat, locators or bitmap");
	if (argc != parts[i].args)
		return usage_error(&cmd_dump, "%s: wrong number of arguments",
				   args[0]);
	if (argc == 3) {
		errno = 0;
		block = strtoul(args[1], &end, 10);
		if (errno || end == args[1] || *end || block > U32_MAX)
			return usage_error(&cmd_dump,
					   "\"%s\" is not a block number",
					   args[1]);
	}
	return dump_part(i, args[argc - 1], block);
}

const struct command cmd_dump = {
	.name = "dump",
	.brief = "print structures of an image as they are",
	.help = help,
	.run = run_dump,
};
