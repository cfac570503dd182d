// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <linux/minmax.h>

#include "compare.h"
#include "crew.h"
#include "io.h"
#include "load.h"
#include "progress.h"

#define PIECE		(1U << 20)

/**
 * struct job - what the crew shares; under @lock
 * @pos: what has been taken ends here
 */
struct job {
	struct vhd_compare *c;
	pthread_mutex_t lock;
	u64 pos;
	u64 size;
	int err;
};

static void job_fail(struct job *j, int err, u64 at, int which)
{
	if (j->err)
		return;
	j->err = err;
	j->c->at = at;
	j->c->which = which;
}

/* A disk's part of what is looked at next; nothing behind its end. */
static int take_one(struct job *j, struct vhd_load *l, int which)
{
	struct vhd_source *s = j->c->sources[which];
	u64 len = j->pos < s->size ? min_t(u64, s->size - j->pos, PIECE) : 0;
	int err = vhd_load_map(l, s, j->pos, len);

	if (err)
		job_fail(j, err, j->pos, which);
	return err;
}

/* The next stretch where one of them has data. */
static bool take_next(struct job *j, struct vhd_load *l)
{
	while (!j->err && !j->c->differ && j->pos < j->size) {
		if (vhd_interrupted)
			job_fail(j, -EINTR, j->pos, 0);
		else if (!take_one(j, &l[0], 0) && !take_one(j, &l[1], 1))
			j->pos += min_t(u64, PIECE, j->size - j->pos);
		if (j->err)
			break;
		if (l[0].nr_runs || l[1].nr_runs)
			return true;
		vhd_progress_add(max(l[0].len, l[1].len));
	}
	return false;
}

static bool take(struct job *j, struct vhd_load *l)
{
	bool taken;

	pthread_mutex_lock(&j->lock);
	taken = take_next(j, l);
	pthread_mutex_unlock(&j->lock);
	return taken;
}

/* Others may be at an earlier place: the first difference counts. */
static void found(struct job *j, u64 at)
{
	pthread_mutex_lock(&j->lock);
	if (!j->err && (!j->c->differ || at < j->c->at))
		j->c->at = at;
	j->c->differ = true;
	pthread_mutex_unlock(&j->lock);
}

static u32 first_difference(const struct vhd_load *l)
{
	u32 i = 0;

	while (l[0].data[i] == l[1].data[i])
		i++;
	return i;
}

static void look(struct job *j, struct vhd_load *l)
{
	int which, err;

	for (which = 0; which < 2; which++) {
		err = vhd_load_read(&l[which], j->c->sources[which]);
		if (!err)
			continue;
		pthread_mutex_lock(&j->lock);
		job_fail(j, err, l->at, which);
		pthread_mutex_unlock(&j->lock);
		return;
	}
	if (memcmp(l[0].data, l[1].data, PIECE))
		found(j, l->at + first_difference(l));
	vhd_progress_add(max(l[0].len, l[1].len));
}

static void *work(void *arg)
{
	struct job *j = arg;
	struct vhd_load l[2];
	int err;

	err = vhd_load_init(&l[0], PIECE);
	if (err)
		goto out;
	err = vhd_load_init(&l[1], PIECE);
	if (!err) {
		while (take(j, l))
			look(j, l);
		vhd_load_free(&l[1]);
	}
	vhd_load_free(&l[0]);
out:
	pthread_mutex_lock(&j->lock);
	if (err)
		job_fail(j, err, 0, 0);
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

int vhd_compare(struct vhd_compare *c)
{
	struct job j = {
		.c = c,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.size = max(c->sources[0]->size, c->sources[1]->size),
	};
	int err;

	c->differ = false;
	vhd_progress_begin(j.size);
	err = vhd_crew_run(work, &j);
	return err ? err : j.err;
}
