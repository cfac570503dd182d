/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far the driver is with a long change of a device, for the meter.
 */
#ifndef _VHDCTL_WATCH_H
#define _VHDCTL_WATCH_H

#include <pthread.h>
#include <stdbool.h>

#include "device.h"

/**
 * struct watch - the driver counts; this carries it to the meter
 * @device: whose
 * @total: file below /sys/block/vhdN: of so much
 * @left: so much is left
 * @thread: looks
 * @running: is there
 * @stop: is to end
 */
struct watch {
	const struct device *device;
	const char *total;
	const char *left;
	pthread_t thread;
	bool running;
	volatile bool stop;
};

/** watch_start - before the call; @device and the names are filled in */
void watch_start(struct watch *w);
/** watch_stop - after it */
void watch_stop(struct watch *w);

#endif /* _VHDCTL_WATCH_H */
