// SPDX-License-Identifier: GPL-2.0-or-later
#include <pthread.h>

#include "crew.h"

int vhd_crew_run(void *(*work)(void *), void *job)
{
	pthread_t threads[VHD_CREW];
	unsigned int i, nr;
	int err = 0;

	for (nr = 0; nr < VHD_CREW && !err; nr++)
		err = -pthread_create(&threads[nr], NULL, work, job);
	if (err)
		nr--;
	for (i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	return nr ? 0 : err;
}
