// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include <linux/minmax.h>

#include "model.h"

void model_init(struct model *m, u32 sectors, u32 block_sectors)
{
	u32 room = max(sectors, MAX_GROWN);

	if (room > m->max) {
		free(m->floor);
		free(m->slot);
		free(m->below);
		m->floor = calloc(room, sizeof(*m->floor));
		m->slot = calloc(room, sizeof(*m->slot));
		m->below = calloc(room, sizeof(*m->below));
		m->max = room;
	}
	if (!m->cells)
		m->cells = calloc(MAX_CELLS, sizeof(*m->cells));
	if (!m->floor || !m->slot || !m->below || !m->cells)
		abort();
	memset(m->floor, 0, sectors * sizeof(*m->floor));
	memset(m->slot, 0, sectors * sizeof(*m->slot));
	memset(m->foreign, 0, sizeof(m->foreign));
	m->nr = sectors;
	m->block_sectors = block_sectors;
	m->nr_cells = 0;
	m->parent = 0;
	m->parent_nr = 0;
	m->chained = false;
}

void model_free(struct model *m)
{
	free(m->floor);
	free(m->slot);
	free(m->below);
	free(m->cells);
}

static struct cell *model_cell(const struct model *m, u32 sector)
{
	u16 slot = m->slot[sector];

	return slot ? &m->cells[slot - 1] : NULL;
}

static struct cell *model_get(struct model *m, u32 sector)
{
	struct cell *c = model_cell(m, sector);

	if (c)
		return c;
	c = &m->cells[m->nr_cells++];
	memset(c, 0, sizeof(*c));
	c->sector = sector;
	m->slot[sector] = m->nr_cells;
	return c;
}

/* Forget a cell that says nothing more than the floor. */
static bool model_put(struct model *m, struct cell *c)
{
	struct cell *last = &m->cells[m->nr_cells - 1];

	if (c->n || c->busy || c->reads)
		return false;
	m->slot[c->sector] = 0;
	if (c != last) {
		*c = *last;
		m->slot[c->sector] = c - m->cells + 1;
	}
	m->nr_cells--;
	return true;
}

bool model_idle(const struct model *m, u32 sector, u32 n, bool over_reads)
{
	const struct cell *c;
	u32 i;

	if (m->nr_cells + n > MAX_CELLS)
		return false;
	for (i = 0; i < n; i++) {
		c = model_cell(m, sector + i);
		if (c && (c->busy || c->n == MAX_VERSIONS ||
			  (c->reads && !over_reads)))
			return false;
	}
	return true;
}

void model_busy(struct model *m, u32 sector, u32 n, bool busy)
{
	struct cell *c;
	u32 i;

	for (i = 0; i < n; i++) {
		c = model_get(m, sector + i);
		c->busy = busy;
		model_put(m, c);
	}
}

void model_reading(struct model *m, u32 sector, u32 n, int change)
{
	struct cell *c;
	u32 i;

	for (i = 0; i < n; i++) {
		c = model_get(m, sector + i);
		c->reads += change;
		model_put(m, c);
	}
}

void model_write(struct model *m, u32 sector, u32 n, u32 id)
{
	struct cell *c;
	u32 i;

	for (i = 0; i < n; i++) {
		c = model_get(m, sector + i);
		c->id[c->n++] = id + i;
	}
}

void model_zero(struct model *m, u32 sector, u32 n)
{
	struct cell *c;
	u32 i;

	for (i = 0; i < n; i++) {
		c = model_get(m, sector + i);
		c->id[c->n++] = 0;
	}
}

void model_wrote(struct model *m, u32 sector, u32 n)
{
	struct cell *c;
	u32 i;

	for (i = 0; i < n; i++) {
		c = model_get(m, sector + i);
		c->now = c->n;
	}
}

void model_commit_begins(struct model *m)
{
	u32 i;

	for (i = 0; i < m->nr_cells; i++)
		m->cells[i].taken = m->cells[i].now;
}

void model_commit_succeeded(struct model *m)
{
	u32 i = 0;

	while (i < m->nr_cells) {
		struct cell *c = &m->cells[i];
		u32 drop = c->taken;

		if (drop) {
			m->floor[c->sector] = c->id[drop - 1];
			c->n -= drop;
			c->now -= drop;
			c->taken = 0;
			memmove(c->id, c->id + drop, c->n * sizeof(*c->id));
		}
		if (!model_put(m, c))
			i++;
	}
}

bool model_allows(const struct model *m, u32 sector, u32 id)
{
	const struct cell *c;
	u32 i;

	if (m->floor[sector] == id)
		return true;
	c = model_cell(m, sector);
	for (i = 0; c && i < c->n; i++)
		if (c->id[i] == id)
			return true;
	return false;
}

u32 model_absent(const struct model *m, u32 sector)
{
	if (m->chained)
		return m->below[sector];
	return sector < m->parent_nr ? m->parent + sector : 0;
}

u32 model_now(const struct model *m, u32 sector)
{
	const struct cell *c = model_cell(m, sector);

	return c && c->now ? c->id[c->now - 1] : m->floor[sector];
}

void model_found(struct model *m, const u32 *ids)
{
	u32 i;

	for (i = 0; i < m->nr_cells; i++)
		m->slot[m->cells[i].sector] = 0;
	m->nr_cells = 0;
	memcpy(m->floor, ids, m->nr * sizeof(*ids));
}

void model_seen(struct model *m, const u32 *ids)
{
	u32 i, k;

	for (i = 0; i < m->nr_cells; i++) {
		struct cell *c = &m->cells[i];

		c->now = 0;
		c->taken = 0;
		c->busy = false;
		c->reads = 0;
		for (k = 0; k < c->n; k++)
			if (c->id[k] == ids[c->sector])
				c->now = k + 1;
	}
}
