// SPDX-License-Identifier: GPL-2.0-or-later
#include <signal.h>
#include <time.h>

#include "progress.h"
#include "watch.h"

/* How often the driver is asked how far it is. */
#define LOOK_MS		200

static void *watch_thread(void *arg)
{
	struct timespec ts = { .tv_nsec = LOOK_MS * 1000000L };
	struct watch *w = arg;
	u64 total = 0, now, left;

	while (!w->stop) {
		left = device_number(w->device, w->left);
		now = device_number(w->device, w->total);
		/* When it has ended both are 0. */
		if (now > total)
			vhd_progress_begin(now);
		total = now > total ? now : total;
		/* What is written meanwhile may have to be done again. */
		if (now && left <= total)
			vhd_progress_set(total - left);
		nanosleep(&ts, NULL);
	}
	vhd_progress_set(total);
	return NULL;
}

void watch_start(struct watch *w)
{
	sigset_t all, old;

	vhd_progress_begin(0);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	w->running = !pthread_create(&w->thread, NULL, watch_thread, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void watch_stop(struct watch *w)
{
	w->stop = true;
	if (w->running)
		pthread_join(w->thread, NULL);
}
