// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>

#include <linux/minmax.h>

#include "graph.h"
#include "terminal.h"
#include "vhdctl.h"

/* Before the cells of a row: an offset, and a blank */
#define MARGIN		8
#define MAX_ROWS	8
#define MIN_CELL	4096

#define GREEN		"\033[32m"
#define YELLOW		"\033[33m"
#define PLAIN		"\033[0m"

/**
 * struct strip - a length of bytes cut into cells of equal size
 * @cell: bytes of a cell, a power of two
 * @fill: bytes of data in each
 */
struct strip {
	u64 size;
	u64 cell;
	u64 nr;
	u64 *fill;
};

/**
 * struct graph - what was told so far
 * @from: of each cell of the file: the tenth of the disk whose data it holds
 *	first; -1: none
 * @runs: adjacent on the disk and in the file; those of parents not counted
 * @back: of these, how many lie before the one told before
 * @end: of the last run in the file
 */
struct graph {
	struct strip disk;
	struct strip file;
	s8 *from;
	u64 data;
	u64 runs;
	u64 back;
	u64 end;
	int columns;
};

static int strip_init(struct strip *s, u64 size, int columns)
{
	s->size = size;
	s->cell = MIN_CELL;
	while ((size + s->cell - 1) / s->cell > (u64)columns * MAX_ROWS)
		s->cell *= 2;
	s->nr = (size + s->cell - 1) / s->cell;
	s->fill = calloc(s->nr + 1, sizeof(*s->fill));
	return s->fill ? 0 : -1;
}

static void graph_free(struct graph *g)
{
	free(g->disk.fill);
	free(g->file.fill);
	free(g->from);
	free(g);
}

struct graph *graph_new(u64 disk, u64 file)
{
	struct graph *g = calloc(1, sizeof(*g));
	u64 i;

	if (!g)
		return NULL;
	/* Round numbers at the beginning of the rows */
	g->columns = (terminal_columns() - MARGIN) / 8 * 8;
	if (strip_init(&g->disk, disk, g->columns) ||
	    strip_init(&g->file, file, g->columns))
		goto out_free;
	g->from = malloc(g->file.nr + 1);
	if (!g->from)
		goto out_free;
	for (i = 0; i <= g->file.nr; i++)
		g->from[i] = -1;
	return g;

out_free:
	graph_free(g);
	return NULL;
}

static void strip_add(struct strip *s, u64 start, u64 length)
{
	u64 end = min(start + length, s->size);
	u64 next;

	while (start < end) {
		next = min((start / s->cell + 1) * s->cell, end);
		s->fill[start / s->cell] += next - start;
		start = next;
	}
}

/* Whose data a cell of the file holds, where nobody has said it before */
static void note_origin(struct graph *g, u64 start, u64 length, u64 pos)
{
	u64 end = min(pos + length, g->file.size);
	u64 i, offset;

	for (i = pos / g->file.cell; i * g->file.cell < end; i++) {
		offset = max(i * g->file.cell, pos) - pos;
		if (g->from[i] < 0)
			g->from[i] = (start + offset) * 10 / g->disk.size;
	}
}

void graph_add(struct graph *g, u64 start, u64 length, s64 pos)
{
	strip_add(&g->disk, start, length);
	g->data += length;
	if (pos < 0)
		return;
	strip_add(&g->file, pos, length);
	note_origin(g, start, length, pos);
	g->runs++;
	g->back += (u64)pos < g->end;
	g->end = pos + length;
}

static void print_cell(const char *text, const char *colour)
{
	if (colour)
		printf("%s%s" PLAIN, colour, text);
	else
		fputs(text, stdout);
}

static const char *fill_text(const struct strip *s, u64 i, bool utf8)
{
	static const char *const blocks[] = { "\u00b7", "\u2591", "\u2592",
					      "\u2593", "\u2588" };
	static const char *const ascii[] = { ".", "-", "+", "*", "#" };
	u64 whole = min(s->cell, s->size - i * s->cell);
	u64 quarters = (s->fill[i] * 4 + whole - 1) / whole;

	return utf8 ? blocks[quarters] : ascii[quarters];
}

static void print_offset(const struct graph *g, const struct strip *s, u64 i)
{
	char size[16];

	if (i % g->columns == 0)
		printf("%s%*s ", i ? "\n" : "", MARGIN - 1,
		       format_size(i * s->cell, size, sizeof(size)));
}

static void print_disk(const struct graph *g, bool utf8, bool colour)
{
	char cell[16];
	u64 i;

	printf("\nThe disk, %s a cell: how much of it holds data\n",
	       format_size(g->disk.cell, cell, sizeof(cell)));
	for (i = 0; i < g->disk.nr; i++) {
		print_offset(g, &g->disk, i);
		print_cell(fill_text(&g->disk, i, utf8),
			   colour && g->disk.fill[i] ? GREEN : NULL);
	}
	putchar('\n');
}

static void print_file(const struct graph *g, bool colour)
{
	char cell[16], text[2] = "";
	int last = 0;
	u64 i;

	printf("\nThe file, %s a cell: which tenth of the disk lies there (0 to 9)\n",
	       format_size(g->file.cell, cell, sizeof(cell)));
	for (i = 0; i < g->file.nr; i++) {
		print_offset(g, &g->file, i);
		*text = g->from[i] < 0 ? '.' : '0' + g->from[i];
		print_cell(text, !colour || g->from[i] < 0 ? NULL :
				 g->from[i] < last ? YELLOW : GREEN);
		if (g->from[i] >= 0)
			last = g->from[i];
	}
	putchar('\n');
}

void graph_print(struct graph *g, const char *name)
{
	bool utf8 = terminal_utf8(), colour = terminal_colour();
	char disk[16], data[16], file[16];

	printf("%s: a disk of %s with %s of data, in a file of %s\n", name,
	       format_size(g->disk.size, disk, sizeof(disk)),
	       format_size(g->data, data, sizeof(data)),
	       format_size(g->file.size, file, sizeof(file)));
	printf("%llu run%s, %llu of them out of order in the file\n",
	       (unsigned long long)g->runs, g->runs == 1 ? "" : "s",
	       (unsigned long long)g->back);
	print_disk(g, utf8, colour);
	print_file(g, colour);
	graph_free(g);
}
