// SPDX-License-Identifier: GPL-2.0-only
/*
 * When does a worker that has run out of requests sleep?
 *
 * To wake it is what a request costs most, and it is often woken right away: so
 * it lingers, awake, for a while.  Two measures keep that from becoming waste:
 *
 * The while is as long as has paid before.  A worker that slept for less than
 * linger_us would have done better to linger: the next time it does so, longer.
 * One that slept longer would have lingered for nothing: the next time it sleeps
 * at once.
 *
 * It never keeps a processor from anybody.  As soon as another task is runnable
 * there, it gives way, and finds what the other, often the submitter, has queued
 * meanwhile.  (With one processor this is all there is to gain: the requests of
 * a while are taken together, and nobody had to be woken for them.)  Two things
 * make that a loss, and then for some time it does not linger at all: the other
 * one computes and does not come back soon, so that requests wait, where a task
 * that is woken gets the processor as the scheduler finds fair; or it queues few
 * requests and waits for all of them, the disk has nothing to do until the last
 * is queued, and then the processor has nothing to do until they end, where a
 * wake-up for each would let both work at the same time.
 */
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/stat.h>

#include "vhd.h"

static unsigned int vhd_linger_us = 100;
module_param_named(linger_us, vhd_linger_us, uint, 0644);
MODULE_PARM_DESC(linger_us,
		 "microseconds that an idle worker stays awake at the most (100; 0: never)");

/* The shortest while, ns. */
#define VHD_LINGER_FIRST	10000U
#define VHD_LINGER_MAX_US	1000U
/* Who has given way for so long, ns, has met somebody that computes. */
#define VHD_LINGER_AWAY		2000000U
/* What is saved by not being woken for a request, ns; most of a wake-up. */
#define VHD_LINGER_WORTH	5000U
/* When it has waited for so much more than it saved, ns, it does not pay. */
#define VHD_LINGER_LOSS		100000
/* Then it does not linger for so long, ns, */
#define VHD_LINGER_PAUSE	(100ULL * NSEC_PER_MSEC)
/* and for so long when it was away too long; doubled each time. */
#define VHD_LINGER_SHY		(100ULL * NSEC_PER_MSEC)
#define VHD_LINGER_MAX_SHY	6U
/* So long without being away too long, and it begins anew, ns. */
#define VHD_LINGER_FORGET	(10ULL * NSEC_PER_SEC)

static u64 vhd_linger_limit(void)
{
	return (u64)min(READ_ONCE(vhd_linger_us), VHD_LINGER_MAX_US) *
	       NSEC_PER_USEC;
}

/* It was away from @left to @back.  Return: was that too long? */
static bool vhd_linger_too_long(struct vhd_linger *l, u64 left, u64 back)
{
	if (back - left < VHD_LINGER_AWAY)
		return false;
	if (back - l->shy_until > VHD_LINGER_FORGET)
		l->shyness = 0;
	l->shy_until = back + (VHD_LINGER_SHY << l->shyness);
	l->shyness = min(l->shyness + 1, VHD_LINGER_MAX_SHY);
	return true;
}

/* Let others run.  Return: is it worth while to go on lingering? */
static bool vhd_linger_give_way(struct vhd_linger *l)
{
	u64 left = local_clock();

	l->gave_way = true;
	l->waited = left - l->since;
	yield();
	return !vhd_linger_too_long(l, left, local_clock());
}

static bool vhd_linger_wait(struct vhd_linger *l, const struct llist_head *list)
{
	l->since = local_clock();
	l->gave_way = false;
	if (l->since < l->shy_until)
		return false;
	while (local_clock() - l->since < l->budget) {
		if (!llist_empty(list) || kthread_should_stop())
			return true;
		if (single_task_running() && !need_resched())
			cpu_relax();
		else if (!vhd_linger_give_way(l))
			break;
	}
	return !llist_empty(list);
}

/* The counters are the worker's own; others read them at any time. */
bool vhd_linger(struct vhd_linger *l, const struct llist_head *list)
{
	bool found = vhd_linger_wait(l, list);

	if (found)
		WRITE_ONCE(l->hits, l->hits + 1);
	return found;
}

/*
 * Alone, with a processor for itself, it may wait as it likes.  Who has given way
 * has had requests queued, and the disk idle, that could have been on their way.
 */
void vhd_linger_took(struct vhd_linger *l, unsigned int nr)
{
	if (!l->gave_way)
		return;
	l->gave_way = false;
	l->balance += (s64)nr * VHD_LINGER_WORTH - (s64)l->waited;
	l->balance = min_t(s64, l->balance, VHD_LINGER_LOSS);
	if (l->balance > -VHD_LINGER_LOSS)
		return;
	l->balance = 0;
	l->shy_until = max(l->shy_until, local_clock() + VHD_LINGER_PAUSE);
}

void vhd_linger_slept(struct vhd_linger *l)
{
	u64 limit = vhd_linger_limit();

	l->gave_way = false;
	WRITE_ONCE(l->sleeps, l->sleeps + 1);
	if (local_clock() - l->since > limit)
		l->budget = 0;
	else
		l->budget = clamp_t(u64, l->budget * 2, VHD_LINGER_FIRST, limit);
}
